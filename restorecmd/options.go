// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"virtnb/internal/hostargs"
)

// Action is what the command does with a backup set.
type Action string

const (
	Restore Action = "restore" // bring disks back
	Dump    Action = "dump"    // show the metadata of its savesets
	Verify  Action = "verify"  // look for damage
)

// stdout is the output that stands for the standard output.
const stdout = "-"

// original is the value of BootFiles that stands for the paths in the XML.
const original = "original"

// Options are what to do with which backup set, and how. Get them from
// ParseArgs or Default: the zero value lacks what must not be zero.
type Options struct {
	Action Action
	Input  string // the backup set
	Output string // a folder; for one disk also a block device, an NBD URI, or "-" for the standard output

	Until    string   // the restore point; "": the latest
	Sequence []string // names of savesets in Input, a full first, instead of a restore point
	Disk     string   // the only disk, by its target name; "": all

	Raw          bool // bring disks of raw format back, too
	AdjustConfig bool // rewrite the domain's XML for the restored disks
	Define       bool // and define the domain
	ConfigFile   string
	Name         string // of the restored domain; "": restore_ and the old one

	BufferSize  int    // of verify, bytes
	Preallocate bool   // take all the space of an image at once
	Compress    bool   // write compressed clusters
	SocketFile  string // of the local NBD server; "": one in a folder of its own

	Host hostargs.Host

	LogFile    string
	NoProgress bool
	NoColor    bool
	Verbose    bool

	// What virtnbdrestore does not have.
	JSON      bool
	Format    string            // of the images, "qcow2" or "raw"; "": as the original
	Targets   map[string]string // block devices, NBD URIs or paths of images, by disk
	Force     bool              // overwrite a block device or NBD export without asking
	BootFiles string            // a folder for the boot files, or "original"; "": the output folder
	NewMACs   bool              // give the network cards of the restored domain new addresses
	InPlace   string            // bring this image back by writing what differs
	DryRun    bool              // of InPlace: only tell
	Salvage   bool              // restore what is readable of a damaged chain
	MapFile   string            // of Salvage: where the map of what is lost goes; "": beside the image
}

// Default has the defaults of all options; Input and Output are for the caller
// to set.
func Default() Options {
	return Options{
		Action:     Restore,
		ConfigFile: "vmconfig.xml",
		BufferSize: 8192,
		Host:       hostargs.Default(),
		LogFile:    defaultLogFile(),
	}
}

func defaultLogFile() string {
	dir := os.Getenv("HOME")
	if dir == "" {
		dir = "/tmp"
	}
	return filepath.Join(dir, PeerName+".log")
}

// Check finds options that contradict each other.
func (o Options) Check() error {
	switch {
	case o.Input == "":
		return fmt.Errorf("the name of the backup set is empty")
	case o.Action != Restore:
		return nil
	case o.InPlace != "":
		return o.checkInPlace()
	case o.DryRun:
		return fmt.Errorf("--dry-run goes with --in-place")
	case o.Output == "":
		return fmt.Errorf("the name of the output is empty")
	case o.Sequence != nil && o.Until != "":
		return fmt.Errorf("--sequence names the files and --until a restore point: only one of them can be given")
	case o.MapFile != "" && !o.Salvage:
		return fmt.Errorf("--map-file goes with --salvage")
	case o.Output == stdout && o.JSON:
		return fmt.Errorf("--json and the disk of -o - would both go to the standard output")
	case o.Format == "raw" && o.Compress:
		return fmt.Errorf("--compress needs images of format qcow2")
	}
	if strings.ContainsRune(o.ConfigFile, '/') || o.ConfigFile == "" || o.ConfigFile == "." || o.ConfigFile == ".." {
		return fmt.Errorf("configuration file %q: not a name of a file in the output folder", o.ConfigFile)
	}
	return o.Host.Check()
}

func (o Options) checkInPlace() error {
	switch {
	case o.Output != "":
		return fmt.Errorf("--in-place changes an image where it is: -o has no meaning with it")
	case o.AdjustConfig || o.Define:
		return fmt.Errorf("--in-place leaves the domain as it is: -c and -D have no meaning with it")
	case o.Preallocate || o.Compress || o.Raw || o.Salvage || len(o.Targets) > 0:
		return fmt.Errorf("--in-place writes into an image as it is: -A, -r, --compress, --salvage and --target have no meaning with it")
	}
	return nil
}

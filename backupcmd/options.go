// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"virtnb/format"
	"virtnb/internal/hostargs"
)

// Auto is the level that becomes full or inc by what is in the folder.
const Auto format.Level = "auto"

// Type is what a disk becomes in the backup.
type Type string

const (
	Stream Type = "stream" // a saveset of extents
	Raw    Type = "raw"    // an image of the disk's size
)

// stdout is the output that stands for the standard output.
const stdout = "-"

// Options are what to back up, where to and how. Get them from ParseArgs or
// Default: the zero value lacks what must not be zero.
type Options struct {
	Domain string
	Level  format.Level // or Auto
	Type   Type
	Output string // a folder, or "-" for a zip archive on the standard output

	CheckpointDir string // "": checkpoints, below the folder
	ScratchDir    string // for the old content of what the guest overwrites meanwhile
	SocketFile    string // of the local NBD server

	Include    string   // the only disk, by its target name; "": all
	Exclude    []string // target names
	IncludeRaw bool     // also disks of raw format, block devices and LUNs

	StartDomain       bool     // start a domain that is off, paused
	Pause             bool     // suspend the domain while the job starts
	FreezeMountpoints []string // nil: all
	FreezeTimeout     time.Duration
	NoSparseDetection bool
	Threshold         int64 // bytes; an inc or diff of less is left out

	Compress *int  // LZ4 level as given, nil: none; see CompressLevel
	Worker   *int  // disks at a time as given, nil: all; see Workers
	Memory   int64 // bytes, for data on its way

	Host hostargs.Host

	StartOnly bool // start the job and leave it
	KillOnly  bool // end a running job
	PrintOnly bool // print the estimated size

	Strict     bool // warnings make the exit status 2
	NoProgress bool
	Quiet      bool
	NoColor    bool
	Syslog     bool
	Verbose    bool
	Qemu       bool // accepted and without effect: extents are read over NBD anyway
	JSON       bool
}

// Default has the defaults of all options; Domain and Output are for the
// caller to set.
func Default() Options {
	return Options{
		Level:         format.Copy,
		Type:          Stream,
		ScratchDir:    "/var/tmp",
		SocketFile:    fmt.Sprintf("/var/tmp/virtnbdbackup.%d", os.Getpid()),
		FreezeTimeout: 2 * time.Minute,
		Memory:        256 << 20,
		Host:          hostargs.Default(),
	}
}

// Zip says whether the backup goes to the standard output as an archive.
func (o Options) Zip() bool { return o.Output == stdout }

// Folder is where the files of the backup are, or those that stay behind
// beside the archive: checkpoints, their list and the log.
func (o Options) Folder() string {
	if o.Zip() {
		return "."
	}
	return o.Output
}

// Checkpoints is the folder of the checkpoints' XML.
func (o Options) Checkpoints() string {
	if o.CheckpointDir != "" {
		return o.CheckpointDir
	}
	return filepath.Join(o.Folder(), "checkpoints")
}

// LogFile is the file that the run logs to: it has the level as it was typed,
// and its start in local time.
func (o Options) LogFile(start time.Time) string {
	return filepath.Join(o.Folder(), fmt.Sprintf("backup.%s.%s.log", o.Level, start.Format("01022006150405")))
}

// CompressLevel is the level for package format, where 0 is no compression.
// Level 0 of LZ4 is the same as 1.
func (o Options) CompressLevel() int {
	switch {
	case o.Compress == nil:
		return 0
	case *o.Compress == 0:
		return 1
	}
	return *o.Compress
}

// Workers is how many of so many disks are saved at a time: an archive takes
// one after the other.
func (o Options) Workers(disks int) int {
	switch {
	case o.Zip():
		return 1
	case o.Worker == nil:
		return max(disks, 1)
	}
	return max(1, min(*o.Worker, disks))
}

// conflict says what cannot be done together, in the words of virtnbdbackup,
// which scripts look for.
type conflict string

func (c conflict) Error() string { return string(c) }

// Check finds options that contradict each other at a level. Ask with the
// options' own level before anything is touched, and for Auto again when it is
// known what becomes of it.
func (o Options) Check(level format.Level) error {
	changes := level == format.Inc || level == format.Diff
	switch {
	case o.Domain == "":
		return conflict("the name of the domain is empty")
	case o.Output == "":
		return conflict("the name of the output folder is empty")
	case o.Compress != nil && o.Type == Raw:
		return conflict("Compression not supported with raw output.")
	case o.Zip() && o.Type == Raw:
		return conflict("Output type raw not supported to stdout.")
	case o.Zip() && o.IncludeRaw:
		return conflict("Saving raw images to stdout is not supported.")
	case o.Type == Raw && changes:
		return conflict("Stream format raw does not support incremental or differential backup.")
	case o.Zip() && o.JSON:
		return conflict("--json and the archive of -o - would both go to the standard output.")
	case o.StartOnly && o.KillOnly:
		return conflict("-s starts a backup job and -k ends it: only one of them can be given.")
	}
	return o.Host.Check()
}

// CheckOffline finds options that a domain that is off cannot follow.
func (o Options) CheckOffline() error {
	if o.StartOnly {
		return conflict("Domain is offline: must be active for this function.")
	}
	return nil
}

// WithRaw says whether disks of raw format are to be saved at a level, and
// warns if it drops what was asked for.
func (o Options) WithRaw(level format.Level, log *slog.Logger) bool {
	if o.IncludeRaw && (level == format.Inc || level == format.Diff) {
		log.Warn("Raw disks cant be included during incremental or differential backup.")
		log.Warn("Excluding raw disks.")
		return false
	}
	return o.IncludeRaw
}

// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"virtnb/internal/argparse"
)

// PeerName is the name that, when the program is called by it, leaves only the
// options that virtnbdrestore has.
const PeerName = "virtnbdrestore"

// ParseArgs reads a command line: args without the name of the program, which
// is prog in messages. If it says that all is done, help, version or an error
// was printed, and the program is to end with that status.
func ParseArgs(prog, version string, args []string, out, errOut io.Writer) (o Options, status int, done bool) {
	o = Default()
	own := prog != PeerName
	parser := argparse.Parser{
		Prog:        prog,
		Description: "Restore virtual machine disks.",
		Epilog:      strings.ReplaceAll(examples, "%(prog)s", prog),
		Version:     version,
		Groups:      o.groups(own),
	}
	if status, done = parser.Run(args, out, errOut); done {
		return o, status, done
	}
	if own && o.Output == "" && o.InPlace == "" && o.Action == Restore {
		return o, parser.Fail(errOut, errors.New("the following arguments are required: -o/--output")), true
	}
	o.settle()
	return o, 0, false
}

// settle applies what one option means for another.
func (o *Options) settle() {
	if o.Output == string(Dump) || o.Output == string(Verify) {
		o.Action = Action(o.Output)
	}
	if o.Define {
		o.AdjustConfig = true
	}
}

const examples = `Examples:
  # dump the metadata of a backup set:
  %(prog)s -i /backup/ -o dump
  # verify a backup set:
  %(prog)s -i /backup/ -o verify
  # complete restore with all disks:
  %(prog)s -i /backup/ -o /target
  # complete restore, adjust the configuration and define the domain:
  %(prog)s -cD -i /backup/ -o /target
  # the same, and name the domain 'foo':
  %(prog)s -cD --name foo -i /backup/ -o /target
  # restore only disk 'vda':
  %(prog)s -i /backup/ -o /target -d vda
  # point in time restore:
  %(prog)s -i /backup/ -o /target --until virtnbdbackup.2
  # restore from these files, in this order:
  %(prog)s -i /backup/ -o /target --sequence vdb.full.data,vdb.inc.virtnbdbackup.1.data
  # restore to a remote system:
  %(prog)s -U qemu+ssh://root@remotehost/system --ssh-user root -i /backup/ -o /remote_target
`

// groups is the table of all options, in the order of the help, with o as the
// place for their values.
func (o *Options) groups(own bool) []argparse.Group {
	list := []argparse.Group{
		{Title: "options", Options: []argparse.Option{
			{Names: []string{"-h", "--help"}, Into: argparse.ErrHelp, Help: "show this help message and exit"},
		}},
		{Title: "General options", Options: o.general(own)},
		{Title: "Remote restore options", Options: o.Host.Options()},
		{Title: "Logging options", Options: o.logging()},
		{Title: "Debug options", Options: o.debug()},
	}
	if own {
		list = append(list, argparse.Group{Title: "Options of virtnb", Options: append(o.own(), o.Host.OwnOptions()...)})
	}
	return list
}

func (o *Options) general(own bool) []argparse.Option {
	return []argparse.Option{
		{Names: []string{"-a", "--action"}, Into: (*string)(&o.Action), Choices: []string{"dump", "restore", "verify"}, Help: "what to do (default: restore)"},
		{Names: []string{"-i", "--input"}, Required: true, Into: &o.Input, Value: "DIR", Help: "the backup set: a folder, or zip archives of -o - with commas between them"},
		{Names: []string{"-o", "--output"}, Required: !own, Into: &o.Output, Value: "DIR", Help: "target folder, or the word dump or verify for that action; for one disk also a block device, an NBD URI, or - for the standard output"},
		{Names: []string{"-u", "--until"}, Into: argparse.Name("a restore point", &o.Until), Value: "POINT", Help: "restore this point instead of the latest one"},
		{Names: []string{"-s", "--sequence"}, Into: sequence(&o.Sequence), Value: "FILES", Help: "restore from these files of the set, a full or copy first, separated by commas; no configuration is adjusted"},
		{Names: []string{"-d", "--disk"}, Into: argparse.Name("a disk", &o.Disk), Help: "only this disk, by its target name; of dump and verify all whose name begins so"},
		{Names: []string{"-n", "--noprogress"}, Into: &o.NoProgress, Help: "show no progress bar"},
		{Names: []string{"-f", "--socketfile"}, Into: &o.SocketFile, Value: "FILE", Help: "socket for the NBD server (default: one in a folder of its own)"},
		{Names: []string{"-r", "--raw"}, Into: &o.Raw, Help: "restore disks of raw format, too"},
		{Names: []string{"-c", "--adjust-config"}, Into: &o.AdjustConfig, Help: "adjust the domain's configuration for the restored disks"},
		{Names: []string{"-D", "--define"}, Into: &o.Define, Help: "define the domain after the restore; implies -c"},
		{Names: []string{"-C", "--config-file"}, Into: &o.ConfigFile, Value: "NAME", Help: fmt.Sprintf("name of the configuration in the target folder (default: %s)", o.ConfigFile)},
		{Names: []string{"-N", "--name"}, Into: argparse.Name("the domain", &o.Name), Help: "name of the restored domain (default: restore_ and the old name)"},
		{Names: []string{"-B", "--buffsize"}, Into: &o.BufferSize, Value: "BYTES", Help: fmt.Sprintf("accepted for verify, which chooses the size of reads by itself (default: %d)", o.BufferSize)},
		{Names: []string{"-A", "--preallocate"}, Into: &o.Preallocate, Help: "take the space of the whole disk when the image is created"},
		{Names: []string{"--compress"}, Into: &o.Compress, Help: "write compressed clusters"},
	}
}

func (o *Options) logging() []argparse.Option {
	return []argparse.Option{
		{Names: []string{"-L", "--logfile"}, Into: argparse.Name("the log file", &o.LogFile), Value: "FILE", Help: fmt.Sprintf("log file (default: %s)", o.LogFile)},
		{Names: []string{"--nocolor"}, Into: &o.NoColor, Help: "no colours in messages"},
	}
}

func (o *Options) debug() []argparse.Option {
	return []argparse.Option{
		{Names: []string{"-v", "--verbose"}, Into: &o.Verbose, Help: "log what is of use for debugging"},
		{Names: []string{"-V", "--version"}, Into: argparse.ErrVersion, Help: "show the version and exit"},
	}
}

// own are the options that virtnbdrestore does not have.
func (o *Options) own() []argparse.Option {
	return []argparse.Option{
		{Names: []string{"--json"}, Exact: true, Into: &o.JSON, Help: "print progress and result as lines of JSON on the standard output"},
		{Names: []string{"--format"}, Exact: true, Into: &o.Format, Choices: []string{"qcow2", "raw"}, Help: "format of the restored images (default: that of the original)"},
		{Names: []string{"--target"}, Exact: true, Into: target(&o.Targets), Value: "DISK=TARGET", Help: "restore this disk to a block device, an NBD URI or another file than in the target folder; can be given for several disks"},
		{Names: []string{"--force"}, Exact: true, Into: &o.Force, Help: "overwrite a block device without asking"},
		{Names: []string{"--boot-files"}, Exact: true, Into: argparse.Name("a folder", &o.BootFiles), Value: "DIR", Help: "folder for firmware, its variables, kernel and initrd, or the word original for the paths that the configuration names (default: the target folder)"},
		{Names: []string{"--new-macs"}, Exact: true, Into: &o.NewMACs, Help: "give the network cards of the restored domain new addresses, so that it can run beside the original"},
		{Names: []string{"--in-place"}, Exact: true, Into: argparse.Name("an image", &o.InPlace), Value: "IMAGE", Help: "bring this qcow2 or raw image of a domain that is off back to the restore point, by writing only what differs"},
		{Names: []string{"--dry-run"}, Exact: true, Into: &o.DryRun, Help: "with --in-place: only tell how much differs"},
		{Names: []string{"--salvage"}, Exact: true, Into: &o.Salvage, Help: "restore what is readable from a damaged backup, and write a map of what is not"},
		{Names: []string{"--map-file"}, Exact: true, Into: argparse.Name("the map", &o.MapFile), Value: "FILE", Help: "with --salvage: where the map goes (default: beside the image)"},
	}
}

func sequence(into *[]string) func(string) error {
	return func(text string) error {
		*into = strings.Split(text, ",")
		for i, name := range *into {
			if (*into)[i] = strings.TrimSpace(name); (*into)[i] == "" {
				return fmt.Errorf("expected names of files, separated by commas: %q", text)
			}
		}
		return nil
	}
}

// target stores DISK=TARGET.
func target(into *map[string]string) func(string) error {
	return func(text string) error {
		disk, to, ok := strings.Cut(text, "=")
		if !ok || disk == "" || to == "" {
			return fmt.Errorf("expected DISK=TARGET: %q", text)
		}
		if *into == nil {
			*into = map[string]string{}
		}
		if _, twice := (*into)[disk]; twice {
			return fmt.Errorf("disk %s has two targets", disk)
		}
		(*into)[disk] = to
		return nil
	}
}

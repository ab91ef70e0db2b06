// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"virtnb/internal/argparse"
	"virtnb/internal/size"
)

// PeerName is the name that, when the program is called by it, leaves only the
// options that virtnbdbackup has.
const PeerName = "virtnbdbackup"

// ParseArgs reads a command line: args without the name of the program, which
// is prog in messages. If it says that all is done, help, version or an error
// was printed, and the program is to end with that status.
func ParseArgs(prog, version string, args []string, out, errOut io.Writer) (o Options, status int, done bool) {
	o = Default()
	parser := argparse.Parser{
		Prog:        prog,
		Description: "Back up virtual machines of libvirt and QEMU.",
		Epilog:      strings.ReplaceAll(examples, "%(prog)s", prog),
		Version:     version,
		Groups:      o.groups(prog != PeerName),
	}
	status, done = parser.Run(args, out, errOut)
	return o, status, done
}

const examples = `Examples:
  # full backup of domain 'webvm' with all attached disks:
  %(prog)s -d webvm -l full -o /backup/
  # incremental backup:
  %(prog)s -d webvm -l inc -o /backup/
  # differential backup:
  %(prog)s -d webvm -l diff -o /backup/
  # full backup, exclude disk 'vda':
  %(prog)s -d webvm -l full -x vda -o /backup/
  # full backup, backup only disk 'vdb':
  %(prog)s -d webvm -l full -i vdb -o /backup/
  # full backup, compression enabled:
  %(prog)s -d webvm -l full -z -o /backup/
  # full backup, create archive:
  %(prog)s -d webvm -l full -o - > backup.zip
  # full backup of a domain of a remote libvirtd:
  %(prog)s -U qemu+ssh://root@remotehost/system --ssh-user root -d webvm -l full -o /backup/
`

// groups is the table of all options, in the order of the help, with o as the
// place for their values.
func (o *Options) groups(own bool) []argparse.Group {
	list := []argparse.Group{
		{Title: "options", Options: []argparse.Option{
			{Names: []string{"-h", "--help"}, Into: argparse.ErrHelp, Help: "show this help message and exit"},
		}},
		{Title: "General options", Options: o.general()},
		{Title: "Remote backup options", Options: o.Host.Options()},
		{Title: "Logging options", Options: o.logging()},
		{Title: "Debug options", Options: o.debug()},
	}
	if own {
		list = append(list, argparse.Group{Title: "Options of virtnb", Options: append(o.own(), o.Host.OwnOptions()...)})
	}
	return list
}

func (o *Options) general() []argparse.Option {
	return []argparse.Option{
		{Names: []string{"-d", "--domain"}, Required: true, Into: &o.Domain, Help: "name of the domain to back up"},
		{Names: []string{"-l", "--level"}, Into: (*string)(&o.Level), Choices: []string{"copy", "full", "inc", "diff", "auto"}, Help: "backup level; auto is full or inc by what is in the folder (default: copy)"},
		{Names: []string{"-t", "--type"}, Into: (*string)(&o.Type), Choices: []string{"stream", "raw"}, Help: "output type: stream or raw (default: stream)"},
		{Names: []string{"-r", "--raw"}, Into: &o.IncludeRaw, Help: "include disks of raw format, block devices and LUNs"},
		{Names: []string{"-o", "--output"}, Required: true, Into: &o.Output, Value: "DIR", Help: "target folder, or - for a zip archive on the standard output"},
		{Names: []string{"-C", "--checkpointdir"}, Into: &o.CheckpointDir, Value: "DIR", Help: "where the checkpoints' XML is kept (default: checkpoints in the target folder)"},
		{Names: []string{"--scratchdir"}, Into: &o.ScratchDir, Value: "DIR", Help: fmt.Sprintf("for temporary scratch files, on the host of the domain (default: %s)", o.ScratchDir)},
		{Names: []string{"-S", "--start-domain"}, Into: &o.StartDomain, Help: "start a domain that is off, paused, for the time of the backup"},
		{Names: []string{"--pause"}, Into: &o.Pause, Help: "suspend the domain while the backup job is started"},
		{Names: []string{"-i", "--include"}, Into: argparse.Name("a disk", &o.Include), Value: "DISK", Help: "back up only the disk with this target name (-i vda)"},
		{Names: []string{"-x", "--exclude"}, Into: commaList(&o.Exclude), Value: "DISKS", Help: "leave out disks with these target names (-x vda,vdb)"},
		{Names: []string{"-f", "--socketfile"}, Into: &o.SocketFile, Value: "FILE", Help: fmt.Sprintf("socket of the local NBD server (default: %s)", o.SocketFile)},
		{Names: []string{"-n", "--noprogress"}, Into: &o.NoProgress, Help: "show no progress bars"},
		{Names: []string{"-z", "--compress"}, Into: &o.Compress, Bare: "2", Value: "LEVEL", Help: "compress with LZ4: up to 2 fast, from 3 to 12 smaller (default: not; without a level: 2)"},
		{Names: []string{"-w", "--worker"}, Into: &o.Worker, Value: "N", Help: "save so many disks at a time (default: all)"},
		{Names: []string{"-F", "--freeze-mountpoint"}, Into: commaList(&o.FreezeMountpoints), Value: "PATHS", Help: "freeze only the file systems that the guest mounts there (default: all)"},
		{Names: []string{"-e", "--strict"}, Into: &o.Strict, Help: "exit with status 2 if there were warnings"},
		{Names: []string{"--no-sparse-detection"}, Into: &o.NoSparseDetection, Help: "for inc and diff: ask only for what has changed, not for what became zero"},
		{Names: []string{"-T", "--threshold"}, Into: &o.Threshold, Value: "BYTES", Help: "for inc and diff: do nothing if less than so many bytes have changed"},
	}
}

func (o *Options) logging() []argparse.Option {
	return []argparse.Option{
		{Names: []string{"-L", "--syslog"}, Into: &o.Syslog, Help: "send log messages to the system log, too"},
		{Names: []string{"--quiet"}, Into: &o.Quiet, Help: "no log messages and no progress on stderr; the log file has them"},
		{Names: []string{"--nocolor"}, Into: &o.NoColor, Help: "no colours in log messages"},
	}
}

func (o *Options) debug() []argparse.Option {
	return []argparse.Option{
		{Names: []string{"-q", "--qemu"}, Into: &o.Qemu, Help: "accepted for compatibility, without effect: extents are always read over NBD"},
		{Names: []string{"-s", "--startonly"}, Into: &o.StartOnly, Help: "only start the backup job, save no data"},
		{Names: []string{"-k", "--killonly"}, Into: &o.KillOnly, Help: "end a running backup job"},
		{Names: []string{"-p", "--printonly"}, Into: &o.PrintOnly, Help: "print the estimated size of the backup and exit"},
		{Names: []string{"-v", "--verbose"}, Into: &o.Verbose, Help: "log what is of use for debugging"},
		{Names: []string{"-V", "--version"}, Into: argparse.ErrVersion, Help: "show the version and exit"},
	}
}

// own are the options that virtnbdbackup does not have.
func (o *Options) own() []argparse.Option {
	return []argparse.Option{
		{Names: []string{"--json"}, Exact: true, Into: &o.JSON, Help: "print progress and result as lines of JSON on the standard output"},
		{Names: []string{"--memory"}, Exact: true, Into: atLeast(&o.Memory), Value: "SIZE", Help: "memory for data on its way, of all disks together (default: 256M)"},
		{Names: []string{"--freeze-timeout"}, Exact: true, Into: seconds(&o.FreezeTimeout), Value: "SECONDS", Help: fmt.Sprintf("wait so long for the guest to freeze its file systems, then go on without (default: %d)", int(o.FreezeTimeout.Seconds()))},
	}
}

// commaList stores words separated by commas. None at all is as if the option
// had not been given.
func commaList(into *[]string) func(string) error {
	return func(text string) error {
		*into = nil
		for word := range strings.SplitSeq(text, ",") {
			if word = strings.TrimSpace(word); word != "" {
				*into = append(*into, word)
			}
		}
		return nil
	}
}

// leastMemory is enough for one frame of each kind on its way.
const leastMemory = 16 << 20

func atLeast(into *int64) func(string) error {
	return func(text string) error {
		n, err := size.Parse(text)
		if err == nil && n < leastMemory {
			err = fmt.Errorf("%s is too little: at least %dM", text, leastMemory>>20)
		}
		if err == nil {
			*into = n
		}
		return err
	}
}

// longestWait keeps the conversion to a time.Duration from overflowing.
const longestWait = 24 * time.Hour

func seconds(into *time.Duration) func(string) error {
	return func(text string) error {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 || n > int64(longestWait/time.Second) {
			return fmt.Errorf("%q is not a number of seconds from 1 to %d", text, int64(longestWait/time.Second))
		}
		*into = time.Duration(n) * time.Second
		return nil
	}
}

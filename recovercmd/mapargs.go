// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"virtnb/internal/argparse"
)

// PeerName is the name that, when the program is called by it, leaves only the
// options that virtnbdmap has, and its defaults.
const PeerName = "virtnbdmap"

// MapOptions are what to serve and where. Get them from ParseMapArgs.
type MapOptions struct {
	Set   string   // the folder of a backup set; "": Files
	Files []string // savesets, the full first
	Disk  string   // of a set, the only one; "": all
	Until string   // the restore point of a set; "": the latest

	Device   string // /dev/nbdN; "": none
	Export   string // the name of the export; "": the disk's
	Address  string // TCP, if Port is not 0
	Port     int    // of the first disk
	TLS      bool
	TLSDir   string
	Insecure bool // let plain TCP leave the machine
	ReadOnly bool

	Threads   int
	BlockSize int // bytes; requests are split into pieces of so many; 0: not

	NoProgress bool // accepted: there is nothing to wait for
	HexDump    bool // accepted: data does not go into logs
	NoColor    bool
	Verbose    bool
	LogFile    string // "": none
	JSON       bool
}

const (
	loopback       = "127.0.0.1"
	defaultPort    = 10809
	defaultThreads = 16
	defaultTLSDir  = "/etc/pki/qemu/"
)

// ParseMapArgs reads a command line: args without the name of the program, which
// is prog in messages. If it says that all is done, help, version or an error
// was printed, and the program is to end with that status.
func ParseMapArgs(prog, version string, args []string, out, errOut io.Writer) (o MapOptions, status int, done bool) {
	a := mapArgs{o: MapOptions{Threads: defaultThreads, TLSDir: defaultTLSDir}, peer: prog == PeerName}
	if a.peer {
		home, _ := os.UserHomeDir()
		a.o.Device, a.o.Address, a.o.Port = "/dev/nbd0", loopback, defaultPort
		a.o.Export, a.o.LogFile = "sda", filepath.Join(home, PeerName+".log")
	}
	parser := argparse.Parser{
		Prog:        prog,
		Description: "Serve disks from a backup, as NBD exports or block devices.",
		Epilog:      strings.ReplaceAll(a.examples(), "%(prog)s", prog),
		Version:     version,
		Groups:      a.groups(),
	}
	sets, rest := positional(parser.Groups, args)
	if a.peer {
		sets, rest = nil, args
	}
	if status, done = parser.Run(rest, out, errOut); done {
		return a.o, status, true
	}
	if err := a.finish(sets); err != nil {
		return a.o, parser.Fail(errOut, err), true
	}
	return a.o, 0, false
}

// mapArgs is a command line as it is read.
type mapArgs struct {
	o     MapOptions
	peer  bool
	files string
}

func (a *mapArgs) examples() string {
	text := `Examples:
  # serve a disk from a full backup and an incremental one:
  %(prog)s -f /backup/sda.full.data,/backup/sda.inc.virtnbdbackup.1.data
`
	if a.peer {
		return text
	}
	return text + `  # serve all disks of a backup set at its latest restore point:
  %(prog)s /backup/vm1
  # at another one, read only, on a TCP port of this machine:
  %(prog)s /backup/vm1 --until virtnbdbackup.1 -r -p 10809
`
}

func (a *mapArgs) groups() []argparse.Group {
	o := &a.o
	device := "map to this block device, as root, with the module nbd (default: none)"
	listen, port := fmt.Sprintf("address for TCP (default, with -p: %s)", loopback), fmt.Sprintf("port for TCP, of the first disk (default, with -l: %d)", defaultPort)
	export, logfile := "name of the export (default: that of the disk)", "write a log to this file"
	if a.peer {
		device, listen, port = "map to this block device (default: /dev/nbd0)", "address to listen at (default: "+loopback+")", fmt.Sprintf("port to listen at (default: %d)", defaultPort)
		export, logfile = "name of the export (default: sda)", "path of the log file (default: "+o.LogFile+")"
	}
	list := []argparse.Group{
		{Title: "options", Options: []argparse.Option{
			{Names: []string{"-h", "--help"}, Into: argparse.ErrHelp, Help: "show this help message and exit"},
		}},
		{Title: "General options", Options: []argparse.Option{
			{Names: []string{"-f", "--file"}, Into: &a.files, Required: a.peer, Value: "FILES", Help: "savesets, separated by commas, the full first"},
			{Names: []string{"-b", "--blocksize"}, Into: &o.BlockSize, Value: "BYTES", Help: "split requests into pieces of so many bytes (default: not)"},
			{Names: []string{"-d", "--device"}, Into: &o.Device, Help: device},
			{Names: []string{"-e", "--export-name"}, Into: &o.Export, Value: "NAME", Help: export},
			{Names: []string{"-t", "--threads"}, Into: &o.Threads, Value: "N", Help: fmt.Sprintf("serve so many requests at a time (default: %d)", defaultThreads)},
			{Names: []string{"-l", "--listen-address"}, Into: &o.Address, Value: "ADDRESS", Help: listen},
			{Names: []string{"-p", "--listen-port"}, Into: &o.Port, Value: "PORT", Help: port},
			{Names: []string{"-n", "--noprogress"}, Into: &o.NoProgress, Help: "accepted for compatibility, without effect: there is nothing to wait for"},
			{Names: []string{"-r", "--readonly"}, Into: &o.ReadOnly, Help: "do not let clients write; without it, what they write is kept until the end"},
		}},
		{Title: "Logging options", Options: []argparse.Option{
			{Names: []string{"-L", "--logfile"}, Into: &o.LogFile, Value: "FILE", Help: logfile},
			{Names: []string{"--nocolor"}, Into: &o.NoColor, Help: "no colours in log messages"},
		}},
		{Title: "Debug options", Options: []argparse.Option{
			{Names: []string{"-H", "--hexdump"}, Into: &o.HexDump, Help: "accepted for compatibility, without effect: what the guest had does not go into logs"},
			{Names: []string{"-v", "--verbose"}, Into: &o.Verbose, Help: "log what is of use for debugging"},
			{Names: []string{"-V", "--version"}, Into: argparse.ErrVersion, Help: "show the version and exit"},
		}},
	}
	if a.peer {
		return list
	}
	return append(list, argparse.Group{Title: "Options of virtnb", Options: []argparse.Option{
		{Names: []string{"--until"}, Exact: true, Into: &o.Until, Value: "POINT", Help: "restore point of the set (default: the latest)"},
		{Names: []string{"--disk"}, Exact: true, Into: &o.Disk, Help: "only this disk of the set"},
		{Names: []string{"--tls"}, Exact: true, Into: &o.TLS, Help: "TLS only, for clients with a certificate"},
		{Names: []string{"--tls-cert"}, Exact: true, Into: &o.TLSDir, Value: "DIR", Help: "ca-cert.pem, server-cert.pem and server-key.pem (default: " + defaultTLSDir + ")"},
		{Names: []string{"--insecure"}, Exact: true, Into: &o.Insecure, Help: "let TCP without TLS leave this machine: whoever reaches the port can read all"},
		{Names: []string{"--json"}, Exact: true, Into: &o.JSON, Help: "print one JSON object when it serves"},
	}})
}

// positional takes the arguments that are neither options nor their values out
// of a command line.
func positional(groups []argparse.Group, args []string) (words, rest []string) {
	for i := 0; i < len(args); i++ {
		word := args[i]
		switch {
		case word == "--":
			return append(words, args[i+1:]...), rest
		case len(word) < 2 || word[0] != '-':
			words = append(words, word)
		default:
			rest = append(rest, word)
			if wantsValue(groups, word) && i+1 < len(args) {
				i++
				rest = append(rest, args[i])
			}
		}
	}
	return words, rest
}

// wantsValue says whether the value of an option is the next argument.
func wantsValue(groups []argparse.Group, word string) bool {
	if strings.HasPrefix(word, "--") {
		return !strings.Contains(word, "=") && !isFlag(groups, func(name string) bool { return strings.HasPrefix(name, word) })
	}
	for i, c := range word[1:] { // flags in a row, then perhaps a value
		if !isFlag(groups, func(name string) bool { return name == "-"+string(c) }) {
			return i == len(word)-2
		}
	}
	return false
}

func isFlag(groups []argparse.Group, named func(string) bool) bool {
	for _, g := range groups {
		for _, o := range g.Options {
			if slices.ContainsFunc(o.Names, named) {
				switch o.Into.(type) {
				case *bool, error:
					return true
				}
				return false
			}
		}
	}
	return true // an unknown one, of which the parser will say so
}

// finish checks what the parser does not.
func (a *mapArgs) finish(sets []string) error {
	o := &a.o
	usage := func(format string, args ...any) error {
		return &argparse.UsageError{Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(sets) > 1:
		return usage("one backup set can be given, and got %d", len(sets))
	case len(sets) == 1 && a.files != "" || len(sets) == 0 && a.files == "":
		return usage("give either a backup set or files with -f")
	case len(sets) == 0 && (o.Disk != "" || o.Until != ""):
		return usage("--disk and --until are for a backup set")
	case o.Device != "" && !strings.HasPrefix(o.Device, "/dev/nbd"):
		return usage("-d %s: the name must begin with /dev/nbd", o.Device)
	case o.Threads < 1 || o.BlockSize < 0 || o.Port < 0 || o.Port > 65535:
		return usage("threads, block size and port are numbers greater than 0")
	}
	for name := range strings.SplitSeq(a.files, ",") {
		if name = strings.TrimSpace(name); name != "" {
			o.Files = append(o.Files, name)
		}
	}
	if len(sets) == 1 {
		o.Set = sets[0]
	}
	if o.Address != "" && o.Port == 0 {
		o.Port = defaultPort
	}
	if o.Port != 0 && o.Address == "" {
		o.Address = loopback
	}
	return o.checkAddress()
}

// checkAddress keeps the backup on this machine: it holds all that the guest had.
func (o MapOptions) checkAddress() error {
	if o.Port == 0 || o.TLS || o.Insecure || isLoopback(o.Address) {
		return nil
	}
	return errors.New("TCP at " + o.Address + " lets everybody who reaches it read the backup: use virtnb map with --tls, or with --insecure if that is meant, or a tunnel through SSH to " + loopback)
}

func isLoopback(address string) bool {
	if address == "localhost" {
		return true
	}
	ip := net.ParseIP(address)
	return ip != nil && ip.IsLoopback()
}

// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"virtnb/format"
)

// parse reads a command line that must be right.
func parse(t *testing.T, prog string, args ...string) Options {
	t.Helper()
	var out, errOut strings.Builder
	o, status, done := ParseArgs(prog, "1.2.3", args, &out, &errOut)
	if done {
		t.Fatalf("%q: status %d\n%s\n%s", args, status, &out, &errOut)
	}
	return o
}

func number(n int) *int { return &n }

func TestParseArgsFillsAllOptions(t *testing.T) {
	t.Setenv("LIBVIRT_DEFAULT_URI", "")
	got := parse(t, "virtnb backup", strings.Fields(`-d vm -l inc -t raw -r -o /out -C /cpt --scratchdir /scratch -S --pause -i vda
		-x vdb,vdc -f /sock -n -z -w 3 -F /,/var -e --no-sparse-detect -T 4096 -U qemu+ssh://h/system --user u --password p
		--ssh-user s --ssh-port 23 --ssh-private-key /key -P 10 -I ::1 --tls --tls-cert /tls -L --quiet --nocolor -q -s -k -p -v
		--json --memory 64M --freeze-timeout 7 --ssh-accept-new-keys`)...)
	want := Options{
		Domain: "vm", Level: format.Inc, Type: Raw, Output: "/out", CheckpointDir: "/cpt", ScratchDir: "/scratch", SocketFile: "/sock",
		Include: "vda", Exclude: []string{"vdb", "vdc"}, IncludeRaw: true, StartDomain: true, Pause: true,
		FreezeMountpoints: []string{"/", "/var"}, FreezeTimeout: 7 * time.Second, NoSparseDetection: true, Threshold: 4096,
		Compress: number(2), Worker: number(3), Memory: 64 << 20, StartOnly: true, KillOnly: true, PrintOnly: true,
		Strict: true, NoProgress: true, Quiet: true, NoColor: true, Syslog: true, Verbose: true, Qemu: true, JSON: true,
	}
	want.Host.URI, want.Host.User, want.Host.Password, want.Host.SSHUser, want.Host.SSHPort = "qemu+ssh://h/system", "u", "p", "s", 23
	want.Host.SSHPrivateKey, want.Host.SSHAcceptNew, want.Host.NBDPort, want.Host.NBDIP, want.Host.TLS, want.Host.TLSCert = "/key", true, 10, "::1", true, "/tls"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
	for v, i := reflect.ValueOf(got), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("no option sets %s", v.Type().Field(i).Name)
		}
	}
}

func TestParseArgsDefaults(t *testing.T) {
	t.Setenv("LIBVIRT_DEFAULT_URI", "test:///default")
	o := parse(t, PeerName, "-d", "vm", "-o", "x")
	want := Default()
	want.Domain, want.Output = "vm", "x"
	if !reflect.DeepEqual(o, want) {
		t.Errorf("%+v", o)
	}
	if o.Host.URI != "test:///default" || o.Level != format.Copy || o.Type != Stream || o.CompressLevel() != 0 || o.Memory != 256<<20 ||
		o.ScratchDir != "/var/tmp" || o.SocketFile != fmt.Sprintf("/var/tmp/virtnbdbackup.%d", os.Getpid()) || o.Host.NBDPort != 10809 {
		t.Errorf("%+v", o)
	}
	if o := parse(t, PeerName, "-d", "vm", "-o", "x", "-U", "qemu:///session"); o.Host.URI != "qemu:///session" {
		t.Errorf("the variable wins over the option: %+v", o.Host)
	}
}

func TestParseArgsConnect(t *testing.T) {
	if o := parse(t, "virtnb backup", "-d", "vm", "-o", "x", "--connect", "test:///default"); o.Host.URI != "test:///default" {
		t.Errorf("%+v", o.Host)
	}
}

// The options that virtnb adds must not change what the peer's command lines
// mean, and the peer's name takes no others.
func TestParseArgsOwnOptions(t *testing.T) {
	for _, prog := range []string{PeerName, "virtnb backup"} {
		if o := parse(t, prog, "-d", "vm", "-o", "x", "--freeze", "/", "--co", "3", "--ssh-po=24"); *o.Compress != 3 || o.Host.SSHPort != 24 || !slices.Equal(o.FreezeMountpoints, []string{"/"}) {
			t.Errorf("%s: %+v", prog, o)
		}
	}
	o := Default()
	for _, g := range o.groups(true)[len(o.groups(false)):] {
		for _, option := range g.Options {
			var out, errOut strings.Builder
			_, status, done := ParseArgs(PeerName, "", []string{"-d", "vm", "-o", "x", option.Names[0]}, &out, &errOut)
			if !done || status != 2 || !strings.HasSuffix(errOut.String(), PeerName+": error: unrecognized arguments: "+option.Names[0]+"\n") {
				t.Errorf("%s: %d\n%s", option.Names[0], status, &errOut)
			}
		}
	}
}

func TestParseArgsMistakes(t *testing.T) {
	for line, want := range map[string]string{
		"":                              "the following arguments are required: -d/--domain, -o/--output",
		"-d vm":                         "the following arguments are required: -o/--output",
		"-d vm -o x -i=":                "argument -i/--include: expected the name of a disk",
		"-d vm -o x --memory 1M":        "argument --memory: 1M is too little: at least 16M",
		"-d vm -o x --memory 1.5":       `argument --memory: "1.5" is not a size like 64M or 1G`,
		"-d vm -o x --freeze-timeout 0": `argument --freeze-timeout: "0" is not a number of seconds from 1 to 86400`,
		"-d vm -o x --freeze-timeout 9223372036854775807": `argument --freeze-timeout: "9223372036854775807" is not a number of seconds from 1 to 86400`,
		"-d vm -o x --s":  "ambiguous option: --s could match --scratchdir, --start-domain, --socketfile, --strict, --ssh-user, --ssh-port, --ssh-private-key, --syslog, --startonly",
		"-d vm -o x -S y": "unrecognized arguments: y",
	} {
		var out, errOut strings.Builder
		_, status, done := ParseArgs("virtnb backup", "", strings.Fields(line), &out, &errOut)
		if !done || status != 2 || out.Len() > 0 || !strings.HasPrefix(errOut.String(), "usage: virtnb backup [-h] -d DOMAIN ") ||
			!strings.HasSuffix(errOut.String(), "virtnb backup: error: "+want+"\n") {
			t.Errorf("%s: %d\n%s", line, status, &errOut)
		}
	}
}

func TestParseArgsHelp(t *testing.T) {
	var out, errOut strings.Builder
	_, status, done := ParseArgs(PeerName, "1.2.3", []string{"--help"}, &out, &errOut)
	if !done || status != 0 || errOut.Len() > 0 || !strings.Contains(out.String(), "\n  "+PeerName+" -d webvm -l full -o /backup/\n") {
		t.Errorf("%d\n%s\n%s", status, &out, &errOut)
	}
	o := Default()
	for _, g := range o.groups(true) {
		for _, option := range g.Options {
			if option.Help == "" {
				t.Errorf("no help for %v", option.Names)
			}
		}
	}
}

// peerParser runs the Debian package's virtnbdbackup up to the point where it
// has read its command line, once for each line of arguments on stdin.
const peerParser = `
import contextlib, io, json, runpy, sys
from libvirtnbdbackup.common import common
def parse(parser):
    args = parser.parse_args()
    raise SystemExit(vars(args))
common.argparse = parse
for line in json.load(sys.stdin):
    sys.argv = ["virtnbdbackup"] + line
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        try:
            runpy.run_path("/usr/bin/virtnbdbackup", run_name="__main__")
        except SystemExit as e:
            answer = e.code if isinstance(e.code, dict) else {"exit": e.code, "error": err.getvalue().split("\n")[-2:][0]}
    print(json.dumps(answer))
`

// TestParseArgsAsPeer compares with virtnbdbackup 1.9.15: all that it knows but
// -S, which became another option, and abbreviations that newer options made
// ambiguous.
func TestParseArgsAsPeer(t *testing.T) {
	t.Setenv("LIBVIRT_DEFAULT_URI", "")
	lines := peerLines()
	for i, peer := range askPeer(t, lines) {
		var out, errOut strings.Builder
		o, status, done := ParseArgs(PeerName, "", lines[i], &out, &errOut)
		if exit, ends := peer["exit"]; ends {
			message := errOut.String()[strings.LastIndex(strings.TrimSuffix(errOut.String(), "\n"), "\n")+1:]
			if !done || float64(status) != exit || strings.TrimSuffix(message, "\n") != peer["error"] {
				t.Errorf("%q: %d, %s\nthe peer: %v", lines[i], status, message, peer)
			}
			continue
		}
		if done {
			t.Errorf("%q: %d\n%s\nthe peer: %v", lines[i], status, &errOut, peer)
			continue
		}
		for name, got := range asPeer(o) {
			if want := peer[name]; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%q: %s is %v, for the peer %v", lines[i], name, got, want)
			}
		}
	}
}

func peerLines() (lines [][]string) {
	for _, line := range []string{
		"", "-l full -z", "-z3", "-z 3", "-z -3", "--compress=0", "--compress 16", "-nz", "-nz 5", "-nz5", "-rnz", "-z -n",
		"-l inc -t raw -r", "--lev=diff", "--le auto", "--ty raw", "-lfull -traw", "-i vda", "-x vda,vdb", "--excl=vda", "--inc vda",
		"-C /cpt", "--check /cpt", "--scratch /s", "--scratchdir=/s", "-f /sock", "--sock /sock", "-n", "--nop", "-w 4", "-w 0", "-w -1", "--work=2",
		"-F /,/var", "--freeze /", "-e", "--stri", "-T 100", "--thr 5", "-U qemu+ssh://h/system", "--uri=test:///default", "--ur x",
		"--user u --password p", "--pass p", "--ssh-u s", "-P 1", "--nbd-p 2", "-I 127.0.0.1", "--nbd-i=::1", "--tls", "--tls-cert /c", "--tls-c=/d",
		"-L", "--sys", "-q", "-s", "-k", "-p", "-v", "--verb", "-qskpv", "--qemu --startonly --killonly --printonly", "--prin", "--kill", "--starto",
		"-ne -L", "-l", "-l nothing", "-z x", "-w x", "-w", "-T 1.5", "--nothing", "-y", "extra", "extra -z", "--tls=1", "-n1", "-P", "--ssh-u=", "-i -n",
	} {
		lines = append(lines, append([]string{"-d", "vm", "-o", "out"}, strings.Fields(line)...))
	}
	return append(lines, []string{}, []string{"-d", "vm"}, []string{"-o", "-", "-d", "my vm"}, []string{"-d=vm", "-o=a=b"}, []string{"-dvm", "-o-"},
		[]string{"--dom=vm", "--out", ""}, []string{"-d", "-x y", "-o", "--a b"}, []string{"-d", "-1", "-o", "-"}, []string{"-d", "vm", "-o"})
}

func askPeer(t *testing.T, lines [][]string) (answers []map[string]any) {
	t.Helper()
	in, err := json.Marshal(lines)
	if err != nil {
		t.Fatal(err)
	}
	var errOut bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", peerParser)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("virtnbdbackup: %v\n%s", err, &errOut)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	for range lines {
		var a map[string]any
		if err := dec.Decode(&a); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	return answers
}

// asPeer has the options by the peer's names, as fmt shows the peer's values.
func asPeer(o Options) map[string]any {
	text := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	count := func(n *int, none any) any {
		if n == nil {
			return none
		}
		return *n
	}
	threshold := any(nil)
	if o.Threshold != 0 {
		threshold = o.Threshold
	}
	return map[string]any{
		"domain": o.Domain, "level": o.Level, "type": o.Type, "raw": o.IncludeRaw, "output": o.Output, "checkpointdir": text(o.CheckpointDir),
		"scratchdir": o.ScratchDir, "include": text(o.Include), "exclude": text(strings.Join(o.Exclude, ",")),
		"noprogress": o.NoProgress, "compress": count(o.Compress, false), "worker": count(o.Worker, nil),
		"freeze_mountpoint": text(strings.Join(o.FreezeMountpoints, ",")), "strict": o.Strict, "threshold": threshold,
		"uri": o.Host.URI, "user": text(o.Host.User), "password": text(o.Host.Password), "nbd_port": o.Host.NBDPort, "nbd_ip": o.Host.NBDIP,
		"tls": o.Host.TLS, "tls_cert": o.Host.TLSCert, "syslog": o.Syslog, "qemu": o.Qemu, "startonly": o.StartOnly, "killonly": o.KillOnly,
		"printonly": o.PrintOnly, "verbose": o.Verbose,
	}
}

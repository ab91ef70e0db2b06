// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

func TestParseArgsFillsAllOptions(t *testing.T) {
	t.Setenv("LIBVIRT_DEFAULT_URI", "")
	var out, errOut strings.Builder
	got, status, done := ParseArgs("virtnb restore", "1.2.3", strings.Fields(`-a verify -i /set -o /out -u virtnbdbackup.1 -s a.full.data,b -d vda -n -f /sock
		-r -D -C x.xml -N new -B 1 -A --compress -U qemu+ssh://h/system --user u --password p --ssh-user s --ssh-port 23
		--ssh-private-key /key -P 10 -I ::1 --tls --tls-cert /tls -L /log --nocolor -v --json --format raw --target vda=/dev/x
		--target vdb=nbd://y --force --boot-files /boot --new-macs --in-place /img --dry-run --salvage --map-file /map --ssh-accept-new-keys`), &out, &errOut)
	if done {
		t.Fatalf("status %d\n%s", status, &errOut)
	}
	want := Options{
		Action: Verify, Input: "/set", Output: "/out", Until: "virtnbdbackup.1", Sequence: []string{"a.full.data", "b"}, Disk: "vda",
		Raw: true, AdjustConfig: true, Define: true, ConfigFile: "x.xml", Name: "new", BufferSize: 1, Preallocate: true, Compress: true,
		SocketFile: "/sock", LogFile: "/log", NoProgress: true, NoColor: true, Verbose: true, JSON: true, Format: "raw",
		Targets: map[string]string{"vda": "/dev/x", "vdb": "nbd://y"}, Force: true, BootFiles: "/boot", NewMACs: true,
		InPlace: "/img", DryRun: true, Salvage: true, MapFile: "/map", Host: got.Host,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
	for v, i := reflect.ValueOf(got), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("no option sets %s", v.Type().Field(i).Name)
		}
	}
}

func TestParseArgsOutputIsAction(t *testing.T) {
	for output, want := range map[string]Action{"dump": Dump, "verify": Verify, "/dump": Restore, "./verify": Restore} {
		var out, errOut strings.Builder
		o, _, done := ParseArgs(PeerName, "", []string{"-i", "set", "-o", output}, &out, &errOut)
		if done || o.Action != want {
			t.Errorf("-o %s: %s\n%s", output, o.Action, &errOut)
		}
	}
}

func TestParseArgsMistakes(t *testing.T) {
	for line, want := range map[string]string{
		"":                                    "the following arguments are required: -i/--input",
		"-i x":                                "the following arguments are required: -o/--output",
		"-i x -o y -u=":                       "argument -u/--until: expected the name of a restore point",
		"-i x -o y --target vda":              `argument --target: expected DISK=TARGET: "vda"`,
		"-i x -o y --target a=b --target a=c": "argument --target: disk a has two targets",
		"-i x -o y -s a,,b":                   `argument -s/--sequence: expected names of files, separated by commas: "a,,b"`,
	} {
		var out, errOut strings.Builder
		_, status, done := ParseArgs("virtnb restore", "", strings.Fields(line), &out, &errOut)
		if !done || status != 2 || !strings.HasSuffix(errOut.String(), "virtnb restore: error: "+want+"\n") {
			t.Errorf("%s: %d\n%s", line, status, &errOut)
		}
	}
}

func TestCheckFindsContradictions(t *testing.T) {
	fine := Default()
	fine.Input, fine.Output = "set", "out"
	if err := fine.Check(); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*Options){
		"no input":       func(o *Options) { o.Input = "" },
		"no output":      func(o *Options) { o.Output = "" },
		"dry":            func(o *Options) { o.DryRun = true },
		"two states":     func(o *Options) { o.Until, o.Sequence = "a", []string{"b"} },
		"map":            func(o *Options) { o.MapFile = "map" },
		"json":           func(o *Options) { o.Output, o.JSON = stdout, true },
		"compress":       func(o *Options) { o.Format, o.Compress = "raw", true },
		"file elsewhere": func(o *Options) { o.ConfigFile = "../x" },
		"no file":        func(o *Options) { o.ConfigFile = "" },
		"port":           func(o *Options) { o.Host.NBDPort = 0 },
		"both":           func(o *Options) { o.InPlace = "image" },
		"define":         func(o *Options) { o.InPlace, o.Output, o.AdjustConfig = "image", "", true },
		"preallocate":    func(o *Options) { o.InPlace, o.Output, o.Preallocate = "image", "", true },
	} {
		o := fine
		change(&o)
		if o.Check() == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// peerParser runs the Debian package's virtnbdrestore up to the point where it
// has read its command line, once for each line of arguments on stdin.
const peerParser = `
import contextlib, io, json, runpy, sys
from libvirtnbdbackup.common import common
def parse(parser):
    args = parser.parse_args()
    raise SystemExit(vars(args))
common.argparse = parse
for line in json.load(sys.stdin):
    sys.argv = ["virtnbdrestore"] + line
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        try:
            runpy.run_path("/usr/bin/virtnbdrestore", run_name="__main__")
        except SystemExit as e:
            answer = e.code if isinstance(e.code, dict) else {"exit": e.code, "error": err.getvalue().split("\n")[-2:][0]}
    print(json.dumps(answer))
`

// TestParseArgsAsPeer compares with virtnbdrestore 1.9.15: all that it knows,
// but for abbreviations that newer options made ambiguous.
func TestParseArgsAsPeer(t *testing.T) {
	t.Setenv("LIBVIRT_DEFAULT_URI", "")
	var lines [][]string
	for _, line := range []string{
		"", "-a dump", "--action restore", "-u virtnbdbackup.1", "--until=x", "-s a,b", "--seq a", "-d vda", "--disk vda", "-n", "-nrv", "-f /s",
		"--sock /s", "-r", "-c", "--adj", "-D", "--def", "-N x", "--name=x", "-cDN x", "-L /log", "--logfile=/l", "-v", "-U test:///default",
		"--user u --password p", "--ssh-user s", "-P 3", "-I ::1", "--tls", "--tls-cert /x", "extra", "-y", "-a burn", "-P x", "-d", "--tls=1",
	} {
		lines = append(lines, append([]string{"-i", "in", "-o", "out"}, strings.Fields(line)...))
	}
	lines = append(lines, []string{}, []string{"-i", "x"}, []string{"-o", "x"}, []string{"-ix", "-oy"})
	for i, peer := range askPeer(t, lines) {
		var out, errOut strings.Builder
		o, status, done := ParseArgs(PeerName, "", lines[i], &out, &errOut)
		if exit, ends := peer["exit"]; ends {
			message := errOut.String()[strings.LastIndex(strings.TrimSuffix(errOut.String(), "\n"), "\n")+1:]
			// A later release knows one action more.
			message = strings.Replace(message, "'dump', 'restore', 'verify'", "'dump', 'restore'", 1)
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
			want := peer[name]
			if want == nil {
				want = ""
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%q: %s is %v, for the peer %v", lines[i], name, got, want)
			}
		}
	}
}

// asPeer has options under the names that virtnbdrestore gives them. Defaults
// that differ on purpose are left out.
func asPeer(o Options) map[string]any {
	m := map[string]any{
		"action": o.Action, "input": o.Input, "output": o.Output, "until": o.Until, "sequence": strings.Join(o.Sequence, ","), "disk": o.Disk,
		"noprogress": o.NoProgress, "raw": o.Raw, "define": o.Define, "name": o.Name, "verbose": o.Verbose,
		"uri": o.Host.URI, "nbd_port": o.Host.NBDPort, "nbd_ip": o.Host.NBDIP, "tls": o.Host.TLS, "tls_cert": o.Host.TLSCert,
	}
	if !o.Define { // it implies the other one later there
		m["adjust_config"] = o.AdjustConfig
	}
	if o.SocketFile != "" {
		m["socketfile"] = o.SocketFile
	}
	return m
}

func askPeer(t *testing.T, lines [][]string) (answers []map[string]any) {
	t.Helper()
	in, err := json.Marshal(lines)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", peerParser)
	cmd.Stdin = bytes.NewReader(in)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &errOut)
	}
	for line := range strings.Lines(string(out)) {
		var a map[string]any
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	if len(answers) != len(lines) {
		t.Fatalf("%d answers to %d lines", len(answers), len(lines))
	}
	return answers
}

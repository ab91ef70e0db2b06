// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// parse takes parameters as on nbdkit's command line.
func parse(args ...string) (params, error) {
	p := newParams()
	for _, a := range args {
		key, value, _ := strings.Cut(a, "=")
		if err := p.add(key, value); err != nil {
			return p, err
		}
	}
	return p, p.complete()
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "virtnb.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestParameters(t *testing.T) {
	t.Chdir("/tmp")
	p, err := parse("set=vm1", "disk=vda", "point=virtnbdbackup.1", "cache=8M")
	if err != nil || p.set != "/tmp/vm1" || p.disk != "vda" || p.point != "virtnbdbackup.1" || p.cache != 8<<20 {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = parse("files=a,/b/../c")
	if err != nil || len(p.files) != 2 || p.files[0] != "/tmp/a" || p.files[1] != "/c" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestParametersThatAreRefused(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"", "say what to serve"},
		{"disk=vda", "say what to serve"},
		{"set=a root=b", "only one of"},
		{"set=a files=b", "only one of"},
		{"set=a set=b", "given twice"},
		{"set=", "is empty"},
		{"files=a disk=vda", "mean nothing"},
		{"root=a point=x", "needs disk="},
		{"root=a disk=vda", "SET/DISK"},
		{"files=a,,b", "empty name"},
		{"files=a,", "empty name"},
		{"set=a config=", "is empty"},
		{"set=a cach=1", `unknown parameter "cach"`},
		{"set=a cache=much", "not a number of bytes"},
		{"set=a cache=-1", "not a number of bytes"},
		{"set=a cache=9999999999G", "not a number of bytes"},
		{"set=a config=/nonexistent", "no such file"},
	} {
		if p, err := parse(strings.Fields(test.args)...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %+v, %v", test.args, p, err)
		}
	}
}

func TestConfigurationFile(t *testing.T) {
	path := writeConfig(t, "# a comment\n\n  set = sub/vm1 \ncache=1M\npoint=copy\n")
	p, err := parse("config="+path, "cache=2M")
	if err != nil || p.set != filepath.Join(filepath.Dir(path), "sub/vm1") || p.cache != 2<<20 || p.point != "copy" {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = parse("cache=2M", "config="+path) // the command line wins in any order
	if err != nil || p.cache != 2<<20 {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = parse("config="+path, "root=/backup", "disk=vm1/vda")
	if err != nil || p.root != "/backup" || p.set != "" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestConfigurationFilesThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"set=a\ncolour=red\n":     "line 2: unknown parameter",
		"hello\n":                 "not of the form",
		"set=a\nset=b\n":          "given twice",
		"config=/etc/x\n":         "cannot name another",
		"set=a\nroot=b\n":         "only one of",
		strings.Repeat("x", 1e6):  "token too long",
		"set=a\ncache=1 banana\n": "not a number of bytes",
	} {
		if _, err := parse("config=" + writeConfig(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

// The sample is used as it is shipped.
func TestShippedConfiguration(t *testing.T) {
	p, err := parse("config=../nbdkit-virtnb.conf", "set=/backup/vm1")
	if err != nil || p.set != "/backup/vm1" {
		t.Errorf("%+v, %v", p, err)
	}
	text, err := os.ReadFile("../nbdkit-virtnb.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if key != "config" && !strings.Contains(string(text), key+"=") {
			t.Errorf("the sample does not show %s=", key)
		}
		if !strings.Contains(help, key+"") {
			t.Errorf("the help does not show %s=", key)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1": 1, "7b": 7, "3s": 1536, "1k": 1024, "64M": 64 << 20, "2G": 2 << 30, "1T": 1 << 40} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%s is %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "M", "1MM", "1.5G", "0x10", "8E", "99999999999999999999"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%s is %d", text, got)
		}
	}
}

// Names of exports lead to nothing outside the root.
func TestNamesThatLeaveTheRoot(t *testing.T) {
	p := New()
	p.params.root = t.TempDir()
	for _, name := range []string{"../x/vda", "..", "/etc/vda", "./vda", "a/b/vda", "\x00/vda", "/vda", "vda"} {
		if point, err := p.resolve(name); err == nil {
			t.Errorf("%q is %+v", name, point)
		}
	}
}

func FuzzConfigurationFile(f *testing.F) {
	f.Add("set=a\n# x\ncache=1M\n")
	f.Add("files=a,b\npoint = c")
	path := filepath.Join(f.TempDir(), "conf")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := parse("config=" + path)
		if err == nil && (p.cache < 0 || p.set == "" && p.root == "" && p.files == nil) {
			t.Fatalf("%q gives %+v", text, p)
		}
	})
}

// The default export is the one that disk= and point= choose, in each way to
// say what is served.
func TestDefaultExport(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"set=../tests/vectors/03-chain", "vda"},
		{"set=../tests/vectors/03-chain disk=vda", "vda"},
		{"set=../tests/vectors/03-chain point=virtnbdbackup.1", "vda@virtnbdbackup.1"},
		{"root=../tests/vectors disk=03-chain/vda", "03-chain/vda"},
		{"root=../tests/vectors disk=03-chain/vda point=virtnbdbackup.1", "03-chain/vda@virtnbdbackup.1"},
		{"root=../tests/vectors", ""},
		{"files=../tests/vectors/01-plain-full/vda.full.data", ""},
	} {
		p := New()
		var err error
		if p.params, err = parse(strings.Fields(test.args)...); err != nil {
			t.Fatal(err)
		}
		if got, err := p.DefaultExport(true, false); got != test.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", test.args, got, err, test.want)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestApply(t *testing.T) {
	for _, c := range []struct {
		list string
		want Options
		err  string
	}{
		{"", Options{}, ""},
		{"rw,noauto,user,_netdev,nofail,x-systemd.automount,comment=a b,relatime,dev,suid", Options{}, ""},
		{"ro,allow_other,noexec", Options{ReadOnly: true, AllowOther: true, NoExec: true}, ""},
		{"cache=16M,writable=/w", Options{Cache: 16 << 20, Writable: "/w"}, ""},
		{"ro,frob", Options{}, `"frob"`},
		{"frob=1", Options{}, `"frob=1"`},
		{"cache", Options{}, "cache size"},
		{"cache=much", Options{}, `"much"`},
		{"writable=", Options{}, "needs a folder"},
		{"writable", Options{}, "needs a folder"},
		{"remount,ro", Options{}, "unmount"},
	} {
		var o Options
		err := o.Apply(c.list)
		switch {
		case c.err == "" && (err != nil || o != c.want):
			t.Errorf("%q: %+v, %v", c.list, o, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%q: error %v, want one with %s", c.list, err, c.err)
		}
	}
	sloppy := Options{Sloppy: true}
	if err := sloppy.Apply("frob,ro"); err != nil || !sloppy.ReadOnly {
		t.Errorf("sloppy: %+v, %v", sloppy, err)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "512": 512, "64M": 64 << 20, "64m": 64 << 20, "64MiB": 64 << 20, "2GB": 2 << 30, "3K": 3 << 10, "1T": 1 << 40, "7B": 7,
	} {
		if n, err := ParseSize(text); n != want || err != nil {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	for _, text := range []string{"", "M", "0", "-1", "64X", "64MM", "1.5G", "9999999999T", "9223372036854775808", "6 4"} {
		if n, err := ParseSize(text); err == nil {
			t.Errorf("%q: %d, want an error", text, n)
		}
	}
}

func TestComplete(t *testing.T) {
	if _, err := (Options{ReadOnly: true, Writable: "w"}).complete(); err == nil {
		t.Error("ro with a folder for changes is no error")
	}
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Symlink(".", "link"); err != nil {
		t.Fatal(err)
	}
	o, err := Options{Set: "set", Mountpoint: "link/mnt", Writable: "w", Debug: true}.complete()
	here, _ := os.Getwd()
	want := Options{Set: filepath.Join(here, "set"), Mountpoint: filepath.Join(here, "mnt"), Writable: filepath.Join(here, "w"), Debug: true, Foreground: true}
	if err != nil || o != want {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestArgsKeepOptions(t *testing.T) {
	o := Options{Set: "/s", Mountpoint: "/m", Cache: 5, Writable: "/w", AllowOther: true, NoExec: true}
	want := []string{"virtnb", "mount", "--foreground", "--cache", "5", "--writable", "/w", "-o", "allow_other", "-o", "noexec", "--", "/s", "/m"}
	if got := o.args(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

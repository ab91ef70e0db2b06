// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseMountInfo(t *testing.T) {
	m, ok := parseMountInfo(`36 35 0:41 / /mnt/my\040vm rw,nosuid shared:1 master:2 - fuse.virtnb /backup/a\134b ro,user_id=0`)
	if want := (mountInfo{"/mnt/my vm", fsType, `/backup/a\b`}); !ok || m != want {
		t.Errorf("%+v, %v", m, ok)
	}
	for _, line := range []string{"", "36 35 0:41 / /mnt rw", "1 2 3 - x y", "36 35 0:41 / /mnt rw - type"} {
		if m, ok := parseMountInfo(line); ok {
			t.Errorf("%q: %+v", line, m)
		}
	}
}

func TestUserAllowOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fuse.conf")
	if userAllowOther(path) {
		t.Error("allowed by a file that is not there")
	}
	for text, want := range map[string]bool{"": false, "#user_allow_other\n": false, "mount_max = 5\n user_allow_other \n": true} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := userAllowOther(path); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestMountpointThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "mkdir -p",
		file:                       "not a folder",
	} {
		if err := checkMountpoint(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := checkMountpoint(dir); err != nil {
		t.Error(err)
	}
}

func TestPlacesInEachOther(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"sets/vm1/mnt", "mnt/w", "setsb"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		set, mountpoint, writable string
		ok                        bool
	}{
		{"sets", "mnt", "", true},
		{"sets", "setsb", "", true},
		{"sets", "mnt", "w", true},
		{"sets", "sets", "", false},
		{"sets", "sets/vm1/mnt", "", false},
		{"sets/vm1", "sets", "", false},
		{"sets", "mnt", "mnt/w", false},
		{"sets", "mnt", "sets/w", false},
		{"sets", "mnt", "sets", false},
	} {
		o := Options{Set: filepath.Join(dir, c.set), Mountpoint: filepath.Join(dir, c.mountpoint)}
		if c.writable != "" {
			o.Writable = filepath.Join(dir, c.writable)
		}
		if err := o.checkPlaces(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package format

import (
	"errors"
	"fmt"
	"hash/adler32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// create begins a saveset of one extent.
func create(t *testing.T, path string) *File {
	t.Helper()
	f, err := Create(path, testMeta(1<<20, 4096), WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Abort() })
	if err := f.Data(8192, make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	return f
}

// names lists the folder of path.
func names(t *testing.T, path string) []string {
	t.Helper()
	list, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func checkNames(t *testing.T, path string, want ...string) {
	t.Helper()
	if got := names(t, path); !slices.Equal(got, want) {
		t.Errorf("the folder has %q, want %q", got, want)
	}
}

func TestCreateCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vda.full.data")
	f := create(t, path)
	checkNames(t, path, "vda.full.data.partial")
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := f.Abort(); err != nil {
		t.Errorf("Abort after Commit: %v", err)
	}
	checkNames(t, path, "vda.full.data", "vda.full.data.chksum")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(path + ".chksum")
	if err != nil || string(sum) != fmt.Sprint(adler32.Checksum(b)) {
		t.Errorf("checksum file has %q (%v)", sum, err)
	}
	for _, name := range []string{path, path + ".chksum"} {
		if st, err := os.Stat(name); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s has mode %v (%v)", name, st.Mode(), err)
		}
	}
	if err := f.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second Commit: %v", err)
	}
	if err := f.Data(1<<19, []byte{1}); err == nil {
		t.Error("data was accepted after Commit")
	}
}

func TestCreateAbort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vda.full.data")
	f := create(t, path)
	if err := errors.Join(f.Abort(), f.Abort()); err != nil {
		t.Fatal(err)
	}
	checkNames(t, path)
	if err := f.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Commit after Abort: %v", err)
	}
	checkNames(t, path)
}

func TestCreateRefusesExistingFiles(t *testing.T) {
	for _, name := range []string{"vda.full.data", "vda.full.data.partial"} {
		path := filepath.Join(t.TempDir(), "vda.full.data")
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte("theirs"), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Create(path, testMeta(1, 0), WriterOptions{})
		if f != nil || !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("with %s there: %v", name, err)
		}
		checkNames(t, path, name)
	}
}

func TestCreateFailsCleanly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "vda.full.data")
	if f, err := Create(path, testMeta(1, 0), WriterOptions{}); f != nil || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("missing folder: %v", err)
	}
	path = filepath.Join(t.TempDir(), "vda.full.data")
	if f, err := Create(path, testMeta(1, 2), WriterOptions{}); f != nil || err == nil {
		t.Errorf("wrong metadata: %v", err)
	}
	checkNames(t, path)
}

// What appeared under the name in the meantime stays, and so does its checksum.
func TestCommitKeepsOtherFile(t *testing.T) {
	for _, dir := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "vda.full.data")
		f := create(t, path)
		var err error
		if dir {
			err = os.Mkdir(path, 0o700)
		} else {
			err = errors.Join(os.WriteFile(path, []byte("theirs"), 0o600), os.WriteFile(path+".chksum", []byte("1"), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
		want := names(t, path)
		if err := f.Commit(); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("Commit: %v", err)
		}
		checkNames(t, path, want...)
		if err := f.Abort(); err != nil {
			t.Error(err)
		}
		checkNames(t, path, slices.DeleteFunc(want, func(s string) bool { return strings.HasSuffix(s, ".partial") })...)
	}
}

// A failure at any point of Commit leaves no final name, and Abort leaves
// nothing of ours.
func TestCommitFailures(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(path string, f *File) error
		left  []string // after Abort
	}{
		"data missing": {func(_ string, f *File) error { f.meta.DataSize++; return nil }, nil},
		"sync":         {func(_ string, f *File) error { return f.file.Close() }, nil},
		"folder in place of the temporary checksum": {func(path string, _ *File) error {
			return os.Mkdir(path+".chksum.partial", 0o700)
		}, []string{"vda.full.data.chksum.partial"}},
		"folder in place of the checksum": {func(path string, _ *File) error {
			return errors.Join(os.Mkdir(path+".chksum", 0o700), os.WriteFile(path+".chksum/file", nil, 0o600))
		}, []string{"vda.full.data.chksum"}},
		"partial file gone": {func(path string, _ *File) error { return os.Remove(path + ".partial") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "vda.full.data")
			f := create(t, path)
			if err := c.spoil(path, f); err != nil {
				t.Fatal(err)
			}
			if err := f.Commit(); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("Commit: %v", err)
			}
			if slices.Contains(names(t, path), filepath.Base(path)) {
				t.Error("there is a saveset after a failed Commit")
			}
			_ = f.Abort()
			checkNames(t, path, c.left...)
		})
	}
}

// What a dead program left of a checksum is replaced.
func TestCommitReplacesStaleChecksum(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vda.full.data")
	for _, name := range []string{path + ".chksum", path + ".chksum.partial"} {
		if err := os.WriteFile(name, []byte("1234567890123"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := create(t, path)
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	checkNames(t, path, "vda.full.data", "vda.full.data.chksum")
	if sum, _ := os.ReadFile(path + ".chksum"); string(sum) != fmt.Sprint(f.Adler32()) {
		t.Errorf("checksum file has %q", sum)
	}
}

// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"virtnb/format"
)

// cowTestBoot is an environment with a boot id of that letter, in which syncing
// takes no time.
func cowTestBoot(letter string) cowEnv {
	return cowEnv{
		bootID: func() string { return strings.Repeat(letter, bootIDBytes) },
		file:   func(f *os.File) cowFile { return cowLazyFile{cowOSFile{f}} },
	}
}

// cowLazyFile is never synced.
type cowLazyFile struct{ cowOSFile }

func (cowLazyFile) Sync() error { return nil }

// cowTestFiles makes a data file and a map with a block that is synced and one
// that is written only, left by a process that was killed in boot "a".
func cowTestFiles(t *testing.T) (base *cowTestBase, path string) {
	t.Helper()
	base = newCOWTestBase(5*cowBlockSize+100, 1)
	path = filepath.Join(t.TempDir(), "sda")
	c, err := openCOW(base, path, "vm1/sda@copy", cowTestBoot("a"))
	mustDo(t, err)
	mustWriteCOW(t, c, []byte("synced"), 0)
	mustDo(t, c.Sync())
	mustWriteCOW(t, c, []byte("written"), 2*cowBlockSize)
	mustDo(t, c.closeFiles())
	return base, path
}

// openDamaged opens in a boot, reads everything, and returns what was read.
func openDamaged(base *cowTestBase, path, boot string) ([]byte, error) {
	c, err := openCOW(base, path, "vm1/sda@copy", cowTestBoot(boot))
	if err != nil {
		return nil, err
	}
	defer c.closeFiles()
	p := make([]byte, base.Size())
	_, err = c.ReadAt(p, 0)
	return p, err
}

func mustReadFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	mustDo(t, err)
	return b
}

// Any flipped byte of the map is an error or does not matter. The maps of the
// test have one sector each.
func TestCOWMapDamagedAnywhere(t *testing.T) {
	base, path := cowTestFiles(t)
	durable := bytes.Clone(base.content)
	copy(durable, "synced")
	written := bytes.Clone(durable)
	copy(written[2*cowBlockSize:], "written")
	index, data := mustReadFile(t, cowMapName(path)), mustReadFile(t, path)
	span := int(cowMapSpan(base.Size()))
	within := func(i, start int) bool { return i >= start && i < start+cowSectorBytes }

	for i := range index {
		used := i < cowHeaderBytes || within(i, cowMarkOffset) || within(i, cowMapOffset) || within(i, cowMapOffset+span)
		if !used && i%64 != 0 {
			continue // between the parts: a sample will do
		}
		for _, boot := range []string{"a", "b"} {
			bad := bytes.Clone(index)
			bad[i] ^= 0x10
			mustDo(t, os.WriteFile(cowMapName(path), bad, 0o600))
			mustDo(t, os.WriteFile(path, data, 0o600))
			got, err := openDamaged(base, path, boot)
			what := fmt.Sprintf("byte %d, boot %s", i, boot)
			switch {
			case i < cowHeaderBytes, within(i, cowMapOffset), within(i, cowMapOffset+span) && boot == "a":
				if !errors.Is(err, format.ErrCorrupt) {
					t.Fatalf("%s: error %v", what, err)
				}
				wantError(t, err, path, "damaged", "discard")
				wantBytes(t, what+": map", mustReadFile(t, cowMapName(path)), bad)
				wantBytes(t, what+": data", mustReadFile(t, path), data)
			case boot == "b", within(i, cowMarkOffset):
				mustDo(t, err)
				wantBytes(t, what, got, durable)
			default:
				mustDo(t, err)
				wantBytes(t, what, got, written)
			}
		}
	}
}

// A sector of the written map that reads as never written is noticed when the
// durable one knows better.
func TestCOWMapSectorLost(t *testing.T) {
	base, path := cowTestFiles(t)
	f, err := os.OpenFile(cowMapName(path), os.O_RDWR, 0)
	mustDo(t, err)
	_, err = f.WriteAt(make([]byte, cowSectorBytes), cowMapOffset+cowMapSpan(base.Size()))
	mustDo(t, errors.Join(err, f.Close()))
	_, err = openDamaged(base, path, "a")
	if !errors.Is(err, format.ErrCorrupt) {
		t.Errorf("error %v", err)
	}
}

// Sectors that stand in the wrong place have a right checksum.
func TestCOWMapSectorMisplaced(t *testing.T) {
	w := cowWords{}.with(3, 9, cowData)
	if _, err := decodeCOWSector(w.encode(5), 6); err == nil {
		t.Error("no error")
	}
	w[7] = 3
	if _, err := decodeCOWSector(w.encode(5), 5); err == nil {
		t.Error("no error for an unknown state")
	}
}

func TestCOWFilesCutOrMissing(t *testing.T) {
	base, path := cowTestFiles(t)
	index, data := mustReadFile(t, cowMapName(path)), mustReadFile(t, path)
	check := func(what string, index, data []byte, parts ...string) {
		t.Helper()
		for name, content := range map[string][]byte{cowMapName(path): index, path: data} {
			os.Remove(name)
			if content != nil {
				mustDo(t, os.WriteFile(name, content, 0o600))
			}
		}
		_, err := openDamaged(base, path, "a")
		t.Logf("%s: %v", what, err)
		wantError(t, err, append(parts, path, "discard")...)
		if (index == nil) != os.IsNotExist(errOf(os.Stat(cowMapName(path)))) ||
			(data == nil) != os.IsNotExist(errOf(os.Stat(path))) {
			t.Errorf("%s: a file came or went", what)
		}
	}
	for _, n := range []int{0, 1, 4095, 4096, 8192, 8192 + 512, len(index) - 1} {
		check(fmt.Sprintf("map of %d bytes", n), index[:n], data, "damaged")
	}
	check("longer map", append(bytes.Clone(index), 0), data, "damaged")
	check("no map", nil, data, "its map", "missing")
	check("no data", index, nil, "missing")
	for _, n := range []int{0, 1, len(data) - 1} {
		check(fmt.Sprintf("data of %d bytes", n), index, data[:n], "bytes long")
	}
	check("longer data", index, append(bytes.Clone(data), 0), "bytes long")
	check("other data without map", nil, []byte("precious"), "its map", "missing")
	wantBytes(t, "other data", mustReadFile(t, path), []byte("precious"))
}

func errOf(_ any, err error) error { return err }

func TestCOWOtherBaseRefused(t *testing.T) {
	base, path := cowTestFiles(t)
	index := mustReadFile(t, cowMapName(path))
	_, err := openCOW(base, path, "vm1/sda@virtnbdbackup.1", cowTestBoot("a"))
	t.Log(err)
	wantError(t, err, path, cowMapName(path), `"vm1/sda@copy"`, `"vm1/sda@virtnbdbackup.1"`, "delete")
	_, err = openCOW(newCOWTestBase(base.Size()+1, 1), path, "vm1/sda@copy", cowTestBoot("a"))
	wantError(t, err, path, "of 20580 bytes", "20581 bytes", "delete")
	wantBytes(t, "map", mustReadFile(t, cowMapName(path)), index)
	if errors.Is(err, format.ErrCorrupt) {
		t.Error("another base is not damage")
	}
}

func TestCOWSecondOpenerRefused(t *testing.T) {
	base := newCOWTestBase(10000, 1)
	path := filepath.Join(t.TempDir(), "sda")
	c := mustOpenCOW(t, base, path)
	_, err := OpenCOW(base, path, "vm1/sda@virtnbdbackup.2")
	wantError(t, err, path, "in use by another mount or process")
	mustWriteCOW(t, c, []byte("still works"), 0)
	mustDo(t, c.Close())
	mustDo(t, mustOpenCOW(t, base, path).Close())
}

// Between opening and locking, somebody else may discard the changes.
func TestCOWDeletedWhileOpening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sda")
	f, _, err := openCOWData(path)
	mustDo(t, err)
	defer f.Close()
	mustDo(t, os.Remove(path))
	wantError(t, lockCOWData(f), path, "replaced or deleted", "try again")
	mustDo(t, os.WriteFile(path, nil, 0o600))
	wantError(t, lockCOWData(f), path, "replaced or deleted", "try again")
}

func TestCOWBadArguments(t *testing.T) {
	dir := t.TempDir()
	base := newCOWTestBase(10, 1)
	mustDo(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	for _, c := range []struct {
		base Image
		path string
		id   string
		want string
	}{
		{base, "a", "", "id of 0 bytes"},
		{base, "a", strings.Repeat("x", cowMaxID+1), "id of 4065 bytes"},
		{cowHugeBase(-1), "a", "id", "disk of -1 bytes"},
		{cowHugeBase(cowMaxSize + 1), "a", "id", "the limit is"},
		{base, "missing/a", "id", "no such file"},
		{base, ".", "id", "is a directory"},
		{base, "fifo", "id", "not a regular file"},
	} {
		_, err := OpenCOW(c.base, filepath.Join(dir, c.path), c.id)
		wantError(t, err, dir, c.want)
	}
	entries, err := os.ReadDir(dir)
	mustDo(t, err)
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	c, err := OpenCOW(base, filepath.Join(dir, "a"), strings.Repeat("x", cowMaxID))
	mustDo(t, err)
	mustDo(t, c.Close())
}

// A creation that was cut short is taken up again.
func TestCOWCreationCutShort(t *testing.T) {
	base := newCOWTestBase(10000, 1)
	for _, size := range []int64{0, 10000} {
		path := filepath.Join(t.TempDir(), "sda")
		mustDo(t, os.WriteFile(path, nil, 0o600))
		mustDo(t, os.Truncate(path, size))
		mustDo(t, os.WriteFile(cowMapName(path)+".partial", []byte("half"), 0o600))
		c := mustOpenCOW(t, base, path)
		wantBytes(t, "disk", mustReadCOW(t, c, 0, 10000), base.content)
		for _, name := range []string{path, cowMapName(path)} {
			info, err := os.Stat(name)
			mustDo(t, err)
			if info.Mode() != 0o600 {
				t.Errorf("%s has mode %v", name, info.Mode())
			}
		}
		if _, err := os.Stat(cowMapName(path) + ".partial"); !os.IsNotExist(err) {
			t.Errorf("partial map: %v", err)
		}
	}
}

func FuzzCOWHeader(f *testing.F) {
	f.Add(cowHeader{12345, "vm1/sda@copy"}.encode())
	f.Add(make([]byte, cowHeaderBytes))
	f.Add([]byte("VNBCOWMP\x01\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = append(b, make([]byte, max(0, cowHeaderBytes-len(b)))...)[:cowHeaderBytes]
		if h, err := decodeCOWHeader(b); err == nil {
			if again, err := decodeCOWHeader(h.encode()); err != nil || again != h {
				t.Errorf("%+v became %+v, %v", h, again, err)
			}
		}
	})
}

func FuzzCOWSector(f *testing.F) {
	f.Add(cowWords{}.with(5, 70, cowData).with(60, 2016, cowZero).encode(3))
	f.Add(make([]byte, cowSectorBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = append(b, make([]byte, max(0, cowSectorBytes-len(b)))...)[:cowSectorBytes]
		w, err := decodeCOWSector(b, 3)
		if err != nil || w == (cowWords{}) {
			return
		}
		wantBytes(t, "encoded again", w.encode(3), b)
	})
}

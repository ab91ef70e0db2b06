// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// residentPages counts the pages of a file that are in memory.
func residentPages(t *testing.T, f *os.File, size int) (n int) {
	t.Helper()
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	pages := make([]byte, (size+os.Getpagesize()-1)/os.Getpagesize())
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(size), uintptr(unsafe.Pointer(&pages[0])))
	if errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range pages {
		n += int(p & 1)
	}
	return n
}

// A point that cannot be brought back is listed, does not open, and is told of
// once; the others are as before.
func TestFuseDamagedPoint(t *testing.T) {
	disks := [][]byte{noiseDisk(1<<20, 1)}
	for i := range 2 {
		disks = append(disks, changed(disks[i], uint64(i+2)))
	}
	for name, damage := range map[string]func(*testing.T, string){
		"cut":       func(t *testing.T, path string) { cutBy(t, path, 1) },
		"frame":     func(t *testing.T, path string) { flip(t, path, headerOfData(t, path)) },
		"magic":     func(t *testing.T, path string) { flip(t, path, 1) },
		"empty":     func(t *testing.T, path string) { cutBy(t, path, statOf(t, path).Size) },
		"forbidden": makeFolder,
	} {
		t.Run(name, func(t *testing.T) {
			dir := chainOf(t, false, disks...)
			damage(t, savesetPath(dir, 1))
			m := mountFuse(t, dir)
			if got := namesIn(t, m.path("virtnbdbackup.1")); !slices.Contains(got, "vda.raw") {
				t.Errorf("the damaged point has %q", got)
			}
			for range 3 {
				wantErrno(t, "opening the damaged point", opened(m.fuseDisk(1)), syscall.EIO)
			}
			m.wantOneLine(t, "vda.inc.virtnbdbackup.1.data", "virtnbdbackup.1")
			wantErrno(t, "opening the point after it", opened(m.fuseDisk(2)), syscall.EIO)
			wantSame(t, "the point before it", readFile(t, m.fuseDisk(0)), disks[0])
		})
	}
}

func opened(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

func cutBy(t *testing.T, path string, n int64) {
	t.Helper()
	if err := os.Truncate(path, statOf(t, path).Size-n); err != nil {
		t.Fatal(err)
	}
}

// flip changes a bit of a file.
func flip(t *testing.T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	_, err1 := f.ReadAt(b[:], off)
	b[0] ^= 4
	_, err2 := f.WriteAt(b[:], off)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
}

// headerOfData is where the first data frame of a saveset has its kind.
func headerOfData(t *testing.T, path string) int64 {
	t.Helper()
	at := slices.Index(slices.Collect(windows(readFile(t, path), "data 0")), true)
	if at < 0 {
		t.Fatalf("%s has no data", path)
	}
	return int64(at)
}

// windows says of each offset whether text is there.
func windows(b []byte, text string) func(yield func(bool) bool) {
	return func(yield func(bool) bool) {
		for i := range b {
			if !yield(string(b[i:min(i+len(text), len(b))]) == text) {
				return
			}
		}
	}
}

// makeFolder puts a folder in the place of a file.
func makeFolder(t *testing.T, path string) {
	t.Helper()
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
}

// Flipped bits of compressed data: the parts that they are in fail, all of the
// rest is right, and the log names the file once.
func TestFuseDamagedData(t *testing.T) {
	disk := noiseDisk(4<<20, 1)
	dir := t.TempDir()
	path := savesetPath(dir, 0)
	builder{level: 2}.mustBuild(t, path, disk)
	for i := range int64(3) { // one line for all of them
		flip(t, path, statOf(t, path).Size/4*(i+1))
	}
	m := mountFuse(t, dir)
	for _, f := range []*os.File{openDirect(t, m.fuseDisk(0)), openFile(t, m.fuseDisk(0))} {
		failed := readsOld(t, f, disk)
		if failed == 0 || failed > 3<<20/(64<<10) {
			t.Errorf("%d of %d reads failed", failed, len(disk)/(64<<10))
		}
	}
	for _, line := range m.log(t) {
		t.Log(line)
	}
	m.wantOneLine(t, filepath.Base(path), "virtnbdbackup.0/vda.raw")
}

// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"virtnb/format"
)

// The set changes while it is mounted. The kernel may believe for a second what
// it was told of names, so tests of names wait; bytes are never others.

func TestFusePointIsAdded(t *testing.T) {
	disks := [][]byte{noiseDisk(1<<20, 1)}
	disks = append(disks, changed(disks[0], 2))
	dir := chainOf(t, false, disks[0])
	m := mountFuse(t, dir)
	wantSame(t, "latest", readFile(t, m.diskPath("vda")), disks[0])
	addPoint(t, dir, 1, true, disks[:1], disks[1])
	if names := namesIn(t, m.at); !slices.Contains(names, "virtnbdbackup.1") {
		eventually(t, func() error { return wantEntry(m, "virtnbdbackup.1") })
	}
	wantSame(t, "the new point", readFile(t, m.fuseDisk(1)), disks[1])
	eventually(t, func() error {
		if to, err := os.Readlink(m.path("latest")); to != "virtnbdbackup.1" {
			return fmt.Errorf("latest leads to %q, %v", to, err)
		}
		return nil
	})
	wantSame(t, "latest", readFile(t, m.diskPath("vda")), disks[1])
}

func wantEntry(m *fuseMount, name string) error {
	entries, err := os.ReadDir(m.at)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == name {
			return nil
		}
	}
	return fmt.Errorf("%s does not appear among %v", name, entries)
}

// An unfinished saveset is no point.
func TestFusePartialIsNotShown(t *testing.T) {
	disk := noiseDisk(64<<10, 1)
	dir := chainOf(t, false, disk)
	m := mountFuse(t, dir)
	meta := builder{since: disk}.meta(format.Name{Disk: "vda", Level: format.Inc, ID: "virtnbdbackup.1"})
	meta.VirtualSize = int64(len(disk))
	f, err := format.Create(savesetPath(dir, 1), meta, format.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	if err := wantEntry(m, "virtnbdbackup.1"); err == nil {
		t.Error("the point is there before it is written")
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return wantEntry(m, "virtnbdbackup.1") })
}

// A saveset that is copied in has its name before it is whole.
func TestFusePointIsCopiedIn(t *testing.T) {
	disks := [][]byte{noiseDisk(1<<20, 1)}
	disks = append(disks, changed(disks[0], 2))
	whole := readFile(t, savesetPath(chainOf(t, false, disks...), 1))
	dir := chainOf(t, false, disks[0])
	m := mountFuse(t, dir)
	f, err := os.Create(savesetPath(dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for len(whole) > 0 {
		n := min(len(whole), 50_000)
		if _, err := f.Write(whole[:n]); err != nil {
			t.Fatal(err)
		}
		if whole = whole[n:]; len(whole) > 0 {
			wantErrno(t, "half a saveset", opened(m.fuseDisk(1)), syscall.EIO)
		}
	}
	eventually(t, func() error { return opensWith(m.fuseDisk(1), 0) })
	wantSame(t, "the whole", readFile(t, m.fuseDisk(1)), disks[1])
}

func TestFusePointIsRemoved(t *testing.T) {
	disks := [][]byte{noiseDisk(4<<20, 1)}
	disks = append(disks, changed(disks[0], 2))
	dir := chainOf(t, false, disks...)
	m := mountFuse(t, dir)
	cached, direct := openFile(t, m.fuseDisk(1)), openDirect(t, m.fuseDisk(1))
	if err := os.Remove(savesetPath(dir, 1)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return opensWith(m.fuseDisk(1), syscall.ENOENT) })
	eventually(t, func() error {
		if err := wantEntry(m, "virtnbdbackup.1"); err == nil {
			return errors.New("the point is still listed")
		}
		return nil
	})
	for _, f := range []*os.File{cached, direct} {
		if failed := readsOld(t, f, disks[1]); failed > 0 {
			t.Logf("%d reads of a removed point failed", failed)
		}
	}
	wantSame(t, "the other point", readFile(t, m.fuseDisk(0)), disks[0])
}

// opensWith says whether opening fails with that error; 0: succeeds.
func opensWith(path string, want syscall.Errno) error {
	f, err := os.Open(path)
	if err == nil {
		f.Close()
	}
	if want == 0 && err == nil || want != 0 && errors.Is(err, want) {
		return nil
	}
	return fmt.Errorf("opening: %v, want %v", err, want)
}

// readsOld reads all of an open file: each read gives what it was or fails with
// EIO. It returns how many failed.
func readsOld(t testing.TB, f *os.File, want []byte) (failed int) {
	t.Helper()
	buf := alignedBuffer(64 << 10)
	for off := int64(0); off < int64(len(want)); off += int64(len(buf)) {
		n, err := f.ReadAt(buf, off)
		if errors.Is(err, syscall.EIO) {
			failed++
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("%s: read at %d: %v", f.Name(), off, err)
		}
		if err := same(buf[:n], want[off:min(off+int64(len(buf)), int64(len(want)))]); err != nil {
			t.Fatalf("%s: read at %d: %v", f.Name(), off, err)
		}
	}
	return failed
}

// A saveset whose bytes change under an open file: what was not read before
// or decompressed before fails, and the next to open sees what is there.
func TestFuseSavesetChangesInPlace(t *testing.T) {
	for _, level := range []int{0, 2} {
		old, fresh := noiseDisk(4<<20, 1), noiseDisk(4<<20, 2)
		dir := t.TempDir()
		builder{level: level}.mustBuild(t, savesetPath(dir, 0), old)
		m := mountFuse(t, dir)
		cached, direct := openFile(t, m.fuseDisk(0)), openDirect(t, m.fuseDisk(0))
		readsOld(t, cached, old)
		overwriteWith(t, savesetPath(dir, 0), builder{level: level}, fresh)
		if failed := readsOld(t, direct, old); level == 0 && failed != len(old)/(64<<10) {
			t.Errorf("level %d: only %d reads failed", level, failed)
		}
		readsOld(t, cached, old)
		next := openFile(t, m.fuseDisk(0))
		wantSame(t, "after the change", readAll(t, next), fresh)
		readsOld(t, cached, old)
		wantSame(t, "after the change, again", readAll(t, next), fresh)
		wantSame(t, "after the change, opened again", readFile(t, m.fuseDisk(0)), fresh)
	}
}

// overwriteWith puts another disk into a saveset without a new file.
func overwriteWith(t *testing.T, path string, b builder, disk []byte) {
	t.Helper()
	other := filepath.Join(t.TempDir(), filepath.Base(path))
	b.mustBuild(t, other, disk)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(readFile(t, other)); err != nil {
		t.Fatal(err)
	}
}

func readAll(t testing.TB, f *os.File) []byte {
	t.Helper()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, st.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A saveset that another one takes the place of, also of another size: open
// files stay what they are, and new ones have nothing of the old.
func TestFuseSavesetIsReplaced(t *testing.T) {
	for _, size := range []int{4 << 20, 5 << 20, 3 << 20} {
		old, fresh := noiseDisk(4<<20, 1), noiseDisk(size, 2)
		dir := chainOf(t, false, old)
		m := mountFuse(t, dir)
		before := openFile(t, m.fuseDisk(0))
		readsOld(t, before, old)
		replace(t, savesetPath(dir, 0), fresh)
		after := openFile(t, m.fuseDisk(0))
		wantSame(t, "the new file", readAll(t, after), fresh)
		if failed := readsOld(t, before, old); failed > 0 {
			t.Errorf("%d reads of the replaced file failed", failed)
		}
		wantSame(t, "the new file, again", readAll(t, after), fresh)
		wantSame(t, "the new file, opened again", readFile(t, m.fuseDisk(0)), fresh)
		if got := statOf(t, m.fuseDisk(0)).Size; got != int64(size) {
			t.Errorf("size is %d, want %d", got, size)
		}
	}
}

// replace puts a saveset of a disk in the place of another one.
func replace(t *testing.T, path string, disk []byte) {
	t.Helper()
	other := filepath.Join(t.TempDir(), filepath.Base(path))
	builder{}.mustBuild(t, other, disk)
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
}

// wantResident fails the test where the kernel dropped the pages of a file. It
// may take one in a thousand for something else at any time.
func wantResident(t *testing.T, f *os.File, size int) {
	t.Helper()
	if n, all := residentPages(t, f, size), size/os.Getpagesize(); n < all*9/10 {
		t.Errorf("%d of %d pages stayed", n, all)
	}
}

// Pages of unchanged savesets stay, also when a point is added.
func TestFuseKeepsPages(t *testing.T) {
	disk := noiseDisk(4<<20, 1)
	dir := chainOf(t, false, disk)
	m := mountFuse(t, dir)
	readFile(t, m.fuseDisk(0))
	addPoint(t, dir, 1, false, [][]byte{disk}, changed(disk, 2))
	readFile(t, m.fuseDisk(1))
	f := openFile(t, m.fuseDisk(0))
	wantResident(t, f, len(disk))
}

// To link a saveset or change its mode takes nothing from its content.
func TestFuseSavesetIsLinked(t *testing.T) {
	disk := noiseDisk(4<<20, 1)
	dir := chainOf(t, false, disk)
	m := mountFuse(t, dir)
	before := openFile(t, m.fuseDisk(0))
	readAll(t, before)
	time.Sleep(20 * time.Millisecond) // the clock of the file system
	if err := errors.Join(os.Link(savesetPath(dir, 0), filepath.Join(t.TempDir(), "link")), os.Chmod(savesetPath(dir, 0), 0o400)); err != nil {
		t.Fatal(err)
	}
	wantResident(t, openFile(t, m.fuseDisk(0)), len(disk))
	wantSame(t, "opened again", readFile(t, m.fuseDisk(0)), disk)
	if failed := readsOld(t, openDirect(t, m.fuseDisk(0)), disk) + readsOld(t, before, disk); failed > 0 {
		t.Errorf("%d reads failed", failed)
	}
}

// A saveset that is overwritten and gets its old time back has other pages.
func TestFuseSavesetHasItsOldTime(t *testing.T) {
	old, fresh := noiseDisk(4<<20, 1), noiseDisk(4<<20, 2)
	dir := chainOf(t, false, old)
	m := mountFuse(t, dir)
	cached, direct := openFile(t, m.fuseDisk(0)), openDirect(t, m.fuseDisk(0))
	readsOld(t, cached, old)
	st, err := os.Stat(savesetPath(dir, 0))
	if err != nil {
		t.Fatal(err)
	}
	overwriteWith(t, savesetPath(dir, 0), builder{}, fresh)
	if err := os.Chtimes(savesetPath(dir, 0), time.Time{}, st.ModTime()); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "after the change", readFile(t, m.fuseDisk(0)), fresh)
	readsOld(t, cached, old)
	if failed := readsOld(t, direct, old); failed == 0 {
		t.Error("no read of the file that was open failed")
	}
}

// Savesets that are replaced while others open and read them: who has a file
// open reads one of the disks, from its first byte to its last.
func TestFuseSavesetIsReplacedDuringReads(t *testing.T) {
	disks := [][]byte{noiseDisk(1<<20, 1), noiseDisk(1<<20+8192, 2), noiseDisk(1<<20, 3)}
	dir := chainOf(t, false, disks[0])
	m := mountFuse(t, dir)
	var done atomic.Bool
	var whole atomic.Int32
	readers := make(chan error, 1)
	go func() {
		readers <- atOnce(4, func(int) error { return readWhole(m.fuseDisk(0), disks, &done, &whole) })
	}()
	for i := range 60 {
		replace(t, savesetPath(dir, 0), disks[(i+1)%len(disks)])
		before := whole.Load()
		eventually(t, func() error {
			if whole.Load() == before && len(readers) == 0 {
				return errors.New("nobody reads")
			}
			return nil
		})
	}
	done.Store(true)
	if err := <-readers; err != nil {
		t.Error(err)
	}
}

// readWhole reads a file until done, and counts how often that worked.
func readWhole(path string, disks [][]byte, done *atomic.Bool, whole *atomic.Int32) error {
	for !done.Load() {
		got, err := os.ReadFile(path)
		switch {
		case errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ESTALE) || errors.Is(err, syscall.ENOENT):
			continue
		case err != nil:
			return err
		}
		if !slices.ContainsFunc(disks, func(d []byte) bool { return bytes.Equal(d, got) }) {
			done.Store(true)
			return fmt.Errorf("%d bytes that were never a disk", len(got))
		}
		whole.Add(1)
	}
	return nil
}

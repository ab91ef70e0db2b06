// SPDX-License-Identifier: Apache-2.0

package fusefs

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"virtnb/format"
)

// Images on a mount that can be written to, without the kernel: what it would
// ask for is called here.

const layerSet = "../tests/vectors/03-chain"

func writableLibrary(t *testing.T, changes string) *library {
	t.Helper()
	lib, err := newLibrary(layerSet, Options{Writable: changes, Cache: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return lib
}

// lastPoint is the file of the first disk at its latest restore point.
func lastPoint(t *testing.T, lib *library) (*diskFile, *format.Point) {
	t.Helper()
	c, err := lib.set(lib.dir)
	if err != nil {
		t.Fatal(err)
	}
	p := c.Disks[0].Latest()
	return &diskFile{lib: lib, dir: lib.dir, disk: p.Disk, point: p.Name, content: lib.identity(p)}, p
}

func openHandle(t *testing.T, d *diskFile, flags uint32) *handle {
	t.Helper()
	f, out, errno := d.Open(t.Context(), flags)
	if errno != 0 {
		t.Fatal(errno)
	}
	if out&fuse.FOPEN_DIRECT_IO == 0 {
		t.Error("the kernel would keep pages")
	}
	return f.(*handle)
}

func readHandle(t *testing.T, h *handle) []byte {
	t.Helper()
	p := make([]byte, h.part.Length)
	if _, err := h.img.ReadAt(p, h.part.Start); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return p
}

func wantErrno(t *testing.T, what string, got, want syscall.Errno) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestWritableKeepsChanges(t *testing.T) {
	changes, ctx := t.TempDir(), t.Context()
	lib := writableLibrary(t, changes)
	d, p := lastPoint(t, lib)
	reader := openHandle(t, d, syscall.O_RDONLY)
	model := readHandle(t, reader)
	if found, _ := os.ReadDir(changes); len(found) > 0 {
		t.Error("reading made files")
	}
	writer := openHandle(t, d, syscall.O_RDWR)
	if _, err := os.Stat(filepath.Join(changes, "03-chain", p.Name, p.Disk+".cow")); err != nil {
		t.Error(err)
	}
	text := []byte("what was written")
	_, errno := writer.Write(ctx, text, 5000)
	wantErrno(t, "write", errno, 0)
	copy(model[5000:], text)
	wantErrno(t, "punch", writer.Allocate(ctx, 100<<10, 64<<10, unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE), 0)
	clear(model[100<<10 : 164<<10])
	wantErrno(t, "fsync", writer.Fsync(ctx, 0), 0)
	if !bytes.Equal(readHandle(t, reader), model) {
		t.Error("who had it open does not see the changes")
	}
	writer.Release(ctx)
	reader.Release(ctx)
	if err := lib.close(); err != nil {
		t.Fatal(err)
	}
	lib = writableLibrary(t, changes)
	d, _ = lastPoint(t, lib)
	again := openHandle(t, d, syscall.O_RDONLY)
	if !bytes.Equal(readHandle(t, again), model) {
		t.Error("the next mount does not have the changes")
	}
	if err := lib.close(); err != nil { // with a file open
		t.Fatal(err)
	}
	again.Release(ctx)
}

func TestWritableHasTheSizeOfTheDisk(t *testing.T) {
	ctx := t.Context()
	d, _ := lastPoint(t, writableLibrary(t, t.TempDir()))
	h := openHandle(t, d, syscall.O_RDWR)
	defer h.Release(ctx)
	size := h.part.Length
	n, errno := h.Write(ctx, make([]byte, 100), size-10)
	if n != 10 || errno != 0 {
		t.Errorf("write over the end: %d, %v", n, errno)
	}
	_, errno = h.Write(ctx, make([]byte, 100), size)
	wantErrno(t, "write behind the end", errno, syscall.ENOSPC)
	wantErrno(t, "zero behind the end", h.Allocate(ctx, uint64(size-10), 100, unix.FALLOC_FL_ZERO_RANGE), syscall.ENOSPC)
	wantErrno(t, "punch over the end", h.Allocate(ctx, uint64(size-10), 100, unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE), 0)
	wantErrno(t, "reserve", h.Allocate(ctx, 0, uint64(size), 0), 0)
	wantErrno(t, "collapse", h.Allocate(ctx, 0, 4096, unix.FALLOC_FL_COLLAPSE_RANGE), syscall.EOPNOTSUPP)
	for _, c := range []struct {
		valid uint32
		size  uint64
		want  syscall.Errno
	}{
		{fuse.FATTR_SIZE, uint64(size), 0},
		{fuse.FATTR_SIZE, 0, syscall.EPERM},
		{fuse.FATTR_SIZE, uint64(size) + 1, syscall.EPERM},
		{fuse.FATTR_MTIME, 0, 0},
		{fuse.FATTR_MODE, 0, syscall.EPERM},
	} {
		in := &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{Valid: c.valid, Size: c.size}}
		wantErrno(t, "setattr", d.Setattr(ctx, h, in, &fuse.AttrOut{}), c.want)
	}
}

func TestWritableTellsWhatIsAllocated(t *testing.T) {
	ctx := t.Context()
	d, _ := lastPoint(t, writableLibrary(t, t.TempDir()))
	blocks := func() uint64 {
		var out fuse.AttrOut
		wantErrno(t, "getattr", d.Getattr(ctx, nil, &out), 0)
		return out.Blocks
	}
	before := blocks()
	h := openHandle(t, d, syscall.O_RDWR)
	wantErrno(t, "zero", h.Allocate(ctx, 0, uint64(h.part.Length), unix.FALLOC_FL_ZERO_RANGE), 0)
	if n := blocks(); n != 0 || before == 0 {
		t.Errorf("%d blocks, and %d after zeroing all", before, n)
	}
	for i := range int64(3) {
		h.Write(ctx, []byte{1}, i*8192)
		if n := blocks(); n != uint64(i+1)*8 {
			t.Errorf("%d blocks after write %d", n, i)
		}
	}
	h.Release(ctx)
	if n := blocks(); n != 24 {
		t.Errorf("%d blocks after closing", n)
	}
}

// To change the mode of a saveset takes nothing from who opens it, also while
// others have it open.
func TestWritableOfASavesetWithAnotherMode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "set")
	if err := os.CopyFS(dir, os.DirFS(layerSet)); err != nil {
		t.Fatal(err)
	}
	lib, err := newLibrary(dir, Options{Writable: t.TempDir(), Cache: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	d, p := lastPoint(t, lib)
	defer openHandle(t, d, syscall.O_RDWR).Release(t.Context())
	time.Sleep(20 * time.Millisecond) // the clock of the file system
	if err := os.Chmod(p.File, 0o400); err != nil {
		t.Fatal(err)
	}
	openHandle(t, d, syscall.O_RDWR).Release(t.Context())
	d, _ = lastPoint(t, lib)
	openHandle(t, d, syscall.O_RDWR).Release(t.Context())
}

func TestWritableRefusesChangesOfAnother(t *testing.T) {
	changes, ctx := t.TempDir(), t.Context()
	lib := writableLibrary(t, changes)
	d, p := lastPoint(t, lib)
	openHandle(t, d, syscall.O_RDWR).Release(ctx)
	other := *p
	other.Meta.Date = other.Meta.Date.Add(time.Hour)
	c, _ := lib.set(lib.dir)
	y, err := lib.layer(c, p)
	if err != nil {
		t.Fatal(err)
	}
	if err := y.open(&other, false); err == nil {
		t.Error("changes to another saveset are accepted")
	}
	if y.users != 0 || y.base != nil {
		t.Errorf("left open: %d users", y.users)
	}
}

func TestReadOnlyCannotBeWritten(t *testing.T) {
	lib := writableLibrary(t, "")
	d, _ := lastPoint(t, lib)
	_, _, errno := d.Open(t.Context(), syscall.O_RDWR)
	wantErrno(t, "open", errno, syscall.EROFS)
	wantErrno(t, "setattr", d.Setattr(t.Context(), nil, &fuse.SetAttrIn{}, &fuse.AttrOut{}), syscall.EROFS)
}

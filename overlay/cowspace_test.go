// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
)

// cowFullFile has no space behind some number of bytes.
type cowFullFile struct {
	cowOSFile
	space *atomic.Int64 // bytes that can still be written; negative: any number
}

func (f cowFullFile) WriteAt(p []byte, off int64) (int, error) {
	space := f.space.Load()
	if space < 0 {
		return f.cowOSFile.WriteAt(p, off)
	}
	n, err := f.cowOSFile.WriteAt(p[:min(space, int64(len(p)))], off)
	f.space.Store(space - int64(n))
	if err == nil && n < len(p) {
		err = &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	return n, err
}

// openFull opens a COW whose files can be made full.
func openFull(t *testing.T, base Image, path string) (c *COW, data, index *atomic.Int64) {
	t.Helper()
	data, index = new(atomic.Int64), new(atomic.Int64)
	data.Store(-1)
	index.Store(-1)
	env := cowTestBoot("a")
	env.file = func(f *os.File) cowFile {
		if f.Name() == path {
			return cowFullFile{cowOSFile{f}, data}
		}
		return cowFullFile{cowOSFile{f}, index}
	}
	c, err := openCOW(base, path, "id", env)
	mustDo(t, err)
	t.Cleanup(func() { c.closeFiles() })
	return c, data, index
}

func TestCOWNoSpace(t *testing.T) {
	const size = cowSectorSize + 10*cowBlockSize
	base := newCOWTestBase(size, 1)
	model := bytes.Clone(base.content)
	path := filepath.Join(t.TempDir(), "sda")
	c, data, index := openFull(t, base, path)
	const start = cowSectorSize - 3*cowBlockSize - 7 // 3 blocks and a bit before the cut
	p := bytes.Repeat([]byte{1}, 5*cowBlockSize)
	mustWriteCOW(t, c, p[:100], 5000)
	copy(model[5000:], p[:100])
	mustDo(t, c.Zero(cowSectorSize-2*cowBlockSize, cowBlockSize))
	clear(model[cowSectorSize-2*cowBlockSize:][:cowBlockSize])
	same := func(what string) {
		t.Helper()
		wantBytes(t, what, mustReadCOW(t, c, 0, size), model)
		wantExtents(t, c, model, 0)
	}

	for _, space := range []int64{0, 5, 4096, 3 * 4096} { // not enough for the first piece
		data.Store(space)
		n, err := c.WriteAt(p, start)
		if n != 0 || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("space for %d: %d, %v", space, n, err)
		}
		wantError(t, err, path, "write of")
		same(fmt.Sprintf("data file with space for %d", space))
	}
	data.Store(-1)
	index.Store(0)
	n, err := c.WriteAt(p, start)
	if n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("map full: %d, %v", n, err)
	}
	wantError(t, err, cowMapName(path))
	if err := c.Zero(0, 2*cowBlockSize); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("zero: %v", err)
	}
	same("map full")
	index.Store(-1)
	data.Store(4 * cowBlockSize) // enough for the first piece
	n, err = c.WriteAt(p, start)
	if n != 3*cowBlockSize+7 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("second piece: %d, %v", n, err)
	}
	copy(model[start:], p[:n])
	same("second piece")
	data.Store(-1)
	mustWriteCOW(t, c, p, start)
	copy(model[start:], p)
	same("space again")

	index.Store(0)
	if err := c.Sync(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("sync: %v", err)
	}
	index.Store(-1)
	mustDo(t, c.Sync())
	mustDo(t, c.closeFiles())
	c, err = openCOW(base, path, "id", cowTestBoot("b"))
	mustDo(t, err)
	defer c.Close()
	same("after a power cut")
}

// A write of blocks that are there already needs no map, and one that fails in
// the middle of them leaves each byte old or new.
func TestCOWNoSpaceInPlace(t *testing.T) {
	base := newCOWTestBase(10*cowBlockSize, 1)
	path := filepath.Join(t.TempDir(), "sda")
	c, data, index := openFull(t, base, path)
	mustWriteCOW(t, c, bytes.Repeat([]byte{1}, int(base.Size())), 0)
	index.Store(0)
	mustWriteCOW(t, c, bytes.Repeat([]byte{2}, 9000), 100)
	data.Store(4096)
	if _, err := c.WriteAt(bytes.Repeat([]byte{3}, 9000), 100); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	got := mustReadCOW(t, c, 0, base.Size())
	for i, b := range got {
		in := i >= 100 && i < 9100
		if in && b != 2 && b != 3 || !in && b != 1 {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
}

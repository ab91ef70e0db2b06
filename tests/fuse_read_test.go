// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Each restore point of the vectors, by every way of reading.
func TestFuseServesEveryPoint(t *testing.T) {
	kept(t, vectors(t))
	mounts := map[string]*fuseMount{}
	for _, p := range readPoints(t) {
		set, ok := strings.CutPrefix(p.param, "set=")
		if !ok {
			continue
		}
		m := mounts[set]
		if m == nil {
			m = mountFuse(t, filepath.Join(vectors(t), set))
			mounts[set] = m
		}
		path := m.diskPath(p.export)
		disk := readFile(t, path)
		if got := sha256Of(disk); got != p.sha256 {
			t.Errorf("%s of %s has SHA-256 %s, want %s", p.export, p.param, got, p.sha256)
			continue
		}
		if err := readEveryWay(path, disk, 60, 1); err != nil {
			t.Errorf("%s of %s: %v", p.export, p.param, err)
		}
	}
}

// readWay reads a range of a file.
type readWay struct {
	name  string
	flags int
	read  func(f *os.File, p []byte, off int64) error
}

var readWays = []readWay{
	{"buffered", 0, readBuffered},
	{"direct", unix.O_DIRECT, readDirect},
	{"mapped", 0, readMapped},
}

// readEveryWay compares n random ranges of a file by each way of reading.
func readEveryWay(path string, want []byte, n int, seed uint64) error {
	for _, way := range readWays {
		if err := way.compare(path, want, n, rand.New(rand.NewPCG(seed, 2))); err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
	}
	return nil
}

func (w readWay) compare(path string, want []byte, n int, r *rand.Rand) (err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|w.flags, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for range n {
		off, length := someRange(r, int64(len(want)))
		buf := make([]byte, length)
		if err := w.read(f, buf, off); err != nil {
			return fmt.Errorf("read of %d at %d: %w", length, off, err)
		}
		if err := same(buf, want[off:off+length]); err != nil {
			return fmt.Errorf("read of %d at %d: %w", length, off, err)
		}
	}
	return nil
}

// someRange is a range of a file: tiny or large, anywhere or up to the end.
func someRange(r *rand.Rand, size int64) (off, length int64) {
	longest := []int64{1, 700, 64 << 10, 3 << 20}[r.IntN(4)]
	length = 1 + r.Int64N(min(size, longest))
	off = r.Int64N(size - length + 1)
	if r.IntN(8) == 0 {
		off = size - length
	}
	return off, length
}

func readBuffered(f *os.File, p []byte, off int64) error {
	_, err := f.ReadAt(p, off)
	return err
}

// directGrid is what O_DIRECT wants offsets, lengths and memory to be
// multiples of, bytes.
const directGrid = 4096

// readDirect reads the blocks around the range.
func readDirect(f *os.File, p []byte, off int64) error {
	from := off / directGrid * directGrid
	length := (off + int64(len(p)) - from + directGrid - 1) / directGrid * directGrid
	buf := alignedBuffer(int(length))
	n, err := f.ReadAt(buf, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if n < int(off-from)+len(p) {
		return fmt.Errorf("%d bytes at %d: %w", n, from, io.ErrUnexpectedEOF)
	}
	copy(p, buf[off-from:])
	return nil
}

func alignedBuffer(n int) []byte {
	buf := make([]byte, n+directGrid)
	skip := -uintptr(unsafe.Pointer(&buf[0])) & (directGrid - 1)
	return buf[skip:][:n]
}

// readMapped copies from memory that the pages around the range are mapped to.
func readMapped(f *os.File, p []byte, off int64) (err error) {
	from := off / directGrid * directGrid
	m, err := unix.Mmap(int(f.Fd()), from, int(off-from)+len(p), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(p, m[off-from:])
	return unix.Munmap(m)
}

// At the end of a file reads end, behind it they give nothing.
func TestFuseReadsEndWithTheFile(t *testing.T) {
	disk := noiseDisk(1<<20+7*512, 1) // the last page is not whole
	m := mountFuse(t, chainOf(t, false, disk))
	size := int64(len(disk))
	for _, f := range []*os.File{openFile(t, m.fuseDisk(0)), openDirect(t, m.fuseDisk(0))} {
		buf := alignedBuffer(2 * directGrid)
		last := size / directGrid * directGrid
		if n, err := f.ReadAt(buf, last); int64(n) != size-last || !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %d bytes, %v; want %d", n, err, size-last)
		}
		wantSame(t, "the last bytes", buf[:size-last], disk[last:])
		for _, off := range []int64{last + directGrid, 1 << 40} {
			if n, err := f.ReadAt(buf, off); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("at %d: %d bytes, %v", off, n, err)
			}
		}
		for _, off := range []int64{0, directGrid, last + directGrid} {
			if n, err := unix.Pread(int(f.Fd()), nil, off); n != 0 || err != nil {
				t.Errorf("nothing at %d: %d bytes, %v", off, n, err)
			}
		}
	}
}

// Nothing can be written, renamed or removed.
func TestFuseIsReadOnly(t *testing.T) {
	dir := chainOf(t, false, noiseDisk(64<<10, 1))
	kept(t, dir)
	m := mountFuse(t, dir)
	for _, flags := range []int{os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC} {
		if f, err := os.OpenFile(m.fuseDisk(0), flags, 0); err == nil {
			f.Close()
			t.Errorf("opened with flags %#x", flags)
		}
	}
	for what, err := range map[string]error{
		"remove": os.Remove(m.fuseDisk(0)),
		"rename": os.Rename(m.fuseDisk(0), m.fuseDisk(0)+"x"),
		"mkdir":  os.Mkdir(m.path("x"), 0o755),
		"create": os.WriteFile(m.path("x"), nil, 0o600),
		"cut":    os.Truncate(m.fuseDisk(0), 1),
		"touch":  os.Chtimes(m.fuseDisk(0), fuseDate(1), fuseDate(1)),
		"chmod":  os.Chmod(m.fuseDisk(0), 0o777),
	} {
		if err == nil {
			t.Errorf("%s succeeded", what)
		}
	}
}

// Sixteen readers of several points, compressed ones and others.
func TestFuseManyReaders(t *testing.T) {
	disks := [][]byte{noiseDisk(8<<20, 1)}
	for i := range 3 {
		disks = append(disks, changed(disks[i], uint64(i+2)))
	}
	m := mountFuse(t, chainOf(t, true, disks...))
	err := atOnce(16, func(i int) error {
		n := i % len(disks)
		return readEveryWay(m.fuseDisk(n), disks[n], 40, uint64(i))
	})
	if err != nil {
		t.Error(err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package format

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"syscall"
)

// Walking the headers of a saveset touches 42 bytes here and there, up to
// millions of times. Where frames are small, a read call for each would cost
// more than all the rest, and the file is mapped, a piece at a time. Where they
// are large, every access to a mapping would be a page fault of the kernel,
// which costs more than a read call.

// window gives access to the bytes of a file.
type window interface {
	// bytes returns n bytes at offset off, valid until the next call. The
	// range must be inside the file.
	bytes(off int64, n int) ([]byte, error)
	close()
}

// window returns a window of the saveset, whose size was validated before.
func (s *Saveset) window() window {
	switch {
	case s.file == nil:
		return &buffered{r: s.r, size: s.Size}
	case s.base == 0:
		return &mapped{f: s.file, size: s.Size, last: -farJump}
	}
	return shifted{&mapped{f: s.file, size: s.base + s.Size, last: -farJump}, s.base}
}

// shifted is the part of a window from an offset on: a member of an archive.
type shifted struct {
	*mapped
	base int64
}

func (w shifted) bytes(off int64, n int) ([]byte, error) { return w.mapped.bytes(w.base+off, n) }

const (
	// farJump is how far behind the bytes before, in bytes, a read call is
	// cheaper than a mapping (2 µs for the fault, which maps 64 KiB).
	farJump = 16 << 10

	// smallRead is what one such call reads: the end of a payload, the header
	// behind it, and the header of an LZ4 frame behind that.
	smallRead = 128

	// mapSize is how much is mapped at a time, a multiple of the page size.
	mapSize = 16 << 20
)

// mapped is a file in memory. If the file shrinks or its disk fails, access
// faults; [catchFault] makes an error of that.
type mapped struct {
	f    *os.File
	size int64
	last int64 // end of the bytes returned before

	m      []byte // a piece of the file
	mStart int64

	small  [smallRead]byte // what was read last
	sStart int64
	sLen   int
}

func (w *mapped) bytes(off int64, n int) ([]byte, error) {
	far := off-w.last > farJump || off < w.last
	w.last = off + int64(n)
	switch {
	case off >= w.sStart && w.last <= w.sStart+int64(w.sLen):
	case far && n <= smallRead:
		w.sStart, w.sLen = off, int(min(smallRead, w.size-off))
		if _, err := w.f.ReadAt(w.small[:w.sLen], off); err != nil {
			w.sLen = 0
			return nil, noEOF(err)
		}
	default:
		return w.mapping(off, n)
	}
	return w.small[off-w.sStart:][:n], nil
}

// mapping returns bytes of the piece that is mapped, after mapping another one
// if need be.
func (w *mapped) mapping(off int64, n int) ([]byte, error) {
	if off >= w.mStart && off+int64(n) <= w.mStart+int64(len(w.m)) {
		return w.m[off-w.mStart:][:n], nil
	}
	w.close()
	start := off &^ (64<<10 - 1)
	length := min(w.size-start, max(mapSize, off-start+int64(n)))
	m, err := syscall.Mmap(int(w.f.Fd()), start, int(length), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil { // a file system without mappings
		b := make([]byte, n)
		_, err = io.ReadFull(io.NewSectionReader(w.f, off, int64(n)), b)
		return b, noEOF(err)
	}
	w.m, w.mStart = m, start
	return m[off-start:][:n], nil
}

func (w *mapped) close() {
	if w.m != nil {
		_ = syscall.Munmap(w.m)
		w.m = nil
	}
}

// catchFault is deferred around accesses to a mapping, with the answer of
// debug.SetPanicOnFault(true) from before them. It stores a fault in err.
func catchFault(old bool, err *error) {
	debug.SetPanicOnFault(old)
	switch p := recover().(type) {
	case nil:
	case interface{ Addr() uintptr }: // as debug.SetPanicOnFault documents
		*err = fmt.Errorf("file shrank or cannot be read: %w", syscall.EIO)
	default:
		panic(p)
	}
}

// buffered reads ahead; its buffer is small because payloads are skipped.
type buffered struct {
	r     io.ReaderAt
	size  int64
	buf   []byte
	start int64 // file offset of buf[0]
}

const bufferedSize = 64 << 10

func (b *buffered) bytes(off int64, n int) ([]byte, error) {
	if off < b.start || off+int64(n) > b.start+int64(len(b.buf)) {
		want := int(min(b.size-off, int64(max(n, bufferedSize))))
		if cap(b.buf) < want {
			b.buf = make([]byte, want)
		}
		b.buf, b.start = b.buf[:want], off
		if _, err := io.ReadFull(io.NewSectionReader(b.r, off, int64(want)), b.buf); err != nil {
			b.buf = b.buf[:0]
			return nil, noEOF(err)
		}
	}
	return b.buf[off-b.start:][:n], nil
}

func (b *buffered) close() {}

// careful is a buffered window of a file on storage that fails in places.
type careful struct{ buffered }

func (c *careful) bytes(off int64, n int) ([]byte, error) {
	if b, err := c.buffered.bytes(off, n); err == nil {
		return b, nil
	}
	b := make([]byte, n)
	_, err := io.ReadFull(io.NewSectionReader(c.r, off, int64(n)), b)
	return b, noEOF(err)
}

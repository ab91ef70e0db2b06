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
// millions of times. A read call for each costs more than everything else, so
// a file is mapped where that is possible, and read through a buffer where not.

// window gives access to the bytes of a file.
type window interface {
	// bytes returns n bytes at offset off, valid until the next call. The
	// range must be inside the file.
	bytes(off int64, n int) ([]byte, error)
	close()
}

// openWindow prefers a mapping. size is the file's size as validated before.
func openWindow(r io.ReaderAt, size int64) window {
	if f, ok := r.(*os.File); ok && size > 0 && int64(int(size)) == size {
		if m, err := syscall.Mmap(int(f.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_SHARED); err == nil {
			return mapped(m)
		}
	}
	return &buffered{r: r, size: size}
}

// mapped is a file in memory. If the file shrinks or its disk fails, access
// faults; [catchFault] makes an error of that.
type mapped []byte

func (m mapped) bytes(off int64, n int) ([]byte, error) { return m[off : off+int64(n)], nil }

func (m mapped) close() { _ = syscall.Munmap(m) }

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

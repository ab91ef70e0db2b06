// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"math/bits"
	"sync"
)

// buffers are the buffers of a cache that are not in use, kept so that memory
// does not have to be found by the garbage collector first: a server that reads
// all of a disk decodes gigabytes through a cache of some megabytes.
type buffers struct {
	limit int64 // most bytes to keep

	bufMu sync.Mutex // guards the rest
	spare [bufferClasses][][]byte
	kept  int64
}

const (
	bufferClasses = 25 // powers of two, up to 16 MiB

	// spareShare is the part of a cache's size that spare buffers may take on
	// top of it, one in so many.
	spareShare = 8
)

// class is the power of two of a buffer for n bytes.
func class(n int) int { return bits.Len(uint(max(n, 1) - 1)) }

// alloc returns a buffer of n bytes with arbitrary content.
func (b *buffers) alloc(n int) []byte {
	k := class(n)
	if k >= bufferClasses {
		return make([]byte, n)
	}
	if p := b.take(k); p != nil {
		return p[:n]
	}
	return make([]byte, n, 1<<k)
}

// take returns a spare buffer of a class, or nil.
func (b *buffers) take(k int) []byte {
	b.bufMu.Lock()
	defer b.bufMu.Unlock()
	last := len(b.spare[k]) - 1
	if last < 0 {
		return nil
	}
	p := b.spare[k][last]
	b.spare[k] = b.spare[k][:last]
	b.kept -= int64(cap(p))
	return p
}

// free takes a buffer of alloc back.
func (b *buffers) free(p []byte) {
	k := class(cap(p))
	if cap(p) == 0 || k >= bufferClasses || cap(p) != 1<<k {
		return
	}
	b.bufMu.Lock()
	defer b.bufMu.Unlock()
	if b.kept+int64(cap(p)) <= b.limit {
		b.spare[k] = append(b.spare[k], p)
		b.kept += int64(cap(p))
	}
}

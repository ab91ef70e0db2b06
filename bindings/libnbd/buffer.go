// SPDX-License-Identifier: Apache-2.0

package libnbd

// #include <stdlib.h>
// #include <string.h>
import "C"

import (
	"fmt"
	"unsafe"
)

// AioBuffer is memory outside of Go, which libnbd may use after the call that
// it was given to: until the command has ended. [AioBuffer.Free] it then.
type AioBuffer struct {
	P    unsafe.Pointer
	Size uint
}

// MakeAioBuffer allocates size bytes of any content.
func MakeAioBuffer(size uint) AioBuffer {
	return AioBuffer{C.malloc(C.size_t(max(size, 1))), size}
}

// MakeAioBufferZero allocates size zeroes.
func MakeAioBufferZero(size uint) AioBuffer {
	buf := MakeAioBuffer(size)
	clear(buf.Slice())
	return buf
}

// FromBytes allocates a copy of buf.
func FromBytes(buf []byte) AioBuffer {
	b := MakeAioBuffer(uint(len(buf)))
	copy(b.Slice(), buf)
	return b
}

// Free frees the memory, once or more often.
func (b *AioBuffer) Free() {
	C.free(b.P)
	b.P, b.Size = nil, 0
}

// Bytes is a copy of the content. It panics after Free, and so do the others.
func (b *AioBuffer) Bytes() []byte {
	return append([]byte{}, b.Slice()...)
}

// Slice is the memory itself, valid until Free.
func (b *AioBuffer) Slice() []byte {
	if b.P == nil {
		panic("libnbd: use of an AioBuffer after Free")
	}
	return unsafe.Slice((*byte)(b.P), b.Size)
}

// Get points to byte i.
func (b *AioBuffer) Get(i uint) *byte {
	if s := b.Slice(); i < b.Size {
		return &s[i]
	}
	panic(fmt.Sprintf("libnbd: byte %d of an AioBuffer of %d", i, b.Size))
}

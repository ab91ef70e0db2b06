// SPDX-License-Identifier: Apache-2.0

package format

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/pierrec/lz4/v4"
)

// lz4Block is the size, in bytes, of the blocks that are compressed one by one:
// what virtnbdbackup uses, and what must be decoded to read one byte.
const lz4Block = LZ4Window

// lz4Descriptor is the FLG and BD of all frames that we write: version 01,
// independent blocks, block checksums, content size, content checksum; blocks
// of 64 KiB.
var lz4Descriptor = [2]byte{0x7c, 0x40}

// CompressFrame appends to dst one LZ4 frame that holds src, 1 byte to less
// than 32 MiB, and returns the extended slice: a payload for
// [Writer.Compressed]. Blocks are independent, so that each can be read alone.
// It may be called from several goroutines.
//
// The level is that of virtnbdbackup's option --compress. Up to 2 it is the
// fast method with the reference implementation's output, the negative ones
// with its acceleration: faster, larger. From 3 to 12 the high compression
// method searches ever longer; above 12 nothing changes.
//
// The frames are built here from the lz4 package's block compressors, not by
// its Writer: that has no acceleration, and starts high compression at 512
// searches, where liblz4's level 9 makes 256.
func CompressFrame(dst, src []byte, level int) ([]byte, error) {
	if len(src) == 0 || len(src) >= bigFrame {
		return dst, fmt.Errorf("LZ4 frame of %d bytes: it can hold 1 to %d", len(src), bigFrame-1)
	}
	c := takeCompressor(level)
	defer c.release()
	blocks := (len(src) + lz4Block - 1) / lz4Block
	dst = slices.Grow(dst, lz4HeaderMax+len(src)+8*blocks+8)
	dst = appendLZ4Header(dst, len(src))
	var sum xxh32
	for len(src) > 0 {
		n := min(len(src), lz4Block)
		sum.write(src[:n])
		dst = c.appendBlock(dst, src[:n])
		src = src[n:]
	}
	dst = append(dst, 0, 0, 0, 0) // end mark
	return binary.LittleEndian.AppendUint32(dst, sum.sum()), nil
}

func appendLZ4Header(b []byte, content int) []byte {
	b = binary.LittleEndian.AppendUint32(b, lz4Magic)
	start := len(b)
	b = append(b, lz4Descriptor[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(content))
	return append(b, byte(xxh32Sum(b[start:])>>8))
}

// compressor compresses single blocks at one level.
type compressor struct {
	pool  *sync.Pool
	fast  *lz4.CompressorCCompat // or
	high  *lz4.CompressorHC
	block func(src, dst []byte) (int, error)
}

// The state of a compressor is large, 16 KiB or 256 KiB, so it is kept.
var (
	fastCompressors = sync.Pool{New: func() any {
		c := &compressor{fast: new(lz4.CompressorCCompat)}
		c.block = c.fast.CompressBlock
		return c
	}}
	highCompressors = sync.Pool{New: func() any {
		c := &compressor{high: new(lz4.CompressorHC)}
		c.block = c.high.CompressBlock
		return c
	}}
)

// takeCompressor maps a level: liblz4's own acceleration for the fast method,
// and four times the number of searches that it makes at the same level, as
// the lz4 package lacks its lazy matching. (Measured on a Go binary, with
// liblz4 1.9.4 in brackets: level 2 gives 1.75 at 355 MB/s [1.75 at 360], level
// 3 gives 1.97 at 122 [2.14 at 80], level 9 gives 2.01 at 65 [2.22 at 27].)
func takeCompressor(level int) *compressor {
	pool := &fastCompressors
	if level > 2 {
		pool = &highCompressors
	}
	c := pool.Get().(*compressor)
	c.pool = pool
	if level > 2 {
		c.high.Level = lz4.CompressionLevel(16 << (min(level, 12) - 3))
	} else {
		c.fast.Acceleration = max(1, 1-level)
	}
	return c
}

func (c *compressor) release() { c.pool.Put(c) }

// appendBlock appends src as one block, with the room for it already there.
func (c *compressor) appendBlock(dst, src []byte) []byte {
	at := len(dst) + 4
	room := dst[at : at+len(src)]
	n, err := c.block(src, room)
	size := uint32(n)
	if err != nil || n == 0 { // not smaller than src
		n = copy(room, src)
		size = uint32(n) | lz4StoredFlag
	}
	dst = binary.LittleEndian.AppendUint32(dst, size)
	dst = dst[:at+n]
	return binary.LittleEndian.AppendUint32(dst, xxh32Sum(dst[at:]))
}

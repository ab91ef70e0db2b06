// SPDX-License-Identifier: Apache-2.0

package format

import (
	"encoding/binary"
	"math/bits"
)

// xxh32 computes XXH32 with seed 0, the checksum of the LZ4 frame format
// (github.com/Cyan4973/xxHash, doc/xxhash_spec.md). The lz4 package keeps its
// own to itself. The zero value is ready; a copy goes on independently.
type xxh32 struct {
	lanes [4]uint32
	total uint64
	tail  [16]byte // total%16 bytes not yet in the lanes
}

const (
	prime1 uint32 = 0x9E3779B1
	prime2 uint32 = 0x85EBCA77
	prime3 uint32 = 0xC2B2AE3D
	prime4 uint32 = 0x27D4EB2F
	prime5 uint32 = 0x165667B1
)

// write adds p.
func (x *xxh32) write(p []byte) {
	if x.total == 0 {
		var seed uint32 // a variable: the sums below wrap
		x.lanes = [4]uint32{seed + prime1 + prime2, seed + prime2, seed, seed - prime1}
	}
	held := int(x.total % 16)
	x.total += uint64(len(p))
	if held > 0 {
		n := copy(x.tail[held:], p)
		if held+n < 16 {
			return
		}
		x.rounds(x.tail[:])
		p = p[n:]
	}
	whole := len(p) &^ 15
	x.rounds(p[:whole])
	copy(x.tail[:], p[whole:])
}

// rounds adds p, a multiple of 16 bytes.
func (x *xxh32) rounds(p []byte) {
	a, b, c, d := x.lanes[0], x.lanes[1], x.lanes[2], x.lanes[3]
	for ; len(p) >= 16; p = p[16:] {
		a = bits.RotateLeft32(a+binary.LittleEndian.Uint32(p)*prime2, 13) * prime1
		b = bits.RotateLeft32(b+binary.LittleEndian.Uint32(p[4:])*prime2, 13) * prime1
		c = bits.RotateLeft32(c+binary.LittleEndian.Uint32(p[8:])*prime2, 13) * prime1
		d = bits.RotateLeft32(d+binary.LittleEndian.Uint32(p[12:])*prime2, 13) * prime1
	}
	x.lanes = [4]uint32{a, b, c, d}
}

// sum is the checksum of all that was written.
func (x *xxh32) sum() uint32 {
	h := prime5
	if x.total >= 16 {
		h = bits.RotateLeft32(x.lanes[0], 1) + bits.RotateLeft32(x.lanes[1], 7) +
			bits.RotateLeft32(x.lanes[2], 12) + bits.RotateLeft32(x.lanes[3], 18)
	}
	h += uint32(x.total)
	p := x.tail[:x.total%16]
	for ; len(p) >= 4; p = p[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(p)*prime3, 17) * prime4
	}
	for _, c := range p {
		h = bits.RotateLeft32(h+uint32(c)*prime5, 11) * prime1
	}
	h = (h ^ h>>15) * prime2
	h = (h ^ h>>13) * prime3
	return h ^ h>>16
}

func xxh32Sum(p []byte) uint32 {
	var x xxh32
	x.write(p)
	return x.sum()
}

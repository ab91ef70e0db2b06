// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"io"
	"math/rand/v2"

	"virtnb/format"
)

// What the disks hold. The byte at a disk offset, as a backup of number layer
// wrote it, is a function of the two: whoever needs content makes it, and no
// two places of a disk are alike, so that a read from the wrong place or the
// wrong saveset is seen. LZ4 halves it, as it does programs and text.

const (
	page        = 4 << 10 // unit of all extents, bytes
	stampEvery  = 512     // bytes between two stamps of offset and layer
	patternSize = 16 << 20
	layerShift  = 7919 * stampEvery
)

// pattern repeats over the disk, at distances that LZ4 does not look back.
var pattern = makePattern(patternSize)

// makePattern strings together words and noise.
func makePattern(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([][]byte, 1024)
	for i := range words {
		words[i] = noise(r, 6+r.IntN(20))
	}
	p := make([]byte, 0, n+64)
	for len(p) < n {
		p = append(p, words[r.IntN(len(words))]...)
		if r.IntN(4) == 0 {
			p = append(p, noise(r, 1+r.IntN(16))...)
		}
	}
	return p[:n]
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// fill sets p to what layer wrote at the disk offset off; both the offset and
// len(p) are whole pages.
func fill(p []byte, off int64, layer int) { fillFrom(pattern, p, off, layer) }

func fillFrom(pattern, p []byte, off int64, layer int) {
	at := int((off + int64(layer)*layerShift) % patternSize)
	for n := 0; n < len(p); {
		k := copy(p[n:], pattern[at:])
		n, at = n+k, 0
	}
	for i := 0; i < len(p); i += stampEvery {
		binary.LittleEndian.PutUint64(p[i:], uint64(off)+uint64(i)|uint64(layer+1)<<48)
	}
}

// layerReader reads an extent as layer wrote it, in whole pages.
type layerReader struct {
	format.Extent
	layer int
}

func (r *layerReader) Read(p []byte) (int, error) {
	if r.Length == 0 {
		return 0, io.EOF
	}
	if len(p) < page { // the writer reads to the grid of its file first
		var whole [page]byte
		fill(whole[:], r.Start&^(page-1), r.layer)
		n := copy(p, whole[r.Start&(page-1):])
		return r.advance(n), nil
	}
	if cut := int(r.Start & (page - 1)); cut > 0 {
		return r.Read(p[:page-cut])
	}
	n := int(min(int64(len(p)), r.Length)) &^ (page - 1)
	fill(p[:n], r.Start, r.layer)
	return r.advance(n), nil
}

func (r *layerReader) advance(n int) int {
	n = int(min(int64(n), r.Length))
	r.Start, r.Length = r.Start+int64(n), r.Length-int64(n)
	return n
}

// SPDX-License-Identifier: Apache-2.0

package format

import "encoding/binary"

// Checksum is the Adler-32 (RFC 1950) of a saveset, as the .chksum file beside
// it holds it: start value 1, over all bytes of the file. The zero value is
// ready; a copy goes on independently.
//
// It is here beside hash/adler32 of the standard library for two reasons: runs
// of zeroes cost nothing, and it is many times as fast (BenchmarkChecksum), by
// vectors of AVX2 where the processor has them.
type Checksum struct {
	// The two sums of the RFC: one is that of all bytes, without the start
	// value; two is that of all values that the first sum, with it, had.
	one, two uint64
}

// adlerMod is the largest prime below 65536.
const adlerMod = 65521

// adlerChunk is how many bytes may be added before the sums must be reduced;
// two grows to 255*n²/2 < 2^55.
const adlerChunk = 16 << 20

// Write adds p. It never fails.
func (c *Checksum) Write(p []byte) (int, error) {
	rest := p
	if adlerVectors {
		rest = c.addVectors(rest)
	}
	for len(rest) > 0 {
		n := min(len(rest), adlerChunk)
		c.add(rest[:n])
		rest = rest[n:]
	}
	return len(p), nil
}

// Zeroes adds n zero bytes, in constant time: the first sum stays, and the
// second one gets it n times.
func (c *Checksum) Zeroes(n int64) {
	c.two = (c.two + uint64(n)%adlerMod*(c.one+1)) % adlerMod
}

// replace takes into account that a byte, which was the last but behind-1 to be
// added, is another one now: it went into the second sum behind times.
func (c *Checksum) replace(behind int64, old, now byte) {
	change := uint64(now) + adlerMod - uint64(old)
	c.one = (c.one + change) % adlerMod
	c.two = (c.two + uint64(behind)%adlerMod*change) % adlerMod
}

// Sum32 is the checksum of all that was added.
func (c *Checksum) Sum32() uint32 {
	return uint32(c.two<<16 | (c.one+1)%adlerMod)
}

const (
	adlerVectorSize = 32

	// adlerVectorMax keeps the sums of adlerVector within their 32 bits, of
	// which 32 bytes add up to 255*(32+31+30+29).
	adlerVectorMax = 1 << 20
)

// addVectors adds as many bytes of p as are whole vectors, and returns the rest.
func (c *Checksum) addVectors(p []byte) []byte {
	var sums [3][4]uint64
	for len(p) >= adlerVectorSize {
		n := min(len(p), adlerVectorMax) &^ (adlerVectorSize - 1)
		adlerVector(&p[0], n, &sums)
		var one, before, weighted uint64
		for i := range 4 {
			one, before = one+sums[0][i], before+sums[1][i]
			weighted += sums[2][i]&0xffffffff + sums[2][i]>>32
		}
		c.two = (c.two + uint64(n)*(c.one+1) + adlerVectorSize*before + weighted) % adlerMod
		c.one = (c.one + one) % adlerMod
		p = p[n:]
	}
	return p
}

// adlerBlock is the number of bytes that add takes at a time. After its 16
// words no 16-bit lane is above 16*15/2*255 = 30600.
const adlerBlock = 128

// add adds p, which has at most adlerChunk bytes. It works on eight bytes at a
// time: even holds in four lanes of 16 bits the sums of the bytes 0, 2, 4 and 6
// of all words, odd those of the bytes 1, 3, 5 and 7; evens and odds are the
// sums of all values that these had before each word, which is how often each
// word's bytes went into the second sum, in words.
func (c *Checksum) add(p []byte) {
	const bytes, halves = 0x00ff00ff00ff00ff, 0x0000ffff0000ffff
	one, two := c.one+1, c.two
	for len(p) >= adlerBlock {
		var even, odd, evens, odds uint64
		for q := p[:adlerBlock]; len(q) >= 16; q = q[16:] {
			v, w := binary.LittleEndian.Uint64(q), binary.LittleEndian.Uint64(q[8:])
			evens, odds = evens+even, odds+odd
			even, odd = even+v&bytes, odd+v>>8&bytes
			evens, odds = evens+even, odds+odd
			even, odd = even+w&bytes, odd+w>>8&bytes
		}
		words := evens&halves + evens>>16&halves + odds&halves + odds>>16&halves
		words = words&0xffffffff + words>>32
		both := even + odd
		// Byte i of a word counts 8-i times more: a pair of lanes 8, 6, 4, 2
		// times, less once for the odd one.
		two += adlerBlock*one + 8*words - lanes(odd) +
			8*(both&0xffff) + 6*(both>>16&0xffff) + 4*(both>>32&0xffff) + 2*(both>>48)
		one += lanes(both)
		p = p[adlerBlock:]
	}
	for _, b := range p {
		one += uint64(b)
		two += one
	}
	c.one, c.two = (one+adlerMod-1)%adlerMod, two%adlerMod
}

// lanes is the sum of four lanes of 16 bits, which must be below 65536.
func lanes(v uint64) uint64 { return v * 0x0001000100010001 >> 48 }

// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/bits"
	"sync"
	"sync/atomic"
)

// cowState says where the content of a block is.
type cowState uint8

const (
	cowBase cowState = 0 // in the base
	cowData cowState = 1 // in the data file
	cowZero cowState = 2 // nowhere: the block reads as zeroes, whatever the data file holds
)

// everyBlock, times a state, is a word in which each block has that state.
const everyBlock = 0x5555555555555555

// cowWords are the states of the blocks of one sector, 2 bits each, the first
// block in the lowest bits of the first word.
type cowWords [cowSectorGroups]uint64

// with returns w with the blocks [first, end) of the sector in state.
func (w cowWords) with(first, end int64, state cowState) cowWords {
	for first < end {
		i, low := first/cowGroupBlocks, first%cowGroupBlocks
		n := min(end-first, cowGroupBlocks-low)
		mask := (uint64(1)<<(2*n) - 1) << (2 * low) // n 32: the shift gives 0, the mask all bits
		w[i] = w[i]&^mask | uint64(state)*everyBlock&mask
		first += n
	}
	return w
}

// follow tells whether w may be a later state of old: a block never gets back
// into the base.
func (w cowWords) follow(old cowWords) bool {
	for i := range w {
		if changed(old[i])&^changed(w[i]) != 0 {
			return false
		}
	}
	return true
}

// changed has the low bit of each block that is not in the base.
func changed(word uint64) uint64 { return (word | word>>1) & everyBlock }

// wordRun returns the state of block i of a word and for how many blocks from
// there on the word says the same.
func wordRun(word uint64, i int64) (cowState, int64) {
	word >>= 2 * i
	state := cowState(word & 3)
	same := int64(bits.TrailingZeros64(word^uint64(state)*everyBlock)) / 2
	return state, min(same, cowGroupBlocks-i)
}

// cowSector is the part of the map that is in memory for cowSectorBlocks
// blocks.
type cowSector struct {
	// mu keeps changes apart, in the file and here. Reading needs no lock:
	// each word is whole, and a reader is promised no more than whole blocks.
	mu    sync.Mutex
	words [cowSectorGroups]atomic.Uint64
}

func (s *cowSector) load() (w cowWords) {
	for i := range w {
		w[i] = s.words[i].Load()
	}
	return w
}

func (s *cowSector) store(w cowWords) {
	for i := range w {
		s.words[i].Store(w[i])
	}
}

// A sector in the file is 63 words, the sector's number (which tells that it
// is in its place), and a CRC-32C over both, all little endian. 512 zero bytes
// are a sector that was never written: all of its blocks are in the base.
const (
	cowSectorBytes  = 512 // what a disk writes whole or not at all
	cowSectorNumber = 504
	cowSectorSum    = 508
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (w cowWords) encode(number int64) []byte {
	b := make([]byte, 0, cowSectorBytes)
	for _, word := range w {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(number))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeCOWSector is the inverse of encode, for exactly cowSectorBytes.
func decodeCOWSector(b []byte, number int64) (w cowWords, err error) {
	if [cowSectorBytes]byte(b) == [cowSectorBytes]byte{} {
		return w, nil
	}
	if crc32.Checksum(b[:cowSectorSum], castagnoli) != binary.LittleEndian.Uint32(b[cowSectorSum:]) {
		return w, errors.New("checksum does not match")
	}
	if n := binary.LittleEndian.Uint32(b[cowSectorNumber:]); n != uint32(number) {
		return w, errors.New("sector of another place")
	}
	for i := range w {
		w[i] = binary.LittleEndian.Uint64(b[8*i:])
		if w[i]&(w[i]>>1)&everyBlock != 0 {
			return w, errors.New("block in no known state")
		}
	}
	return w, nil
}

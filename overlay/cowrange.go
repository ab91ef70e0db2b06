// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"iter"
	"math/bits"
	"sync"

	"virtnb/format"
)

// Block arithmetic of the copy-on-write layer, as pure functions, and the
// striped locks that follow from it.
//
// A disk is cut into blocks. 32 blocks are a group (the blocks whose states
// share one word, and one lock stripe), 63 groups are a sector (the blocks
// whose states share one checksum in the map file).

const (
	// cowBlockSize is the grain of copy-on-write in bytes. 4 KiB is the page
	// of the kernel and the block of the usual guest file systems, so nearly
	// every write covers whole blocks and needs no bytes of the base. A
	// larger grain would save map, of which there is little (2 bits a block,
	// for written parts only), and pay with reads of the base and with space.
	cowBlockSize = 4096

	cowGroupBlocks  = 32 // 2 bits each fill one uint64
	cowSectorGroups = 63 // 504 bytes, which leaves 8 of 512 for number and checksum
	cowSectorBlocks = cowGroupBlocks * cowSectorGroups

	cowGroupSize  = cowGroupBlocks * cowBlockSize  // 128 KiB, as large as a usual FUSE write
	cowSectorSize = cowSectorBlocks * cowBlockSize // 7.875 MiB

	// cowStripeCount is the number of bits in a stripe mask; being more than
	// cowSectorGroups, no two groups of one sector share a stripe.
	cowStripeCount = 64
)

// cowBlocks is the number of blocks of n bytes, a partial one at the end
// included.
func cowBlocks(n int64) int64 {
	return n/cowBlockSize + min(n%cowBlockSize, 1)
}

// cowSectors is the number of map sectors for a disk of size bytes.
func cowSectors(size int64) int64 {
	return size/cowSectorSize + min(size%cowSectorSize, 1)
}

// cowBlockAt returns the block that holds byte off of a disk of size bytes.
// The last block of a disk may be short.
func cowBlockAt(off, size int64) format.Extent {
	start := off - off%cowBlockSize
	return format.Extent{Start: start, Length: min(cowBlockSize, size-start)}
}

// cowSplit cuts e, a range of a disk of size bytes, into the whole blocks in
// it (body) and what lies before and after them, each within one block. The
// last block of the disk is whole when e reaches its end, short or not. A
// range that holds no whole block is head, tail, or both.
func cowSplit(e format.Extent, size int64) (head, body, tail format.Extent) {
	start := min(cowBlocks(e.Start)*cowBlockSize, e.End())
	end := e.End()
	if end != size {
		end -= end % cowBlockSize
	}
	end = max(start, end)
	return format.Extent{Start: e.Start, Length: start - e.Start},
		format.Extent{Start: start, Length: end - start},
		format.Extent{Start: end, Length: e.End() - end}
}

// cowPieces cuts e where one map sector ends and the next begins.
func cowPieces(e format.Extent) iter.Seq[format.Extent] {
	return func(yield func(format.Extent) bool) {
		for off := e.Start; off < e.End(); {
			end := min(e.End(), off-off%cowSectorSize+cowSectorSize)
			if !yield(format.Extent{Start: off, Length: end - off}) {
				return
			}
			off = end
		}
	}
}

// cowMerged joins neighbours of one kind in a sequence without gaps. An error
// ends it, after what came before.
func cowMerged(seq iter.Seq2[Extent, error]) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		var last Extent
		for x, err := range seq {
			switch {
			case err != nil:
				if last.Length == 0 || yield(last, nil) {
					yield(Extent{}, err)
				}
				return
			case x.Length == 0:
				continue
			case last.Length > 0 && last.Data == x.Data:
				last.Length += x.Length
				continue
			case last.Length > 0 && !yield(last, nil):
				return
			}
			last = x
		}
		if last.Length > 0 {
			yield(last, nil)
		}
	}
}

// cowMask names the stripes of all groups that e, a range within one map
// sector, touches.
func cowMask(e format.Extent) uint64 {
	var mask uint64
	for g := e.Start / cowGroupSize; g*cowGroupSize < e.End(); g++ {
		mask |= 1 << (g % cowStripeCount)
	}
	return mask
}

// cowLocks keep operations on the same group of blocks apart. They are always
// taken in the order of their numbers, so ranges of several groups cannot
// wait for each other in a circle.
type cowLocks [cowStripeCount]sync.RWMutex

func (l *cowLocks) lock(mask uint64) {
	for ; mask != 0; mask &= mask - 1 {
		l[bits.TrailingZeros64(mask)].Lock()
	}
}

func (l *cowLocks) unlock(mask uint64) {
	for ; mask != 0; mask &= mask - 1 {
		l[bits.TrailingZeros64(mask)].Unlock()
	}
}

func (l *cowLocks) rlock(mask uint64) {
	for ; mask != 0; mask &= mask - 1 {
		l[bits.TrailingZeros64(mask)].RLock()
	}
}

func (l *cowLocks) runlock(mask uint64) {
	for ; mask != 0; mask &= mask - 1 {
		l[bits.TrailingZeros64(mask)].RUnlock()
	}
}

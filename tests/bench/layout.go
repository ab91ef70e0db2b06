// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand/v2"

	"virtnb/format"
)

// Layouts of disks. Disks of different numbers of extents have the same size
// and the same amount of data, so that only the number differs between them.

const (
	extentsDiskSize = 4 << 30 // a million extents are 4 KiB each then
	chainDiskSize   = 1 << 30
	peerDiskSize    = 1 << 30

	grain          = 64 << 10 // of dirty bitmaps, bytes
	changesPerInc  = 64
	maxChange      = 4 // grains
	peerFrameBytes = 32 << 20
)

// alternating is a full of n extents, data and zero in turn.
func alternating(n int) (size int64, l layout) {
	length := int64(extentsDiskSize/n) &^ (page - 1)
	return int64(n) * length, func(int) []format.Extent {
		var list []format.Extent
		for i := 0; i < n; i += 2 {
			list = append(list, format.Extent{Start: int64(i) * length, Length: length})
		}
		return list
	}
}

// changing is a full without zeroes and incrementals of 64 changes of 64 to
// 256 KiB each, 1 % of the disk.
func changing() (size int64, l layout) {
	return chainDiskSize, func(layer int) []format.Extent {
		if layer == 0 {
			return []format.Extent{{Start: 0, Length: chainDiskSize}}
		}
		return changes(rand.New(rand.NewPCG(3, uint64(layer))))
	}
}

func changes(r *rand.Rand) []format.Extent {
	dirty := make([]bool, chainDiskSize/grain)
	for range changesPerInc {
		at := r.IntN(len(dirty) - maxChange)
		for i := range 1 + r.IntN(maxChange) {
			dirty[at+i] = true
		}
	}
	return runsOf(dirty)
}

// runsOf lists the runs of dirty grains.
func runsOf(dirty []bool) (list []format.Extent) {
	for i, d := range dirty {
		switch {
		case !d:
		case i > 0 && dirty[i-1]:
			list[len(list)-1].Length += grain
		default:
			list = append(list, format.Extent{Start: int64(i) * grain, Length: grain})
		}
	}
	return list
}

// large is a full of two extents that are stored in frames of 32 MiB.
func large() (size int64, l layout) {
	const half = peerDiskSize / 2
	return peerDiskSize, func(int) []format.Extent {
		return []format.Extent{{Start: 0, Length: half - peerFrameBytes}, {Start: half, Length: half}}
	}
}

// SPDX-License-Identifier: Apache-2.0

// Package overlay turns a chain of savesets into one readable disk.
//
//	img, err := overlay.Open(point.Files, overlay.Options{})
//	img.ReadAt(buf, off)
//
// Opening reads frame headers only: the chain is flattened into one sorted
// index that says for each byte of the disk which saveset holds it, and reads
// go straight to that place. Nothing is copied or replayed.
//
// A [COW] makes any image writable, with the changes in a file of its own.
package overlay

import (
	"io"
	"iter"

	"virtnb/format"
)

// Image is one disk at one restore point, as bytes. All methods may be called
// from several goroutines at once.
type Image interface {
	// ReadAt is as io.ReaderAt says. Bytes it returns are those of the restore
	// point; where that is not certain there is an error instead.
	io.ReaderAt

	// Size is the size of the disk in bytes.
	Size() int64

	// Extents yields the runs of [off, off+n) in order, without gaps and each
	// as long as it can be: neighbours differ in Data. It agrees with ReadAt to
	// the byte. A range outside the disk yields an error.
	Extents(off, n int64) iter.Seq2[Extent, error]
}

// Extent is a run of bytes that is all data or all zero.
type Extent struct {
	format.Extent
	Data bool // false: reads as zeroes, and takes no space
}

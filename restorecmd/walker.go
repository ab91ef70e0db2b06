// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"iter"

	"virtnb/format"
	"virtnb/internal/nbd"
	"virtnb/overlay"
)

// walker goes through the data of a disk in ascending order.
type walker struct {
	pull func() (format.Extent, error, bool)
	stop func()
	last format.Extent // the first one that does not end before what was asked for
	end  bool
}

func newWalker(data iter.Seq2[format.Extent, error]) *walker {
	w := &walker{}
	w.pull, w.stop = iter.Pull2(data)
	return w
}

// any says whether there is data in e, which is behind all that was asked for
// before.
func (w *walker) any(e format.Extent) (bool, error) {
	for !w.end && w.last.End() <= e.Start {
		next, err, ok := w.pull()
		if err != nil {
			return false, err
		}
		w.last, w.end = next, !ok
	}
	return !w.end && w.last.Start < e.End(), nil
}

// imageData yields the data extents of an image.
func imageData(img overlay.Image) iter.Seq2[format.Extent, error] {
	return func(yield func(format.Extent, error) bool) {
		for e, err := range img.Extents(0, img.Size()) {
			if (err != nil || e.Data) && !yield(e.Extent, err) {
				return
			}
		}
	}
}

// exportData yields the data extents of an NBD export.
func exportData(ctx context.Context, c *nbd.Client) iter.Seq2[format.Extent, error] {
	return func(yield func(format.Extent, error) bool) {
		for e, err := range c.Extents(ctx, nbd.Query{Allocation: true}) {
			if (err != nil || !e.Zero) && !yield(e.Extent, err) {
				return
			}
		}
	}
}

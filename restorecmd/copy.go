// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"virtnb/format"
	"virtnb/overlay"
)

// A disk is copied by workers. The planner walks the extents of the image and
// makes pieces of them, which are cut where the target has its blocks; a worker
// reads a piece, looks for blocks that are zero though the backup has them as
// data, and writes the others. Each block is written once, and no zero is
// written to a target that is new.

const (
	// pieceSize is how many bytes are read and written at a time. It is a
	// multiple of every block of a target.
	pieceSize = 2 << 20

	// copyWorkers is how many pieces are on their way at a time: enough to keep
	// a server busy, and 32 MiB.
	copyWorkers = 16

	// zeroSize is the most bytes that a target is asked to make zero at a time,
	// so that each request ends soon: not every target has a fast way.
	zeroSize = 64 << 20
)

// sink is a disk that is written to. WriteAt and Zero are called by several
// goroutines, for ranges that are multiples of the block, except at the end of
// the disk, and do not overlap.
type sink interface {
	WriteAt(ctx context.Context, p []byte, off int64) error

	// Zero makes a range read as zeroes.
	Zero(ctx context.Context, off, n int64) error

	// Block is the unit in which the target keeps data, in bytes: a power of two
	// that is at most pieceSize.
	Block() int64

	// Fresh says that what is not written reads as zeroes.
	Fresh() bool

	// Commit makes what was written durable and, where the target is a new file,
	// gives it its name.
	Commit(ctx context.Context) error

	// Abort takes back what there is of a new file. After Commit it does nothing.
	Abort()
}

// copier copies an image.
type copier struct {
	img     overlay.Image
	to      sink
	add     func(int64)  // counts bytes of the disk's data that are done
	written atomic.Int64 // bytes
}

// copyImage copies img to a sink, and returns how many bytes it wrote.
func copyImage(ctx context.Context, img overlay.Image, to sink, add func(int64)) (int64, error) {
	c := &copier{img: img, to: to, add: add}
	err := c.run(ctx)
	return c.written.Load(), err
}

func (c *copier) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	pieces := make(chan overlay.Extent)
	group.Go(func() error {
		defer close(pieces)
		return c.plan(ctx, pieces)
	})
	for range copyWorkers {
		group.Go(func() error { return c.work(ctx, pieces) })
	}
	return group.Wait()
}

// plan hands the pieces to the workers.
func (c *copier) plan(ctx context.Context, pieces chan<- overlay.Extent) error {
	for e, err := range blocks(c.img, c.to.Block()) {
		if err != nil {
			return err
		}
		if !e.Data && c.to.Fresh() {
			continue
		}
		for piece := range cut(e) {
			select {
			case pieces <- piece:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// work copies pieces until there are no more.
func (c *copier) work(ctx context.Context, pieces <-chan overlay.Extent) error {
	buf := make([]byte, pieceSize)
	for e := range pieces {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !e.Data {
			if err := c.to.Zero(ctx, e.Start, e.Length); err != nil {
				return err
			}
			continue
		}
		if err := c.copy(ctx, buf[:e.Length], e.Start); err != nil {
			return err
		}
		c.add(e.Length)
	}
	return nil
}

// copy copies the piece at off, with p as its buffer.
func (c *copier) copy(ctx context.Context, p []byte, off int64) error {
	if _, err := c.img.ReadAt(p, off); err != nil {
		return err
	}
	for run := range runs(p, c.to.Block()) {
		part := p[run.Start:run.End()]
		switch {
		case run.Data:
			if err := c.to.WriteAt(ctx, part, off+run.Start); err != nil {
				return err
			}
			c.written.Add(run.Length)
		case !c.to.Fresh():
			if err := c.to.Zero(ctx, off+run.Start, run.Length); err != nil {
				return err
			}
		}
	}
	return nil
}

// blocks yields the extents of an image in whole blocks of so many bytes, in
// order and without gaps: a block with any data is data.
func blocks(img overlay.Image, block int64) iter.Seq2[overlay.Extent, error] {
	return func(yield func(overlay.Extent, error) bool) {
		var data format.Extent // not yielded yet
		var at int64           // the end of what was
		gap := func(to int64) bool {
			return at >= to || yield(overlay.Extent{Extent: format.Extent{Start: at, Length: to - at}}, nil)
		}
		emit := func() bool {
			if data.Length == 0 {
				return true
			}
			ok := gap(data.Start)
			at = data.End()
			return ok && yield(overlay.Extent{Extent: data, Data: true}, nil)
		}
		for e, err := range img.Extents(0, img.Size()) {
			if err != nil {
				yield(overlay.Extent{}, err)
				return
			}
			if !e.Data {
				continue
			}
			start, end := e.Start/block*block, min((e.End()+block-1)/block*block, img.Size())
			if data.Length == 0 || start > data.End() {
				if !emit() {
					return
				}
				data = format.Extent{Start: start}
			}
			data.Length = max(end, data.End()) - data.Start
		}
		if emit() {
			gap(img.Size())
		}
	}
}

// cut cuts an extent into pieces.
func cut(e overlay.Extent) iter.Seq[overlay.Extent] {
	size := int64(zeroSize)
	if e.Data {
		size = pieceSize
	}
	return func(yield func(overlay.Extent) bool) {
		for at := e.Start; at < e.End(); {
			end := min(at/size*size+size, e.End())
			if !yield(overlay.Extent{Extent: format.Extent{Start: at, Length: end - at}, Data: e.Data}) {
				return
			}
			at = end
		}
	}
}

// runs yields what of p is zero and what is not, in blocks of so many bytes.
func runs(p []byte, block int64) iter.Seq[overlay.Extent] {
	return func(yield func(overlay.Extent) bool) {
		var run overlay.Extent
		size := int64(len(p))
		for at := int64(0); at < size; {
			end := min(at+block, size)
			data := !format.IsZero(p[at:end])
			if run.Length > 0 && run.Data != data {
				if !yield(run) {
					return
				}
				run = overlay.Extent{Extent: format.Extent{Start: at}}
			}
			run.Data, run.Length = data, end-run.Start
			at = end
		}
		if run.Length > 0 {
			yield(run)
		}
	}
}

// dataSize is how many bytes of an image are data, in whole blocks.
func dataSize(img overlay.Image, block int64) (n int64, err error) {
	for e, err := range blocks(img, block) {
		if err != nil {
			return 0, fmt.Errorf("extents: %w", err)
		}
		if e.Data {
			n += e.Length
		}
	}
	return n, nil
}

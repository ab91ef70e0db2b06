// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"io"
	"iter"

	"virtnb/format"
)

// cowRun is a range of bytes whose blocks share a state.
type cowRun struct {
	format.Extent
	state cowState
}

// runs yields the runs of e in order, without gaps. ReadAt and Extents both
// follow it.
func (c *COW) runs(e format.Extent) iter.Seq[cowRun] {
	return func(yield func(cowRun) bool) {
		end := cowBlocks(e.End())
		for off := e.Start; off < e.End(); {
			state, next := c.cmap.run(off/cowBlockSize, end)
			stop := min(next*cowBlockSize, e.End())
			if !yield(cowRun{format.Extent{Start: off, Length: stop - off}, state}) {
				return
			}
			off = stop
		}
	}
}

// ReadAt reads as io.ReaderAt says; beyond the end of the disk is io.EOF.
func (c *COW) ReadAt(p []byte, off int64) (int, error) {
	c.life.RLock()
	defer c.life.RUnlock()
	if off < 0 {
		return 0, c.rangeError("read", off, int64(len(p)))
	}
	if c.closed.Load() {
		return 0, c.closedError()
	}
	if off >= c.size {
		return 0, io.EOF
	}
	n := min(int64(len(p)), c.size-off)
	for run := range c.runs(format.Extent{Start: off, Length: n}) {
		if err := c.readRun(p[run.Start-off:run.End()-off], run); err != nil {
			return int(run.Start - off), err
		}
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

func (c *COW) readRun(p []byte, run cowRun) error {
	switch run.state {
	case cowBase:
		return c.readBase(p, run.Start)
	case cowData:
		return c.readData(p, run.Extent)
	default:
		clear(p)
		return nil
	}
}

// readBase needs no lock: the base does not change, so a write that comes
// meanwhile makes this the read before it.
func (c *COW) readBase(p []byte, off int64) error {
	if err := readFull(c.base, p, off); err != nil {
		return fmt.Errorf("base of copy-on-write file %s: %w", c.path, err)
	}
	return nil
}

// readData reads e, of blocks in the data file. A block that became zero
// since the caller looked reads as before or after that; it never gets back
// into the base.
func (c *COW) readData(p []byte, e format.Extent) error {
	for piece := range cowPieces(e) {
		if err := c.failure(); err != nil {
			return err
		}
		mask := cowMask(piece)
		c.locks.rlock(mask)
		err := readFull(c.data, p[piece.Start-e.Start:piece.End()-e.Start], piece.Start)
		c.locks.runlock(mask)
		if err != nil {
			return fmt.Errorf("copy-on-write file %s: %w", c.path, err)
		}
	}
	return nil
}

// Extents yields the runs of [off, off+n) in order, without gaps, neighbours
// of different kind. Blocks that were written are data, blocks that Zero made
// so are zero, all others are what the base says. A change that comes while
// the caller iterates is seen or not. No lock is held meanwhile.
func (c *COW) Extents(off, n int64) iter.Seq2[Extent, error] {
	return cowMerged(func(yield func(Extent, error) bool) {
		if err := c.check("extents", off, n); err != nil {
			yield(Extent{}, err)
			return
		}
		for run := range c.runs(format.Extent{Start: off, Length: n}) {
			if !c.runExtents(run, yield) {
				return
			}
		}
	})
}

// runExtents yields the extents of one run, and tells whether to go on.
func (c *COW) runExtents(run cowRun, yield func(Extent, error) bool) bool {
	if run.state != cowBase {
		return yield(Extent{Extent: run.Extent, Data: run.state == cowData}, nil)
	}
	for x, err := range c.base.Extents(run.Start, run.Length) {
		if !yield(x, err) || err != nil {
			return false
		}
	}
	return true
}

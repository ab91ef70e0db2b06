// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"

	"virtnb/format"
)

// WriteAt writes p at off. A range that is not within the disk is an error,
// and nothing is written. After another error the first n bytes are written;
// of the rest, blocks that had been written before may be old or new, and all
// others are as they were.
func (c *COW) WriteAt(p []byte, off int64) (n int, err error) {
	c.life.RLock()
	defer c.life.RUnlock()
	if err := c.checkChange("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	for piece := range cowPieces(format.Extent{Start: off, Length: int64(len(p))}) {
		if err := c.writePiece(p[piece.Start-off:piece.End()-off], piece); err != nil {
			return int(piece.Start - off), err
		}
	}
	return len(p), nil
}

// writePiece writes p to e, a range within one map sector: content first, then
// the blocks' state, so that an error in between leaves the blocks where they
// were.
func (c *COW) writePiece(p []byte, e format.Extent) error {
	head, body, tail := cowSplit(e, c.size)
	headFill, err := c.fill(head)
	if err != nil {
		return err
	}
	tailFill, err := c.fill(tail)
	if err != nil {
		return err
	}
	mask := cowMask(e)
	c.locks.lock(mask)
	defer c.locks.unlock(mask)
	if err := c.writeEdge(p[:head.Length], head, headFill); err != nil {
		return err
	}
	if err := c.writeData(p[head.Length:head.Length+body.Length], body.Start); err != nil {
		return err
	}
	if err := c.writeEdge(p[head.Length+body.Length:], tail, tailFill); err != nil {
		return err
	}
	return c.cmap.set(e, cowData)
}

// fill returns a buffer for the block that e, a partial one, lies in. While
// the block is in the base it holds the base's bytes, read here and not under
// the lock because the base may take its time. A block never gets back into
// the base, so if it is there when the lock is held, the buffer is right.
func (c *COW) fill(e format.Extent) ([]byte, error) {
	if e.Length == 0 {
		return nil, nil
	}
	block := cowBlockAt(e.Start, c.size)
	buf := make([]byte, block.Length)
	if c.cmap.state(block.Start/cowBlockSize) != cowBase {
		return buf, nil
	}
	return buf, c.readBase(buf, block.Start)
}

// writeEdge writes p to e, a part of one block, and the rest of that block if
// the data file does not have it. The caller holds the lock.
func (c *COW) writeEdge(p []byte, e format.Extent, fill []byte) error {
	if e.Length == 0 {
		return nil
	}
	block := cowBlockAt(e.Start, c.size)
	switch c.cmap.state(block.Start / cowBlockSize) {
	case cowData:
		return c.writeData(p, e.Start)
	case cowZero:
		clear(fill)
	}
	copy(fill[e.Start-block.Start:], p)
	return c.writeData(fill, block.Start)
}

func (c *COW) writeData(p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := c.data.WriteAt(p, off); err != nil {
		return fmt.Errorf("copy-on-write file %s: write of %d bytes at %d: %w", c.path, len(p), off, bare(err))
	}
	return nil
}

// Zero makes [off, off+n) read as zeroes. Whole blocks take no space in the
// data file then, and are holes in Extents. Errors are as for WriteAt, except
// that it is not told how far it came.
func (c *COW) Zero(off, n int64) error {
	c.life.RLock()
	defer c.life.RUnlock()
	if err := c.checkChange("zero", off, n); err != nil {
		return err
	}
	for piece := range cowPieces(format.Extent{Start: off, Length: n}) {
		head, body, tail := cowSplit(piece, c.size)
		if err := c.zeroBlocks(body); err != nil {
			return err
		}
		for _, edge := range []format.Extent{head, tail} {
			if edge.Length == 0 {
				continue
			}
			if err := c.writePiece(make([]byte, edge.Length), edge); err != nil {
				return err
			}
		}
	}
	return nil
}

// zeroBlocks zeroes e, of whole blocks within one map sector. The state alone
// makes them read as zeroes: a file system that cannot punch holes costs
// space, and nothing else.
func (c *COW) zeroBlocks(e format.Extent) error {
	if e.Length == 0 {
		return nil
	}
	mask := cowMask(e)
	c.locks.lock(mask)
	defer c.locks.unlock(mask)
	if err := c.cmap.set(e, cowZero); err != nil {
		return err
	}
	_ = c.data.Punch(e.Start, e.Length)
	return nil
}

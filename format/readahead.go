// SPDX-License-Identifier: Apache-2.0

package format

import (
	"context"
	"io"
)

// Reading a whole file at the speed of its storage: several reads are under way
// while what came before is worked on.

const (
	aheadChunk = 1 << 20 // bytes of one read
	aheadDepth = 4       // reads under way
)

// chunk is a piece of a file on its way.
type chunk struct {
	off, length int64
	hole        bool // nothing was read: the piece is a hole
	buf         []byte
	err         error
	done        chan struct{} // closed when buf or err is there
}

// readAhead calls use for each piece of the file, in order. The piece is valid
// during the call.
func (s *Saveset) readAhead(ctx context.Context, use func(c *chunk) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	spare := make(chan []byte, aheadDepth+2)
	for range aheadDepth + 2 {
		spare <- nil
	}
	queue := make(chan *chunk, aheadDepth)
	var failed error
	go func() {
		defer close(queue)
		failed = s.startReads(ctx, queue, spare)
	}()
	for c := range queue {
		<-c.done
		if err := ctx.Err(); err != nil {
			cancel()
			continue // what is under way ends before we do
		}
		if err := use(c); err != nil {
			cancel()
			for c := range queue {
				<-c.done
			}
			return err
		}
		spare <- c.buf[:0:cap(c.buf)]
	}
	return failed
}

// startReads queues reads of all the file, as there are buffers to spare.
func (s *Saveset) startReads(ctx context.Context, queue chan<- *chunk, spare <-chan []byte) error {
	var holes *holeMap
	if s.Fd() >= 0 && isSparse(s.file) {
		holes = &holeMap{f: s.file}
	}
	for off := int64(0); off < s.Size; {
		c := &chunk{off: off, length: min(aheadChunk, s.Size-off), done: make(chan struct{})}
		if holes != nil {
			f := Frame{Extent: Extent{Start: off, Length: s.Size - off}, Pos: off}
			if err := holes.cut(&f); err != nil {
				return err
			}
			if c.hole = f.Zero; c.hole {
				c.length = f.Length
			}
			c.length = min(c.length, f.Length)
		}
		off += c.length
		select {
		case buf := <-spare:
			c.start(s, buf)
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case queue <- c:
		case <-ctx.Done():
			<-c.done
			return ctx.Err()
		}
	}
	return nil
}

// start begins to read the chunk into buf.
func (c *chunk) start(s *Saveset, buf []byte) {
	if c.hole {
		c.buf = buf[:0]
		close(c.done)
		return
	}
	if int64(cap(buf)) < c.length {
		buf = make([]byte, min(aheadChunk, s.Size))
	}
	c.buf = buf[:c.length]
	go func() {
		defer close(c.done)
		var n int
		if n, c.err = s.r.ReadAt(c.buf, c.off); n == len(c.buf) {
			c.err = nil
		}
		c.err = noEOF(c.err)
	}()
}

// unreadable finds what of a chunk cannot be read, in pieces as storage loses
// them, and reads the rest.
func (c *chunk) unreadable(s *Saveset) (lost Extents) {
	for at := int64(0); at < c.length; at += sector {
		piece := c.buf[at:min(c.length, at+sector)]
		if _, err := io.ReadFull(io.NewSectionReader(s.r, c.off+at, int64(len(piece))), piece); err != nil {
			lost = lost.extend(Extent{c.off + at, int64(len(piece))})
		}
	}
	return lost
}

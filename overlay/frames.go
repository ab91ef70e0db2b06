// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
)

// A large read touches several LZ4 frames, and decoding them takes most of its
// time. So they are decoded side by side, by as many goroutines as there are
// processors. Those that such a read wants as a whole are decoded to where they
// are wanted: who reads a disk from start to end does not come back, and would
// only drive others out of the cache.

// frameRead is the part of a read that comes from one frame.
type frameRead struct {
	frame
	p   []byte
	off int64 // in the content of the frame
}

// framesRead are those of one read.
type framesRead []frameRead

// largeRead is the size of a read, in bytes, from which on frames are decoded
// side by side: that of one frame as they are written today.
const largeRead = 256 << 10

var framesReads = sync.Pool{New: func() any { return new(framesRead) }}

// addFrame reads a part of a frame, now or in decode.
func (g *gather) addFrame(f frameRead) error {
	if g.whole <= largeRead || g.whole == int64(len(f.p)) {
		return f.readAt(f.p, f.off, g.c.cache)
	}
	if g.frames == nil {
		g.frames = framesReads.Get().(*framesRead)
	}
	*g.frames = append(*g.frames, f)
	return nil
}

// decode reads the frames that were added.
func (g *gather) decode() error {
	if g.frames == nil {
		return nil
	}
	err := g.frames.read(g.c.cache)
	clear(*g.frames)
	*g.frames = (*g.frames)[:0]
	framesReads.Put(g.frames)
	g.frames = nil
	return err
}

// read reads all. A panic of one reader becomes that of the caller, who may
// know what to do with it.
func (fs framesRead) read(c *Cache) error {
	n := min(len(fs), runtime.GOMAXPROCS(0))
	var next atomic.Int64
	var wg sync.WaitGroup
	errs, panics := make([]error, n), make([]any, n)
	for i := range n {
		work := func() {
			defer func() { panics[i] = recover() }()
			for k := next.Add(1); k <= int64(len(fs)) && errs[i] == nil; k = next.Add(1) {
				errs[i] = fs[k-1].read(c)
			}
		}
		if i == n-1 {
			work()
		} else {
			wg.Go(work)
		}
	}
	wg.Wait()
	for _, p := range panics {
		if p != nil {
			panic(p)
		}
	}
	return errors.Join(errs...)
}

// read reads the part. Of a frame that is wanted as a whole nothing is put into
// the cache.
func (f frameRead) read(c *Cache) error {
	if f.off > 0 || len(f.p) < int(f.ref.length) || f.ref.length > wholeFrame || f.cached(c) {
		return f.readAt(f.p, f.off, c)
	}
	return f.decodeTo(f.p)
}

// cached says whether the content of the frame, a small one, is in the cache.
func (f frame) cached(c *Cache) bool {
	e := c.lookup(cacheKey{f.src.id, 0, f.pos})
	if e == nil {
		return false
	}
	c.put(e)
	return true
}

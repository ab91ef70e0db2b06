// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/pierrec/lz4/v4"

	"virtnb/format"
)

// Random access to LZ4 frames.
//
// A frame of up to wholeFrame bytes is decoded and cached as a whole. In a
// larger one, such as the 32 MiB of virtnbdbackup, blocks may refer to the
// 64 KiB of output before them, so decoding can begin in the middle only where
// that output is known. The first reader of an offset decodes up to there and
// leaves a mark every segmentSize bytes: the file offset of a block and the
// output before it (itself compressed, as it is most of what the marks cost).
// Whoever comes later decodes one segment from its mark. What the first reader
// decodes on its way is cached as far as it is close to its goal.
//
// A block is never used without a verified checksum: frames without checksums
// of their blocks are decoded to the end, whose checksum covers all, before
// any of it is returned.

const (
	// wholeFrame is the largest content of a frame that is cached as a whole.
	wholeFrame = 1 << 20

	// segmentSize is how much of a larger frame is decoded for one byte, at most
	// (a frame of larger blocks has segments of one block). Together with the
	// window before it, it fills a buffer of 1 MiB.
	segmentSize = 1<<20 - format.LZ4Window
)

var errLoadPanicked = errors.New("decoding failed")

// frame is one LZ4 frame of an image.
type frame struct {
	src *source
	pos int64
	ref frameRef
}

// readAt copies content of the frame at off into p.
func (f frame) readAt(p []byte, off int64, c *Cache) error {
	if _, damaged := slices.BinarySearch(f.src.damaged, f.pos); damaged {
		return f.readBeforeDamage(p, off)
	}
	if f.ref.length <= wholeFrame {
		return f.readSmall(p, off, c)
	}
	for len(p) > 0 {
		n := f.readCached(p, off, c)
		if n == 0 {
			var err error
			if n, err = f.readByState(p, off, c); err != nil {
				return err
			}
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// readBeforeDamage copies content of a frame that is damaged further behind. It
// decodes the frame from its start, block by block, and keeps nothing.
func (f frame) readBeforeDamage(p []byte, off int64) error {
	z, err := f.open()
	if err != nil {
		return err
	}
	in := inputs.Get().(*format.LZ4Input)
	defer inputs.Put(in)
	buf := make([]byte, format.LZ4Window+z.BlockMax())
	cur, from := z.Start(), 0
	for end := off + int64(len(p)); cur.Out < end; {
		before := cur.Out
		n, err := z.Decode(&cur, buf, from, in)
		if err == nil && n == 0 {
			err = &format.CorruptError{File: f.src.Path, Offset: cur.Pos, Reason: "LZ4 blocks without content"}
		}
		if err != nil && n == 0 {
			return f.src.trust(err)
		}
		part := format.Extent{Start: before, Length: int64(n)}.Intersect(format.Extent{Start: off, Length: int64(len(p))})
		copy(p[max(0, part.Start-off):][:part.Length], buf[int64(from)+part.Start-before:])
		from = copy(buf, buf[max(0, from+n-format.LZ4Window):from+n])
	}
	return f.src.trust(nil)
}

// readCached copies what is cached of the segment that holds off where all
// blocks but the last are full, as every writer makes them. It returns the
// number of bytes, 0 if there are none.
func (f frame) readCached(p []byte, off int64, c *Cache) int {
	e := c.lookup(cacheKey{f.src.id, int32(off / segmentSize), f.pos})
	if e == nil {
		return 0
	}
	defer c.put(e)
	if !e.done.Load() || off < e.out || off >= e.out+int64(len(e.data)) {
		return 0
	}
	e.use()
	return copy(p, e.data[off-e.out:])
}

// readByState copies content at off into p, at most to the end of a segment,
// and returns the number of bytes.
func (f frame) readByState(p []byte, off int64, c *Cache) (int, error) {
	e, err := c.get(cacheKey{f.src.id, stateSegment, f.pos}, f.newState)
	if err != nil {
		return 0, err
	}
	defer c.put(e)
	return f.readFrom(e, p, off, c)
}

func (f frame) open() (*format.LZ4Frame, error) {
	return f.src.OpenLZ4(f.pos, int64(f.ref.stored), int64(f.ref.length))
}

func (f frame) readSmall(p []byte, off int64, c *Cache) error {
	e, err := c.get(cacheKey{f.src.id, 0, f.pos}, func(e *cacheEntry) error {
		e.buf = c.alloc(int(f.ref.length))
		e.data = e.buf
		return f.decodeTo(e.data)
	})
	if err != nil {
		return err
	}
	copy(p, e.data[off:])
	c.put(e)
	return nil
}

// decodeTo decodes all of the frame.
func (f frame) decodeTo(p []byte) error {
	z, err := f.open()
	if err != nil {
		return err
	}
	in := inputs.Get().(*format.LZ4Input)
	defer inputs.Put(in)
	cur := z.Start()
	_, err = z.Decode(&cur, p, 0, in)
	return f.src.trust(err)
}

var inputs = sync.Pool{New: func() any { return new(format.LZ4Input) }}

// frameState knows how to decode a large frame from its middle. Images come and
// go while it is in the cache, so it holds no open saveset: who reads brings the
// frame in one of his own.
type frameState struct {
	z *format.LZ4Frame // knows the header; to be read by [format.LZ4Frame.In]

	mu    sync.Mutex // guards the rest; held while decoding goes forward
	marks []mark     // starts of segments; the last one is where decoding stands
	next  format.LZ4Cursor
	bytes int64 // memory taken by the marks
	err   error // damage at next
}

// mark is where a segment starts.
type mark struct {
	pos, out int64
	window   []byte // output before it as an LZ4 block, or as it is
	plain    int    // bytes of output in window
}

func (f frame) newState(e *cacheEntry) error {
	z, err := f.open()
	if err != nil {
		return err
	}
	st := &frameState{z: z, next: z.Start()}
	st.marks = []mark{{pos: st.next.Pos}}
	e.state = st
	return nil
}

// readFrom does the work of readByState with the entry of the state.
func (f frame) readFrom(state *cacheEntry, p []byte, off int64, c *Cache) (int, error) {
	m, i, err := state.state.markOf(f, off, c, state)
	if err != nil {
		return 0, err
	}
	seg, err := c.get(cacheKey{f.src.id, int32(i), f.pos}, func(e *cacheEntry) error {
		return f.loadSegment(e, state.state.z, m, c)
	})
	if err != nil {
		return 0, err
	}
	defer c.put(seg)
	return copy(p, seg.data[off-m.out:]), nil
}

// markOf returns the mark of the segment that holds off, and its number. It
// decodes forward as far as is needed.
func (st *frameState) markOf(f frame, off int64, c *Cache, e *cacheEntry) (mark, int, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	goal := off
	if !st.z.Checked() {
		goal = int64(f.ref.length) - 1
	}
	for st.next.Out <= goal {
		if st.err == nil {
			st.err = st.forward(f, off, c)
		}
		if st.err != nil {
			return mark{}, 0, st.takeError()
		}
		c.resize(e, entryOverhead+st.bytes)
	}
	i := sort.Search(len(st.marks), func(i int) bool { return st.marks[i].out > off }) - 1
	return st.marks[i], i, nil
}

// takeError returns the error of going forward. Damage is for ever; other
// errors are tried again.
func (st *frameState) takeError() error {
	err := st.err
	if !errors.Is(err, format.ErrCorrupt) {
		st.err = nil
	}
	return err
}

// nearSegments is how many segments before its goal a reader caches.
const nearSegments = 2

// forward decodes the segment at next and leaves a mark behind it.
func (st *frameState) forward(f frame, goal int64, c *Cache) error {
	buf, from, err := f.window(st.z, st.marks[len(st.marks)-1], c)
	if err != nil {
		return err
	}
	next := st.next
	n, err := f.decode(st.z, &next, buf, from)
	if err != nil {
		c.free(buf)
		return err
	}
	m := mark{pos: next.Pos, out: next.Out}
	if st.z.Linked() && next.Out < int64(f.ref.length) {
		m.pack(buf[max(0, from+n-format.LZ4Window):from+n], c)
	}
	if ahead := goal - st.next.Out; ahead >= 0 && ahead < nearSegments*segmentSize {
		c.offer(cacheKey{f.src.id, int32(len(st.marks) - 1), f.pos}, st.next.Out, buf, buf[from:from+n])
	} else {
		c.free(buf)
	}
	st.marks = append(st.marks, m)
	st.bytes += int64(len(m.window)) + markOverhead
	st.next = next
	return nil
}

// markOverhead is the memory of a mark beside its window, bytes.
const markOverhead = 64

// loadSegment decodes the segment at m.
func (f frame) loadSegment(e *cacheEntry, z *format.LZ4Frame, m mark, c *Cache) error {
	buf, from, err := f.window(z, m, c)
	if err != nil {
		return err
	}
	cur := format.LZ4Cursor{Pos: m.pos, Out: m.out}
	n, err := f.decode(z, &cur, buf, from)
	if err != nil {
		c.free(buf)
		return err
	}
	e.buf, e.data, e.out = buf, buf[from:from+n], m.out
	return nil
}

// decode decodes a segment behind the window buf[:from].
func (f frame) decode(z *format.LZ4Frame, cur *format.LZ4Cursor, buf []byte, from int) (int, error) {
	in := inputs.Get().(*format.LZ4Input)
	defer inputs.Put(in)
	n, err := z.In(f.src.Saveset).Decode(cur, buf, from, in)
	if err == nil && n == 0 {
		err = &format.CorruptError{File: f.src.Path, Offset: cur.Pos, Reason: "LZ4 blocks without content"}
	}
	return n, f.src.trust(err)
}

// window returns a buffer for a segment behind the output before m.
func (f frame) window(z *format.LZ4Frame, m mark, c *Cache) (buf []byte, from int, err error) {
	segment := int(min(int64(f.ref.length)-m.out, int64(max(segmentSize, z.BlockMax()))))
	buf = c.alloc(m.plain + segment)
	if len(m.window) == m.plain {
		return buf, copy(buf, m.window), nil
	}
	if n, err := lz4.UncompressBlock(m.window, buf[:m.plain]); err != nil || n != m.plain {
		return nil, 0, fmt.Errorf("decoder state of %s is damaged in memory", f.src.Path)
	}
	return buf, m.plain, nil
}

// pack keeps output as the window of m.
func (m *mark) pack(output []byte, c *Cache) {
	m.plain = len(output)
	packed := c.alloc(lz4.CompressBlockBound(len(output)))
	defer c.free(packed)
	n, err := lz4.CompressBlock(output, packed, nil)
	if err != nil || n == 0 || n >= len(output) {
		n = copy(packed, output)
	}
	m.window = append([]byte(nil), packed[:n]...)
}

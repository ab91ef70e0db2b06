// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"iter"
	"math"
	"math/bits"
	"sort"

	"virtnb/format"
)

// A chain is flattened into runs: for each byte of the disk, the saveset and
// the place in it that hold its newest content. Runs are kept as one slice for
// each field, 18 bytes a run and 12 more where a chain has compressed savesets;
// with a million runs that is what decides how many of them a cache line has.
//
// Flattening merges layers, sorted lists of runs with gaps where a saveset says
// nothing, two at a time: n runs of k savesets cost n log k.

// run is one run by value.
type run struct {
	start, length int64
	pos           int64 // file offset of its first byte, or of the LZ4 frame
	frame         frameRef
	source        uint16 // number of its saveset, 0 for zeroes
}

// frameRef says which part of an LZ4 frame a run is. Frames have less than
// 4 GiB, compressed and not.
type frameRef struct {
	skip   uint32 // bytes of the frame's content before the run
	stored uint32 // bytes of the frame in the file
	length uint32 // bytes of the frame's content; 0: not compressed
}

// after returns r without its first n bytes.
func (r run) after(n int64) run {
	r.start += n
	r.length -= n
	switch {
	case r.frame.length > 0:
		r.frame.skip += uint32(n)
	case r.source > 0:
		r.pos += n
	}
	return r
}

// runs is a list of runs, sorted, without overlap.
type runs struct {
	start  []int64
	length []int64 // nil once the list has no gaps
	pos    []int64
	source []uint16
	frame  []frameRef // nil while no run is compressed
}

// add appends r, and joins it to the run before it where both are zeroes.
func (l *runs) add(r run) {
	last := len(l.start) - 1
	if r.length == 0 {
		return
	}
	if last >= 0 && r.source == 0 && l.source[last] == 0 && l.start[last]+l.length[last] == r.start {
		l.length[last] += r.length
		return
	}
	l.start = append(l.start, r.start)
	l.length = append(l.length, r.length)
	l.pos = append(l.pos, r.pos)
	l.source = append(l.source, r.source)
	if r.frame.length > 0 && l.frame == nil {
		l.frame = make([]frameRef, last+1, cap(l.start))
	}
	if l.frame != nil {
		l.frame = append(l.frame, r.frame)
	}
}

func (l *runs) at(i int) run {
	r := run{start: l.start[i], length: l.length[i], pos: l.pos[i], source: l.source[i]}
	if l.frame != nil {
		r.frame = l.frame[i]
	}
	return r
}

// layer is what one or several savesets say of the disk.
type layer struct {
	runs
	size  int64 // of the disk after them
	least int64 // smallest size the disk had among them: older bytes behind it are gone
}

// merge lays newer over older.
func merge(older, newer layer) layer {
	out := layer{size: newer.size, least: min(older.least, newer.least)}
	c := clipper{src: &older.runs, end: newer.least, out: &out.runs}
	for i := range newer.start {
		r := newer.at(i)
		c.copyUntil(r.start)
		c.skipUntil(r.start + r.length)
		out.add(r)
	}
	c.copyUntil(newer.least)
	return out
}

// clipper walks the runs of src below the disk offset end, once.
type clipper struct {
	src *runs
	i   int   // the current run
	off int64 // disk offset reached
	end int64
	out *runs
}

// copyUntil adds to out what src has between the offset reached and to.
func (c *clipper) copyUntil(to int64) {
	to = min(to, c.end)
	for ; c.i < len(c.src.start); c.i++ {
		r := c.src.at(c.i)
		if cut := c.off - r.start; cut > 0 {
			if cut >= r.length {
				continue
			}
			r = r.after(cut)
		}
		if r.start >= to {
			return
		}
		if r.start+r.length > to {
			r.length = to - r.start
			c.out.add(r)
			c.off = to
			return
		}
		c.out.add(r)
	}
}

// skipUntil drops what src has before off.
func (c *clipper) skipUntil(off int64) {
	c.off = max(c.off, off)
	for c.i < len(c.src.start) && c.src.start[c.i]+c.src.length[c.i] <= c.off {
		c.i++
	}
}

// flatten merges layers, oldest first.
func flatten(layers []layer) layer {
	if len(layers) == 1 {
		return layers[0]
	}
	mid := len(layers) / 2
	return merge(flatten(layers[:mid]), flatten(layers[mid:]))
}

// readLayer reads the frames of a saveset; source is its number.
func readLayer(s *format.Saveset, source uint16) (layer, error) {
	l := layer{size: s.Meta.VirtualSize, least: s.Meta.VirtualSize}
	for f, err := range s.Frames() {
		if err != nil {
			return l, err
		}
		r, err := runOf(s, f, source)
		if err != nil {
			return l, err
		}
		l.add(r)
	}
	return l, nil
}

// runOf is a frame as a run.
func runOf(s *format.Saveset, f format.Frame, source uint16) (run, error) {
	r := run{start: f.Start, length: f.Length}
	if f.Zero {
		return r, nil
	}
	r.pos, r.source = f.Pos, source
	if s.Meta.Compressed() {
		if f.Length > math.MaxUint32 || f.Stored > math.MaxUint32 {
			return r, &format.CorruptError{File: s.Path, Offset: f.Pos, Reason: fmt.Sprintf("LZ4 frame of %d bytes is too large", f.Length)}
		}
		r.frame = frameRef{stored: uint32(f.Stored), length: uint32(f.Length)}
	}
	return r, nil
}

// index is a flattened chain: runs that cover the disk without a gap, and a
// table that leads a disk offset to the few runs around it, so that finding
// the run costs two or three cache lines however many runs there are.
type index struct {
	runs
	size    int64
	buckets []uint32 // run that holds disk offset i<<shift
	shift   uint
}

// bucketRuns is how many runs a bucket has on average.
const bucketRuns = 8

// newIndex closes the gaps of l with zeroes and builds the table. It consumes
// l.
func newIndex(l layer) *index {
	var all runs
	gaps := 0
	end := int64(0)
	for i, start := range l.start {
		if start > end {
			gaps++
		}
		end = start + l.length[i]
	}
	if gaps == 0 && end == l.size {
		all = runs{start: fit(l.start), pos: fit(l.pos), source: fit(l.source), frame: fit(l.frame)}
	} else {
		all = closeGaps(l, len(l.start)+gaps+1)
	}
	x := &index{runs: all, size: l.size}
	x.length = nil // the next start tells it
	x.fillBuckets()
	return x
}

// fit returns s without room behind its end.
func fit[T any](s []T) []T {
	if cap(s)-len(s) <= len(s)/16 {
		return s
	}
	return append(make([]T, 0, len(s)), s...)
}

func closeGaps(l layer, n int) runs {
	all := runs{start: make([]int64, 0, n), length: make([]int64, 0, n), pos: make([]int64, 0, n), source: make([]uint16, 0, n)}
	if l.frame != nil {
		all.frame = make([]frameRef, 0, n)
	}
	end := int64(0)
	for i := range l.start {
		r := l.at(i)
		all.add(run{start: end, length: r.start - end})
		all.add(r)
		end = r.start + r.length
	}
	all.add(run{start: end, length: l.size - end})
	return all
}

func (x *index) fillBuckets() {
	n := len(x.start)
	want := max(1, n/bucketRuns)
	per := uint64(max(1, x.size)) / uint64(want)
	x.shift = uint(bits.Len64(per)) // the next power of two above per
	x.buckets = make([]uint32, (x.size>>x.shift)+2)
	i := 0
	for b := range x.buckets {
		off := int64(b) << x.shift
		for i+1 < n && x.start[i+1] <= off {
			i++
		}
		x.buckets[b] = uint32(i)
	}
}

// find returns the number of the run that holds off, which is inside the disk.
func (x *index) find(off int64) int {
	b := off >> x.shift
	lo, hi := int(x.buckets[b]), int(x.buckets[b+1])
	return lo + sort.Search(hi-lo, func(i int) bool { return x.start[lo+i+1] > off })
}

// walk yields the pieces of [off, off+n) in order; the range is inside the
// disk. Reads and extents both come from here.
func (x *index) walk(off, n int64) iter.Seq[run] {
	return func(yield func(run) bool) {
		end := off + n
		if n <= 0 {
			return
		}
		for i := x.find(off); off < end; i++ {
			next := x.size
			if i+1 < len(x.start) {
				next = x.start[i+1]
			}
			r := run{start: x.start[i], length: next - x.start[i], pos: x.pos[i], source: x.source[i]}
			if x.frame != nil {
				r.frame = x.frame[i]
			}
			r = r.after(off - r.start)
			r.length = min(r.length, end-off)
			if !yield(r) {
				return
			}
			off += r.length
		}
	}
}

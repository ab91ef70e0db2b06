// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"sort"

	"virtnb/format"
)

// Survey knows of a disk at a restore point where its data is, without being
// able to read it. The survey of the next restore point is made from it and one
// saveset, so that those of all points of a chain cost no more than opening
// the chain once. It does not change, and has no file open.
type Survey struct {
	last     *format.Saveset // closed; only what is known of it
	identity uint64
	size     int64
	data     []format.Extent // sorted, apart from each other
	total    int64           // bytes in data
	written  []format.Extent // what the last saveset says something of
	resized  bool            // by the last saveset; true for a full
}

// Survey reads the frames of a saveset and returns the survey of its restore
// point. before is that of the point that it holds the changes of, nil for a
// full. Errors are those of [Open].
func (p *Pool) Survey(before *Survey, file string) (*Survey, error) {
	s, err := format.OpenSaveset(file)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	next := &Survey{last: s, size: s.Meta.VirtualSize, resized: true}
	var older []format.Extent
	switch {
	case before != nil:
		if err := follows(s, before.last); err != nil {
			return nil, err
		}
		next.identity = before.identity
		if s.Meta.Incremental {
			next.resized, older = next.size != before.size, before.data
		}
	case s.Meta.Incremental:
		return nil, firstIsIncremental(file)
	}
	l, err := readLayer(s, 1)
	if err != nil {
		return nil, err
	}
	next.identity = chained(next.identity, p.identities.file(s))
	next.lay(older, l)
	return next, nil
}

func firstIsIncremental(file string) error {
	return fmt.Errorf("%s is an incremental and cannot be the first of a chain: %w", file, format.ErrChain)
}

// lay finds the data of the disk when a layer lies over older data.
func (v *Survey) lay(older []format.Extent, l layer) {
	off := int64(0) // reached on the disk
	keep := func(until int64) {
		for len(older) > 0 && older[0].Start < until {
			start, end := max(older[0].Start, off), min(older[0].End(), until)
			v.data = join(v.data, start, end)
			if older[0].End() > until {
				return
			}
			older = older[1:]
		}
	}
	for i, start := range l.start {
		end := start + l.length[i]
		keep(start)
		if l.source[i] > 0 {
			v.data = join(v.data, start, end)
		}
		v.written = join(v.written, start, end)
		off = end
	}
	keep(l.size)
	for _, e := range v.data {
		v.total += e.Length
	}
}

// join appends a run to a list, to the last run where it begins at its end.
func join(list []format.Extent, start, end int64) []format.Extent {
	last := len(list) - 1
	switch {
	case start >= end:
	case last >= 0 && list[last].End() == start:
		list[last].Length += end - start
	default:
		list = append(list, format.Extent{Start: start, Length: end - start})
	}
	return list
}

// Identity is that of the image of the chain, as it was read.
func (v *Survey) Identity() uint64 { return v.identity }

// Size is that of the disk in bytes.
func (v *Survey) Size() int64 { return v.size }

// Allocated is the number of bytes of data in a part of the disk.
func (v *Survey) Allocated(part format.Extent) (n int64) {
	if part.Start <= 0 && part.End() >= v.size {
		return v.total
	}
	for _, e := range v.data[firstBehind(v.data, part.Start):] {
		if e.Start >= part.End() {
			break
		}
		n += min(e.End(), part.End()) - max(e.Start, part.Start)
	}
	return n
}

// Changed says whether a part of the disk can have other bytes than it had at
// the restore point before.
func (v *Survey) Changed(part format.Extent) bool {
	i := firstBehind(v.written, part.Start)
	return v.resized || i < len(v.written) && v.written[i].Start < part.End()
}

// firstBehind is the number of the first run that ends behind off.
func firstBehind(list []format.Extent, off int64) int {
	return sort.Search(len(list), func(i int) bool { return list[i].End() > off })
}

// Memory is about the number of bytes that the survey takes.
func (v *Survey) Memory() int64 { return int64(cap(v.data)+cap(v.written))*16 + 1024 }

// SPDX-License-Identifier: Apache-2.0

package format

import (
	"cmp"
	"slices"
	"sort"
)

// Extents is a set of bytes of a disk: ascending, none of no length, and no two
// that touch. Nothing changes one: every method returns a new set.
type Extents []Extent

// WholeDisk is every byte that a disk can have.
var WholeDisk = Extents{{0, maxDisk}}

// ExtentsOf is the set of all bytes in list, which may overlap in any order.
func ExtentsOf(list ...Extent) Extents {
	sorted := slices.SortedFunc(slices.Values(list), func(a, b Extent) int { return cmp.Compare(a.Start, b.Start) })
	var s Extents
	for _, e := range sorted {
		s = s.extend(e)
	}
	return s
}

// extend appends e, which does not start before the last extent, in place.
func (s Extents) extend(e Extent) Extents {
	last := len(s) - 1
	switch {
	case e.Length <= 0:
		return s
	case last >= 0 && e.Start <= s[last].End():
		s[last].Length = max(s[last].End(), e.End()) - s[last].Start
		return s
	}
	return append(s, e)
}

// Union is the set of bytes in s or o.
func (s Extents) Union(o Extents) Extents {
	return ExtentsOf(slices.Concat(s, o)...)
}

// Without is the set of bytes in s and not in o.
func (s Extents) Without(o Extents) Extents {
	var out Extents
	for _, e := range s {
		for i := o.behind(e.Start); i < len(o) && o[i].Start < e.End(); i++ {
			out = out.extend(Extent{e.Start, o[i].Start - e.Start})
			e = Extent{o[i].End(), e.End() - o[i].End()}
		}
		out = out.extend(e)
	}
	return out
}

// Intersect is the set of bytes in both s and o.
func (s Extents) Intersect(o Extents) Extents {
	var out Extents
	for _, e := range s {
		for i := o.behind(e.Start); i < len(o) && o[i].Start < e.End(); i++ {
			out = out.extend(e.Intersect(o[i]))
		}
	}
	return out
}

// Overlaps says whether e has a byte in s.
func (s Extents) Overlaps(e Extent) bool {
	i := s.behind(e.Start)
	return e.Length > 0 && i < len(s) && s[i].Start < e.End()
}

// Length is the number of bytes in s.
func (s Extents) Length() (n int64) {
	for _, e := range s {
		n += e.Length
	}
	return n
}

// behind is the index of the first extent that ends behind off.
func (s Extents) behind(off int64) int {
	return sort.Search(len(s), func(i int) bool { return s[i].End() > off })
}

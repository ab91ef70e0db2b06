// SPDX-License-Identifier: Apache-2.0

package format

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// Sets of bytes are compared with a table of booleans.
func TestExtentsAgainstBooleans(t *testing.T) {
	const size = 64
	rng := rand.New(rand.NewPCG(1, 2))
	random := func() (Extents, [size]bool) {
		var list []Extent
		var bytes [size]bool
		for range rng.IntN(8) {
			e := Extent{Start: rng.Int64N(size), Length: 0}
			e.Length = rng.Int64N(min(12, size-e.Start+1))
			list = append(list, e)
			for i := e.Start; i < e.End(); i++ {
				bytes[i] = true
			}
		}
		return ExtentsOf(list...), bytes
	}
	for range 5000 {
		a, inA := random()
		b, inB := random()
		e := Extent{rng.Int64N(size), rng.Int64N(10)}
		var union, without, both [size]bool
		n, overlaps := int64(0), false
		for i := range size {
			union[i], without[i], both[i] = inA[i] || inB[i], inA[i] && !inB[i], inA[i] && inB[i]
			if inA[i] {
				n++
			}
			overlaps = overlaps || inA[i] && int64(i) >= e.Start && int64(i) < e.End()
		}
		wantExtents(t, "a", a, inA)
		wantExtents(t, "union", a.Union(b), union)
		wantExtents(t, "without", a.Without(b), without)
		wantExtents(t, "intersection", a.Intersect(b), both)
		if a.Length() != n || a.Overlaps(e) != overlaps {
			t.Fatalf("%v: length %d, want %d; overlaps %v: %v", a, a.Length(), n, e, !overlaps)
		}
	}
}

func wantExtents(t *testing.T, what string, got Extents, in [64]bool) {
	t.Helper()
	var want Extents
	for i := range in {
		if in[i] && (i == 0 || !in[i-1]) {
			want = append(want, Extent{Start: int64(i)})
		}
		if in[i] {
			want[len(want)-1].Length++
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s is %v, want %v", what, got, want)
	}
}

// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"virtnb/format"
)

func TestCOWSplit(t *testing.T) {
	const b = cowBlockSize
	for _, c := range []struct{ start, end, size, bodyStart, bodyEnd int64 }{
		{0, b, 10 * b, 0, b},
		{0, 3 * b, 10 * b, 0, 3 * b},
		{1, 3 * b, 10 * b, b, 3 * b},
		{1, 3*b + 1, 10 * b, b, 3 * b},
		{0, b - 1, 10 * b, 0, 0},
		{1, b, 10 * b, b, b},
		{1, b - 1, 10 * b, b - 1, b - 1},
		{b - 1, b + 1, 10 * b, b, b},
		{b, b, 10 * b, b, b},
		{b + 1, b + 1, 10 * b, b + 1, b + 1},
		{2 * b, 2*b + 5, 2*b + 5, 2 * b, 2*b + 5},            // the short last block, whole
		{2*b + 1, 2*b + 5, 2*b + 5, 2*b + 5, 2*b + 5},        // a part of it
		{2 * b, 2*b + 4, 2*b + 5, 2 * b, 2 * b},              // another part
		{b - 1, 2*b + 5, 2*b + 5, b, 2*b + 5},                // to the end
		{0, 0, 0, 0, 0},                                      // no disk at all
		{2*b + 5, 2*b + 5, 2*b + 5, 2*b + 5, 2*b + 5},        // nothing at the end
		{1<<47 + 1, 1 << 48, 1 << 48, 1<<47 + 4096, 1 << 48}, // far out
	} {
		head, body, tail := cowSplit(format.Extent{Start: c.start, Length: c.end - c.start}, c.size)
		got := fmt.Sprint(head.Start, head.End(), body.Start, body.End(), tail.Start, tail.End())
		want := fmt.Sprint(c.start, c.bodyStart, c.bodyStart, c.bodyEnd, c.bodyEnd, c.end)
		if got != want {
			t.Errorf("cowSplit(%d-%d of %d) = %s, want %s", c.start, c.end, c.size, got, want)
		}
	}
}

func TestCOWPieces(t *testing.T) {
	const s = cowSectorSize
	for _, c := range []struct {
		start, end int64
		want       []int64 // where pieces begin
	}{
		{0, 0, nil},
		{5, 5, nil},
		{0, s, []int64{0}},
		{s - 1, s + 1, []int64{s - 1, s}},
		{7, 3*s + 1, []int64{7, s, 2 * s, 3 * s}},
	} {
		var got []int64
		end := c.start
		for p := range cowPieces(format.Extent{Start: c.start, Length: c.end - c.start}) {
			if p.Start != end || p.Length <= 0 {
				t.Errorf("%+v: piece %+v", c, p)
			}
			got, end = append(got, p.Start), p.End()
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) || end != c.end {
			t.Errorf("%+v: got %v up to %d", c, got, end)
		}
	}
}

func TestCOWMask(t *testing.T) {
	const g = cowGroupSize
	for _, c := range []struct {
		start, end int64
		want       uint64
	}{
		{0, 1, 1},
		{0, g, 1},
		{g - 1, g + 1, 3},
		{63 * g, 65*g - 1, 1<<63 | 1},
		{0, cowSectorSize, 1<<63 - 1},
		{cowSectorSize, 2 * cowSectorSize, ^uint64(0) &^ (1 << 62)},
	} {
		if got := cowMask(format.Extent{Start: c.start, Length: c.end - c.start}); got != c.want {
			t.Errorf("cowMask(%d-%d) = %#x, want %#x", c.start, c.end, got, c.want)
		}
	}
}

func TestCOWMapLayout(t *testing.T) {
	for _, c := range []struct{ size, sectors, file int64 }{
		{0, 0, 8192},
		{1, 1, 8192 + 2*4096},
		{cowSectorSize, 1, 8192 + 2*4096},
		{8 * cowSectorSize, 8, 8192 + 2*4096},
		{8*cowSectorSize + 1, 9, 8192 + 4*4096},
	} {
		if n := cowSectors(c.size); n != c.sectors {
			t.Errorf("disk of %d: %d sectors, want %d", c.size, n, c.sectors)
		}
		if n := (cowHeader{size: c.size}).mapBytes(); n != c.file {
			t.Errorf("disk of %d: map of %d bytes, want %d", c.size, n, c.file)
		}
	}
}

// The words of a sector against an array of states.
func TestCOWWordsFollowModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w cowWords
		var model [cowSectorBlocks]cowState
		for range 8 {
			first := rapid.Int64Range(0, cowSectorBlocks).Draw(t, "first")
			end := rapid.Int64Range(first, cowSectorBlocks).Draw(t, "end")
			state := cowState(rapid.IntRange(0, 2).Draw(t, "state"))
			old := w
			w = w.with(first, end, state)
			for i := first; i < end; i++ {
				model[i] = state
			}
			if state != cowBase && !w.follow(old) || state == cowBase && w != old && w.follow(old) {
				t.Fatalf("follow is wrong")
			}
		}
		m := newCOWMap(nil, "", cowSectorSize)
		m.sector(0).store(w)
		for i := int64(0); i < cowSectorBlocks; {
			state, next := m.run(i, cowSectorBlocks)
			if next <= i || next < cowSectorBlocks && model[next] == state {
				t.Fatalf("run of %d from %d to %d", state, i, next)
			}
			for ; i < next; i++ {
				if model[i] != state {
					t.Fatalf("block %d is %d, want %d", i, state, model[i])
				}
			}
		}
		again, err := decodeCOWSector(w.encode(9), 9)
		if err != nil || again != w {
			t.Fatalf("decoded %v, %v", again, err)
		}
	})
}

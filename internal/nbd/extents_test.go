// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"libguestfs.org/libnbd"
	"pgregory.net/rapid"

	"virtnb/format"
)

const bitmap = DirtyBitmap + "backup-sda"

// fakeDisk answers about a disk of blocks as a server may: for each context by
// itself, with runs cut anywhere, and stopping anywhere.
type fakeDisk struct {
	t     *rapid.T
	block int64
	size  int64
	flags map[string][]uint64 // of each block
	asked int
}

func drawDisk(t *rapid.T) *fakeDisk {
	d := &fakeDisk{t: t, block: int64(rapid.SampledFrom([]int{1, 512, 4096}).Draw(t, "block"))}
	n := rapid.IntRange(1, 60).Draw(t, "blocks")
	d.size = int64(n)*d.block - int64(rapid.IntRange(0, int(d.block)-1).Draw(t, "cut"))
	d.flags = map[string][]uint64{
		Allocation: rapid.SliceOfN(rapid.Uint64Range(0, 3), n, n).Draw(t, "allocation"),
		bitmap:     rapid.SliceOfN(rapid.Uint64Range(0, 1), n, n).Draw(t, "dirty"),
	}
	return d
}

func (d *fakeDisk) ask(_ context.Context, e format.Extent) (answer, error) {
	d.asked++
	if e.Length <= 0 || e.Start%d.block != 0 || e.End() > d.size || e.End() != d.size && e.Length%d.block != 0 {
		d.t.Fatalf("asked for %v of a disk of %d in blocks of %d", e, d.size, d.block)
	}
	a := answer{}
	for _, name := range []string{Allocation, bitmap} {
		flags := d.flags[name]
		first, last := int(e.Start/d.block), int((e.End()+d.block-1)/d.block)
		last = rapid.IntRange(first+1, last).Draw(d.t, "answered")
		for i := first; i < last; {
			run := 1
			for i+run < last && flags[i+run] == flags[i] && rapid.Bool().Draw(d.t, "go on") {
				run++
			}
			length := min(int64(run)*d.block, d.size-int64(i)*d.block)
			a[name] = append(a[name], libnbd.LibnbdExtent{Length: uint64(length), Flags: flags[i]})
			i += run
		}
	}
	return a, nil
}

// want is the map of q, block by block.
func (d *fakeDisk) want(q Query) []Extent {
	var all []Extent
	for i := range d.flags[Allocation] {
		if q.Bitmap != "" && d.flags[bitmap][i] == 0 {
			continue
		}
		start := int64(i) * d.block
		e := Extent{format.Extent{Start: start, Length: min(d.block, d.size-start)}, q.Allocation && d.flags[Allocation][i] >= 2}
		if n := len(all); n > 0 && all[n-1].End() == start && all[n-1].Zero == e.Zero {
			all[n-1].Length += e.Length
		} else {
			all = append(all, e)
		}
	}
	return all
}

var queries = []Query{{}, {Allocation: true}, {Bitmap: bitmap}, {Bitmap: bitmap, Allocation: true}}

func TestExtentsRandomAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawDisk(t)
		for _, q := range queries {
			m := mapper{query: q, size: d.size, align: d.block, ask: d.ask}
			var got []Extent
			for e, err := range m.extents(context.Background()) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, e)
			}
			if want := d.want(q); !slices.Equal(got, want) {
				t.Fatalf("%+v:\ngot  %v\nwant %v", q, got, want)
			}
		}
	})
}

// TestExtentsLeftEarly: a loop that ends early gets nothing any more.
func TestExtentsLeftEarly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawDisk(t)
		m := mapper{query: Query{Allocation: true}, size: d.size, align: d.block, ask: d.ask}
		want := d.want(m.query)
		stop := rapid.IntRange(1, len(want)).Draw(t, "stop")
		n := 0
		for range m.extents(context.Background()) {
			if n++; n == stop {
				break
			}
		}
		if n != stop {
			t.Fatalf("%d extents, want %d", n, stop)
		}
	})
}

// TestExtentsHostileServer: whatever the answers are, the map ends, in order
// and within the disk, with an error or complete.
func TestExtentsHostileServer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 1<<40).Draw(t, "size")
		align := rapid.SampledFrom([]int64{1, 512, 65536}).Draw(t, "align")
		length := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 3), rapid.Uint64Range(0, 1<<20), rapid.Just[uint64](1<<32-1))
		asked, ended := 0, errors.New("enough")
		m := mapper{query: rapid.SampledFrom(queries).Draw(t, "query"), size: size, align: align,
			ask: func(_ context.Context, e format.Extent) (answer, error) {
				if asked++; asked > 20 {
					return nil, ended
				}
				a := answer{}
				for _, name := range []string{Allocation, bitmap, "unknown:context"} {
					for range rapid.IntRange(0, 4).Draw(t, "entries") {
						a[name] = append(a[name], libnbd.LibnbdExtent{Length: length.Draw(t, "length"), Flags: rapid.Uint64().Draw(t, "flags")})
					}
				}
				return a, nil
			}}
		at := int64(0)
		for e, err := range m.extents(context.Background()) {
			if err == nil && (e.Start < at || e.Length <= 0 || e.End() > size) {
				t.Fatalf("extent %v after %d of a disk of %d", e, at, size)
			}
			at = e.End()
		}
	})
}

func TestExtentsWrongAnswers(t *testing.T) {
	entry := func(length uint64) []libnbd.LibnbdExtent {
		return []libnbd.LibnbdExtent{{Length: length}}
	}
	for want, a := range map[string]answer{
		"does not answer about " + bitmap:           {Allocation: entry(4096)},
		"does not answer about " + Allocation:       {bitmap: entry(4096)},
		"an extent of no length at offset 0":        {bitmap: entry(4096), Allocation: entry(0)},
		"less than its block size of 4096":          {bitmap: entry(4095), Allocation: entry(4096)},
		"an extent of no length at offset 4096":     {bitmap: append(entry(4096), entry(0)...), Allocation: entry(8192)},
		"does not answer about " + bitmap + " at o": {},
	} {
		m := mapper{query: Query{Bitmap: bitmap, Allocation: true}, size: 1 << 20, align: 4096,
			ask: func(context.Context, format.Extent) (answer, error) { return a, nil }}
		var last error
		for _, err := range m.extents(context.Background()) {
			last = err
		}
		if last == nil || !strings.Contains(last.Error(), want) {
			t.Errorf("error is %v, want one with %q", last, want)
		}
	}
}

// TestExtentsStreamed: neither questions nor what is kept grow with the disk: 8
// TiB with extents that alternate, of which the loop wants the first million.
func TestExtentsStreamed(t *testing.T) {
	largest := int64(0)
	m := mapper{query: Query{Allocation: true}, size: 8 << 40, align: 512,
		ask: func(_ context.Context, e format.Extent) (answer, error) {
			largest = max(largest, e.Length)
			var entries []libnbd.LibnbdExtent
			for i := range uint64(1000) {
				entries = append(entries, libnbd.LibnbdExtent{Length: 512, Flags: i % 2 * 3})
			}
			return answer{Allocation: entries}, nil
		}}
	n := 0
	for e, err := range m.extents(t.Context()) {
		if err != nil || e.Length != 512 || e.Start != int64(n)*512 || e.Zero != (n%2 == 1) {
			t.Fatalf("extent %d is %v: %v", n, e, err)
		}
		if n++; n == 1_000_000 {
			break
		}
	}
	if largest > statusSize {
		t.Errorf("the largest question is about %d bytes", largest)
	}
}

func (e Extent) String() string {
	kind := "data"
	if e.Zero {
		kind = "zero"
	}
	return fmt.Sprintf("%s %d+%d", kind, e.Start, e.Length)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"virtnb/format"
	"virtnb/overlay"
)

// TestDiskReadsAsFlatFile: the two things that are compared have the same
// content, whatever the storage.
func TestDiskReadsAsFlatFile(t *testing.T) {
	const size = 70 << 20
	small := func(layer int) []format.Extent {
		return []format.Extent{{Start: int64(layer) * 3 * page, Length: 300 * page}, {Start: 32 << 20, Length: 33 << 20}}
	}
	for _, s := range []storage{plain, lz4, peer} {
		t.Run(string(s), func(t *testing.T) {
			d, err := newDisk(filepath.Join(t.TempDir(), "disk"), size, small, s)
			if err != nil {
				t.Fatal(err)
			}
			points := 3
			if s == peer {
				points = 1
			}
			if err := d.grow(t.Context(), points); err != nil {
				t.Fatal(err)
			}
			compareWithFlat(t, d)
		})
	}
}

func compareWithFlat(t *testing.T, d *disk) {
	t.Helper()
	set, err := format.CheckSet(d.set)
	if err != nil {
		t.Fatal(err)
	}
	files, err := set.Disks[0].Latest().Files()
	if err != nil || len(files) != d.points {
		t.Fatal("chain is", files, err)
	}
	img, err := overlay.Open(files, overlay.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	got := make([]byte, d.size)
	if _, err := img.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(d.raw)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the set reads differently from the flat file")
	}
}

func TestLayerReader(t *testing.T) {
	want := make([]byte, 5*page)
	fill(want, 7*page, 1)
	if err := iotest.TestReader(&layerReader{format.Extent{Start: 7 * page, Length: 5 * page}, 1}, want); err != nil {
		t.Error(err)
	}
}

// TestLayoutsAreOrdered: the writer takes extents in order, inside the disk.
func TestLayoutsAreOrdered(t *testing.T) {
	for i, pl := range plans() {
		for layer := range 3 {
			if last := pl.stages[len(pl.stages)-1]; layer >= last.points {
				continue
			}
			end := int64(0)
			for _, e := range pl.layout(layer) {
				if e.Start < end || e.Length <= 0 || e.Length%page != 0 {
					t.Fatalf("plan %d, layer %d: extent %v behind %d", i, layer, e, end)
				}
				end = e.End()
			}
			if end > pl.size {
				t.Errorf("plan %d, layer %d ends at %d of %d", i, layer, end, pl.size)
			}
		}
	}
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{[]float64{5}, 0.99, 5}, {[]float64{3, 1, 2}, 0.5, 2}, {[]float64{4, 1, 2, 3}, 0.5, 2.5}, {[]float64{1, 2}, 1, 2}, {nil, 0.5, math.NaN()},
	} {
		if got := quantile(c.values, c.q); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("quantile %v of %v is %v, want %v", c.q, c.values, got, c.want)
		}
	}
}

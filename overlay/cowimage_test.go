// SPDX-License-Identifier: Apache-2.0

package overlay_test

import (
	"bytes"
	"io"
	"iter"
	"path/filepath"
	"testing"

	"virtnb/format"
	"virtnb/overlay"
	"virtnb/overlay/imagetest"
)

// A COW is an image like any other: untouched, written to, and opened again;
// over another COW, too.
func TestCOWIsImage(t *testing.T) {
	const size = 700_001
	dir := t.TempDir()
	want := make([]byte, size)
	open := func(base overlay.Image, name string) *overlay.COW {
		t.Helper()
		c, err := overlay.OpenCOW(base, filepath.Join(dir, name), "test "+name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	change := func(c *overlay.COW, fill byte) {
		t.Helper()
		for _, r := range [][2]int{{5, 10_000}, {200_000, 131_072}, {size - 3, 3}, {262_144, 4096}} {
			p := bytes.Repeat([]byte{fill}, r[1])
			if _, err := c.WriteAt(p, int64(r[0])); err != nil {
				t.Fatal(err)
			}
			copy(want[r[0]:], p)
		}
		if err := c.Zero(8000, 20_000); err != nil {
			t.Fatal(err)
		}
		clear(want[8000:28_000])
	}

	lower := open(zeroes(size), "lower")
	imagetest.Test(t, lower, want)
	change(lower, 1)
	imagetest.Test(t, lower, want)
	if err := lower.Close(); err != nil {
		t.Fatal(err)
	}
	lower = open(zeroes(size), "lower")
	imagetest.Test(t, lower, want)

	upper := open(lower, "upper")
	imagetest.Test(t, upper, want)
	change(upper, 2)
	if _, err := upper.WriteAt([]byte("odd"), 400_001); err != nil {
		t.Fatal(err)
	}
	copy(want[400_001:], "odd")
	imagetest.Test(t, upper, want)
}

// zeroes is an image of that many zero bytes.
type zeroes int64

func (z zeroes) Size() int64 { return int64(z) }

func (z zeroes) ReadAt(p []byte, off int64) (int, error) {
	n := min(int64(len(p)), int64(z)-off)
	clear(p[:n])
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

func (z zeroes) Extents(off, n int64) iter.Seq2[overlay.Extent, error] {
	return func(yield func(overlay.Extent, error) bool) {
		yield(overlay.Extent{Extent: format.Extent{Start: off, Length: n}}, nil)
	}
}

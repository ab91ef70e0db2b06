// SPDX-License-Identifier: Apache-2.0

// Package imagetest has the tests that every overlay.Image passes.
package imagetest

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"virtnb/format"
	"virtnb/overlay"
)

// Test compares img with want, the content of the disk: whole and in parts,
// off every grid, from several goroutines, and its extents with its bytes.
func Test(t *testing.T, img overlay.Image, want []byte) {
	t.Helper()
	if img.Size() != int64(len(want)) {
		t.Fatalf("size is %d, want %d", img.Size(), len(want))
	}
	edges := testExtents(t, img, want)
	read(t, img, want, 0, len(want))
	testEdges(t, img, want, edges)
	testEnd(t, img, want)
	testOutside(t, img)
	testConcurrent(t, img, want)
}

// read compares n bytes at off.
func read(t *testing.T, img overlay.Image, want []byte, off int64, n int) {
	t.Helper()
	got := bytes.Repeat([]byte{0xee}, n)
	m, err := img.ReadAt(got, off)
	if m != n || err != nil && err != io.EOF {
		t.Fatalf("read of %d bytes at %d gives %d, %v", n, off, m, err)
	}
	if !bytes.Equal(got, want[off:off+int64(n)]) {
		i := 0
		for got[i] == want[off+int64(i)] {
			i++
		}
		t.Fatalf("read of %d bytes at %d: byte %d is %02x, want %02x", n, off, i, got[i], want[off+int64(i)])
	}
}

// testExtents checks that the extents tile the disk, alternate, and are right;
// it returns where they meet.
func testExtents(t *testing.T, img overlay.Image, want []byte) (edges []int64) {
	t.Helper()
	all := extents(t, img, want, 0, img.Size())
	for _, e := range all {
		edges = append(edges, e.Start)
	}
	edges = append(edges, img.Size())
	for range 50 {
		if len(want) == 0 {
			break
		}
		off := rand.Int64N(img.Size())
		n := rand.Int64N(img.Size()-off) + 1
		part := extents(t, img, want, off, n)
		compareExtents(t, part, all, off, n)
	}
	return edges
}

func extents(t *testing.T, img overlay.Image, want []byte, off, n int64) (all []overlay.Extent) {
	t.Helper()
	at := off
	for e, err := range img.Extents(off, n) {
		switch {
		case err != nil:
			t.Fatalf("extents of %d bytes at %d: %v", n, off, err)
		case e.Start != at || e.Length <= 0:
			t.Fatalf("extent %+v where one begins at %d", e, at)
		case len(all) > 0 && all[len(all)-1].Data == e.Data:
			t.Fatalf("extent %+v is of the kind of the one before it", e)
		case !e.Data && !format.IsZero(want[e.Start:e.End()]):
			t.Fatalf("extent %+v is not zero", e)
		}
		all = append(all, e)
		at = e.End()
	}
	if at != off+n {
		t.Fatalf("extents of %d bytes at %d end at %d", n, off, at)
	}
	return all
}

// compareExtents checks part, the extents of a range, against all of the disk.
func compareExtents(t *testing.T, part, all []overlay.Extent, off, n int64) {
	t.Helper()
	var clipped []overlay.Extent
	for _, e := range all {
		if in := e.Intersect(format.Extent{Start: off, Length: n}); in.Length > 0 {
			clipped = append(clipped, overlay.Extent{Extent: in, Data: e.Data})
		}
	}
	if len(part) != len(clipped) {
		t.Fatalf("%d extents in %d bytes at %d, want %d", len(part), n, off, len(clipped))
	}
	for i := range part {
		if part[i] != clipped[i] {
			t.Fatalf("extent %+v in a range, want %+v", part[i], clipped[i])
		}
	}
}

// testEdges reads around the places where extents meet, and random ranges.
func testEdges(t *testing.T, img overlay.Image, want []byte, edges []int64) {
	t.Helper()
	size := img.Size()
	for i, edge := range edges {
		if i > 200 {
			break
		}
		for off := max(0, edge-2); off <= min(size, edge+1); off++ {
			for _, n := range []int64{0, 1, 2, 3, 4096} {
				read(t, img, want, off, int(min(n, size-off)))
			}
		}
	}
	for range 100 {
		off := rand.Int64N(size + 1)
		read(t, img, want, off, int(rand.Int64N(min(size-off, 1<<20)+1)))
	}
}

// testEnd reads across and behind the end.
func testEnd(t *testing.T, img overlay.Image, want []byte) {
	t.Helper()
	size := img.Size()
	for _, keep := range []int64{0, 1, min(size, 5000)} {
		keep = min(keep, size)
		buf := make([]byte, keep+10)
		n, err := img.ReadAt(buf, size-keep)
		if int64(n) != keep || err != io.EOF || !bytes.Equal(buf[:n], want[size-keep:]) {
			t.Fatalf("read across the end gives %d, %v, want %d, EOF", n, err, keep)
		}
	}
	if n, err := img.ReadAt(make([]byte, 1), size+1000); n != 0 || err != io.EOF {
		t.Fatalf("read behind the end gives %d, %v", n, err)
	}
}

func testOutside(t *testing.T, img overlay.Image) {
	t.Helper()
	if _, err := img.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
		t.Fatalf("read at a negative offset gives %v", err)
	}
	for _, r := range [][2]int64{{-1, 1}, {0, -1}, {0, img.Size() + 1}, {img.Size() + 1, 0}, {1, 1<<63 - 1}} {
		var err error
		for _, e := range img.Extents(r[0], r[1]) {
			err = e
		}
		if err == nil {
			t.Fatalf("extents of %d bytes at %d give no error", r[1], r[0])
		}
	}
}

// testConcurrent reads everywhere from several goroutines.
func testConcurrent(t *testing.T, img overlay.Image, want []byte) {
	t.Helper()
	if len(want) == 0 {
		return
	}
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for range 8 {
		wg.Go(func() {
			for range 60 {
				off := rand.Int64N(img.Size())
				buf := make([]byte, rand.Int64N(min(img.Size()-off, 100_000))+1)
				n, err := img.ReadAt(buf[:min(int64(len(buf)), img.Size()-off)], off)
				if err != nil && err != io.EOF {
					errs <- err
					return
				}
				if !bytes.Equal(buf[:n], want[off:off+int64(n)]) {
					errs <- io.ErrNoProgress
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Fatalf("concurrent read: %v (%v: wrong bytes)", err, io.ErrNoProgress)
	}
}

// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"virtnb/format"
	"virtnb/overlay"
)

// TestChain makes a full and incrementals, plain and compressed, and reads each
// point back.
func TestChain(t *testing.T) {
	const size = 24<<20 + 5*512
	r := rand.New(rand.NewPCG(7, 8))
	for _, level := range []int{0, 1} {
		image := qcow2(t, size, "", writes(r, 40, size, 512))
		dir := t.TempDir()
		var files []string
		for point := range 4 {
			meta := format.Metadata{Compression: level, Incremental: point > 0, CheckpointName: fmt.Sprint("p.", point), Date: time.Unix(int64(point), 0)}
			bitmap := ""
			if point > 0 {
				meta.ParentCheckpoint = fmt.Sprint("p.", point-1)
				bitmap = fmt.Sprint("b", point)
				run(t, "qemu-img", "bitmap", "--add", "-g", "65536", image, bitmap)
				qemuIO(t, image, writes(r, 30, size, 512))
			}
			files = append(files, filepath.Join(dir, fmt.Sprint(point)))
			o := ReadOptions{Memory: int64(point) * 2 << 20, Piece: []int64{0, 64 << 10, 256 << 10, 4096}[point]}
			save(t, image, bitmap, files[point], meta, o)
			wantImage(t, files, content(t, image))
		}
	}
}

// save makes a saveset of an image, or of what a bitmap of it says.
func save(t *testing.T, image, bitmap, path string, meta format.Metadata, o ReadOptions) {
	t.Helper()
	q, contexts, args := Query{Allocation: true}, []string{Allocation}, []string(nil)
	if bitmap != "" {
		q.Bitmap = DirtyBitmap + bitmap
		contexts = append(contexts, q.Bitmap)
		args = []string{"-B", bitmap}
	}
	socket, stop := serve(t, image, args...)
	defer stop()
	c := connect(t, socket, Options{Contexts: contexts, Connections: 3})
	defer c.Close()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	meta.VirtualSize, meta.DiskName = c.Size(), "sda"
	w, err := format.NewWriter(f, meta, format.WriterOptions{SizeLater: true})
	must(t, err)
	must(t, writeSaveset(t.Context(), c, c.Extents(t.Context(), q), w, meta.Compression, o))
	must(t, w.Finish())
}

// wantImage reads a chain and compares.
func wantImage(t *testing.T, files []string, want []byte) {
	t.Helper()
	img, err := overlay.Open(files, overlay.Options{})
	must(t, err)
	defer img.Close()
	got := make([]byte, img.Size())
	if n, err := img.ReadAt(got, 0); n != len(got) || err != nil && err != io.EOF {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d files: the image is not the disk", len(files))
	}
}

// alternating are n extents of 512 bytes that nothing keeps, every second one
// data.
func alternating(n int) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		for i := range n {
			if !yield(Extent{format.Extent{Start: int64(i) * 512, Length: 512}, i%2 == 1}, nil) {
				return
			}
		}
	}
}

// TestMemoryOfManyExtents copies a million extents; what is kept for each is
// the 8 bytes of a frame in the trailer of a compressed saveset.
func TestMemoryOfManyExtents(t *testing.T) {
	const extents = 1_000_000
	c := pattern(t, extents*512)
	for _, level := range []int{0, 1} {
		f, err := os.Create(filepath.Join(t.TempDir(), "out"))
		must(t, err)
		defer f.Close()
		w, err := format.NewWriter(f, format.Metadata{VirtualSize: c.Size(), DiskName: "sda", Compression: level}, format.WriterOptions{SizeLater: true})
		must(t, err)
		var before, now runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		most, n := uint64(0), 0
		watched := func(yield func(Extent, error) bool) {
			for e, err := range alternating(extents) {
				if n++; n%(extents/10) == 0 {
					runtime.GC()
					runtime.ReadMemStats(&now)
					most = max(most, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
				}
				if !yield(e, err) {
					return
				}
			}
		}
		must(t, writeSaveset(t.Context(), c, watched, w, level, ReadOptions{Memory: 32 << 20}))
		must(t, w.Finish())
		if bound := uint64(32<<20 + level*8*2*extents/2); most > bound || n != extents {
			t.Errorf("level %d: %d bytes of heap for %d extents, more than %d", level, most, n, bound)
		}
	}
}

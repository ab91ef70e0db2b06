// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"virtnb/format"
)

// framedChain is a full of LZ4 frames of 64 KiB without a gap.
func framedChain(t *testing.T) (file string, want []byte) {
	t.Helper()
	want = noise(rand.New(rand.NewPCG(1, 2)), 2<<20)
	s := testSaveset{size: int64(len(want)), checkpoint: name(0), lz4: true, partSize: 64 << 10, sums: true}
	for off := 0; off < len(want); off += 256 << 10 {
		s.pieces = append(s.pieces, piece{start: int64(off), data: want[off:][:256<<10]})
	}
	return s.write(t, chainFile(t.TempDir(), 0)), want
}

// Reads of many frames have all of them, on machines of one processor too, and
// leave only frames in the cache of which they read a part.
func TestReadOfManyFrames(t *testing.T) {
	file, want := framedChain(t)
	for _, procs := range []int{1, 2, 5} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		c := NewCache(1 << 20)
		img, err := Open([]string{file}, Options{Cache: c})
		if err != nil {
			t.Fatal(err)
		}
		defer img.Close()
		const off, n = 100_000, 1_000_000
		for range 2 {
			got := make([]byte, n)
			if _, err := img.ReadAt(got, off); err != nil || !bytes.Equal(got, want[off:off+n]) {
				t.Errorf("%d processors: other bytes, or %v", procs, err)
			}
		}
		if c.data.Len() != 2 {
			t.Errorf("%d processors: %d frames in the cache, want those at both ends", procs, c.data.Len())
		}
	}
}

// Damage in any of the frames of a read is its error.
func TestReadOfManyFramesWithDamage(t *testing.T) {
	file, want := framedChain(t)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	img, err := Open([]string{file}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	got := make([]byte, len(want))
	if _, err := img.ReadAt(got, 0); !errors.Is(err, format.ErrCorrupt) {
		t.Errorf("error %v", err)
	}
}

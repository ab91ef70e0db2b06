// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bufio"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkFrames opens and validates a saveset of a million data frames of
// 4 KiB, from the page cache. It needs 4 GiB below the temporary folder.
func BenchmarkFrames(b *testing.B) {
	const frames, length = 1_000_000, 4 << 10
	path := filepath.Join(b.TempDir(), "vda.full.data")
	writeFrames(b, path, frames, length)
	for b.Loop() {
		s, err := OpenSaveset(path)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for _, err := range s.Frames() {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if err := s.Close(); err != nil || n != frames {
			b.Fatalf("%d frames, %v", n, err)
		}
	}
}

// writeFrames writes data frames with gaps of their length between them.
func writeFrames(b *testing.B, path string, frames int, length int64) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	meta := Metadata{VirtualSize: 2 * length * int64(frames), DataSize: length * int64(frames), DiskName: "vda", CheckpointName: "virtnbdbackup.0", Incremental: true}
	out := bufio.NewWriterSize(f, 1<<20)
	w, err := NewWriter(out, meta, WriterOptions{})
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, length)
	for i := range payload {
		payload[i] = byte(i)
	}
	for i := range int64(frames) {
		if err := w.Data(2*i*length, payload); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		b.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		b.Fatal(err)
	}
}

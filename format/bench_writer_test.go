// SPDX-License-Identifier: Apache-2.0

package format

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkWriter writes a disk of 256 MiB in extents of 1 MiB to a file, as
// fast as the file system takes it; "bare" is that speed, without a format.
func BenchmarkWriter(b *testing.B) {
	const size, extent = 256 << 20, 1 << 20
	noise := make([]byte, extent)
	fillNoise(noise, rand.New(rand.NewPCG(1, 1)))
	text := samples(extent)["text"]
	for _, c := range []struct {
		name  string
		p     []byte
		level int
		zero  bool
	}{
		{"bare", noise, 0, false}, {"plain", noise, 0, false}, {"plain zeroes in data", make([]byte, extent), 0, false},
		{"plain zero", noise, 0, true}, {"lz4 noise", noise, 2, false}, {"lz4 text", text, 2, false}, {"lz4 zero", noise, 2, true},
	} {
		meta := testMeta(size, size)
		meta.Compression, meta.Incremental = c.level, true
		write := func(f *os.File) error {
			w, err := NewWriter(f, meta, WriterOptions{})
			for off := int64(0); off < size && err == nil; off += extent {
				switch {
				case c.name == "bare":
					_, err = f.Write(c.p)
				case c.zero:
					err = w.Zero(Extent{off, extent})
				default:
					err = w.Data(off, c.p)
				}
			}
			if err == nil && c.name != "bare" {
				err = w.Finish()
			}
			return err
		}
		b.Run(c.name, func(b *testing.B) { benchWrite(b, size, write) })
	}
}

// BenchmarkWriterSmallExtents writes extents of 4 KiB, every second one of the
// disk, from one buffer.
func BenchmarkWriterSmallExtents(b *testing.B) {
	const size, extent = 128 << 20, 4 << 10
	p := samples(extent)["text"]
	for name, level := range map[string]int{"plain": 0, "lz4": 2} {
		meta := testMeta(size, size/2)
		meta.Compression, meta.Incremental = level, true
		b.Run(name, func(b *testing.B) {
			benchWrite(b, size/2, func(f *os.File) error {
				w, err := NewWriter(f, meta, WriterOptions{})
				for off := int64(0); off < size && err == nil; off += 2 * extent {
					err = w.Data(off, p)
				}
				if err == nil {
					err = w.Finish()
				}
				return err
			})
		})
	}
}

// benchWrite runs write, which stands for size bytes of a disk, on an empty
// file, again and again.
func benchWrite(b *testing.B, size int64, write func(*os.File) error) {
	path := filepath.Join(b.TempDir(), "out")
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		f, err := os.Create(path)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := write(f); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		f.Close()
		b.StartTimer()
	}
}

// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/pierrec/lz4/v4"
)

// samples are contents of n bytes: zeroes, noise, text.
func samples(n int) map[string][]byte {
	noise := make([]byte, n)
	fillNoise(noise, rand.New(rand.NewPCG(uint64(n), 1)))
	var text bytes.Buffer
	for i := 0; text.Len() < n; i++ {
		fmt.Fprintf(&text, "line %d of a log that says %x; ", i, i*i*31)
	}
	return map[string][]byte{"zeroes": make([]byte, n), "noise": noise, "text": text.Bytes()[:n]}
}

func TestCompressFrameEveryLevelDecodes(t *testing.T) {
	levels := []int{-100, 100}
	for level := -3; level <= 16; level++ {
		levels = append(levels, level)
	}
	for _, n := range []int{1, 12, 65535, 65536, 65537, 200000} {
		for name, src := range samples(n) {
			for _, level := range levels {
				frame, err := CompressFrame([]byte("head"), src, level)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.HasPrefix(frame, []byte("head\x04\x22\x4d\x18\x7c\x40")) {
					t.Fatalf("level %d: frame begins with % x", level, frame[:min(len(frame), 12)])
				}
				got, err := io.ReadAll(lz4.NewReader(bytes.NewReader(frame[4:])))
				if err != nil || !bytes.Equal(got, src) {
					t.Errorf("level %d: %d bytes of %s do not come back: %v", level, n, name, err)
				}
				if name != "noise" && n > 1000 && level >= -3 && len(frame) > n/2 {
					t.Errorf("level %d: %d bytes of %s compressed to %d", level, n, name, len(frame))
				}
				if len(frame) > n+4+lz4HeaderMax+8*(n/lz4Block+1)+8 {
					t.Errorf("level %d: %d bytes of %s grew to %d", level, n, name, len(frame))
				}
			}
		}
	}
}

func TestCompressFrameRefusesLengths(t *testing.T) {
	for _, n := range []int{0, bigFrame} {
		if _, err := CompressFrame(nil, make([]byte, n), 2); err == nil {
			t.Errorf("%d bytes were accepted", n)
		}
	}
	if _, err := CompressFrame(nil, make([]byte, bigFrame-1), 2); err != nil {
		t.Error(err)
	}
}

// Frames do not depend on what the compressor did before, nor on who else
// compresses.
func TestCompressFrameInParallel(t *testing.T) {
	var wg sync.WaitGroup
	for level := -3; level <= 9; level++ {
		wg.Go(func() {
			src := samples(100000)["text"]
			want, err := CompressFrame(nil, src, level)
			for range 20 {
				got, err2 := CompressFrame(nil, src, level)
				if err != nil || err2 != nil || !bytes.Equal(got, want) {
					t.Errorf("level %d: frames differ: %v %v", level, err, err2)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkCompressFrame(b *testing.B) {
	src := samples(256 << 10)["text"]
	for _, level := range []int{-5, 1, 3, 6, 9, 12} {
		b.Run(fmt.Sprint("level=", level), func(b *testing.B) {
			benchCompress(b, src, func(dst []byte) ([]byte, error) { return CompressFrame(dst, src, level) })
		})
	}
	for _, level := range []lz4.CompressionLevel{lz4.Fast, lz4.CCompatFast, lz4.Level1, lz4.Level9} {
		b.Run(fmt.Sprint("library=", level), func(b *testing.B) {
			w := lz4.NewWriter(nil)
			benchCompress(b, src, func(dst []byte) ([]byte, error) { return libraryFrame(w, dst, src, level) })
		})
	}
}

func benchCompress(b *testing.B, src []byte, compress func([]byte) ([]byte, error)) {
	var frame []byte
	var err error
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		if frame, err = compress(frame[:0]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(src))/float64(len(frame)), "ratio")
}

// libraryFrame makes the same frame with the lz4 package's Writer.
func libraryFrame(w *lz4.Writer, dst, src []byte, level lz4.CompressionLevel) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	w.Reset(out)
	err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.BlockChecksumOption(true),
		lz4.ChecksumOption(true), lz4.SizeOption(uint64(len(src))), lz4.CompressionLevelOption(level))
	if err == nil {
		_, err = w.Write(src)
	}
	if err == nil {
		err = w.Close()
	}
	return out.Bytes(), err
}

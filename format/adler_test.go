// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"hash/adler32"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func TestChecksumIsAdler32(t *testing.T) {
	if got := new(Checksum).Sum32(); got != 1 {
		t.Errorf("checksum of nothing is %d", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		var sum, slow Checksum
		want := adler32.New()
		for range rapid.IntRange(1, 6).Draw(t, "writes") {
			p := make([]byte, rapid.IntRange(0, 5000).Draw(t, "length"))
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				sum.Zeroes(int64(len(p)))
				slow.Zeroes(int64(len(p)))
			case 1:
				fillNoise(p, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
				_, _ = sum.Write(p)
				slow.add(p)
			case 2:
				p = bytes.Repeat([]byte{0xff}, len(p)) // the largest sums
				_, _ = sum.Write(p)
				slow.add(p)
			}
			_, _ = want.Write(p)
		}
		if sum.Sum32() != want.Sum32() || slow.Sum32() != want.Sum32() {
			t.Fatalf("checksum is %d, without vectors %d, want %d", sum.Sum32(), slow.Sum32(), want.Sum32())
		}
	})
}

func TestChecksumOfMuch(t *testing.T) {
	p := bytes.Repeat([]byte{0xff}, 2*adlerChunk+3)
	var sum Checksum
	_, _ = sum.Write(p)
	if want := adler32.Checksum(p); sum.Sum32() != want {
		t.Errorf("checksum is %d, want %d", sum.Sum32(), want)
	}
	var slow Checksum
	slow.add(p[:adlerChunk])
	slow.add(p[adlerChunk : 2*adlerChunk])
	slow.add(p[2*adlerChunk:])
	if sum != slow {
		t.Errorf("sums are %v, without vectors %v", sum, slow)
	}
	sum.Zeroes(1 << 62)
	for range 1 << 2 {
		sum.Zeroes(1<<60 - 1)
	}
	var at Checksum
	_, _ = at.Write(p)
	for range 1 << 3 {
		at.Zeroes(1<<60 - 1)
	}
	at.Zeroes(4)
	if sum.Sum32() != at.Sum32() {
		t.Errorf("zeroes in other pieces give %d and %d", sum.Sum32(), at.Sum32())
	}
}

func BenchmarkChecksum(b *testing.B) {
	p := make([]byte, 1<<20)
	fillNoise(p, rand.New(rand.NewPCG(1, 1)))
	b.Run("ours", func(b *testing.B) {
		var sum Checksum
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			_, _ = sum.Write(p)
		}
	})
	b.Run("without vectors", func(b *testing.B) {
		var sum Checksum
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			sum.add(p)
		}
	})
	b.Run("hash/adler32", func(b *testing.B) {
		sum := adler32.New()
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			_, _ = sum.Write(p)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"

	"virtnb/format"
)

// cowTestCell is the length of the base's runs: off the grid of blocks.
const cowTestCell = 1500

// cowTestBase is an Image of random bytes in which some cells are holes.
type cowTestBase struct {
	content []byte
	hole    func(cell int64) bool
	read    func(off int64) error // if set, asked before each read
}

func newCOWTestBase(size int64, seed uint64) *cowTestBase {
	rng := rand.New(rand.NewPCG(seed, 1))
	holes := make([]bool, size/cowTestCell+1)
	b := &cowTestBase{content: make([]byte, size)}
	b.hole = func(cell int64) bool { return holes[cell] }
	for i := range b.content {
		b.content[i] = byte(rng.IntN(255) + 1)
	}
	for i := range holes {
		start, end := int64(i)*cowTestCell, min(size, int64(i+1)*cowTestCell)
		if holes[i] = rng.IntN(3) == 0; holes[i] {
			clear(b.content[start:end])
		}
	}
	return b
}

func (b *cowTestBase) Size() int64 { return int64(len(b.content)) }

func (b *cowTestBase) ReadAt(p []byte, off int64) (int, error) {
	if b.read != nil {
		if err := b.read(off); err != nil {
			return 0, err
		}
	}
	return bytes.NewReader(b.content).ReadAt(p, off)
}

func (b *cowTestBase) Extents(off, n int64) iter.Seq2[Extent, error] {
	return cowMerged(func(yield func(Extent, error) bool) {
		for end := off + n; off < end; {
			cell := off / cowTestCell
			stop := min(end, (cell+1)*cowTestCell)
			x := Extent{format.Extent{Start: off, Length: stop - off}, !b.hole(cell)}
			if !yield(x, nil) {
				return
			}
			off = stop
		}
	})
}

// cowHugeBase is a disk of zeroes.
type cowHugeBase int64

func (b cowHugeBase) Size() int64 { return int64(b) }
func (b cowHugeBase) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	return len(p), nil
}
func (b cowHugeBase) Extents(off, n int64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		yield(Extent{Extent: format.Extent{Start: off, Length: n}}, nil)
	}
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func mustOpenCOW(t testing.TB, base Image, path string) *COW {
	t.Helper()
	c, err := OpenCOW(base, path, "vm1/sda@virtnbdbackup.2")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func mustReadCOW(t fataler, c *COW, off, n int64) []byte {
	t.Helper()
	p := bytes.Repeat([]byte{0xEE}, int(n))
	if got, err := c.ReadAt(p, off); int64(got) != n || err != nil {
		t.Fatalf("ReadAt(%d, %d) = %d, %v", off, n, got, err)
	}
	return p
}

func mustWriteCOW(t fataler, c *COW, p []byte, off int64) {
	t.Helper()
	if n, err := c.WriteAt(p, off); n != len(p) || err != nil {
		t.Fatalf("WriteAt(%d, %d) = %d, %v", off, len(p), n, err)
	}
}

func mustDo(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

func wantBytes(t fataler, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s: byte %d is %#x, want %#x", what, i, got[i], want[i])
		}
	}
	t.Fatalf("%s: %d bytes, want %d", what, len(got), len(want))
}

// wantExtents holds the extents of a range against its content.
func wantExtents(t fataler, c *COW, content []byte, off int64) {
	t.Helper()
	n := int64(len(content))
	at, first, kind := off, true, false
	for x, err := range c.Extents(off, n) {
		switch {
		case err != nil:
			t.Fatalf("Extents(%d, %d): %v", off, n, err)
		case x.Start != at || x.Length <= 0 || x.End() > off+n:
			t.Fatalf("Extents(%d, %d): %+v, want start %d", off, n, x, at)
		case !first && x.Data == kind:
			t.Fatalf("Extents(%d, %d): %+v is of its neighbour's kind", off, n, x)
		case !x.Data && len(bytes.Trim(content[x.Start-off:x.End()-off], "\x00")) > 0:
			t.Fatalf("Extents(%d, %d): %+v is not zero", off, n, x)
		}
		at, first, kind = x.End(), false, x.Data
	}
	if at != off+n {
		t.Fatalf("Extents(%d, %d) end at %d", off, n, at)
	}
}

// wantError asks for an error whose message has all parts.
func wantError(t fataler, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Fatalf("error %v, want %q in it", err, part)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"virtnb/format"
)

// cowTestSizes are on, before and behind the grid of blocks and groups.
var cowTestSizes = []int64{
	0, 1, 4095, 4096, 4097, 3*4096 + 77, cowGroupSize - 1, cowGroupSize + 4096, 2*cowGroupSize + 4097,
}

// drawRange draws a range of a disk; odd, on the grid, or empty.
func drawRange(t *rapid.T, size int64) (off, n int64) {
	off = rapid.Int64Range(0, size).Draw(t, "off")
	end := rapid.Int64Range(off, min(size, off+5*cowBlockSize)).Draw(t, "end")
	if rapid.IntRange(0, 2).Draw(t, "grid") == 0 {
		off -= off % cowBlockSize
		end = min(size, cowBlocks(end)*cowBlockSize)
	}
	return off, end - off
}

func TestCOWFollowsModel(t *testing.T) {
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		path := filepath.Join(dir, fmt.Sprint(run))
		size := rapid.SampledFrom(cowTestSizes).Draw(t, "size")
		base := newCOWTestBase(size, rapid.Uint64().Draw(t, "seed"))
		untouched := bytes.Clone(base.content)
		model := bytes.Clone(base.content)
		open := func() *COW {
			c, err := OpenCOW(base, path, "id")
			mustDo(t, err)
			return c
		}
		c := open()
		fill := byte(0)
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				off, n := drawRange(t, size)
				fill++
				p := bytes.Repeat([]byte{fill}, int(n))
				mustWriteCOW(t, c, p, off)
				copy(model[off:], p)
			},
			"zero": func(t *rapid.T) {
				off, n := drawRange(t, size)
				mustDo(t, c.Zero(off, n))
				clear(model[off : off+n])
			},
			"read": func(t *rapid.T) {
				off, n := drawRange(t, size)
				if off < size {
					wantBytes(t, "read", mustReadCOW(t, c, off, n), model[off:off+n])
				}
			},
			"extents": func(t *rapid.T) {
				off, n := drawRange(t, size)
				wantExtents(t, c, model[off:off+n], off)
			},
			"sync":   func(t *rapid.T) { mustDo(t, c.Sync()) },
			"reopen": func(t *rapid.T) { mustDo(t, c.Close()); c = open() },
			"": func(t *rapid.T) {
				wantExtents(t, c, model, 0)
			},
		})
		if size > 0 {
			wantBytes(t, "disk", mustReadCOW(t, c, 0, size), model)
		}
		mustDo(t, c.Close())
		wantBytes(t, "base", base.content, untouched)
		os.Remove(path)
		os.Remove(cowMapName(path))
	})
}

// Across map sectors, where requests are cut in pieces.
func TestCOWLargeRanges(t *testing.T) {
	const size = 2*cowSectorSize + 5000
	base := newCOWTestBase(size, 7)
	path := filepath.Join(t.TempDir(), "sda")
	c := mustOpenCOW(t, base, path)
	model := bytes.Clone(base.content)
	rng := rand.New(rand.NewPCG(3, 3))
	for i := range 30 {
		off := rng.Int64N(size)
		n := rng.Int64N(size - off)
		if i%3 == 0 {
			mustDo(t, c.Zero(off, n))
			clear(model[off : off+n])
		} else {
			p := bytes.Repeat([]byte{byte(i)}, int(n))
			mustWriteCOW(t, c, p, off)
			copy(model[off:], p)
		}
		wantExtents(t, c, model[off/2:], off/2)
		wantBytes(t, "disk", mustReadCOW(t, c, 0, size), model)
	}
	mustDo(t, c.Close())
	wantBytes(t, "disk", mustReadCOW(t, mustOpenCOW(t, base, path), 0, size), model)
}

func TestCOWOutOfRange(t *testing.T) {
	const size = 10000
	base := newCOWTestBase(size, 1)
	path := filepath.Join(t.TempDir(), "sda")
	c := mustOpenCOW(t, base, path)
	const maxInt = int64(^uint64(0) >> 1)
	for _, r := range [][2]int64{{-1, 1}, {size, 1}, {size - 1, 2}, {0, size + 1}, {maxInt, 1}, {size + 1, 0}} {
		_, err := c.WriteAt(make([]byte, r[1]), r[0])
		wantError(t, err, path, "not within the disk of 10000 bytes")
	}
	for _, r := range [][2]int64{{-1, 1}, {size, 1}, {0, size + 1}, {0, -1}, {maxInt, maxInt}, {1, maxInt}, {-1, -1}} {
		wantError(t, c.Zero(r[0], r[1]), path, "not within")
		n := 0
		for x, err := range c.Extents(r[0], r[1]) {
			wantError(t, err, path, "not within")
			if n++; n > 1 || x != (Extent{}) {
				t.Fatalf("extent %+v with error", x)
			}
		}
	}
	wantBytes(t, "disk", mustReadCOW(t, c, 0, size), base.content)

	for _, r := range []struct{ off, n, want int64 }{{size, 1, 0}, {size + 5, 1, 0}, {size - 3, 4, 3}, {0, size + 1, size}} {
		p := make([]byte, r.n)
		n, err := c.ReadAt(p, r.off)
		if int64(n) != r.want || err != io.EOF {
			t.Errorf("ReadAt(%d bytes at %d) = %d, %v; want %d, EOF", r.n, r.off, n, err, r.want)
		}
		wantBytes(t, "read", p[:n], base.content[min(r.off, size):][:n])
	}
	if _, err := c.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
		t.Errorf("ReadAt at -1: %v", err)
	}
}

// diskUsage is the space a file takes.
func diskUsage(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	mustDo(t, syscall.Stat(path, &st))
	return st.Blocks * 512
}

func TestCOWZeroMakesHoles(t *testing.T) {
	const size = 1<<20 + 100
	base := newCOWTestBase(size, 1)
	path := filepath.Join(t.TempDir(), "sda")
	c := mustOpenCOW(t, base, path)
	mustWriteCOW(t, c, bytes.Repeat([]byte{1}, size), 0)
	mustDo(t, c.Sync())
	full := diskUsage(t, path)
	mustDo(t, c.Zero(1000, size-1000))
	mustDo(t, c.Close())
	if used := diskUsage(t, path); used > 8192 || full < 1<<20 {
		t.Errorf("data file takes %d bytes before Zero and %d after", full, used)
	}
	c = mustOpenCOW(t, base, path)
	var got []Extent
	for x, err := range c.Extents(0, size) {
		mustDo(t, err)
		got = append(got, x)
	}
	want := []Extent{{format.Extent{Start: 0, Length: 4096}, true}, {format.Extent{Start: 4096, Length: size - 4096}, false}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("extents %v, want %v", got, want)
	}
	info, err := os.Stat(path)
	mustDo(t, err)
	if info.Size() != size {
		t.Errorf("data file is %d bytes long, want %d", info.Size(), size)
	}
}

func TestCOWHugeDiskCostsLittle(t *testing.T) {
	const size = 1<<40 + 12345
	base := cowHugeBase(size)
	path := filepath.Join(t.TempDir(), "sda")
	c := mustOpenCOW(t, base, path)
	places := []int64{0, 1 << 35, size - 5}
	for _, off := range places {
		mustWriteCOW(t, c, []byte("hello"), off)
	}
	mustDo(t, c.Close())
	if used := diskUsage(t, path) + diskUsage(t, cowMapName(path)); used > 256<<10 {
		t.Errorf("the files take %d bytes", used)
	}
	c = mustOpenCOW(t, base, path)
	n := 0
	for x, err := range c.Extents(0, size) {
		mustDo(t, err)
		if n++; x.Data && x.Length > cowBlockSize {
			t.Errorf("extent %+v", x)
		}
	}
	if n != 5 {
		t.Errorf("%d extents, want 5", n)
	}
	for _, off := range places {
		wantBytes(t, "place", mustReadCOW(t, c, off, 5), []byte("hello"))
	}
}

func TestCOWBaseErrors(t *testing.T) {
	const size = 10 * cowBlockSize
	base := newCOWTestBase(size, 1)
	path := filepath.Join(t.TempDir(), "sda")
	c := mustOpenCOW(t, base, path)
	mustWriteCOW(t, c, make([]byte, cowBlockSize), 0)
	broken := errors.New("saveset is broken")
	base.read = func(int64) error { return broken }

	n, err := c.ReadAt(make([]byte, size), 0)
	if n != cowBlockSize || !errors.Is(err, broken) {
		t.Errorf("read: %d, %v", n, err)
	}
	wantError(t, err, path)
	n, err = c.WriteAt(make([]byte, cowBlockSize), cowBlockSize+1)
	if n != 0 || !errors.Is(err, broken) {
		t.Errorf("write: %d, %v", n, err)
	}
	if err := c.Zero(size-10, 9); !errors.Is(err, broken) {
		t.Errorf("zero: %v", err)
	}
	mustWriteCOW(t, c, make([]byte, cowBlockSize), 3*cowBlockSize) // needs no base
	base.read = nil
	wantBytes(t, "rest", mustReadCOW(t, c, cowBlockSize, 2*cowBlockSize), base.content[cowBlockSize:3*cowBlockSize])

	base.content = base.content[:size-1] // a base that ends early
	_, err = c.ReadAt(make([]byte, 10), size-10)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read of a base that ends early: %v", err)
	}
}

func TestCOWExtentsPassOnErrors(t *testing.T) {
	broken := errors.New("no extents")
	one := Extent{format.Extent{Start: 0, Length: 5}, true}
	var got []Extent
	var last error
	for x, err := range cowMerged(func(yield func(Extent, error) bool) {
		_ = yield(one, nil) && yield(Extent{format.Extent{Start: 5, Length: 0}, false}, nil) &&
			yield(Extent{format.Extent{Start: 5, Length: 2}, true}, nil) && yield(Extent{}, broken)
	}) {
		got, last = append(got, x), err
	}
	if len(got) != 2 || got[0] != (Extent{format.Extent{Start: 0, Length: 7}, true}) || last != broken {
		t.Errorf("got %v, %v", got, last)
	}
}

func TestCOWClosed(t *testing.T) {
	base := newCOWTestBase(10000, 1)
	c := mustOpenCOW(t, base, filepath.Join(t.TempDir(), "sda"))
	mustDo(t, c.Close())
	mustDo(t, c.Close())
	_, read := c.ReadAt(make([]byte, 1), 0)
	_, write := c.WriteAt(make([]byte, 1), 0)
	for _, err := range []error{read, write, c.Zero(0, 1), c.Sync()} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
	for _, err := range c.Extents(0, 1) {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("extents after Close: %v", err)
		}
	}
}

func BenchmarkCOWWrite(b *testing.B) {
	c := mustOpenCOW(b, cowHugeBase(1<<30), filepath.Join(b.TempDir(), "sda"))
	p := bytes.Repeat([]byte{1}, 128<<10)
	b.SetBytes(int64(len(p)))
	for i := int64(0); b.Loop(); i++ {
		mustWriteCOW(b, c, p, i*int64(len(p))%(1<<30))
	}
}

func BenchmarkCOWReopen1TiB(b *testing.B) {
	path := filepath.Join(b.TempDir(), "sda")
	base := cowHugeBase(1 << 40)
	mustDo(b, mustOpenCOW(b, base, path).Close())
	for b.Loop() {
		c, err := OpenCOW(base, path, "vm1/sda@virtnbdbackup.2")
		mustDo(b, err)
		mustDo(b, c.Close())
	}
}

// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"virtnb/format"
)

// Random chains against a []byte model.

// drawChain writes a chain of savesets to dir and returns their paths with the
// disk after each.
func drawChain(t *rapid.T, tb testing.TB, dir string) (files []string, disks [][]byte) {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	var disk []byte
	for i := range rapid.IntRange(1, 6).Draw(t, "savesets") {
		full := i == 0 || rapid.IntRange(0, 9).Draw(t, "fallback") == 0
		s := testSaveset{
			size:       int64(rapid.IntRange(1, 400_000).Draw(t, "size")),
			checkpoint: name(i),
			lz4:        rapid.Bool().Draw(t, "lz4"),
			partSize:   rapid.SampledFrom([]int{0, 5000, 70_000}).Draw(t, "part"),
			linked:     rapid.Bool().Draw(t, "linked"),
			sums:       rapid.Bool().Draw(t, "sums"),
		}
		if !full {
			s.parent = name(i - 1)
		}
		disk = resize(disk, s.size)
		if full {
			clear(disk)
		}
		s.pieces = drawPieces(t, rng, s.size, full)
		for _, p := range s.pieces {
			clear(disk[p.start:p.end()])
			copy(disk[p.start:], p.data)
		}
		files = append(files, s.write(tb, chainFile(dir, i)))
		disks = append(disks, bytes.Clone(disk))
	}
	return files, disks
}

func name(i int) string { return "virtnbdbackup." + string(rune('0'+i)) }

func resize(disk []byte, size int64) []byte {
	out := make([]byte, size)
	copy(out, disk)
	return out
}

func drawPieces(t *rapid.T, rng *rand.Rand, size int64, full bool) (pieces []piece) {
	longest := rapid.SampledFrom([]int64{3, 600, 5000, 200_000}).Draw(t, "longest")
	for off := rng.Int64N(longest); off < size && len(pieces) < 300; off += rng.Int64N(longest) {
		n := min(1+rng.Int64N(longest), size-off)
		switch k := rng.IntN(5); {
		case k == 0 && full:
			pieces = append(pieces, piece{start: off, zeros: n})
		case k == 1: // became zero
			pieces = append(pieces, piece{start: off, data: make([]byte, n)})
		default:
			pieces = append(pieces, piece{start: off, data: noise(rng, int(n))})
		}
		off += n
	}
	return pieces
}

func TestChainReadsAsTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "set")
		if err != nil {
			t.Fatal(err)
		}
		files, disks := drawChain(rt, t, dir)
		cache := NewCache(int64(rapid.SampledFrom([]int{0, 100_000, 10 << 20}).Draw(rt, "cache")))
		for i, want := range disks {
			img, err := Open(files[:i+1], Options{Cache: cache})
			if err != nil {
				rt.Fatalf("chain of %d: %v", i+1, err)
			}
			compareDisk(rt, img, want)
			img.Close()
		}
	})
}

// compareDisk reads all of img, and parts of it in random order.
func compareDisk(t *rapid.T, img *Chain, want []byte) {
	got := make([]byte, len(want))
	if n, err := img.ReadAt(got, 0); n != len(want) || err != nil {
		t.Fatalf("read of all gives %d, %v", n, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("disk differs")
	}
	for range 20 {
		off := rand.Int64N(int64(len(want)))
		p := make([]byte, rand.Int64N(int64(len(want))-off+100))
		n, err := img.ReadAt(p, off)
		short := n < len(p)
		if short != (err == io.EOF) || err != nil && err != io.EOF || !bytes.Equal(p[:n], want[off:off+int64(n)]) {
			t.Fatalf("read of %d at %d gives %d, %v", len(p), off, n, err)
		}
	}
	at := int64(0)
	for e, err := range img.Extents(0, img.Size()) {
		if err != nil || e.Start != at || !e.Data && !format.IsZero(want[e.Start:e.End()]) {
			t.Fatalf("extent %+v: %v", e, err)
		}
		at = e.End()
	}
	if at != int64(len(want)) {
		t.Fatalf("extents end at %d", at)
	}
}

// A large frame is decoded once from its start, and then from its marks.
func TestLargeFrameIsDecodedFromItsMiddle(t *testing.T) {
	for _, test := range []struct {
		name         string
		linked, sums bool
	}{{"linked", true, true}, {"independent", false, true}, {"linked without block checksums", true, false}} {
		t.Run(test.name, func(t *testing.T) {
			want := noise(rand.New(rand.NewPCG(1, 2)), 5<<20+12345)
			s := testSaveset{size: int64(len(want)), checkpoint: "virtnbdbackup.0", lz4: true, linked: test.linked, sums: test.sums,
				pieces: []piece{{data: want}}}
			img := openChain(t, Options{Cache: NewCache(3 << 20)}, s)
			readBack(t, img, want, 4<<20+5, 10) // far in, first of all
			readBack(t, img, want, 0, 10)
			for range 300 {
				off := rand.IntN(len(want))
				readBack(t, img, want, off, min(len(want)-off, rand.IntN(100_000)))
			}
			readBack(t, img, want, 0, len(want))
			if used := img.cache.charged(); used > 3<<20 {
				t.Errorf("cache holds %d bytes", used)
			}
		})
	}
}

// Reading anywhere in a frame that was touched costs one segment of decoding.
func TestReReadDecodesOneSegment(t *testing.T) {
	want := noise(rand.New(rand.NewPCG(1, 2)), 8<<20)
	s := testSaveset{size: int64(len(want)), checkpoint: "virtnbdbackup.0", lz4: true, linked: true, sums: true, pieces: []piece{{data: want}}}
	img := openChain(t, Options{Cache: NewCache(64 << 20)}, s)
	readBack(t, img, want, len(want)-1, 1)
	decoded := countReads(t, img)
	for off := 0; off < len(want); off += 1 << 20 {
		before := *decoded
		readBack(t, img, want, off, 1)
		if n := *decoded - before; n > 1<<20+lz4Slack {
			t.Errorf("a byte at %d costs reading %d bytes of the file", off, n)
		}
	}
}

const lz4Slack = 256 << 10 // what the input reads ahead

// countReads counts the bytes of the savesets that img reads from now on.
func countReads(t *testing.T, img *Chain) *int64 {
	t.Helper()
	var n int64
	src := img.sources[0]
	s, err := format.NewSaveset(&countingReader{src.Saveset, &n}, src.Size, src.Path)
	if err != nil {
		t.Fatal(err)
	}
	src.Saveset = s
	n = 0
	return &n
}

type countingReader struct {
	io.ReaderAt
	n *int64
}

func (r *countingReader) ReadAt(p []byte, off int64) (int, error) {
	*r.n += int64(len(p))
	return r.ReaderAt.ReadAt(p, off)
}

func openChain(t *testing.T, o Options, savesets ...testSaveset) *Chain {
	t.Helper()
	dir := t.TempDir()
	var files []string
	for i, s := range savesets {
		files = append(files, s.write(t, chainFile(dir, i)))
	}
	img, err := Open(files, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

func readBack(t *testing.T, img *Chain, want []byte, off, n int) {
	t.Helper()
	p := make([]byte, n)
	if _, err := img.ReadAt(p, int64(off)); err != nil {
		t.Fatalf("read of %d at %d: %v", n, off, err)
	}
	if !bytes.Equal(p, want[off:off+n]) {
		t.Fatalf("read of %d at %d differs", n, off)
	}
}

// A frame that many want at once is decoded once.
func TestFrameIsDecodedOnceForManyReaders(t *testing.T) {
	want := noise(rand.New(rand.NewPCG(3, 4)), 1<<20)
	s := testSaveset{size: int64(len(want)), checkpoint: "virtnbdbackup.0", lz4: true, sums: true, pieces: []piece{{data: want}}}
	img := openChain(t, Options{}, s)
	reads := countReads(t, img)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			p := make([]byte, 4096)
			if _, err := img.ReadAt(p, int64(i)*50_000); err != nil || !bytes.Equal(p, want[i*50_000:][:4096]) {
				t.Errorf("reader %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if *reads > img.sources[0].Size+lz4Slack {
		t.Errorf("%d bytes were read of a file of %d", *reads, img.sources[0].Size)
	}
}

// The index is what an image of many extents takes in memory.
func TestIndexTakesAtMost32BytesAnExtent(t *testing.T) {
	for _, compressed := range []bool{false, true} {
		s := testSaveset{size: 1 << 30, checkpoint: "virtnbdbackup.0", lz4: compressed}
		for off := int64(0); off < s.size; off += 16 << 10 {
			s.pieces = append(s.pieces, piece{start: off, data: []byte("data")})
		}
		x := openChain(t, Options{}, s).index
		size := 8*cap(x.start) + 8*cap(x.length) + 8*cap(x.pos) + 2*cap(x.source) + 12*cap(x.frame) + 4*cap(x.buckets)
		if extents := len(x.start); size > 32*extents || extents < 100_000 {
			t.Errorf("compressed %v: %d bytes for %d extents", compressed, size, extents)
		}
	}
}

// A saveset that is not the file any more that was opened gives no bytes.
func TestChangedSavesetIsAnError(t *testing.T) {
	want := noise(rand.New(rand.NewPCG(9, 9)), 100_000)
	for _, compressed := range []bool{false, true} {
		s := testSaveset{size: int64(len(want)), checkpoint: "virtnbdbackup.0", lz4: compressed, sums: true, pieces: []piece{{data: want[:50_000]}, {start: 50_000, data: want[50_000:]}}}
		for name, change := range map[string]func(path string) error{
			"rewritten": func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), len(s.bytes())), 0o600) },
			"cut":       func(path string) error { return os.Truncate(path, 10_000) },
			"emptied":   func(path string) error { return os.Truncate(path, 0) },
			"extended":  func(path string) error { return os.Truncate(path, 1_000_000) },
			"rewritten with its old time": func(path string) error {
				st, err := os.Stat(path)
				if err != nil {
					return err
				}
				if err := os.WriteFile(path, bytes.Repeat([]byte("x"), len(s.bytes())), 0o600); err != nil {
					return err
				}
				return os.Chtimes(path, time.Time{}, st.ModTime())
			},
		} {
			img := openChain(t, Options{}, s)
			path := img.sources[0].Path
			time.Sleep(20 * time.Millisecond) // the clock of the file system ticks every 4 to 10 ms
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			_, err := img.ReadAt(make([]byte, 100_000), 0)
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("compressed %v, %s: error is %v", compressed, name, err)
			}
			if img.Current() {
				t.Errorf("compressed %v, %s: taken for current", compressed, name)
			}
		}
		for name, change := range map[string]func(path string) error{ // the content is still there
			"removed":         os.Remove,
			"linked":          func(path string) error { return os.Link(path, path+".link") },
			"of another mode": func(path string) error { return os.Chmod(path, 0o400) },
		} {
			img := openChain(t, Options{}, s)
			time.Sleep(20 * time.Millisecond)
			if err := change(img.sources[0].Path); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			readBack(t, img, want, 0, len(want))
		}
	}
}

func TestBrokenSequenceIsRefused(t *testing.T) {
	full := testSaveset{size: 1000, checkpoint: "virtnbdbackup.0"}
	inc := func(n, parent string) testSaveset {
		return testSaveset{size: 1000, checkpoint: n, parent: parent}
	}
	dir := t.TempDir()
	a := full.write(t, filepath.Join(dir, "vda.full.data"))
	b := inc("virtnbdbackup.1", "virtnbdbackup.0").write(t, filepath.Join(dir, "vda.inc.virtnbdbackup.1.data"))
	c := inc("virtnbdbackup.2", "virtnbdbackup.1").write(t, filepath.Join(dir, "vda.inc.virtnbdbackup.2.data"))
	second := full.write(t, filepath.Join(dir, "vda.copy.data"))
	for _, files := range [][]string{{}, {b}, {a, c}, {a, b, b}, {a, second}, {a, a}, {b, a}} {
		if img, err := Open(files, Options{}); !errors.Is(err, format.ErrChain) {
			t.Errorf("%v: %v, error %v", files, img, err)
		}
	}
	if _, err := Open([]string{a, filepath.Join(dir, "none")}, Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	want := noise(rand.New(rand.NewPCG(5, 6)), 4<<20)
	s := testSaveset{size: int64(len(want)), checkpoint: "virtnbdbackup.0", lz4: true, sums: true, partSize: 100_000, pieces: []piece{{data: want}}}
	for _, size := range []int64{0, 1000, 300_000, 1 << 20} {
		img := openChain(t, Options{Cache: NewCache(size)}, s)
		for range 200 {
			readBack(t, img, want, rand.IntN(len(want)-5000), 5000)
			if img.cache.charged() > size {
				t.Fatalf("cache of %d holds %d bytes", size, img.cache.charged())
			}
		}
	}
}

// Every flipped byte of a compressed payload is an error, never other bytes.
func TestFlippedByteIsAnError(t *testing.T) {
	want := noise(rand.New(rand.NewPCG(7, 8)), 200_000)
	for _, linked := range []bool{true, false} {
		for _, sums := range []bool{true, false} {
			s := testSaveset{size: int64(len(want)), checkpoint: "virtnbdbackup.0", lz4: true, linked: linked, sums: sums, pieces: []piece{{data: want}}}
			sound := s.bytes()
			first := bytes.Index(sound, []byte{0x04, 0x22, 0x4d, 0x18})
			for at := first; at < len(sound)-200; at += 1 + rand.IntN(2000) {
				damaged := bytes.Clone(sound)
				damaged[at] ^= 1 << rand.IntN(8)
				readDamaged(t, damaged, want)
			}
		}
	}
}

// readDamaged reads a disk whose saveset is damaged: what can be read is right.
func readDamaged(t *testing.T, saveset, want []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vda.full.data")
	if err := os.WriteFile(path, saveset, 0o600); err != nil {
		t.Fatal(err)
	}
	img, err := Open([]string{path}, Options{})
	if err == nil {
		defer img.Close()
		p := make([]byte, len(want))
		if _, err = img.ReadAt(p, 0); err == nil {
			t.Fatalf("a flipped byte gives no error (bytes equal: %v)", bytes.Equal(p, want))
		}
	}
	if !errors.Is(err, format.ErrCorrupt) {
		t.Fatalf("error is %v", err)
	}
}

// A disk that shrank and grew again has lost what was behind its smallest
// size, also where a newer run reaches across that.
func TestShrunkAndGrown(t *testing.T) {
	a := bytes.Repeat([]byte("a"), 100)
	b := bytes.Repeat([]byte("b"), 20)
	img := openChain(t, Options{},
		testSaveset{size: 100, checkpoint: name(0), pieces: []piece{{data: a}}},
		testSaveset{size: 50, checkpoint: name(1), parent: name(0)},
		testSaveset{size: 90, checkpoint: name(2), parent: name(1), pieces: []piece{{start: 40, data: b}}})
	want := make([]byte, 90)
	copy(want, a[:50])
	copy(want[40:], b)
	readBack(t, img, want, 0, 90)
}

// A link that comes and goes, as copies of folders by hard links make and
// remove them, takes nothing from who reads all the while; a change of the
// content in between does.
func TestLinksComeAndGo(t *testing.T) {
	want := noise(rand.New(rand.NewPCG(4, 4)), 100_000)
	img := openChain(t, Options{}, testSaveset{size: int64(len(want)), checkpoint: "virtnbdbackup.0", pieces: []piece{{data: want}}})
	path := img.sources[0].Path
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	link := path + ".link"
	for range 2 {
		for _, change := range []func() error{
			func() error { return os.Link(path, link) },
			func() error { return os.Remove(link) },
		} {
			time.Sleep(20 * time.Millisecond) // the clock of the file system
			if err := change(); err != nil {
				t.Fatal(err)
			}
			readBack(t, img, want, 0, len(want))
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	time.Sleep(20 * time.Millisecond)
	if _, err := f.WriteAt([]byte("x"), st.Size()/2); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, st.ModTime()); err != nil {
		t.Fatal(err)
	}
	if _, err := img.ReadAt(make([]byte, 100), 0); err == nil {
		t.Error("no error after a change with the old time")
	}
}

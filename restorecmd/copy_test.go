// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"virtnb/format"
	"virtnb/overlay"
)

// memory is an image in memory. Its extents are where bytes are not zero, and
// some zeroes that it calls data.
type memory struct {
	bytes []byte
	data  []bool // of each unit
	unit  int64
	fail  int64 // offset that cannot be read, or -1
}

func (m *memory) Size() int64 { return int64(len(m.bytes)) }

var errUnreadable = errors.New("unreadable")

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if m.fail >= off && m.fail < off+int64(len(p)) {
		return 0, errUnreadable
	}
	if n := copy(p, m.bytes[off:]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

func (m *memory) Extents(off, n int64) iter.Seq2[overlay.Extent, error] {
	return func(yield func(overlay.Extent, error) bool) {
		var e overlay.Extent
		for at := off; at < off+n; at += m.unit {
			data, end := m.data[at/m.unit], min(at+m.unit, off+n)
			if e.Length > 0 && e.Data != data {
				if !yield(e, nil) {
					return
				}
				e = overlay.Extent{Extent: format.Extent{Start: at}}
			}
			e.Data, e.Length = data, end-e.Start
		}
		if e.Length > 0 {
			yield(e, nil)
		}
	}
}

// drawMemory is an image of some size off the grid.
func drawMemory(t *rapid.T) *memory {
	m := &memory{unit: 512, fail: -1}
	m.bytes = make([]byte, rapid.IntRange(1, 300_000).Draw(t, "size"))
	m.data = make([]bool, len(m.bytes)/512+1)
	for range rapid.IntRange(0, 12).Draw(t, "extents") {
		from := rapid.IntRange(0, len(m.data)-1).Draw(t, "from")
		to := min(from+rapid.IntRange(1, 60).Draw(t, "units"), len(m.data))
		value := rapid.Byte().Draw(t, "value") // also zero
		for u := from; u < to; u++ {
			m.data[u] = true
			for i := u * 512; i < min(u*512+512, len(m.bytes)); i++ {
				m.bytes[i] = value
			}
		}
	}
	return m
}

// recorder is a sink that remembers what it was told.
type recorder struct {
	mu      sync.Mutex
	bytes   []byte
	touched []int // how often each byte was written or made zero
	block   int64
	fresh   bool
	bad     string
}

func newRecorder(size, block int64, fresh bool) *recorder {
	r := &recorder{bytes: make([]byte, size), touched: make([]int, size), block: block, fresh: fresh}
	if !fresh {
		for i := range r.bytes {
			r.bytes[i] = 0xee
		}
	}
	return r
}

func (r *recorder) put(off, n int64, p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if size := int64(len(r.bytes)); off%r.block != 0 || (n%r.block != 0 && off+n != size) || n == 0 {
		r.bad = "a range is off the grid"
	}
	for i := range n {
		r.touched[off+i]++
		r.bytes[off+i] = 0
		if p != nil {
			r.bytes[off+i] = p[i]
		}
	}
}

func (r *recorder) WriteAt(_ context.Context, p []byte, off int64) error {
	r.put(off, int64(len(p)), p)
	return nil
}

func (r *recorder) Zero(_ context.Context, off, n int64) error {
	r.put(off, n, nil)
	return nil
}

func (r *recorder) Block() int64                 { return r.block }
func (r *recorder) Fresh() bool                  { return r.fresh }
func (r *recorder) Commit(context.Context) error { return nil }
func (r *recorder) Abort()                       {}

func TestCopyWritesEachBlockOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMemory(t)
		block := rapid.SampledFrom([]int64{512, 4096, 64 << 10}).Draw(t, "block")
		fresh := rapid.Bool().Draw(t, "fresh")
		to := newRecorder(m.Size(), block, fresh)
		var counted int64
		var mu sync.Mutex
		written, err := copyImage(context.Background(), m, to, func(n int64) { mu.Lock(); counted += n; mu.Unlock() })
		if err != nil || to.bad != "" {
			t.Fatal(err, to.bad)
		}
		if !bytes.Equal(to.bytes, m.bytes) {
			t.Fatal("the copy differs")
		}
		var wrote int64
		for at := int64(0); at < m.Size(); at++ {
			start := at / block * block
			zero := format.IsZero(m.bytes[start:min(start+block, m.Size())])
			want := 1
			if zero && fresh {
				want = 0
			}
			if to.touched[at] != want {
				t.Fatalf("byte %d was written %d times, want %d", at, to.touched[at], want)
			}
			if !zero {
				wrote++
			}
		}
		if written != wrote {
			t.Fatalf("%d bytes written, want %d", written, wrote)
		}
		if total, err := dataSize(m, block); err != nil || total != counted {
			t.Fatalf("%d of %d bytes counted: %v", counted, total, err)
		}
	})
}

func TestCopyEndsWithTheFirstError(t *testing.T) {
	m := &memory{unit: 512, bytes: bytes.Repeat([]byte{1}, 1<<20), data: make([]bool, 1<<20/512), fail: 700_000}
	for i := range m.data {
		m.data[i] = true
	}
	if _, err := copyImage(t.Context(), m, newRecorder(m.Size(), 4096, true), func(int64) {}); !errors.Is(err, errUnreadable) {
		t.Errorf("%v", err)
	}
	path := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := streamImage(t.Context(), m, f, func(int64) {}); !errors.Is(err, errUnreadable) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.fail = -1
	if _, err := copyImage(ctx, m, newRecorder(m.Size(), 4096, true), func(int64) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestStreamIsTheImage(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		m := drawMemory(t)
		path := filepath.Join(dir, "out")
		flags := os.O_CREATE | os.O_TRUNC | os.O_RDWR
		if rapid.Bool().Draw(t, "append") { // where a seek would make no hole
			flags |= os.O_APPEND
		}
		f, err := os.OpenFile(path, flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := streamImage(context.Background(), m, f, func(int64) {}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, m.bytes) {
			t.Fatalf("the stream differs: %v", err)
		}
	})
}

func TestDifferencesAreWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawMemory(t).bytes
		b := bytes.Clone(a)
		for range rapid.IntRange(0, 5).Draw(t, "changes") {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= 1
		}
		last := int64(-1)
		for d := range differences(a, b) {
			if d.Start%compareBlock != 0 || d.Start <= last {
				t.Fatalf("%v after %d", d, last)
			}
			last = d.End()
			copy(b[d.Start:d.End()], a[d.Start:d.End()])
		}
		if !bytes.Equal(a, b) {
			t.Fatal("something differs that was not told")
		}
	})
}

// A walker tells for ascending ranges whether there is data in them.
func TestWalkerAgreesWithExtents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMemory(t)
		w := newWalker(imageData(m))
		defer w.stop()
		for at := int64(0); at < m.Size(); {
			n := min(rapid.Int64Range(1, 70_000).Draw(t, "n"), m.Size()-at)
			want := false
			for u := at / 512; u*512 < at+n; u++ {
				want = want || m.data[u]
			}
			if got, err := w.any(format.Extent{Start: at, Length: n}); err != nil || got != want {
				t.Fatalf("%v in [%d, %d), want %v: %v", got, at, at+n, want, err)
			}
			at += n
		}
	})
}

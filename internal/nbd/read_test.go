// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"virtnb/format"
)

// wantRead reads all that q tells and checks order, cuts and bytes; what is not
// told of does not matter.
func wantRead(t *testing.T, c *Client, q Query, want []byte) {
	t.Helper()
	for _, o := range []ReadOptions{{}, {Request: 64 << 10, Piece: 16 << 10, Memory: 1}, {Request: 128 << 10, Piece: 64 << 10, Transform: double}} {
		got := make([]byte, len(want))
		at := int64(0)
		for p, err := range c.Read(t.Context(), c.Extents(t.Context(), q), o) {
			must(t, err)
			if p.Start < at || p.Start < p.Of.Start || p.End() > p.Of.End() || p.Length <= 0 {
				t.Fatalf("piece %v of %v after %d", p.Extent, p.Of, at)
			}
			at = p.End()
			if p.Zero {
				continue
			}
			data := p.Data
			if o.Transform != nil {
				data = half(t, data)
			}
			if int64(len(data)) != p.Length || o.Piece > 0 && p.Start/o.Piece != (p.End()-1)/o.Piece {
				t.Fatalf("piece %v has %d bytes", p.Extent, len(data))
			}
			copy(got[p.Start:], data)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%+v: the disk reads as something else", q)
		}
	}
}

// double is a transformation that half takes back.
func double(dst, src []byte) ([]byte, error) {
	return append(append(dst, src...), src...), nil
}

func half(t *testing.T, p []byte) []byte {
	t.Helper()
	a, b := p[:len(p)/2], p[len(p)/2:]
	if !bytes.Equal(a, b) {
		t.Fatal("the transformation was not of this piece alone")
	}
	return a
}

// pattern is a client of a disk in which each word is its offset.
func pattern(t *testing.T, size int64, args ...string) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	process(t, "nbdkit", append([]string{"-f", "-U", socket, "pattern", fmt.Sprint(size)}, args...)...)
	return connect(t, socket, Options{Connections: 3})
}

// listed are extents from a list.
func listed(all []Extent, err error) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
		if err != nil {
			yield(Extent{}, err)
		}
	}
}

// TestReadRandomExtents: every piece of every extent comes, in order, with
// gaps of all lengths between them.
func TestReadRandomExtents(t *testing.T) {
	const size = 16 << 20
	c := pattern(t, size)
	whole := make([]byte, size)
	for off := 0; off < size; off += 1 << 20 {
		must(t, c.ReadAt(t.Context(), whole[off:off+1<<20], int64(off)))
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		var all []Extent
		for at := int64(0); ; {
			at += []int64{0, 1, 4096, maxGap, maxGap + 1, 300 << 10}[r.IntN(6)]
			n := []int64{1, 512, 4096, 100 << 10, 2 << 20}[r.IntN(5)]
			if at+n > size {
				break
			}
			all = append(all, Extent{format.Extent{Start: at, Length: n}, r.IntN(3) == 0})
			at += n
		}
		for _, transform := range []func(dst, src []byte) ([]byte, error){nil, double} {
			o := ReadOptions{Request: []int64{4096, 256 << 10, 0}[r.IntN(3)], Memory: []int64{0, 1 << 20}[r.IntN(2)], Transform: transform}
			i, at := 0, int64(0) // in the list, within the extent
			for p, err := range c.Read(t.Context(), listed(all, nil), o) {
				must(t, err)
				e := all[i]
				if p.Of != e.Extent || p.Start != e.Start+at || p.Zero != e.Zero || p.Zero && p.Data != nil {
					t.Fatalf("piece %v of %v, want the one at %d of extent %v", p.Extent, p.Of, at, e)
				}
				data := p.Data
				if !p.Zero && transform != nil {
					data = half(t, data)
				}
				if !p.Zero && !bytes.Equal(data, whole[p.Start:p.End()]) {
					t.Fatalf("piece %v has other bytes", p.Extent)
				}
				if at += p.Length; at == e.Length {
					i, at = i+1, 0
				}
			}
			if i != len(all) {
				t.Fatalf("%d of %d extents", i, len(all))
			}
		}
	}
}

// TestReadErrors: of the extents, the transformation, the server; what came
// before is delivered, and nothing after.
func TestReadErrors(t *testing.T) {
	c := pattern(t, 4<<20)
	boom := errors.New("boom")
	fails := func(dst, src []byte) ([]byte, error) {
		if src[5] == 0x20 { // the high bytes of a word at 2 MiB
			return dst, boom
		}
		return append(dst, src...), nil
	}
	whole := []Extent{{format.Extent{Length: 4 << 20}, false}}
	beyond := []Extent{{format.Extent{Length: 3 << 20}, false}, {format.Extent{Start: 5 << 20, Length: 512}, false}}
	for name, tc := range map[string]struct {
		extents   iter.Seq2[Extent, error]
		transform func(dst, src []byte) ([]byte, error)
		pieces    int
		want      string
	}{
		"extents":        {listed(beyond[:1], boom), nil, 3, "boom"},
		"transformation": {listed(whole, nil), fails, 2, "boom"},
		"server":         {listed(beyond, nil), nil, 3, "read of 512 bytes at offset 5242880"},
	} {
		n, failed := 0, error(nil)
		for p, err := range c.Read(t.Context(), tc.extents, ReadOptions{Request: 1 << 20, Transform: tc.transform}) {
			if failed != nil {
				t.Errorf("%s: %v after an error", name, p)
			}
			if failed = err; err == nil {
				n++
			}
		}
		if n > tc.pieces || !contains(failed, tc.want) {
			t.Errorf("%s: %d pieces and then %v, want %d and %q", name, n, failed, tc.pieces, tc.want)
		}
	}
	must(t, c.ReadAt(t.Context(), make([]byte, 4096), 0)) // the client is still good
}

// TestReadLeftEarly: nothing runs on, and the client is still good.
func TestReadLeftEarly(t *testing.T) {
	c := pattern(t, 64<<20)
	must(t, c.ReadAt(t.Context(), make([]byte, 4096), 0))
	for end := time.Now().Add(patience); c.Connections() < 3 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	before := runtime.NumGoroutine()
	for _, transform := range []func(dst, src []byte) ([]byte, error){nil, double} {
		for stop := range 5 {
			n := 0
			for range c.Read(t.Context(), c.Extents(t.Context(), Query{}), ReadOptions{Transform: transform, Memory: 8 << 20}) {
				if n++; n > stop {
					break
				}
			}
		}
	}
	wantGoroutines(t, before)
	must(t, c.ReadAt(t.Context(), make([]byte, 4096), 0))
}

// TestReadMemory: however slow the consumer is, no more is read than the bound
// says.
func TestReadMemory(t *testing.T) {
	c := pattern(t, 256<<20)
	var mu sync.Mutex // guards the rest
	var ahead, most int64
	extents := func(yield func(Extent, error) bool) {
		for at := int64(0); at < 256<<20; at += 1 << 20 {
			if !yield(Extent{format.Extent{Start: at, Length: 1 << 20}, false}, nil) {
				return
			}
		}
	}
	counted := func(yield func(Extent, error) bool) {
		for e, err := range extents {
			mu.Lock()
			ahead += e.Length
			most = max(most, ahead)
			mu.Unlock()
			if !yield(e, err) {
				return
			}
		}
	}
	for p, err := range c.Read(t.Context(), counted, ReadOptions{Memory: 4 << 20}) {
		must(t, err)
		mu.Lock()
		ahead -= p.Length
		mu.Unlock()
	}
	// One is planned while it waits for a batch, one is given out.
	if most > 6<<20 {
		t.Errorf("%d bytes were on their way", most)
	}
}

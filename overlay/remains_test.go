// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"virtnb/format"
)

// brokenSet writes a full and three incrementals with checksums, and returns the
// disk at its end.
func brokenSet(t *testing.T, rng *rand.Rand, dir string, lz4, linked bool) (disk []byte) {
	t.Helper()
	const size = 512 << 10
	disk = make([]byte, size)
	for i := range 4 {
		s := testSaveset{size: size, checkpoint: fmt.Sprintf("virtnbdbackup.%d", i), lz4: lz4, linked: linked, sums: true}
		if i > 0 {
			s.parent = fmt.Sprintf("virtnbdbackup.%d", i-1)
		}
		for off := int64(0); off < size; {
			n := min(size-off, int64(4096*(1+rng.IntN(30))))
			p := piece{start: off, data: noise(rng, int(n))}
			switch {
			case i == 0 && rng.IntN(3) == 0:
				p.data, p.zeros = nil, n
				clear(disk[off:][:n])
			case i == 0 || rng.IntN(4) == 0:
				copy(disk[off:], p.data)
			default:
				off += n
				continue
			}
			s.pieces = append(s.pieces, p)
			off += n
		}
		path := s.write(t, chainFile(dir, i))
		var sum format.Checksum
		_, _ = sum.Write(s.bytes())
		if err := os.WriteFile(path+".chksum", []byte(fmt.Sprint(sum.Sum32())), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return disk
}

func openRemains(t *testing.T, dir string) *Remains {
	t.Helper()
	set, err := format.ReadSet(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := set.Disk("vda")
	p, err := d.Find("virtnbdbackup.3")
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenRemains(t.Context(), d.Remnants(p), Options{}, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// readPieces reads all of r, a piece at a time.
func readPieces(t *testing.T, r *Remains, piece int) []byte {
	t.Helper()
	got := make([]byte, r.Size())
	for off := 0; off < len(got); off += piece {
		if _, err := r.ReadAt(got[off:min(len(got), off+piece)], int64(off)); err != nil && err != io.EOF {
			t.Fatalf("at %d: %v; %q", off, err, r.Problems)
		}
	}
	return got
}

// What is not in Lost is right, whatever happened to whichever saveset; and the
// rest can be read without an error.
func TestRemainsAreNeverSilentlyWrong(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	known := map[string]int64{}
	for round := range 40 {
		dir := t.TempDir()
		lz4 := round%3 > 0
		want := brokenSet(t, rng, dir, lz4, round%3 == 1)
		victim := chainFile(dir, rng.IntN(4))
		b, err := os.ReadFile(victim)
		if err != nil {
			t.Fatal(err)
		}
		at := rng.IntN(len(b))
		if len(b) > 1000 {
			at = max(at, 600)
		}
		kind := []string{"bit", "burst", "cut", "empty", "gone"}[rng.IntN(5)]
		if victim == chainFile(dir, 3) && kind == "gone" { // that would be another restore point
			kind = "cut"
		}
		switch kind {
		case "bit":
			b[at] ^= 4
		case "burst":
			clear(b[at:min(len(b), at+rng.IntN(100_000))])
		case "cut":
			b = b[:at]
		case "empty":
			b = nil
		}
		if err = os.WriteFile(victim, b, 0o600); kind == "gone" {
			err = os.Remove(victim)
		}
		if err != nil {
			t.Fatal(err)
		}
		r := openRemains(t, dir)
		got := readPieces(t, r, 100_000)
		if len(got) != len(want) {
			t.Fatalf("disk has %d bytes, want %d", len(got), len(want))
		}
		for off := 0; off < len(got); off += 512 {
			if !bytes.Equal(got[off:][:512], want[off:][:512]) && !r.Lost.Overlaps(format.Extent{Start: int64(off), Length: 512}) {
				t.Fatalf("%s in %s at %d: disk offset %d is wrong; %q", kind, victim, at, off, r.Problems)
			}
		}
		if len(r.Problems) == 0 {
			t.Errorf("%s in %s at %d: no problem", kind, victim, at)
		}
		known[kind] += r.Size() - r.Lost.Length()
	}
	for kind, n := range known {
		if n == 0 {
			t.Errorf("%s: nothing of any disk is known", kind)
		}
	}
}

// A sound chain has nothing lost, and is the image that Open opens.
func TestRemainsOfSoundChain(t *testing.T) {
	dir := t.TempDir()
	want := brokenSet(t, rand.New(rand.NewPCG(1, 1)), dir, true, false)
	r := openRemains(t, dir)
	if got := readPieces(t, r, 64<<10); len(r.Lost) > 0 || len(r.Problems) > 0 || !bytes.Equal(got, want) {
		t.Errorf("lost %v, problems %q", r.Lost, r.Problems)
	}
}

// Under a saveset that is missing nothing is known, and what is older is shown.
func TestRemainsUnderMissingSaveset(t *testing.T) {
	dir := t.TempDir()
	block := func(c byte) []byte { return bytes.Repeat([]byte{c}, 4096) }
	for i, s := range []testSaveset{
		{pieces: []piece{{start: 0, data: block('a')}, {start: 4096, zeros: 12288}}},
		{parent: "virtnbdbackup.0", pieces: []piece{{start: 4096, data: block('b')}}},
		{parent: "virtnbdbackup.1", pieces: []piece{{start: 8192, data: block('c')}}},
		{parent: "virtnbdbackup.2", pieces: []piece{{start: 12288, data: block('d')}}},
	} {
		s.size, s.checkpoint = 16384, fmt.Sprintf("virtnbdbackup.%d", i)
		s.write(t, chainFile(dir, i))
	}
	if err := os.Remove(chainFile(dir, 2)); err != nil {
		t.Fatal(err)
	}
	r := openRemains(t, dir)
	want := strings.Join([]string{string(block('a')), string(block('b')), string(block(0)), string(block('d'))}, "")
	if got := readPieces(t, r, 5000); string(got) != want {
		t.Error("what is older is not shown")
	}
	if len(r.Lost) != 1 || r.Lost[0] != (format.Extent{Start: 0, Length: 12288}) {
		t.Errorf("lost is %v", r.Lost)
	}
	if len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "virtnbdbackup.2") {
		t.Errorf("problems are %q", r.Problems)
	}
}

func TestRemainsOfNothing(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"/vda.full.data", "/vda.inc.virtnbdbackup.1.data"} {
		if err := os.WriteFile(dir+name, []byte("hello"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, err := format.ReadSet(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := set.Disks[0]
	if _, err := OpenRemains(t.Context(), d.Remnants(d.Latest()), Options{}, func(int64) {}); !errors.Is(err, format.ErrCorrupt) {
		t.Errorf("error is %v", err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// allocated is the disk space that path takes, in bytes.
func allocated(t *testing.T, path string) int64 {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Blocks * 512
}

func TestWriterZeroIsAHoleInAnIncremental(t *testing.T) {
	const tib = 1 << 40
	s := script{meta: testMeta(tib+1<<20, 0)}
	s.meta.Incremental = true
	noise := make([]byte, 4096)
	fillMixed(noise, 1)
	s.add(step{Extent{512, 4096}, "Data", noise})
	s.add(step{Extent{8192, tib}, "Zero", nil})
	s.add(step{Extent{tib + 65536, 4096}, "Data", noise})
	path := filepath.Join(t.TempDir(), "vda.inc.virtnbdbackup.1.data")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := s.write(f)
	if err != nil {
		t.Fatal(err)
	}
	if n := allocated(t, path); n > 256<<10 {
		t.Errorf("1 TiB of zeroes takes %d bytes on disk", n)
	}
	checkSparseSum(t, w, f)
	zero, data := frameBytes(t, path)
	if zero+data != s.meta.DataSize || data > 64<<10 {
		t.Errorf("read back: %d bytes of zeroes, %d of data", zero, data)
	}
}

// frameBytes sums up the frames of a saveset.
func frameBytes(t *testing.T, path string) (zero, data int64) {
	t.Helper()
	s, err := OpenSaveset(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for f, err := range s.Frames() {
		if err != nil {
			t.Fatal(err)
		}
		if f.Zero {
			zero += f.Length
		} else {
			data += f.Length
		}
	}
	return zero, data
}

// checkSparseSum compares w's checksum with one that a Checksum makes of the
// file's data, and of its holes by their length.
func checkSparseSum(t *testing.T, w *Writer, f *os.File) {
	t.Helper()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var sum Checksum
	var holes holeMap
	holes.f = f
	for pos := int64(0); pos < st.Size(); {
		p := Frame{Extent: Extent{pos, st.Size() - pos}, Pos: pos}
		if err := holes.cut(&p); err != nil {
			t.Fatal(err)
		}
		if p.Zero {
			sum.Zeroes(p.Length)
		} else if _, err := io.Copy(&sum, io.NewSectionReader(f, pos, p.Length)); err != nil {
			t.Fatal(err)
		}
		pos = p.End()
	}
	if sum.Sum32() != w.Adler32() {
		t.Errorf("Adler32 is %d, that of the file %d", w.Adler32(), sum.Sum32())
	}
}

func TestWriterZeroesInsideDataAreHoles(t *testing.T) {
	for _, call := range []string{"Data", "DataFrom"} {
		t.Run(call, func(t *testing.T) {
			const size = 16 << 20
			s := script{meta: testMeta(size, 0)}
			p := make([]byte, size)
			fillNoise(p[5<<20:6<<20+777], rand.New(rand.NewPCG(1, 2)))
			s.add(step{Extent{0, size}, call, p})
			path := filepath.Join(t.TempDir(), "vda.full.data")
			var buf bytes.Buffer
			if _, err := s.write(&buf); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(s.writeFile(t, path, ""), buf.Bytes()) {
				t.Error("the sparse file has other bytes than the buffer")
			}
			if n := allocated(t, path); n > 1<<20+64<<10 {
				t.Errorf("1 MiB of data among zeroes takes %d bytes on disk", n)
			}
		})
	}
}

// A file that the writer may not seek in must come out right all the same.
func TestWriterNoHolesWhereSeekingIsWrong(t *testing.T) {
	s := script{meta: testMeta(4<<20, 0)}
	s.meta.Incremental = true
	s.add(step{Extent{4096, 1 << 20}, "Zero", nil})
	s.add(step{Extent{2 << 20, 1 << 20}, "Data", make([]byte, 1<<20)})
	var buf bytes.Buffer
	if _, err := s.write(&buf); err != nil {
		t.Fatal(err)
	}
	before := bytes.Repeat([]byte("before "), 1<<20)
	for name, c := range map[string]struct {
		flag int
		seek int64
		want []byte
	}{
		"append mode":        {os.O_APPEND, 0, append(bytes.Clone(before), buf.Bytes()...)},
		"over other content": {0, 5, append(append([]byte{}, before[:5]...), append(buf.Bytes(), before[5+buf.Len():]...)...)},
		"at the end":         {0, int64(len(before)), append(bytes.Clone(before), buf.Bytes()...)},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out")
			if err := os.WriteFile(path, before, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_RDWR|c.flag, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Seek(c.seek, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if _, err := s.write(f); err != nil {
				t.Fatal(err)
			}
			if got, _ := os.ReadFile(path); !bytes.Equal(got, c.want) {
				t.Error("wrong content")
			}
		})
	}
}

func TestFindHole(t *testing.T) {
	const g, m = holeGrid, minHole
	for _, c := range []struct {
		name       string
		pos        int64
		size       int
		data       []int // indices of bytes that are not zero
		start, end int
	}{
		{"nothing", 0, 0, nil, 0, 0},
		{"shorter than a block", 100, 50, nil, 50, 50},
		{"all zero on the grid", 3 * g, m, nil, 0, m},
		{"one block too short", 0, m - 1, nil, m - 1, m - 1},
		{"grid inside", g - 10, m + 20, nil, 10, m + 10},
		{"data before the grid", g - 10, m + 20, []int{9}, 10, m + 10},
		{"data in the first block", 0, m + 2*g, []int{1}, g, m + 2*g},
		{"data in the last block", 0, m + g, []int{m + 5}, 0, m},
		{"data in the middle", 0, 2*m - g, []int{m - g}, 2*m - g, 2*m - g},
		{"first of two", 0, 3*m + g, []int{m}, 0, m},
		{"tail of the run", 0, m + g + 7, nil, 0, m + g},
	} {
		p := make([]byte, c.size)
		for _, i := range c.data {
			p[i] = 1
		}
		if start, end := findHole(p, c.pos); start != c.start || end != c.end {
			t.Errorf("%s: hole [%d,%d), want [%d,%d)", c.name, start, end, c.start, c.end)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

var testDate = time.Date(2026, 11, 22, 2, 0, 0, 123456000, time.Local)

func testMeta(size, data int64) Metadata {
	return Metadata{VirtualSize: size, DataSize: data, Date: testDate, DiskName: "vda",
		DiskFormat: "qcow2", CheckpointName: "virtnbdbackup.0"}
}

// step is one call of a Writer.
type step struct {
	Extent
	call string // Data, DataFrom, Compressed or Zero
	p    []byte // content; all zero for Zero
}

func (s step) do(w *Writer, level int) error {
	switch s.call {
	case "Data":
		return w.Data(s.Start, s.p)
	case "DataFrom":
		return w.DataFrom(s.Extent, iotest.HalfReader(bytes.NewReader(s.p)))
	case "Append":
		return appendAll(w, s.Extent, s.p)
	case "Compressed":
		frame, err := CompressFrame(nil, s.p, level)
		if err != nil {
			return err
		}
		return w.Compressed(s.Extent, frame)
	}
	return w.Zero(s.Extent)
}

// appendAll writes an extent in pieces.
func appendAll(w *Writer, e Extent, p []byte) error {
	if err := w.Start(e); err != nil {
		return err
	}
	for piece := 1; len(p) > 0; piece *= 3 {
		n := min(piece, len(p))
		if err := w.Append(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// script is a whole saveset to write, and what the disk must then be.
type script struct {
	meta  Metadata
	opts  WriterOptions
	steps []step
}

func drawScript(t *rapid.T) script {
	size := rapid.Int64Range(0, 4<<20).Draw(t, "size")
	s := script{meta: testMeta(size, 0)}
	s.meta.Compression = rapid.SampledFrom([]int{0, 0, 2, -3, 9}).Draw(t, "level")
	s.meta.Incremental = rapid.Bool().Draw(t, "incremental")
	s.opts.ZeroesAsData = rapid.Bool().Draw(t, "zeroes as data")
	s.opts.FrameSize = rapid.SampledFrom([]int{0, 1000, 4096, 64 << 10}).Draw(t, "frames")
	calls := []string{"Data", "DataFrom", "Zero"}
	if s.meta.Compressed() {
		calls = append(calls, "Compressed")
	} else {
		calls = append(calls, "Append")
	}
	gap := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 200<<10))
	length := rapid.OneOf(rapid.Int64Range(1, 3<<20), rapid.Int64Range(1, 300<<10), rapid.Int64Range(1, 100))
	for off := gap.Draw(t, "gap"); off < size; off += gap.Draw(t, "gap") {
		e := Extent{off, min(length.Draw(t, "length"), size-off)}
		st := step{e, rapid.SampledFrom(calls).Draw(t, "call"), make([]byte, e.Length)}
		if st.call != "Zero" {
			fillMixed(st.p, rapid.Uint64().Draw(t, "seed"))
		}
		s.add(st)
		off = e.End()
	}
	if !s.meta.Incremental && s.opts.ZeroesAsData {
		s.meta.DataSize = size // gaps as well
	}
	return s
}

func (s *script) add(st step) {
	s.steps = append(s.steps, st)
	if st.call != "Zero" || s.meta.Incremental {
		s.meta.DataSize += st.Length
	}
}

// fillMixed gives p runs of noise and of zeroes.
func fillMixed(p []byte, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0))
	for len(p) > 0 {
		n := min(len(p), 1+r.IntN(150<<10))
		if r.IntN(2) == 0 {
			fillNoise(p[:n], r)
		}
		p = p[n:]
	}
}

func fillNoise(p []byte, r *rand.Rand) {
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, r.Uint64())
		p = p[8:]
	}
	for i := range p {
		p[i] = byte(r.Uint64())
	}
}

// write runs s on dst.
func (s script) write(dst io.Writer) (*Writer, error) {
	w, err := NewWriter(dst, s.meta, s.opts)
	if err != nil {
		return nil, err
	}
	for _, st := range s.steps {
		if err := st.do(w, s.meta.Compression); err != nil {
			return w, err
		}
	}
	return w, w.Finish()
}

// model is the disk after s, if its bytes were 0xee before.
func (s script) model() []byte {
	disk := bytes.Repeat([]byte{0xee}, int(s.meta.VirtualSize))
	if !s.meta.Incremental {
		clear(disk)
	}
	for _, st := range s.steps {
		copy(disk[st.Start:], st.p)
	}
	return disk
}

// applySaveset lays s over disk.
func applySaveset(s *Saveset, disk []byte) error {
	for f, err := range s.Frames() {
		if err != nil {
			return err
		}
		p := disk[f.Start:f.End()]
		switch {
		case f.Zero:
			clear(p)
		case s.Meta.Compressed():
			err = decodeFrame(s, f, p)
		default:
			_, err = s.ReadAt(p, f.Pos)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func decodeFrame(s *Saveset, f Frame, p []byte) error {
	z, err := s.OpenLZ4(f.Pos, f.Stored, f.Length)
	if err != nil {
		return err
	}
	c := z.Start()
	n, err := z.Decode(&c, p, 0, new(LZ4Input))
	if err == nil && n != len(p) {
		err = fmt.Errorf("decoded %d of %d bytes", n, len(p))
	}
	return err
}

func TestWriterReadsBackAsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vda.full.data")
	rapid.Check(t, func(t *rapid.T) {
		s := drawScript(t)
		var buf bytes.Buffer
		w, err := s.write(&buf)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := w.Adler32(), adler32.Checksum(buf.Bytes()); got != want {
			t.Fatalf("Adler32 is %d, want %d", got, want)
		}
		file := s.writeFile(t, path, "")
		if piped := s.writePipe(t); !bytes.Equal(file, buf.Bytes()) || !bytes.Equal(piped, buf.Bytes()) {
			t.Fatalf("file %d, pipe %d and buffer %d bytes are not the same", len(file), len(piped), buf.Len())
		}
		saveset, err := OpenSaveset(path)
		if err != nil {
			t.Fatal(err)
		}
		defer saveset.Close()
		if s.opts.ZeroesAsData && bytes.Contains(buf.Bytes(), []byte("\r\nzero ")) {
			t.Fatal("there are zero frames")
		}
		disk := bytes.Repeat([]byte{0xee}, int(s.meta.VirtualSize))
		if err := applySaveset(saveset, disk); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(disk, s.model()) {
			t.Fatal("the disk read back is not the one written")
		}
	})
}

type fatal interface{ Fatal(...any) }

// The size of the data that Finish fills in, at the end of a file that has
// something before: the checksum, the metadata and the length of the file have
// to be those of a writer that knew it from the start, but for blanks.
func TestWriterFillsInTheSize(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		s := drawScript(t)
		known := s.writeFile(t, filepath.Join(dir, "known"), "")
		want := s.meta.DataSize
		s.opts.SizeLater, s.meta.DataSize = true, 0
		const before = "before"
		path := filepath.Join(dir, "later")
		later := s.writeFile(t, path, before)
		if !bytes.HasPrefix(later, []byte(before)) {
			t.Fatal("what was before is not there any more")
		}
		later = later[len(before):]
		sv, err := NewSaveset(bytes.NewReader(later), int64(len(later)), "vda.full.data")
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range sv.Frames() {
			if err != nil {
				t.Fatal(err)
			}
		}
		squeeze := func(b []byte) []byte { return bytes.ReplaceAll(b[headerSize:], []byte(" "), nil) }
		if sv.Meta.DataSize != want || !bytes.Equal(squeeze(later), squeeze(known)) {
			t.Fatalf("size %d, want %d, or other differences than blanks", sv.Meta.DataSize, want)
		}
	})
}

func TestWriterFillsInTheSizeOfFilesOnly(t *testing.T) {
	if _, err := NewWriter(io.Discard, testMeta(100, 0), WriterOptions{SizeLater: true}); err == nil {
		t.Error("accepted for an output that cannot be written to twice")
	}
}

func TestWriterWantsWholeExtents(t *testing.T) {
	for name, call := range map[string]func(*Writer) error{
		"too much": func(w *Writer) error { return w.Append(make([]byte, 11)) },
		"next":     func(w *Writer) error { return w.Data(20, make([]byte, 10)) },
		"end":      (*Writer).Finish,
	} {
		w, err := NewWriter(io.Discard, testMeta(100, 10), WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Start(Extent{0, 20}), w.Append(make([]byte, 10))); err != nil {
			t.Fatal(err)
		}
		if call(w) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// writeFile runs s on a file that has something before, and returns all of it.
func (s script) writeFile(t fatal, path, before string) []byte {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(before); err != nil {
		t.Fatal(err)
	}
	w, err := s.write(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := w.Adler32(), adler32.Checksum(b[len(before):]); got != want {
		t.Fatal(fmt.Sprintf("Adler32 is %d, want %d", got, want))
	}
	return b
}

func (s script) writePipe(t fatal) []byte {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	done := make(chan error, 1)
	go func() {
		_, err := s.write(w)
		done <- errors.Join(err, w.Close())
	}()
	b, err := io.ReadAll(r)
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWriterRefusesExtents(t *testing.T) {
	const size = 1 << 20
	frame, err := CompressFrame(nil, make([]byte, 4096), 2)
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func(*Writer) error{
		"past the end":            func(w *Writer) error { return w.Data(size-10, make([]byte, 11)) },
		"beyond the end":          func(w *Writer) error { return w.Zero(Extent{size + 1, 1}) },
		"overflow":                func(w *Writer) error { return w.Zero(Extent{math.MaxInt64, math.MaxInt64}) },
		"negative start":          func(w *Writer) error { return w.Zero(Extent{-1, 1}) },
		"no length":               func(w *Writer) error { return w.Data(8192, nil) },
		"negative length":         func(w *Writer) error { return w.DataFrom(Extent{8192, -1}, nil) },
		"overlap":                 func(w *Writer) error { return w.Zero(Extent{4095, 10}) },
		"out of order":            func(w *Writer) error { return w.Data(0, make([]byte, 10)) },
		"cut reader":              func(w *Writer) error { return w.DataFrom(Extent{8192, 10}, strings.NewReader("123456789")) },
		"failing reader":          func(w *Writer) error { return w.DataFrom(Extent{8192, 10}, iotest.ErrReader(errInjected)) },
		"frame of another length": func(w *Writer) error { return w.Compressed(Extent{8192, 4095}, frame) },
		"no frame":                func(w *Writer) error { return w.Compressed(Extent{8192, 4096}, []byte("no LZ4")) },
		"empty frame":             func(w *Writer) error { return w.Compressed(Extent{8192, 4096}, nil) },
	} {
		for _, level := range []int{0, 2} {
			meta := testMeta(size, 4096)
			meta.Compression = level
			w, err := NewWriter(io.Discard, meta, WriterOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Data(0, make([]byte, 4096)); err != nil {
				t.Fatal(err)
			}
			err = call(w)
			if err == nil {
				t.Errorf("%s: accepted", name)
				continue
			}
			checkSticky(t, w, err)
		}
	}
}

// checkSticky verifies that every method answers with err.
func checkSticky(t *testing.T, w *Writer, err error) {
	t.Helper()
	end := w.meta.VirtualSize - 1
	for i, got := range []error{
		w.Data(end, []byte{1}),
		w.DataFrom(Extent{end, 1}, strings.NewReader("1")),
		w.Compressed(Extent{end, 1}, nil),
		w.Zero(Extent{end, 1}),
		w.Finish(),
		w.Finish(),
	} {
		if got != err {
			t.Errorf("call %d after the error %q gave %v", i, err, got)
		}
	}
}

func TestWriterErrorsTellTheirCause(t *testing.T) {
	meta := testMeta(100, 100)
	w, err := NewWriter(io.Discard, meta, WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = w.DataFrom(Extent{0, 100}, strings.NewReader("short"))
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "disk offset 0") {
		t.Errorf("cut reader: %v", err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	s := script{meta: testMeta(1<<20, 0)}
	s.add(step{Extent{0, 1 << 20}, "Data", make([]byte, 1<<20)})
	_, err = s.write(full)
	if !errors.Is(err, syscall.ENOSPC) || err.Error() != "saveset /dev/full: write: no space left on device" {
		t.Errorf("full file system: %v", err)
	}
}

func TestNewWriterRefusesMetadata(t *testing.T) {
	for name, change := range map[string]func(*Metadata, *WriterOptions){
		"no disk name":    func(m *Metadata, _ *WriterOptions) { m.DiskName = "" },
		"negative size":   func(m *Metadata, _ *WriterOptions) { m.VirtualSize = -1 },
		"too large":       func(m *Metadata, _ *WriterOptions) { m.VirtualSize = math.MaxInt64 },
		"more data":       func(m *Metadata, _ *WriterOptions) { m.DataSize = m.VirtualSize + 1 },
		"negative data":   func(m *Metadata, _ *WriterOptions) { m.DataSize = -1 },
		"large frames":    func(_ *Metadata, o *WriterOptions) { o.FrameSize = MaxFrameSize + 1 },
		"negative frames": func(_ *Metadata, o *WriterOptions) { o.FrameSize = -1 },
	} {
		meta, opts := testMeta(1000, 10), WriterOptions{}
		change(&meta, &opts)
		if w, err := NewWriter(io.Discard, meta, opts); err == nil || w != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestWriterFinishComparesDataSize(t *testing.T) {
	for _, n := range []int{0, 99, 101} {
		w, err := NewWriter(io.Discard, testMeta(1000, 100), WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			if err := w.Data(0, make([]byte, n)); err != nil {
				t.Fatal(err)
			}
		}
		err = w.Finish()
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("data of %d bytes", n)) {
			t.Errorf("%d bytes where 100 were announced: %v", n, err)
		}
		checkSticky(t, w, err)
	}
}

func TestWriterEndsOnce(t *testing.T) {
	var buf bytes.Buffer
	w, err := NewWriter(&buf, testMeta(1000, 0), WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Finish(), w.Finish()); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(buf.Bytes(), []byte("stop ")); n != 1 {
		t.Errorf("%d stop frames", n)
	}
	if err := w.Zero(Extent{0, 1}); err == nil {
		t.Error("an extent after the end was accepted")
	} else {
		checkSticky(t, w, err)
	}
}

// What a full leaves out becomes zero frames: it covers the whole disk.
func TestWriterFillsAFull(t *testing.T) {
	s := script{meta: testMeta(10000, 0)}
	s.add(step{Extent{1000, 500}, "Data", make([]byte, 500)})
	s.add(step{Extent{1500, 500}, "Data", make([]byte, 500)})
	s.add(step{Extent{4000, 500}, "Zero", nil})
	var buf bytes.Buffer
	if _, err := s.write(&buf); err != nil {
		t.Fatal(err)
	}
	saveset, err := NewSaveset(bytes.NewReader(buf.Bytes()), int64(buf.Len()), "buffer")
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for f, err := range saveset.Frames() {
		if err != nil {
			t.Fatal(err)
		}
		got += fmt.Sprintf("%d+%d %t; ", f.Start, f.Length, f.Zero)
	}
	const want = "0+1000 true; 1000+500 false; 1500+500 false; 2000+2000 true; 4000+500 true; 4500+5500 true; "
	if got != want {
		t.Errorf("frames\n%s, want\n%s", got, want)
	}
}

var errInjected = errors.New("injected")

// failWriter fails its write number at, and knows how many came.
type failWriter struct {
	writes, at int
}

func (f *failWriter) Write(p []byte) (int, error) {
	f.writes++
	if f.writes == f.at {
		return len(p) / 2, errInjected
	}
	return len(p), nil
}

func TestWriterEveryFailedWriteIsReported(t *testing.T) {
	for _, level := range []int{0, 2} {
		s := script{meta: testMeta(1<<20, 0), opts: WriterOptions{FrameSize: 8192}}
		s.meta.Compression = level
		s.meta.Incremental = true
		r := rand.New(rand.NewPCG(3, 4))
		for i := range int64(8) {
			p := make([]byte, 40<<10+i*8<<10)
			fillNoise(p, r)
			s.add(step{Extent{i * 128 << 10, int64(len(p))}, []string{"Data", "DataFrom", "Zero"}[i%3], p})
		}
		count := new(failWriter)
		if _, err := s.write(count); err != nil {
			t.Fatal(err)
		}
		for k := 1; k <= count.writes; k++ {
			f := &failWriter{at: k}
			w, err := s.write(f)
			if !errors.Is(err, errInjected) {
				t.Fatalf("level %d: write %d of %d failed, the saveset did not: %v", level, k, count.writes, err)
			}
			checkSticky(t, w, err)
			if f.writes != k {
				t.Errorf("level %d: %d writes after the one that failed", level, f.writes-k)
			}
		}
	}
}

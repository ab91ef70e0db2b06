// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bufio"
	"io"
	"os"
)

// sink is where the bytes of a saveset go out: counted into its checksum,
// gathered so that a header does not cost a system call, and, in a file, with
// holes for long runs of zeroes. Holes change nothing about the bytes.
type sink struct {
	buf  *bufio.Writer
	file *os.File // nil where holes cannot be made
	pos  int64    // file offset of the next byte; from 0 where it is no file
	hole int64    // bytes before pos that are to be skipped, buf being empty
	sum  Checksum
}

const (
	sinkBuffer = 64 << 10

	// holeGrid is the unit in which holes are looked for: the block of common
	// file systems.
	holeGrid = 4 << 10

	// minHole is the shortest run of zeroes inside data that becomes a hole.
	// Each hole is a piece in the index of who opens the file, and some 10 µs
	// of his time. A cluster of qcow2 or the grain of a dirty bitmap, 64 KiB,
	// still makes one wherever it begins.
	minHole = 32 << 10
)

func newSink(dst io.Writer) sink {
	s := sink{buf: bufio.NewWriterSize(dst, sinkBuffer)}
	if f, ok := dst.(*os.File); ok {
		s.pos, ok = holesFrom(f)
		if ok {
			s.file = f
		}
	}
	return s
}

// holesFrom says whether seeking over a range of f leaves a hole there, and
// where f stands: it must be a regular file, at its end, and write where it
// was told to.
func holesFrom(f *os.File) (pos int64, ok bool) {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return 0, false
	}
	if _, err := f.WriteAt(nil, 0); err != nil {
		return 0, false // O_APPEND, in which WriteAt refuses to work
	}
	pos, err = f.Seek(0, io.SeekCurrent)
	return pos, err == nil && pos == st.Size()
}

// write writes p as it is.
func (s *sink) write(p []byte) error {
	_, _ = s.sum.Write(p)
	return s.emit(p)
}

// payload writes p, which may have long runs of zeroes.
func (s *sink) payload(p []byte) error {
	_, _ = s.sum.Write(p)
	if s.file == nil {
		return s.emit(p)
	}
	for len(p) > 0 {
		start, end := findHole(p, s.pos)
		if err := s.emit(p[:start]); err != nil {
			return err
		}
		if err := s.skip(int64(end - start)); err != nil {
			return err
		}
		p = p[end:]
	}
	return nil
}

// zeroes writes n zero bytes.
func (s *sink) zeroes(n int64) error {
	s.sum.Zeroes(n)
	if s.file != nil && n >= holeGrid {
		return s.skip(n)
	}
	for n > 0 {
		k := min(n, int64(len(zeroes)))
		if err := s.emit(zeroes[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// emit sends p out. What does not fit into the buffer goes past it, so that
// long payloads are not copied.
func (s *sink) emit(p []byte) error {
	if s.hole > 0 && len(p) > 0 {
		if _, err := s.file.Seek(s.hole, io.SeekCurrent); err != nil {
			return err
		}
		s.hole = 0
	}
	if len(p) > s.buf.Available() {
		if err := s.buf.Flush(); err != nil {
			return err
		}
	}
	s.pos += int64(len(p))
	_, err := s.buf.Write(p)
	return err
}

// skip leaves a hole of n bytes. Only writing behind it makes it part of the
// file.
func (s *sink) skip(n int64) error {
	if n == 0 {
		return nil
	}
	s.hole += n
	s.pos += n
	return s.buf.Flush()
}

func (s *sink) flush() error { return s.buf.Flush() }

// findHole finds the first run of zeroes in p that is worth a hole, in whole
// blocks of the file, where p begins at pos. It is p[start:end]; both are
// len(p) if there is none.
func findHole(p []byte, pos int64) (start, end int) {
	start = int(-pos & (holeGrid - 1))
	at := start
	for ; at+holeGrid <= len(p); at += holeGrid {
		if IsZero(p[at : at+holeGrid]) {
			continue
		}
		if at-start >= minHole {
			return start, at
		}
		start = at + holeGrid
	}
	if at-start >= minHole {
		return start, at
	}
	return len(p), len(p)
}

// replace writes now over old, of equal length, which begins at byte off of
// what was written since the file offset start. All must be flushed.
func (s *sink) replace(start, off int64, old, now []byte) error {
	if _, err := s.file.WriteAt(now, start+off); err != nil {
		return err
	}
	for i, b := range now {
		s.sum.replace(s.pos-start-off-int64(i), old[i], b)
	}
	return nil
}

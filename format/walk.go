// SPDX-License-Identifier: Apache-2.0

package format

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime/debug"
	"syscall"

	"github.com/pierrec/lz4/v4"
)

// Frame is a piece of the disk as a saveset holds it.
type Frame struct {
	Extent
	// Zero: the piece reads as zeroes and has no payload.
	Zero bool
	// Pos and Stored are where the payload is in the file: Length bytes as they
	// are, or one LZ4 frame of Stored bytes.
	Pos, Stored int64
}

// Frames validates the whole structure of the saveset while it yields its data
// and zero frames in ascending order, without overlap. What a full leaves out
// reads as zeroes, what an incremental leaves out is unchanged. A data frame
// that is stored as several LZ4 frames is yielded in as many pieces, and one
// whose payload has holes in a sparse file with these pieces as Zero.
//
// After an error nothing more is yielded; the frames before it are then not to
// be trusted alone, as checks of the whole (its dataSize, its trailer) did not
// take place. Payloads are not read: the checksums of LZ4 are verified when
// they are decoded.
func (s *Saveset) Frames() iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		w := s.newWalker()
		defer w.win.close()
		var batch [256]Frame
		for {
			n, err := w.fill(batch[:])
			for _, f := range batch[:n] {
				if !yield(f, nil) {
					return
				}
			}
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(Frame{}, err)
				return
			}
		}
	}
}

// walker goes through the frames of one saveset.
type walker struct {
	s       *Saveset
	win     window
	pos     int64 // file offset of the next header
	done    int64 // disk offset behind the last frame
	sum     int64 // of the lengths of data frames
	trailer trailer
	stopped bool

	payload Frame   // rest of a data frame that is yielded in pieces
	parts   []int64 // compressed sizes of these pieces
	pieces  bool    // a piece of payload was yielded already
	holes   *holeMap
}

func (s *Saveset) newWalker() *walker {
	w := &walker{s: s, win: s.window(), pos: s.body}
	if s.Fd() >= 0 && isSparse(s.file) && !s.Meta.Compressed() {
		w.holes = &holeMap{f: s.file}
	}
	if s.Raw {
		w.payload = Frame{Extent: Extent{0, s.Size}, Stored: s.Size}
		w.pos, w.sum, w.stopped = s.Size, s.Size, true
	}
	return w
}

// fill stores the next frames in out. At the true end of the saveset it
// returns io.EOF together with the last ones.
func (w *walker) fill(out []Frame) (n int, err error) {
	defer func() {
		if err != nil && err != io.EOF {
			err = w.describe(err)
		}
	}()
	defer catchFault(debug.SetPanicOnFault(true), &err)
	if w.s.Meta.Compressed() && w.trailer.b == nil {
		text, err := w.win.bytes(w.s.tail, int(w.s.Size-headerSize-2-w.s.tail))
		if err != nil {
			return 0, err
		}
		w.trailer.b = append([]byte{}, text...)
	}
	for n < len(out) {
		f, err := w.next()
		if err != nil {
			return n, err
		}
		out[n] = f
		n++
	}
	return n, nil
}

// describe adds file and offset to an error that lacks them.
func (w *walker) describe(err error) error {
	if _, ok := err.(*CorruptError); ok {
		return err
	}
	return fmt.Errorf("saveset %s: offset %d: %w", w.s.Path, w.pos, err)
}

// next returns the next frame or piece of one, or io.EOF.
func (w *walker) next() (Frame, error) {
	switch {
	case w.payload.Length > 0 && w.s.Meta.Compressed():
		return w.nextPart()
	case w.payload.Length > 0:
		return w.nextPiece()
	case w.stopped:
		return Frame{}, io.EOF
	}
	h, err := w.header()
	if err != nil {
		return Frame{}, err
	}
	switch h.kind {
	case kindData:
		return w.data(h)
	case kindZero:
		return w.zero(h)
	case kindStop:
		return Frame{}, w.stop(h)
	}
	return Frame{}, w.s.corrupt(w.pos, "%s frame in the middle of the file", h.kind)
}

func (w *walker) header() (header, error) {
	if w.pos+headerSize > w.s.tail {
		return header{}, w.s.corrupt(w.pos, "file is cut: no stop frame")
	}
	b, err := w.win.bytes(w.pos, headerSize)
	if err != nil {
		return header{}, err
	}
	h, err := parseHeader(b)
	if err != nil {
		return header{}, w.s.corrupt(w.pos, "%v", err)
	}
	return h, nil
}

// extent checks a frame against the disk and the frames before it.
func (w *walker) extent(h header) (Extent, error) {
	e := Extent{h.start, h.length}
	switch {
	case e.Length == 0:
		return e, w.s.corrupt(w.pos, "%s frame of no length", h.kind)
	case e.Start < w.done:
		return e, w.s.corrupt(w.pos, "%s frame at disk offset %d overlaps the one before it, or is out of order", h.kind, e.Start)
	case e.End() > w.s.Meta.VirtualSize:
		return e, w.s.corrupt(w.pos, "%s frame ends at disk offset %d, past the disk's end at %d", h.kind, e.End(), w.s.Meta.VirtualSize)
	}
	w.done = e.End()
	return e, nil
}

// zero reads a zero frame. No release ever wrote one into an incremental, and
// readers disagree on what it would mean there.
func (w *walker) zero(h header) (Frame, error) {
	e, err := w.extent(h)
	if err == nil && w.s.Meta.Incremental {
		err = w.s.corrupt(w.pos, "zero frame in an incremental saveset")
	}
	w.pos += headerSize
	return Frame{Extent: e, Zero: true}, err
}

func (w *walker) data(h header) (Frame, error) {
	e, err := w.extent(h)
	if err != nil {
		return Frame{}, err
	}
	w.sum += e.Length
	stored := e.Length
	if w.s.Meta.Compressed() {
		if w.parts, err = w.trailer.next(); err != nil {
			return Frame{}, w.s.corrupt(w.s.tail+int64(w.trailer.at), "%v", err)
		}
		stored = 0
		for _, n := range w.parts {
			stored += n
		}
	}
	w.payload = Frame{Extent: e, Pos: w.pos + headerSize, Stored: stored}
	w.pieces = false
	if err := w.endOfPayload(stored); err != nil {
		return Frame{}, err
	}
	return w.next()
}

// endOfPayload verifies that the payload is there and ends in a line end.
func (w *walker) endOfPayload(stored int64) error {
	if stored > w.s.tail-w.pos-headerSize-2 {
		return w.s.corrupt(w.pos, "data frame reaches past the end of the file: it is cut, or its trailer is wrong")
	}
	end := w.pos + headerSize + stored
	b, err := w.win.bytes(end, 2)
	if err != nil {
		return err
	}
	if string(b) != eol {
		return w.s.corrupt(end, "data frame does not end where its header or the trailer says")
	}
	w.pos = end + 2
	return nil
}

func (w *walker) stop(h header) error {
	switch {
	case h.start != 0 || h.length != 0:
		return w.s.corrupt(w.pos, "stop frame has start %d and length %d", h.start, h.length)
	case w.pos+headerSize != w.s.tail:
		return w.s.corrupt(w.pos+headerSize, "%d bytes follow the stop frame", w.s.tail-w.pos-headerSize)
	case w.sum != w.s.Meta.DataSize:
		return w.s.corrupt(w.pos, "data frames have %d bytes where the metadata says %d", w.sum, w.s.Meta.DataSize)
	}
	w.pos += headerSize
	w.stopped = true
	if !w.s.Meta.Compressed() {
		return io.EOF
	}
	if err := w.trailer.finish(); err != nil {
		return w.s.corrupt(w.s.tail+int64(w.trailer.at), "%v", err)
	}
	b, err := w.win.bytes(w.s.Size-headerSize-2, 2)
	if err != nil {
		return err
	}
	if string(b) != eol {
		return w.s.corrupt(w.s.Size-headerSize-2, "compression trailer does not end where its header says")
	}
	return io.EOF
}

// nextPart yields the next LZ4 frame of a compressed data frame.
func (w *walker) nextPart() (Frame, error) {
	f := w.payload
	f.Stored = w.parts[0]
	w.parts = w.parts[1:]
	if len(w.parts) > 0 {
		n, err := w.partLength(f.Pos, f.Stored)
		if err != nil {
			return Frame{}, err
		}
		if n <= 0 || n >= f.Length {
			return Frame{}, w.s.corrupt(f.Pos, "LZ4 frame of %d bytes is not a part of %d", n, f.Length)
		}
		f.Length = n
	}
	b, err := w.win.bytes(f.Pos, int(min(f.Stored, lz4HeaderMax)))
	if err != nil {
		return Frame{}, err
	}
	if _, err := checkLZ4(b, f.Stored, f.Length); err != nil {
		return Frame{}, w.s.corrupt(f.Pos, "%v", err)
	}
	w.payload.Start += f.Length
	w.payload.Length -= f.Length
	w.payload.Pos += f.Stored
	return f, nil
}

// partLength is the content size of the LZ4 frame at pos. Few writers leave it
// out of the header; then only decoding tells.
func (w *walker) partLength(pos, stored int64) (int64, error) {
	b, err := w.win.bytes(pos, int(min(stored, lz4HeaderMax)))
	if err != nil {
		return 0, err
	}
	h, err := parseLZ4Header(b)
	if err != nil {
		return 0, w.s.corrupt(pos, "%v", err)
	}
	if h.contentSize >= 0 {
		return h.contentSize, nil
	}
	n, err := io.Copy(io.Discard, lz4.NewReader(io.NewSectionReader(w.s.r, pos, stored)))
	if err != nil {
		return 0, w.s.corrupt(pos, "%v", err)
	}
	return n, nil
}

// nextPiece yields a plain payload, in pieces where the file is sparse.
func (w *walker) nextPiece() (Frame, error) {
	f := w.payload
	if w.holes != nil {
		if err := w.holes.cut(&f); err != nil {
			return Frame{}, err
		}
		w.pieces = w.pieces || f.Length < w.payload.Length
		if w.pieces && !f.Zero && f.Length < blockEdge && !w.s.Raw {
			if err := w.edge(&f); err != nil {
				return Frame{}, err
			}
		}
	}
	w.payload.Start += f.Length
	w.payload.Length -= f.Length
	w.payload.Pos += f.Length
	w.payload.Stored -= f.Length
	return f, nil
}

// edge looks into a short piece beside a hole: payloads begin anywhere, holes
// on the grid of the file system, so zeroes around a hole are stored.
func (w *walker) edge(f *Frame) error {
	b := make([]byte, f.Length)
	if err := w.s.readFull(b, f.Pos); err != nil {
		return err
	}
	f.Zero = IsZero(b)
	return nil
}

func isSparse(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Sys().(*syscall.Stat_t).Blocks*512 < st.Size()
}

// holeMap knows which parts of a sparse file are holes. A backup that stores a
// range of zeroes as data frame leaves a hole in the file.
type holeMap struct {
	f    *os.File
	last Extent // of the file
	hole bool   // whether last is a hole
}

const (
	seekData = 3 // SEEK_DATA and SEEK_HOLE of lseek(2)
	seekHole = 4

	// blockEdge is the largest unit in which file systems make holes; a payload
	// of zeroes has up to that much stored data at both its ends.
	blockEdge = 64 << 10
)

// cut shortens f to its first piece that is all hole or all data.
func (h *holeMap) cut(f *Frame) error {
	if f.Pos < h.last.Start || f.Pos >= h.last.End() {
		if err := h.seek(f.Pos); err != nil {
			return err
		}
	}
	f.Length = min(f.Length, h.last.End()-f.Pos)
	f.Stored = f.Length
	f.Zero = h.hole
	return nil
}

// seek finds the hole or the data around pos.
func (h *holeMap) seek(pos int64) error {
	next, err := h.f.Seek(pos, seekData)
	switch {
	case err == nil && next == pos:
		h.hole = false
		next, err = h.f.Seek(pos, seekHole)
	case err == nil:
		h.hole = true
	case errors.Is(err, syscall.ENXIO): // no data behind pos
		h.hole = true
		next, err = h.f.Seek(0, io.SeekEnd)
	}
	if err == nil && next <= pos {
		err = fmt.Errorf("lseek found the end of %d at %d", pos, next)
	}
	h.last = Extent{pos, next - pos}
	return err
}

// IsZero says whether all of p is zero.
func IsZero(p []byte) bool {
	for len(p) >= len(zeroes) {
		if string(p[:len(zeroes)]) != string(zeroes[:]) {
			return false
		}
		p = p[len(zeroes):]
	}
	return string(p) == string(zeroes[:len(p)])
}

var zeroes [4096]byte

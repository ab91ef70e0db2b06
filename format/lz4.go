// SPDX-License-Identifier: Apache-2.0

package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"
)

// Payloads of compressed savesets are LZ4 frames (lz4_Frame_format.md, version
// 01 of the frame descriptor): a header, blocks, an end mark, a checksum. The
// lz4 package reads such a frame from its start to its end only. Random access
// needs the blocks: where they begin, and the 64 KiB of output before them
// that linked blocks refer to. That walk is here; the decoding of a block is
// the library's.
//
// Left out on purpose: skippable frames and dictionaries named by an id, which
// no writer of savesets makes.

const (
	lz4Magic      = 0x184D2204
	lz4HeaderMax  = 4 + 2 + 8 + 4 + 1
	lz4StoredFlag = 1 << 31 // in a block's size: payload is not compressed

	// LZ4Window is how far back in the output, in bytes, a linked block may refer.
	LZ4Window = 64 << 10

	// lz4MaxRatio bounds the expansion of an LZ4 block: a byte of a match's
	// length adds 255 bytes to the output.
	lz4MaxRatio = 255
)

// lz4Header is the descriptor of an LZ4 frame.
type lz4Header struct {
	size            int   // bytes of the header itself
	blockMax        int   // largest block, uncompressed
	contentSize     int64 // uncompressed bytes of the frame, -1 if not stored
	linked          bool  // blocks refer to output before them
	blockChecksum   bool
	contentChecksum bool
}

// parseLZ4Header reads a descriptor from the start of b, which may be longer
// or, at the end of a file, shorter than lz4HeaderMax.
func parseLZ4Header(b []byte) (lz4Header, error) {
	var h lz4Header
	if len(b) < 7 || binary.LittleEndian.Uint32(b) != lz4Magic {
		return h, errors.New("no LZ4 frame here")
	}
	flg, bd := b[4], b[5]
	if flg>>6 != 1 || flg&0x02 != 0 || bd&0x8f != 0 || bd>>4 < 4 {
		return h, fmt.Errorf("LZ4 frame has an unknown descriptor %02x %02x", flg, bd)
	}
	if flg&0x01 != 0 {
		return h, errors.New("LZ4 frame needs a dictionary")
	}
	h.blockMax = 1 << (8 + 2*(bd>>4))
	h.linked = flg&0x20 == 0
	h.blockChecksum = flg&0x10 != 0
	h.contentChecksum = flg&0x04 != 0
	h.contentSize = -1
	h.size = 6
	if flg&0x08 != 0 {
		if len(b) < 15 {
			return h, errors.New("LZ4 frame is cut in its header")
		}
		n := binary.LittleEndian.Uint64(b[6:])
		if n > maxDisk {
			return h, fmt.Errorf("LZ4 frame claims %d bytes of content", n)
		}
		h.contentSize = int64(n)
		h.size = 14
	}
	if byte(xxh32Sum(b[4:h.size])>>8) != b[h.size] {
		return h, errors.New("LZ4 frame has a wrong header checksum")
	}
	h.size++
	return h, nil
}

// LZ4Frame gives random access to the blocks of one LZ4 frame in a file. Its
// methods may be called from several goroutines, each with a cursor of its own.
type LZ4Frame struct {
	name   string
	src    io.ReaderAt
	pos    int64 // of the frame in src
	stored int64 // bytes of the frame in src
	length int64 // uncompressed bytes that it must have
	head   lz4Header
}

// LZ4Cursor is a place between two blocks of an LZ4Frame. Copies are
// independent places.
type LZ4Cursor struct {
	Pos int64 // file offset of the next block
	Out int64 // bytes of output before it
	sum xxh32 // content checksum of all output before it
	// whole says that the cursor came here from the frame's start, so that sum
	// can be compared at the end.
	whole bool
}

// OpenLZ4 reads the header of the LZ4 frame at file offset pos of s, which has
// stored bytes there and stands for length bytes of the disk: Pos, Stored and
// Length of a data [Frame] of a compressed saveset.
func (s *Saveset) OpenLZ4(pos, stored, length int64) (*LZ4Frame, error) {
	z := &LZ4Frame{name: s.Path, src: s.r, pos: pos, stored: stored, length: length}
	var buf [lz4HeaderMax]byte
	b := buf[:min(stored, lz4HeaderMax)]
	if err := s.readFull(b, pos); err != nil {
		return nil, err
	}
	var err error
	if z.head, err = checkLZ4(b, stored, length); err != nil {
		return nil, &CorruptError{s.Path, pos, err.Error()}
	}
	return z, nil
}

// checkLZ4 parses a frame's header and compares it with what is known of the
// frame from outside: its stored bytes and its content.
func checkLZ4(b []byte, stored, length int64) (lz4Header, error) {
	h, err := parseLZ4Header(b)
	switch {
	case err != nil:
		return h, err
	case h.contentSize >= 0 && h.contentSize != length:
		return h, fmt.Errorf("LZ4 frame holds %d bytes where the data frame has %d", h.contentSize, length)
	case stored < int64(h.size)+4:
		return h, fmt.Errorf("LZ4 frame of %d bytes is too short", stored)
	case length/lz4MaxRatio > stored:
		return h, fmt.Errorf("LZ4 frame of %d bytes cannot hold %d", stored, length)
	}
	return h, nil
}

// In is the same frame, read from s: another opened saveset of the same content.
func (z *LZ4Frame) In(s *Saveset) *LZ4Frame {
	other := *z
	other.name, other.src = s.Path, s.r
	return &other
}

// BlockMax is the largest number of bytes that one block decodes to.
func (z *LZ4Frame) BlockMax() int { return z.head.blockMax }

// Linked says whether a block can refer to the LZ4Window bytes of output
// before it.
func (z *LZ4Frame) Linked() bool { return z.head.linked }

// Checked says whether each block carries a checksum of its own. Where it does
// not, only decoding the whole frame shows damage.
func (z *LZ4Frame) Checked() bool { return z.head.blockChecksum || !z.head.contentChecksum }

// Start is the cursor before the first block.
func (z *LZ4Frame) Start() LZ4Cursor {
	return LZ4Cursor{Pos: z.pos + int64(z.head.size), whole: true}
}

// Decode decodes whole blocks from c into dst[from:], as many as surely fit
// or until the frame ends, moves c behind them and returns the bytes decoded.
// dst[:from] is the output before c as far as it is wanted for linked blocks:
// the last LZ4Window bytes, or all since the frame's start. in is where
// compressed bytes are read into; it is grown as needed and returned.
//
// When the output of the frame is complete, the end mark, the end of the frame
// and, if c came all the way from Start, the content checksum are verified. An
// error is a *CorruptError or one of reading.
func (z *LZ4Frame) Decode(c *LZ4Cursor, dst []byte, from int, in *LZ4Input) (int, error) {
	at := from
	for c.Out < z.length && (len(dst)-at >= z.head.blockMax || int64(len(dst)-at) >= z.length-c.Out) {
		n, err := z.block(c, dst, at, in)
		if err != nil {
			return at - from, err
		}
		if z.head.contentChecksum && c.whole {
			c.sum.write(dst[at : at+n])
		}
		at += n
		c.Out += int64(n)
	}
	if c.Out == z.length {
		if err := z.end(c, in); err != nil {
			return at - from, err
		}
	}
	return at - from, nil
}

// block decodes the block at c into dst[at:] and moves c.Pos behind it.
func (z *LZ4Frame) block(c *LZ4Cursor, dst []byte, at int, in *LZ4Input) (int, error) {
	word, err := z.word(c.Pos, in)
	if err != nil {
		return 0, err
	}
	size := int64(word &^ lz4StoredFlag)
	if word == 0 {
		return 0, z.corrupt(c.Pos, "LZ4 frame ends after %d of %d bytes", c.Out, z.length)
	}
	if size > int64(z.head.blockMax) {
		return 0, z.corrupt(c.Pos, "LZ4 block of %d bytes, where %d is the largest", size, z.head.blockMax)
	}
	tail := int64(0)
	if z.head.blockChecksum {
		tail = 4
	}
	b, err := z.bytes(c.Pos+4, size+tail, in)
	if err != nil {
		return 0, err
	}
	if tail > 0 && binary.LittleEndian.Uint32(b[size:]) != xxh32Sum(b[:size]) {
		return 0, z.corrupt(c.Pos, "LZ4 block has a wrong checksum")
	}
	room := dst[at:min(int64(len(dst)), int64(at)+min(int64(z.head.blockMax), z.length-c.Out))]
	n, err := z.expand(b[:size], room, dst[max(0, at-LZ4Window):at], word&lz4StoredFlag != 0)
	if err != nil {
		return 0, z.corrupt(c.Pos, "%v", err)
	}
	c.Pos += 4 + size + tail
	return n, nil
}

func (z *LZ4Frame) expand(b, room, window []byte, stored bool) (int, error) {
	if stored {
		if len(b) > len(room) {
			return 0, errors.New("LZ4 frame expands beyond its length")
		}
		return copy(room, b), nil
	}
	if !z.head.linked {
		window = nil
	}
	n, err := lz4.UncompressBlockWithDict(b, room, window)
	if err != nil || n == 0 {
		return 0, errors.New("LZ4 block is damaged, or expands beyond its frame")
	}
	return n, nil
}

// end verifies what follows the last block.
func (z *LZ4Frame) end(c *LZ4Cursor, in *LZ4Input) error {
	word, err := z.word(c.Pos, in)
	if err != nil {
		return err
	}
	if word != 0 {
		return z.corrupt(c.Pos, "LZ4 frame expands beyond its %d bytes", z.length)
	}
	end := c.Pos + 4
	if z.head.contentChecksum {
		sum, err := z.word(end, in)
		if err != nil {
			return err
		}
		if c.whole && sum != c.sum.sum() {
			return z.corrupt(end, "LZ4 frame has a wrong content checksum")
		}
		end += 4
	}
	if end != z.pos+z.stored {
		return z.corrupt(end, "LZ4 frame ends %d bytes before its payload does", z.pos+z.stored-end)
	}
	return nil
}

func (z *LZ4Frame) word(pos int64, in *LZ4Input) (uint32, error) {
	b, err := z.bytes(pos, 4, in)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

// bytes returns n bytes of the frame at file offset pos, from in or the file.
func (z *LZ4Frame) bytes(pos, n int64, in *LZ4Input) ([]byte, error) {
	left := z.pos + z.stored - pos
	if n > left {
		return nil, z.corrupt(pos, "LZ4 frame is cut, or longer than the trailer says")
	}
	b, err := in.bytes(z.src, pos, n, left)
	if err != nil {
		return nil, fmt.Errorf("saveset %s: offset %d: %w", z.name, pos, err)
	}
	return b, nil
}

func (z *LZ4Frame) corrupt(pos int64, f string, args ...any) error {
	return &CorruptError{z.name, pos, fmt.Sprintf(f, args...)}
}

// LZ4Input is a buffer for the compressed bytes of one reader of one frame
// after the other. The zero value is ready. It may not be shared.
type LZ4Input struct {
	buf   []byte
	start int64 // file offset of buf[0]
	src   io.ReaderAt
}

// lz4ReadAhead is how much is read at a time: compressed bytes of several
// blocks, and of a whole frame as virtnb writes it.
const lz4ReadAhead = 256 << 10

// bytes returns n bytes at pos, of which left ≥ n may be read ahead.
func (in *LZ4Input) bytes(src io.ReaderAt, pos, n, left int64) ([]byte, error) {
	if in.src != src || pos < in.start || pos+n > in.start+int64(len(in.buf)) {
		want := min(left, max(n, lz4ReadAhead))
		if int64(cap(in.buf)) < want {
			in.buf = make([]byte, want)
		}
		in.buf = in.buf[:want]
		in.src, in.start = src, pos
		if _, err := io.ReadFull(io.NewSectionReader(src, pos, want), in.buf); err != nil {
			in.src = nil
			return nil, noEOF(err)
		}
	}
	return in.buf[pos-in.start:][:n], nil
}

// noEOF turns the end of data where there must be more into
// io.ErrUnexpectedEOF.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

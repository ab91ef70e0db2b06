// SPDX-License-Identifier: Apache-2.0

package format

import (
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/pierrec/lz4/v4"
)

// What is left of a saveset whose structure is damaged.
//
// Frames stand one behind the other, each telling where the next one is. From
// the first that makes no sense on nothing tells any more, so what remains is a
// prefix. But the damage may be a few bytes in the middle of a large file: then
// the frames behind it are found again, as the ones from which the walk leads to
// exactly the end of the file. Anything less is not enough: the data of a disk
// can hold savesets itself, whose headers look as real as ours.
//
// What lies between the two, on the disk, is lost, with one exception: where
// exactly one frame fits between them, both on the disk and in the file, and
// with it the data adds up to the size in the metadata, its header was damaged,
// and what it said is known. If nothing but the header was damaged, the checksum
// of the file with the right header in it is the one that was stored, which
// [Saveset.Examine] finds out; before that the payload behind it is in doubt.
//
// Payloads of LZ4 tell themselves where they end. So the compression trailer is
// not used here, and a file that is cut loses only what was cut off.

// DamageKind says what about a saveset is wrong.
type DamageKind string

const (
	DamagedStructure DamageKind = "structure" // headers, metadata, trailer
	DamagedLZ4       DamageKind = "lz4"       // a compressed payload
	DamagedChecksum  DamageKind = "checksum"  // something, and nothing tells where
	DamagedStorage   DamageKind = "read"      // what the file is stored on
)

// Damage is a place where a saveset is not what it must be.
type Damage struct {
	Kind   DamageKind
	Offset int64   // in the file, bytes; -1: not known
	Disk   Extents // what of the disk can be wrong because of it; nil: nothing
	Reason string
	// Readable: Disk can be read all the same, only nobody knows if it is right.
	Readable bool

	mend []mend // of a file where only a header is damaged
}

// mend is what should be at a place of a file.
type mend struct {
	at   int64
	was  []byte
	want []byte
}

// OpenDamaged opens a saveset as [OpenSaveset] does, and also one whose end is
// damaged or missing, or whose metadata is damaged as long as the essential
// parts of it can be made out. [Saveset.Remains] has what is left of it.
func OpenDamaged(path string) (*Saveset, error) {
	s, err := OpenSaveset(path)
	if err == nil || !errors.Is(err, ErrCorrupt) {
		return s, err
	}
	fault := err
	var f *os.File
	s = &Saveset{Path: path}
	if a, m, err := memberOf(path); err == nil {
		f = a.f
		s.setMember(a, m)
	} else if f, err = os.Open(path); err == nil {
		st, err := f.Stat()
		if err != nil || !st.Mode().IsRegular() {
			f.Close()
			return nil, fault
		}
		s.setFile(f, st)
	} else {
		return nil, fault
	}
	if err := s.openDamaged(fault); err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

// openDamaged makes out what can be of a saveset that fault is known of.
func (s *Saveset) openDamaged(fault error) error {
	s.fault = fault
	var first [headerSize]byte
	b := first[:min(s.Size, headerSize)]
	if err := s.readFull(b, 0); err != nil {
		return err
	}
	if err := s.readMetadata(b); err != nil && s.guessMetadata() != nil {
		return fault
	}
	s.tail = s.Size
	return nil
}

// Remains returns what a saveset has of sound frames, and where its structure is
// damaged. For one without damage that is all frames. Payloads are not read.
func (s *Saveset) Remains() (frames []Frame, damages []Damage, err error) {
	fault := s.fault
	if fault == nil {
		for f, err := range s.Frames() {
			if err != nil {
				fault = err
				break
			}
			frames = append(frames, f)
		}
	}
	if fault == nil {
		return frames, nil, nil
	}
	if !damaging(fault) {
		return nil, nil, fault
	}
	r := remainder{s: s, win: &careful{buffered{r: s.r, size: s.Size}}}
	return r.collect(fault)
}

// damaging says whether an error is about the content of a file, or of the
// storage below it.
func damaging(err error) bool {
	var p *os.PathError
	return errors.Is(err, ErrCorrupt) || errors.As(err, &p) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EIO)
}

// remainder walks through what is left of a saveset.
type remainder struct {
	s   *Saveset
	win window
}

// stretch is what one walk found.
type stretch struct {
	place
	at      int64 // offset in the file of the first frame
	frames  []Frame
	whole   bool  // a stop frame stopped the walk
	overlap bool  // a frame did, that begins before the end of the last one
	last    place // before the last frame
}

// place is how far a walk came.
type place struct {
	end   int64 // offset in the file of what comes next
	done  int64 // disk offset behind the last frame
	sum   int64 // bytes of data
	count int   // of frames
}

// withoutLast takes the last frame back.
func (w stretch) withoutLast() stretch {
	w.place = w.last
	w.frames = w.frames[:w.count]
	return w
}

func (r *remainder) collect(fault error) ([]Frame, []Damage, error) {
	d := Damage{Kind: DamagedStructure, Reason: reason(fault), Offset: offset(fault)}
	if !errors.Is(fault, ErrCorrupt) {
		d.Kind = DamagedStorage
	}
	head := r.walk(r.s.body, 0, nil)
	if head.whole {
		if head.sum != r.s.Meta.DataSize && !covers(head.frames, r.s.Meta.VirtualSize) {
			d.Disk, d.Readable = WholeDisk, true
		}
		return head.frames, []Damage{d}, nil
	}
	from := head.end + 1
	if head.overlap { // either of the two can be the wrong one
		head = head.withoutLast()
	}
	rest := r.suffix(from)
	end := int64(maxDisk)
	if len(rest.frames) > 0 {
		end = rest.frames[0].Start
		head = head.before(end)
	}
	if head.sum+rest.sum > r.s.Meta.DataSize { // more than there ever was: some of it is astray
		head = stretch{overlap: true}
	}
	gap := Extent{Start: head.done, Length: end - head.done}
	frames := head.frames
	switch found, ok := r.rebuild(head, rest, gap); {
	case ok && !head.overlap:
		frames = append(frames, found...)
		d.Reason += "; what is around it tells what it was"
		if !found[0].Zero && !r.s.Meta.Compressed() {
			d.Disk, d.Readable = ExtentsOf(found[0].Extent), true
			d.mend = r.mending(found[0])
		}
	case len(rest.frames) == 0 && head.sum == r.s.Meta.DataSize:
		d.Reason += "; no data is missing"
	default:
		d.Disk = ExtentsOf(gap)
	}
	return append(frames, rest.frames...), []Damage{d}, nil
}

// before takes back all frames that reach behind a place on the disk: what came
// to be where it is by a write that went astray contradicts what follows.
func (w stretch) before(end int64) stretch {
	for n := len(w.frames) - 1; n >= 0 && w.frames[n].End() > end; n-- {
		w.overlap, w.done = true, 0
		if !w.frames[n].Zero {
			w.sum -= w.frames[n].Length
		}
		if w.frames = w.frames[:n]; n > 0 {
			w.done = w.frames[n-1].End()
		}
	}
	return w
}

// covers says whether frames leave nothing out of a disk of that size. Then
// each confirms the place of the ones beside it.
func covers(frames []Frame, size int64) bool {
	end := int64(0)
	for _, f := range frames {
		if f.Start != end {
			return false
		}
		end = f.End()
	}
	return end == size
}

func reason(err error) string {
	var c *CorruptError
	if errors.As(err, &c) {
		return c.Reason
	}
	return err.Error()
}

func offset(err error) int64 {
	var c *CorruptError
	if errors.As(err, &c) {
		return c.Offset
	}
	return -1
}

// walk reads frames from a place in the file on, for the disk behind done, until
// a stop frame or what is no frame. Each place is noted in seen; one that is in
// it already ends the walk.
func (r *remainder) walk(at, done int64, seen map[int64]bool) stretch {
	w := stretch{at: at, place: place{end: at, done: done}}
	for !seen[w.end] {
		if seen != nil {
			seen[w.end] = true
		}
		h, err := r.header(w.end)
		if err != nil {
			break
		}
		if h.kind == kindStop {
			w.whole = h.start == 0 && h.length == 0
			break
		}
		frames, end, err := r.frame(h, w.end, w.done)
		if err != nil {
			w.overlap = h.start < w.done && h.length > 0 && h.start+h.length <= r.s.Meta.VirtualSize
			break
		}
		w.last = w.place
		w.frames = append(w.frames, frames...)
		w.end, w.done, w.count = end, h.start+h.length, len(w.frames)
		if h.kind == kindData {
			w.sum += h.length
		}
	}
	return w
}

var errNoFrame = errors.New("no frame here")

func (r *remainder) header(at int64) (header, error) {
	if at+headerSize > r.s.Size {
		return header{}, errNoFrame
	}
	b, err := r.win.bytes(at, headerSize)
	if err != nil {
		return header{}, err
	}
	return parseHeader(b)
}

// frame reads the frame of header h at a place in the file, and returns the place
// behind it.
func (r *remainder) frame(h header, at, done int64) ([]Frame, int64, error) {
	e := Extent{h.start, h.length}
	if e.Length == 0 || e.Start < done || e.End() > r.s.Meta.VirtualSize {
		return nil, 0, errNoFrame
	}
	switch {
	case h.kind == kindData:
		frames, end, err := r.payload(e, at+headerSize)
		if err == nil {
			err = r.lineEnd(end - 2)
		}
		return frames, end, err
	case h.kind == kindZero && !r.s.Meta.Incremental:
		return []Frame{{Extent: e, Zero: true}}, at + headerSize, nil
	}
	return nil, 0, errNoFrame
}

// payload finds the pieces of the payload at a place in the file, and returns
// the place behind the line end that follows them.
func (r *remainder) payload(e Extent, at int64) (frames []Frame, end int64, err error) {
	if !r.s.Meta.Compressed() {
		frames = []Frame{{Extent: e, Pos: at, Stored: e.Length}}
		at += e.Length
	} else if frames, at, err = r.parts(e, at); err != nil {
		return nil, 0, err
	}
	if at+2 > r.s.Size {
		return nil, 0, errNoFrame
	}
	return frames, at + 2, nil
}

func (r *remainder) lineEnd(at int64) error {
	b, err := r.win.bytes(at, 2)
	if err == nil && string(b) != eol {
		err = errNoFrame
	}
	return err
}

// parts finds the LZ4 frames that make up e.
func (r *remainder) parts(e Extent, at int64) (frames []Frame, end int64, err error) {
	for e.Length > 0 {
		stored, length, err := r.part(at)
		if err != nil {
			return nil, 0, err
		}
		if length <= 0 || length > e.Length {
			return nil, 0, errNoFrame
		}
		frames = append(frames, Frame{Extent: Extent{e.Start, length}, Pos: at, Stored: stored})
		e = Extent{e.Start + length, e.Length - length}
		at += stored
	}
	return frames, at, nil
}

// part measures the LZ4 frame at a place in the file, stored and decoded.
func (r *remainder) part(at int64) (stored, length int64, err error) {
	b, err := r.win.bytes(at, int(min(lz4HeaderMax, r.s.Size-at)))
	if err != nil {
		return 0, 0, err
	}
	h, err := parseLZ4Header(b)
	if err != nil {
		return 0, 0, err
	}
	end := at + int64(h.size)
	for {
		word, err := r.word(end)
		if err != nil {
			return 0, 0, err
		}
		end += 4
		if word == 0 {
			break
		}
		size := int64(word &^ lz4StoredFlag)
		if size > int64(h.blockMax) {
			return 0, 0, errNoFrame
		}
		end += size
		if h.blockChecksum {
			end += 4
		}
	}
	if h.contentChecksum {
		end += 4
	}
	if end > r.s.Size {
		return 0, 0, errNoFrame
	}
	if length = h.contentSize; length < 0 {
		length, err = io.Copy(io.Discard, lz4.NewReader(io.NewSectionReader(r.s.r, at, end-at)))
	}
	return end - at, length, err
}

func (r *remainder) word(at int64) (uint32, error) {
	if at+4 > r.s.Size {
		return 0, errNoFrame
	}
	b, err := r.win.bytes(at, 4)
	if err != nil {
		return 0, err
	}
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24, nil
}

// rebuild makes out the one frame between head and rest whose header, or line
// end, is damaged.
func (r *remainder) rebuild(head, rest stretch, gap Extent) ([]Frame, bool) {
	if !rest.whole {
		return nil, false
	}
	if len(rest.frames) == 0 {
		gap.Length = r.s.Meta.VirtualSize - gap.Start
	}
	missing := r.s.Meta.DataSize - head.sum - rest.sum
	if missing == 0 && rest.at == head.end+headerSize && !r.s.Meta.Incremental && gap.Length > 0 {
		return []Frame{{Extent: gap, Zero: true}}, true
	}
	e := gap
	if h, err := r.header(head.end); err == nil && h.kind == kindData {
		e = Extent{h.start, h.length}
	}
	if missing != e.Length || e.Length <= 0 || e.Intersect(gap) != e {
		return nil, false
	}
	frames, end, err := r.payload(e, head.end+headerSize)
	return frames, err == nil && end == rest.at
}

// mending is what is wrong around the payload of f.
func (r *remainder) mending(f Frame) []mend {
	at := f.Pos - headerSize
	want := appendHeader(nil, header{kindData, f.Start, f.Length})
	return []mend{
		{at, r.readable(at, headerSize), want},
		{f.Pos + f.Stored, r.readable(f.Pos+f.Stored, 2), []byte(eol)},
	}
}

// SPDX-License-Identifier: Apache-2.0

package format

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
)

const (
	// bigFrame is the length in bytes from which on a compressed data frame is
	// stored in parts (virtnbdrestore reads such a frame in requests of 32 MiB,
	// the most that QEMU takes). We write no compressed frame that long.
	bigFrame = 32 << 20

	// MaxFrameSize is the largest [WriterOptions] FrameSize, in bytes.
	MaxFrameSize = 1 << 20

	defaultFrameSize = 256 << 10
)

var lineEnd = []byte(eol)

// WriterOptions are choices that every reader copes with.
type WriterOptions struct {
	// FrameSize is how many bytes of the disk go into one compressed frame,
	// at most MaxFrameSize; 0 means 256 KiB. Uncompressed extents are one
	// frame each, of any size.
	FrameSize int

	// SizeLater means that Metadata.DataSize is not known yet: Finish writes it
	// into the metadata. The output must be a regular *os.File then.
	SizeLater bool

	// ZeroesAsData makes zeroes of a full data too, as they are in an
	// incremental. It is for a full that continues a chain: virtnbdrestore lays
	// it over what was before, and knows zero frames in the first file only.
	ZeroesAsData bool
}

// Writer writes one saveset: extents of the disk in ascending order, then
// [Writer.Finish]. Its methods may not be called concurrently. After an error
// every method returns that error: the output is to be thrown away.
//
// Memory is bounded by the frame size, but for the trailer of a compressed
// saveset, which is gathered as text: 8 bytes for each frame.
type Writer struct {
	out        sink
	name       string // for messages
	meta       Metadata
	frameSize  int
	sizeLater  bool
	zeroFrames bool   // zeroes are frames without payload
	start      int64  // file offset of the first byte
	done       int64  // disk offset behind the last extent
	sum        int64  // of the lengths of data frames
	trailer    []byte // entries so far, each led by "[" or ", "
	open       int64  // bytes that are missing of the extent that Start began
	finished   bool
	err        error

	head     [headerSize]byte // on its way out
	raw      []byte           // bytes of the disk on their way from a reader
	packed   []byte           // LZ4 frame on its way out
	zero     []byte           // LZ4 frame of zeroes
	zeroSize int64            // bytes that it stands for
}

// NewWriter begins a saveset on dst with the metadata meta, whose DataSize must
// be what will be written, in bytes of the disk, unless opts.SizeLater. Compression other than 0 makes
// it one of LZ4 frames of that level. It is of stream version 2 whatever
// meta.StreamVersion says.
//
// Where dst is an *os.File, a regular one at its end and not in append mode,
// long runs of zeroes become holes in it. dst is not closed.
func NewWriter(dst io.Writer, meta Metadata, opts WriterOptions) (*Writer, error) {
	w := &Writer{out: newSink(dst), name: "of disk " + meta.DiskName, meta: meta, frameSize: opts.FrameSize, sizeLater: opts.SizeLater,
		zeroFrames: !meta.Incremental && !opts.ZeroesAsData}
	w.start = w.out.pos
	if f, ok := dst.(interface{ Name() string }); ok {
		w.name = f.Name()
	}
	if w.frameSize == 0 {
		w.frameSize = defaultFrameSize
	}
	switch {
	case w.frameSize < 0 || w.frameSize > MaxFrameSize:
		w.failf("frames of %d bytes: %d is the largest size", w.frameSize, MaxFrameSize)
	case opts.SizeLater && w.out.file == nil:
		w.failf("the size of its data has to be known first, as the output is no regular file")
	case meta.DiskName == "":
		w.failf("metadata lacks the disk's name")
	case meta.VirtualSize < 0 || meta.VirtualSize > maxDisk || meta.DataSize < 0 || meta.DataSize > meta.VirtualSize:
		w.failf("metadata has impossible sizes: virtualSize %d, dataSize %d", meta.VirtualSize, meta.DataSize)
	}
	text := w.metadata()
	w.header(kindMeta, Extent{Length: int64(len(text))})
	w.text(text)
	w.text(lineEnd)
	if w.err != nil {
		return nil, w.err
	}
	return w, nil
}

// Data writes the extent of len(p) bytes at disk offset off.
func (w *Writer) Data(off int64, p []byte) error {
	e := Extent{off, int64(len(p))}
	w.begin(e)
	if w.meta.Compressed() {
		w.cut(e, func(e Extent) []byte { return w.pack(p[e.Start-off:][:e.Length]) })
	} else {
		w.plain(e, func() { w.check(w.out.payload(p)) })
	}
	return w.err
}

// DataFrom writes the extent e with bytes read from r, exactly e.Length of
// them. Fewer are an error that is io.ErrUnexpectedEOF.
func (w *Writer) DataFrom(e Extent, r io.Reader) error {
	w.begin(e)
	if w.meta.Compressed() {
		w.cut(e, func(e Extent) []byte { return w.pack(w.read(e, r, int(e.Length))) })
	} else {
		w.plain(e, func() { w.copy(e, r) })
	}
	return w.err
}

// Start begins the extent e of an uncompressed saveset. Its bytes are given to
// Append, in pieces of any size, before anything else is written.
func (w *Writer) Start(e Extent) error {
	w.begin(e)
	if w.meta.Compressed() {
		w.failf("uncompressed data at disk offset %d, but metadata says that it is compressed", e.Start)
	}
	w.header(kindData, e)
	if w.err == nil {
		w.open = e.Length
		w.sum += e.Length
	}
	return w.err
}

// Append writes the next bytes of the extent that Start began.
func (w *Writer) Append(p []byte) error {
	if int64(len(p)) > w.open {
		w.failf("%d bytes are appended to an extent that wants %d", len(p), w.open)
	}
	if w.err != nil || len(p) == 0 {
		return w.err
	}
	w.check(w.out.payload(p))
	if w.open -= int64(len(p)); w.open == 0 {
		w.text(lineEnd)
	}
	return w.err
}

// Compressed writes the extent e, less than 32 MiB, as one data frame whose
// payload is frame, made from its bytes by [CompressFrame]. The saveset must be
// a compressed one.
func (w *Writer) Compressed(e Extent, frame []byte) error {
	w.begin(e)
	h, err := checkLZ4(frame[:min(len(frame), lz4HeaderMax)], int64(len(frame)), e.Length)
	switch {
	case w.err != nil:
	case !w.meta.Compressed():
		w.failf("compressed data at disk offset %d, but metadata says that it is not compressed", e.Start)
	case err != nil:
		w.failf("data at disk offset %d: %w", e.Start, err)
	case h.contentSize < 0 || e.Length >= bigFrame:
		w.failf("data at disk offset %d: LZ4 frame without a content size, or of %d bytes and more", e.Start, bigFrame)
	}
	w.packedFrame(e, frame)
	return w.err
}

// Zero writes the extent e as zeroes. In a full that is a zero frame. In an
// incremental, where readers know no zero frames, it is data: a hole in the
// file where dst allows holes, small LZ4 frames where the saveset is
// compressed. It counts in DataSize then.
func (w *Writer) Zero(e Extent) error {
	w.begin(e)
	w.writeZeroes(e)
	return w.err
}

func (w *Writer) writeZeroes(e Extent) {
	switch {
	case w.zeroFrames:
		w.header(kindZero, e)
	case w.meta.Compressed():
		w.cut(e, w.packZeroes)
	default:
		w.plain(e, func() { w.check(w.out.zeroes(e.Length)) })
	}
}

// Finish writes the end of the saveset, once; it is an error if the data
// written is not meta.DataSize bytes. It does not sync or close dst.
func (w *Writer) Finish() error {
	if w.finished {
		return w.err
	}
	w.fill(w.meta.VirtualSize)
	if w.open > 0 {
		w.failf("%d bytes are missing of the extent that ends at %d", w.open, w.done)
	}
	if !w.sizeLater && w.sum != w.meta.DataSize {
		w.failf("data of %d bytes was written where the metadata says %d", w.sum, w.meta.DataSize)
	}
	w.header(kindStop, Extent{})
	if w.meta.Compressed() {
		w.writeTrailer()
	}
	if w.err == nil {
		w.check(w.out.flush())
		w.finished = true
	}
	if w.sizeLater {
		w.patchSize()
	}
	return w.err
}

// metadata is the JSON of the saveset. Where the size of the data is to come
// later, blanks before the number keep room for as many digits as it can have.
func (w *Writer) metadata() []byte {
	digits := 0
	if w.sizeLater {
		digits = len(strconv.FormatInt(w.meta.VirtualSize, 10))
	}
	return w.meta.encode(digits)
}

// patchSize writes the size of the data into the metadata.
func (w *Writer) patchSize() {
	if w.err != nil {
		return
	}
	old := w.metadata()
	w.meta.DataSize = w.sum
	w.check(w.out.replace(w.start, headerSize, old, w.metadata()))
}

// Adler32 is the checksum, start value 1, of all bytes written so far: after
// Finish, of the file.
func (w *Writer) Adler32() uint32 { return w.out.sum.Sum32() }

// begin checks that e may come next.
func (w *Writer) begin(e Extent) {
	switch {
	case w.err != nil:
		return
	case w.finished:
		w.failf("data at disk offset %d after its end", e.Start)
	case w.open > 0:
		w.failf("extent at disk offset %d begins before the one that ends at %d is complete", e.Start, w.done)
	case e.Length <= 0:
		w.failf("extent at disk offset %d has length %d", e.Start, e.Length)
	case e.Start < w.done:
		w.failf("extent at disk offset %d overlaps what ends at %d, or is out of order", e.Start, w.done)
	case e.Start > w.meta.VirtualSize || e.Length > w.meta.VirtualSize-e.Start:
		w.failf("extent of %d bytes at disk offset %d reaches past the disk's end at %d", e.Length, e.Start, w.meta.VirtualSize)
	default:
		w.fill(e.Start)
		w.done = e.End()
	}
}

// fill writes a zero frame up to end where a full left something out: it means
// the same, but virtnbdmap takes the sum of a full's frames for the disk's size.
func (w *Writer) fill(end int64) {
	if !w.meta.Incremental && w.done < end {
		w.writeZeroes(Extent{w.done, end - w.done})
	}
}

// plain writes an uncompressed data frame whose payload is written by payload.
func (w *Writer) plain(e Extent, payload func()) {
	w.header(kindData, e)
	if w.err == nil {
		payload()
	}
	w.text(lineEnd)
	w.sum += e.Length
}

// cut writes e as compressed frames; pack makes the payload of each.
func (w *Writer) cut(e Extent, pack func(Extent) []byte) {
	for e.Length > 0 && w.err == nil {
		f := Extent{e.Start, min(e.Length, int64(w.frameSize))}
		w.packedFrame(f, pack(f))
		e = Extent{f.End(), e.Length - f.Length}
	}
}

// packedFrame writes a data frame with an LZ4 frame as payload.
func (w *Writer) packedFrame(e Extent, frame []byte) {
	w.header(kindData, e)
	w.text(frame)
	w.text(lineEnd)
	w.sum += e.Length
	if w.err != nil {
		return
	}
	sep := ", "
	if len(w.trailer) == 0 {
		sep = "["
	}
	w.trailer = strconv.AppendInt(append(w.trailer, sep...), int64(len(frame)), 10)
}

// pack compresses p; the result is valid until the next call.
func (w *Writer) pack(p []byte) []byte {
	if w.err == nil {
		var err error
		w.packed, err = CompressFrame(w.packed[:0], p, w.meta.Compression)
		w.check(err)
	}
	return w.packed
}

// packZeroes compresses e.Length zeroes, which are most often as many as
// before.
func (w *Writer) packZeroes(e Extent) []byte {
	if w.zeroSize != e.Length {
		var err error
		w.zero, err = CompressFrame(w.zero[:0], make([]byte, e.Length), w.meta.Compression)
		w.check(err)
		w.zeroSize = e.Length
	}
	return w.zero
}

// copy writes the payload e from r. It reads to the ends of blocks of the
// file, so that holes are not cut where a read ends.
func (w *Writer) copy(e Extent, r io.Reader) {
	for e.Length > 0 && w.err == nil {
		n := int(min(e.Length, MaxFrameSize-w.out.pos%holeGrid))
		p := w.read(e, r, n)
		if w.err == nil {
			w.check(w.out.payload(p))
		}
		e = Extent{e.Start + int64(n), e.Length - int64(n)}
	}
}

// read reads the first n bytes of e; they are valid until the next call.
func (w *Writer) read(e Extent, r io.Reader, n int) []byte {
	if len(w.raw) < n {
		w.raw = make([]byte, n)
	}
	if _, err := io.ReadFull(r, w.raw[:n]); err != nil {
		w.failf("reading the data for disk offset %d: %w", e.Start, noEOF(err))
	}
	return w.raw[:n]
}

// writeTrailer writes the sizes of all payloads, as virtnbdbackup's
// json.dumps, and the header that leads to them from the end of the file.
func (w *Writer) writeTrailer() {
	if len(w.trailer) == 0 {
		w.trailer = append(w.trailer, '[')
	}
	w.trailer = append(w.trailer, ']')
	w.text(w.trailer)
	w.text(lineEnd)
	w.header(kindComp, Extent{Length: int64(len(w.trailer))})
}

func (w *Writer) header(k kind, e Extent) {
	w.text(appendHeader(w.head[:0], header{k, e.Start, e.Length}))
}

// text writes b, unless there was an error before.
func (w *Writer) text(b []byte) {
	if w.err == nil {
		w.check(w.out.write(b))
	}
}

// check keeps an error of writing. That of a file names the file itself.
func (w *Writer) check(err error) {
	if err == nil || w.err != nil {
		return
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		w.failf("%s: %w", path.Op, path.Err)
		return
	}
	w.failf("%w", err)
}

// failf keeps the first error.
func (w *Writer) failf(f string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("saveset %s: "+f, append([]any{w.name}, args...)...)
	}
}

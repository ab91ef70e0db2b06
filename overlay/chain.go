// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"virtnb/format"
)

// Options are how an image is opened. The zero value is usable.
type Options struct {
	// Cache holds decompressed data. nil: one of DefaultCacheSize of its own.
	Cache *Cache
}

// Chain is the image of a chain of savesets. It is read-only and safe for
// concurrent use.
type Chain struct {
	index   *index
	sources []*source // run.source is an index into it, plus one
	cache   *Cache
	print   fingerprint
}

// source is a saveset of a chain.
type source struct {
	*format.Saveset
	id uint32 // in the cache

	damaged []int64 // file offsets, ascending, of LZ4 frames that are sound in part only
}

// trust returns err, or the reason why nothing can be said of what was read.
func (s *source) trust(err error) error {
	if changed := s.Unchanged(); changed != nil {
		return changed
	}
	return err
}

// Open opens the image that the savesets in files make, a full first and each
// other one holding the changes since the one before it. A full further back,
// in a file that is named like an incremental, begins anew.
//
// The whole structure of all savesets is validated: an error names the file,
// the offset and the reason, and is format.ErrCorrupt, format.ErrChain or one
// of reading. Close the image when nothing reads from it any more.
func Open(files []string, opts Options) (*Chain, error) {
	if len(files) == 0 {
		return nil, fmt.Errorf("no savesets to read: %w", format.ErrChain)
	}
	if len(files) > math.MaxUint16-1 {
		return nil, fmt.Errorf("chain of %d savesets is longer than %d: %w", len(files), math.MaxUint16-1, format.ErrChain)
	}
	c := &Chain{cache: opts.Cache}
	if c.cache == nil {
		c.cache = NewCache(DefaultCacheSize)
	}
	if err := c.open(files); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Chain) open(files []string) error {
	var layers []layer
	for i, file := range files {
		s, err := format.OpenSaveset(file)
		if err != nil {
			return err
		}
		c.sources = append(c.sources, &source{Saveset: s, id: c.cache.sourceID(s)})
		if i == 0 && s.Meta.Incremental {
			return firstIsIncremental(file)
		}
		if i > 0 {
			if err := follows(s, c.sources[i-1].Saveset); err != nil {
				return err
			}
		}
		if !s.Meta.Incremental {
			layers = nil
		}
		l, err := readLayer(s, uint16(i+1))
		if err != nil {
			return err
		}
		layers = append(layers, l)
	}
	c.index = newIndex(flatten(layers))
	return nil
}

// follows checks that s can come after prev in a chain.
func follows(s, prev *format.Saveset) error {
	name, _ := format.ParseName(filepath.Base(s.Path))
	switch {
	case s.Meta.DiskName != prev.Meta.DiskName:
		return fmt.Errorf("%s is of disk %s, %s of disk %s: %w", s.Path, s.Meta.DiskName, prev.Path, prev.Meta.DiskName, format.ErrChain)
	case !s.Meta.Incremental && (name.Level == format.Full || name.Level == format.Copy):
		return fmt.Errorf("%s is a second full in the chain of %s: %w", s.Path, prev.Path, format.ErrChain)
	case !s.Meta.Incremental || prev.Raw:
		return nil
	case s.Meta.ParentCheckpoint != prev.Meta.CheckpointName:
		return fmt.Errorf("%s holds changes since %q, but follows %s of %q: %w", s.Path, s.Meta.ParentCheckpoint, prev.Path, prev.Meta.CheckpointName, format.ErrChain)
	}
	return nil
}

// DiskName returns the name of the disk, "vda".
func (c *Chain) DiskName() string { return c.sources[0].Meta.DiskName }

// Runs returns the number of runs in the index: the stretches of the disk that
// lie in one place.
func (c *Chain) Runs() int { return len(c.index.start) }

// Current says whether opening the same files again would give the same image.
func (c *Chain) Current() bool {
	for _, s := range c.sources {
		if !s.Current() {
			return false
		}
	}
	return true
}

// Size returns the size of the disk in bytes: that of the newest saveset.
func (c *Chain) Size() int64 { return c.index.size }

// ReadAt reads as io.ReaderAt says. Damage, failing storage and savesets that
// changed since Open give an error that names the file; p is then undefined.
func (c *Chain) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read at a negative offset")
	}
	n := int(min(int64(len(p)), max(0, c.index.size-off)))
	g := gather{c: c, whole: int64(n)}
	for r := range c.index.walk(off, int64(n)) {
		if err := g.add(r, p[r.start-off:][:r.length]); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(g.flush(), g.decode()); err != nil {
		return 0, err
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Extents yields the runs of a range, as [Image] says.
func (c *Chain) Extents(off, n int64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		if off < 0 || n < 0 || n > c.index.size-off {
			yield(Extent{}, fmt.Errorf("range of %d bytes at %d is outside the disk of %d", n, off, c.index.size))
			return
		}
		e := Extent{Extent: format.Extent{Start: off}}
		for r := range c.index.walk(off, n) {
			data := r.source > 0
			if data != e.Data && e.Length > 0 {
				if !yield(e, nil) {
					return
				}
				e.Start, e.Length = r.start, 0
			}
			e.Data = data
			e.Length += r.length
		}
		if e.Length > 0 {
			yield(e, nil)
		}
	}
}

// Prefetch brings the range into memory: the kernel's for savesets as they
// are, the cache for compressed ones, as far as it has room. Damage is no error
// here, reading tells.
func (c *Chain) Prefetch(off, n int64) {
	off = max(0, off)
	n = min(n, c.index.size-off)
	room := c.cache.max / 2
	for r := range c.index.walk(off, n) {
		switch {
		case r.source == 0:
		case r.frame.length > 0:
			f := frame{c.sources[r.source-1], r.pos, r.frame}
			for at := int64(0); at < r.length && room > 0; at += segmentSize {
				if f.readAt(make([]byte, 1), int64(r.frame.skip)+at, c.cache) != nil {
					return
				}
				room -= min(segmentSize, int64(r.frame.length))
			}
		default:
			_ = unix.Fadvise(c.sources[r.source-1].Fd(), r.pos, r.length, unix.FADV_WILLNEED)
		}
	}
}

// Close closes the savesets.
func (c *Chain) Close() error {
	var errs []error
	for _, s := range c.sources {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Flat is the index of a chain in plain memory, for readers outside Go. Run i
// covers the disk from Start[i] to Start[i+1], the last one to Size. Source[i]
// is 0 for zeroes, else the number of its file plus one; Pos[i] is where in the
// file the run begins. Bucket[o>>Shift] is the run that holds offset
// o>>Shift<<Shift, so offset o is in it or behind it, and not behind the run
// of the next bucket. Nothing of it may be changed; it is valid until Close.
type Flat struct {
	Size   int64
	Start  []int64
	Pos    []int64
	Source []uint16
	Bucket []uint32
	Shift  uint
	Files  []FlatFile
}

// FlatFile is a file of a Flat.
type FlatFile struct {
	Fd    int // -1: compressed, only ReadAt can read it
	Stamp format.Stamp
}

// Flat returns the index of the chain.
func (c *Chain) Flat() Flat {
	x := c.index
	f := Flat{Size: x.size, Start: x.start, Pos: x.pos, Source: x.source, Bucket: x.buckets, Shift: x.shift}
	for _, s := range c.sources {
		file := FlatFile{Fd: s.Fd()}
		file.Stamp, _ = s.Stamp()
		if s.Meta.Compressed() {
			file.Fd = -1
		}
		f.Files = append(f.Files, file)
	}
	return f
}

// gather collects the pieces of one read. Payloads of neighbouring frames lie
// in the file with only a header of 40 bytes between them, so a run of small
// frames is read with one call that leaves the headers aside.
type gather struct {
	c   *Chain
	src *source
	pos int64 // file offset of the first piece
	end int64 // and behind the last one
	vec *vector

	whole  int64       // bytes of the read
	frames *framesRead // where there are several pieces
}

// vector is where the pieces go.
type vector struct {
	to    [][]byte
	aside [maxAside]byte // what is dropped
}

const (
	maxAside  = 512 // bytes between two pieces that are read and dropped
	maxPieces = 512 // of one call; the kernel takes 1024
)

var vectors = sync.Pool{New: func() any { return &vector{to: make([][]byte, 0, maxPieces+1)} }}

// add reads run r into p, now or with the next pieces.
func (g *gather) add(r run, p []byte) error {
	if r.source == 0 {
		clear(p)
		return nil
	}
	src := g.c.sources[r.source-1]
	if r.frame.length > 0 {
		return g.addFrame(frameRead{frame{src, r.pos, r.frame}, p, int64(r.frame.skip)})
	}
	gap := r.pos - g.end
	if src != g.src || gap < 0 || gap > maxAside || g.vec != nil && len(g.vec.to) >= maxPieces {
		if err := g.flush(); err != nil {
			return err
		}
		g.src, g.pos, gap = src, r.pos, 0
	}
	if g.vec == nil {
		g.vec = vectors.Get().(*vector)
	}
	if gap > 0 {
		g.vec.to = append(g.vec.to, g.vec.aside[:gap])
	}
	g.vec.to = append(g.vec.to, p)
	g.end = r.pos + r.length
	return nil
}

// flush reads what was collected.
func (g *gather) flush() error {
	if g.vec == nil {
		return nil
	}
	err := g.read(g.vec.to)
	clear(g.vec.to)
	g.vec.to = g.vec.to[:0]
	vectors.Put(g.vec)
	g.vec = nil
	return g.src.trust(err)
}

func (g *gather) read(to [][]byte) error {
	if fd := g.src.Fd(); len(to) > 1 && fd >= 0 {
		n, err := unix.Preadv(fd, to, g.pos)
		if err == nil && int64(n) == g.end-g.pos {
			return nil
		}
	}
	pos := g.pos
	for _, p := range to {
		if _, err := g.src.ReadAt(p, pos); err != nil {
			return err
		}
		pos += int64(len(p))
	}
	return nil
}

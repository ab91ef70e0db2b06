// SPDX-License-Identifier: Apache-2.0

package format

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// To examine a saveset is to read all of it, once: one side reads the file from
// its beginning to its end for the checksum, another walks along the frames, and
// several decode compressed payloads. They stay close to each other, so that
// what the first one reads comes to the others from the memory of the kernel.
//
// What the checksum tells. It covers the whole file and says nothing about where
// damage is. If other checks found damage, that explains why it does not match.
// If nothing else did, any byte can be the wrong one, with these exceptions:
// what LZ4 vouches for, and the places of frames that cover the disk without a
// gap, each being confirmed by its neighbours. The places of frames of an
// incremental are confirmed by nothing: a wrong one would change what was to
// stay, and leave what was to change. So then all of the disk is in doubt.

// ChecksumState says what the checksum of a saveset is worth.
type ChecksumState string

const (
	ChecksumMissing ChecksumState = "missing" // none was made, or stored
	ChecksumInvalid ChecksumState = "invalid" // what is stored is none
	ChecksumMatch   ChecksumState = "match"
	ChecksumDiffers ChecksumState = "differs"
	ChecksumUnknown ChecksumState = "unknown" // not all of the file can be read
)

// Examination is what Examine found.
type Examination struct {
	Checksum   ChecksumState
	Sum        string // of the file, as text: decimal Adler-32, or of a member of an archive CRC-32 in hex
	Stored     string // what it is compared with
	Damages    []Damage
	unreadable Extents // of the file
}

// LostIn is all of the disk that can be wrong because of damages.
func LostIn(damages []Damage) Extents {
	var all []Extent
	for _, d := range damages {
		all = append(all, d.Disk...)
	}
	return ExtentsOf(all...)
}

// Examine reads all of the saveset and verifies all that can be: its structure,
// the checksums of LZ4, and the checksum beside the file or in the archive. The
// saveset may be one of [OpenDamaged]. progress is called with the number of
// bytes read since the call before. The error is ctx's, or [ErrChanged].
func (s *Saveset) Examine(ctx context.Context, progress func(n int64)) (*Examination, error) {
	x := &examiner{s: s, progress: progress, out: &Examination{}}
	x.cond.L = &x.mu
	if err := x.run(ctx); err != nil {
		return nil, err
	}
	if err := s.Unchanged(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(x.out.Damages, func(a, b Damage) int { return int(min(1, max(-1, a.Offset-b.Offset))) })
	return x.out, nil
}

// maxLead is how far, in bytes, the reader of the file goes ahead of the walk
// along the frames.
const maxLead = 64 << 20

type examiner struct {
	s        *Saveset
	progress func(n int64)
	out      *Examination
	sum      *sum // of what was read

	mu    sync.Mutex // guards the rest, and out.Damages
	cond  sync.Cond  // the rest changed
	read  int64      // bytes of the file that were read
	walk  int64      // place of the walk along the frames
	ended bool       // one of the two has ended
}

func (x *examiner) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, x.end) // let go who waits
	defer stop()
	sum := make(chan error, 1)
	go func() {
		defer x.end()
		sum <- x.readAll(ctx)
	}()
	gapless, err := x.walkAll(ctx)
	x.end()
	readErr := <-sum
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := errors.Join(readErr, err); err != nil {
		return err
	}
	if len(x.out.unreadable) > 0 {
		x.locateUnreadable()
	}
	x.judge(gapless)
	return nil
}

func (x *examiner) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ended = true
	x.cond.Broadcast()
}

// readAll reads the file for its checksum.
func (x *examiner) readAll(ctx context.Context) error {
	x.sum = newSum(x.s)
	err := x.s.readAhead(ctx, func(c *chunk) error {
		x.waitForWalk(c.off)
		switch {
		case c.hole:
			x.sum.zeroes(c.length)
		case c.err != nil:
			for _, e := range c.unreadable(x.s) {
				x.out.unreadable = x.out.unreadable.extend(e)
			}
		default:
			x.sum.Write(c.buf)
		}
		x.mu.Lock()
		x.read = c.off + c.length
		x.cond.Broadcast()
		x.mu.Unlock()
		x.progress(c.length)
		return nil
	})
	x.out.Sum = x.sum.text()
	return err
}

func (x *examiner) waitForWalk(off int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for off-x.walk > maxLead && !x.ended {
		x.cond.Wait()
	}
}

// waitForRead lets the reader of the file go first.
func (x *examiner) waitForRead(off int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.walk = off
	x.cond.Broadcast()
	for x.read < off && !x.ended {
		x.cond.Wait()
	}
}

// walkAll walks along the frames and has their payloads decoded. It says
// whether they cover the disk.
func (x *examiner) walkAll(ctx context.Context) (gapless bool, err error) {
	if x.s.fault == nil {
		gapless, err = x.decodeAll(ctx, func(yield func(Frame) bool) error {
			for f, err := range x.s.Frames() {
				if err != nil {
					return err
				}
				x.waitForRead(f.Pos)
				if !yield(f) {
					return nil
				}
			}
			return nil
		})
		if err == nil || !damaging(err) {
			return gapless, err
		}
	}
	x.out.Damages = nil
	frames, damages, err := x.s.Remains()
	if err != nil {
		return false, err
	}
	gapless, err = x.decodeAll(ctx, func(yield func(Frame) bool) error {
		for _, f := range frames {
			x.waitForRead(f.Pos)
			if !yield(f) {
				return nil
			}
		}
		return nil
	})
	x.add(damages...)
	return gapless, err
}

func (x *examiner) add(damages ...Damage) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.out.Damages = append(x.out.Damages, damages...)
}

// decodeAll takes frames and decodes their payloads on all processors.
func (x *examiner) decodeAll(ctx context.Context, each func(yield func(Frame) bool) error) (gapless bool, err error) {
	jobs := make(chan Frame)
	var workers sync.WaitGroup
	if x.s.Meta.Compressed() {
		for range runtime.GOMAXPROCS(0) {
			workers.Go(func() {
				d := decoder{s: x.s}
				for f := range jobs {
					if damage, found := d.check(f); found {
						x.add(damage)
					}
				}
			})
		}
	}
	end := int64(0)
	gapless = true
	err = each(func(f Frame) bool {
		gapless = gapless && f.Start == end
		end = f.End()
		if !f.Zero && x.s.Meta.Compressed() {
			jobs <- f
		}
		return ctx.Err() == nil
	})
	close(jobs)
	workers.Wait()
	return gapless && end == x.s.Meta.VirtualSize, err
}

// decoder decodes payloads of one saveset, one after the other.
type decoder struct {
	s   *Saveset
	in  LZ4Input
	buf []byte
}

// check decodes the payload of f. What is wrong reaches, on the disk, from the
// damaged block to the end of the LZ4 frame, as blocks refer to those before
// them; where blocks have no checksums of their own it is all of the frame.
func (d *decoder) check(f Frame) (Damage, bool) {
	lost := f.Extent
	z, err := d.s.OpenLZ4(f.Pos, f.Stored, f.Length)
	if err == nil {
		var c LZ4Cursor
		c, err = d.decode(z)
		if z.Checked() && c.Out < f.Length {
			lost = Extent{f.Start + c.Out, f.Length - c.Out}
		}
	}
	if err == nil {
		return Damage{}, false
	}
	damage := Damage{Kind: DamagedLZ4, Offset: offset(err), Disk: ExtentsOf(lost), Reason: reason(err)}
	if !errors.Is(err, ErrCorrupt) {
		damage.Kind, damage.Offset = DamagedStorage, f.Pos
	}
	return damage, true
}

// decodeStep is how much is decoded at a time, in bytes.
const decodeStep int64 = 1 << 20

// decode decodes all of z and returns where it came to.
func (d *decoder) decode(z *LZ4Frame) (LZ4Cursor, error) {
	if need := int(min(LZ4Window+max(decodeStep, int64(z.BlockMax())), z.length+LZ4Window)); len(d.buf) < need {
		d.buf = make([]byte, need)
	}
	c := z.Start()
	from := 0
	for {
		before := c.Out
		n, err := z.Decode(&c, d.buf, from, &d.in)
		switch {
		case err != nil:
			return c, err
		case c.Out == z.length:
			return c, nil
		case c.Out == before:
			return c, z.corrupt(c.Pos, "LZ4 blocks without content")
		}
		end := from + n
		from = copy(d.buf, d.buf[max(0, end-LZ4Window):end])
	}
}

// locateUnreadable finds what of the disk is where the file cannot be read. For
// compressed payloads decoding told.
func (x *examiner) locateUnreadable() {
	x.out.Checksum = ChecksumUnknown
	if x.s.Meta.Compressed() {
		if len(x.out.Damages) == 0 {
			x.add(Damage{Kind: DamagedStorage, Offset: x.out.unreadable[0].Start, Reason: "cannot be read; no data of the disk is there"})
		}
		return
	}
	frames, _, _ := x.s.Remains()
	bad := x.out.unreadable
	lost := make([]Extents, len(bad))
	for _, f := range frames {
		for i := bad.behind(f.Pos); !f.Zero && i < len(bad) && bad[i].Start < f.Pos+f.Stored; i++ {
			hit := bad[i].Intersect(Extent{f.Pos, f.Stored})
			lost[i] = lost[i].extend(Extent{f.Start + hit.Start - f.Pos, hit.Length})
		}
	}
	for i, e := range bad {
		x.add(Damage{Kind: DamagedStorage, Offset: e.Start, Disk: lost[i], Reason: fmt.Sprintf("%d bytes of the file cannot be read", e.Length)})
	}
}

// judge compares the checksums.
func (x *examiner) judge(gapless bool) {
	stored, state := x.s.storedSum()
	x.out.Stored = stored
	switch {
	case x.out.Checksum == ChecksumUnknown:
	case state != "":
		x.out.Checksum = state
	case stored == x.out.Sum:
		x.out.Checksum = ChecksumMatch
	default:
		x.out.Checksum = ChecksumDiffers
	}
	if x.out.Checksum != ChecksumDiffers {
		return
	}
	if len(x.out.Damages) > 0 {
		if d := &x.out.Damages[0]; len(x.out.Damages) == 1 && d.mend != nil && x.mended(d.mend) == stored {
			d.Disk, d.Readable = nil, false
		}
		return
	}
	d := Damage{Kind: DamagedChecksum, Offset: -1, Disk: WholeDisk, Readable: true, Reason: fmt.Sprintf("the checksum of the file is %s, and %s when it was written", x.out.Sum, stored)}
	switch {
	case gapless && x.s.Meta.Compressed():
		d.Disk = nil
		d.Reason += "; all data was found sound"
	case gapless:
		d.Disk = x.s.dataExtents()
		d.Reason += "; any data in it can be wrong"
	default:
		d.Reason += "; anything in it can be wrong"
	}
	x.add(d)
}

// mended is the checksum that the file would have with what should be in it.
func (x *examiner) mended(list []mend) string {
	sum := *x.sum
	if sum.crc != nil {
		return "" // not to be had without reading all again
	}
	for _, m := range list {
		for i := range m.want {
			sum.adler.replace(x.s.Size-m.at-int64(i), m.was[i], m.want[i])
		}
	}
	return sum.text()
}

// dataExtents is all of the disk that has data in the saveset.
func (s *Saveset) dataExtents() (data Extents) {
	for f, err := range s.Frames() {
		if err == nil && !f.Zero {
			data = data.extend(f.Extent)
		}
	}
	return data
}

// sum computes the checksum that there is of a saveset: of a member of an
// archive that of the archive.
type sum struct {
	adler Checksum
	crc   hash.Hash32 // nil: Adler-32
}

func newSum(s *Saveset) *sum {
	if s.base != 0 {
		return &sum{crc: crc32.NewIEEE()}
	}
	return &sum{}
}

func (m *sum) Write(p []byte) {
	if m.crc != nil {
		m.crc.Write(p)
	} else {
		_, _ = m.adler.Write(p)
	}
}

// zeroes adds a hole; archives have none.
func (m *sum) zeroes(n int64) { m.adler.Zeroes(n) }

func (m *sum) text() string {
	if m.crc != nil {
		return crcText(m.crc.Sum32())
	}
	return strconv.FormatUint(uint64(m.adler.Sum32()), 10)
}

func crcText(sum uint32) string { return fmt.Sprintf("%08x", sum) }

// VerifySum reads all of the saveset and compares its checksum with the one that
// was stored when it was written: beside the file, or in the archive. If they
// differ, any byte can be the wrong one, and the error is a *CorruptError. It is
// nil where no checksum was stored.
func (s *Saveset) VerifySum(ctx context.Context) error {
	stored, state := s.storedSum()
	if state != "" {
		return nil
	}
	sum := newSum(s)
	err := s.readAhead(ctx, func(c *chunk) error {
		switch {
		case c.hole:
			sum.zeroes(c.length)
		case c.err != nil:
			return c.err
		default:
			sum.Write(c.buf)
		}
		return nil
	})
	if err == nil {
		err = s.Unchanged()
	}
	if err == nil && sum.text() != stored {
		err = &CorruptError{s.Path, 0, fmt.Sprintf("the checksum of the file is %s, and was %s when it was written: any data in it can be wrong", sum.text(), stored)}
	}
	return err
}

// maxChecksum is how long the file with a checksum can be, far above 10 digits.
const maxChecksum = 4096

// storedSum is the checksum that was stored when the saveset was written. state
// is set if there is none: virtnbdbackup writes the word None where it has none,
// and makes no checksum of raw images.
func (s *Saveset) storedSum() (text string, state ChecksumState) {
	switch {
	case s.base != 0:
		return crcText(s.crc), ""
	case s.file == nil:
		return "", ChecksumMissing
	}
	b, err := readSmall(s.Path+chksumSuffix, maxChecksum)
	text = strings.TrimSpace(string(b))
	if errors.Is(err, os.ErrNotExist) || err == nil && text == "None" {
		return "", ChecksumMissing
	}
	n, parseErr := strconv.ParseUint(text, 10, 32)
	if err != nil || parseErr != nil {
		return "", ChecksumInvalid
	}
	return strconv.FormatUint(n, 10), ""
}

// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"virtnb/format"
)

// Random chains through nbdkit, compared with a model of the disk in memory. A
// chain comes from its seed alone: run a failing one again by its name.

const (
	randomChains = 24
	randomReads  = 60 // of each client
	readers      = 8
	longestRead  = 4 << 20
)

// What a byte of the disk is, for its extents.
const (
	isZero   = iota // nothing was stored
	isData          // stored, and not zero
	isEither        // zeroes that were stored as data: a writer may make holes of them
)

// chainModel is a disk and the savesets of it.
type chainModel struct {
	dir    string
	rand   *rand.Rand
	noise  noise
	grid   int64 // extents begin and end on it
	disk   []byte
	kind   []byte // isZero, isData, isEither of each byte
	number int    // of the last checkpoint
	points []modelPoint
}

// modelPoint is what must be read of a restore point.
type modelPoint struct {
	name       string
	disk, kind []byte
}

func newChainModel(dir string, seed uint64) *chainModel {
	r := rand.New(rand.NewPCG(seed, 0))
	m := &chainModel{dir: dir, rand: r, noise: newNoise(seed), number: -1}
	m.grid = []int64{1, 512, 4096, 65536}[r.IntN(4)]
	m.resize(m.size())
	return m
}

// size is a size for the disk: 1 grid to 6 MiB.
func (m *chainModel) size() int64 {
	return m.grid * (1 + m.rand.Int64N(6<<20/m.grid))
}

// resize makes the disk so large; what it gains is zero.
func (m *chainModel) resize(size int64) {
	fit := func(p []byte) []byte { return append(make([]byte, 0, size), p[:min(size, int64(len(p)))]...)[:size] }
	m.disk, m.kind = fit(m.disk), fit(m.kind)
}

// grow adds a restore point of a random kind.
func (m *chainModel) grow() error {
	switch n := m.rand.IntN(10); {
	case m.number < 0:
		return m.full(format.Full, "")
	case n == 0: // a bitmap was lost
		return m.full(format.Inc, m.next())
	case n < 3:
		return m.diff()
	case n < 5:
		m.resize(m.size())
	}
	return m.incremental()
}

func (m *chainModel) next() string { return fmt.Sprintf("virtnbdbackup.%d", m.number+1) }

func (m *chainModel) meta(incremental bool) format.Metadata {
	meta := format.Metadata{
		DiskName: "vda", DiskFormat: "qcow2", VirtualSize: int64(len(m.disk)), CheckpointName: m.next(),
		Date: time.Date(2026, 11, 22, 2, len(m.points), 0, 0, time.Local), Incremental: incremental,
	}
	if incremental {
		meta.ParentCheckpoint = fmt.Sprintf("virtnbdbackup.%d", m.number)
	}
	if m.rand.IntN(2) == 0 {
		meta.Compression = 1 + m.rand.IntN(2)
	}
	return meta
}

// full writes the whole disk, changed: the guest went on writing.
func (m *chainModel) full(level format.Level, id string) error {
	clear(m.disk)
	clear(m.kind)
	list := m.extents()
	m.fill(list)
	err := m.write(format.Name{Disk: "vda", Level: level, ID: id}, m.meta(false), list)
	m.number++
	m.keep(fmt.Sprintf("virtnbdbackup.%d", m.number))
	return err
}

func (m *chainModel) incremental() error {
	list := m.extents()
	m.fill(list)
	err := m.write(format.Name{Disk: "vda", Level: format.Inc, ID: m.next()}, m.meta(true), list)
	m.number++
	m.keep(fmt.Sprintf("virtnbdbackup.%d", m.number))
	return err
}

// diff writes changes that the next incremental does not build on.
func (m *chainModel) diff() error {
	disk, kind := bytes.Clone(m.disk), bytes.Clone(m.kind)
	list := m.extents()
	m.fill(list)
	name := format.Name{Disk: "vda", Level: format.Diff, ID: fmt.Sprint(1795399000 + len(m.points))}
	err := m.write(name, m.meta(true), list)
	m.keep("diff." + name.ID)
	m.disk, m.kind = disk, kind
	return err
}

func (m *chainModel) keep(name string) {
	m.points = append(m.points, modelPoint{name, bytes.Clone(m.disk), bytes.Clone(m.kind)})
}

// extents is a random list, sorted; many of its neighbours touch.
func (m *chainModel) extents() (list []format.Extent) {
	units := int64(len(m.disk)) / m.grid
	if m.rand.IntN(8) == 0 {
		return nil
	}
	longest := 1 + m.rand.Int64N(1+units/8)
	for at := m.rand.Int64N(units); at < units && len(list) < 2000; {
		n := min(units-at, 1+m.rand.Int64N(longest))
		list = append(list, format.Extent{Start: at * m.grid, Length: n * m.grid})
		at += n
		if m.rand.IntN(2) == 0 {
			at += m.rand.Int64N(1 + longest)
		}
	}
	return list
}

// fill gives each extent new content.
func (m *chainModel) fill(list []format.Extent) {
	for _, e := range list {
		p := m.disk[e.Start:e.End()]
		kind := byte(isData)
		switch m.rand.IntN(5) {
		case 0:
			clear(p)
			kind = isEither
		case 1: // compresses well, and differs from place to place
			for i := range p {
				p[i] = byte((e.Start+int64(i))>>9) | 1
			}
		default:
			m.noise.fill(p)
			for i := range p {
				p[i] |= 0x80
			}
		}
		for i := e.Start; i < e.End(); i++ {
			m.kind[i] = kind
		}
	}
}

// write makes the saveset with all calls that there are for it.
func (m *chainModel) write(name format.Name, meta format.Metadata, list []format.Extent) error {
	for _, e := range list {
		if meta.Incremental || m.kind[e.Start] == isData {
			meta.DataSize += e.Length
		}
	}
	opts := format.WriterOptions{FrameSize: 4096 << m.rand.IntN(9)}
	f, err := format.Create(filepath.Join(m.dir, name.String()), meta, opts)
	if err != nil {
		return err
	}
	defer f.Abort()
	for _, e := range list {
		p := m.disk[e.Start:e.End()]
		switch {
		case m.kind[e.Start] != isData:
			err = f.Zero(e)
		case m.rand.IntN(2) == 0:
			err = f.DataFrom(e, bytes.NewReader(p))
		case meta.Compressed() && m.rand.IntN(2) == 0:
			err = writePacked(f, e, p, meta.Compression)
		default:
			err = f.Data(e.Start, p)
		}
		if err != nil {
			return err
		}
	}
	return f.Commit()
}

// writePacked stores an extent as one LZ4 frame, however large.
func writePacked(f *format.File, e format.Extent, p []byte, level int) error {
	frame, err := format.CompressFrame(nil, p, level)
	if err != nil {
		return err
	}
	return f.Compressed(e, frame)
}

func TestNbdkitServesRandomChains(t *testing.T) {
	for seed := range uint64(randomChains) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			m := newChainModel(t.TempDir(), seed)
			for range 2 + m.rand.IntN(7) {
				if err := m.grow(); err != nil {
					t.Fatal(err)
				}
			}
			s := serve(t, m.dir, fmt.Sprintf("cache=%dk", 64<<m.rand.IntN(8)))
			for _, p := range m.points {
				export := "vda@" + p.name
				wantSame(t, export, copyOf(t, s, export), p.disk)
				wantMap(t, s, export, p)
			}
			if err := m.readAtRandom(s); err != nil {
				t.Errorf("%v\n%s", err, s.log())
			}
		})
	}
}

// wantMap compares the extents that a client sees with the model.
func wantMap(t *testing.T, s *nbdkit, export string, p modelPoint) {
	t.Helper()
	var list []struct {
		Offset, Length int64
		Type           int
	}
	if err := json.Unmarshal([]byte(run(t, "nbdinfo", "--map", "--json", s.uri(export))), &list); err != nil {
		t.Fatal(err)
	}
	end := int64(0)
	for i, e := range list {
		if e.Offset != end || e.Length <= 0 || e.Type != 0 && e.Type != 3 || i > 0 && e.Type == list[i-1].Type {
			t.Fatalf("%s: extent %d is %+v, want one from %d on that differs from its neighbour", export, i, e, end)
		}
		end += e.Length
		wrong := byte(isZero)
		if e.Type == 3 {
			wrong = isData
		}
		if at := bytes.IndexByte(p.kind[e.Offset:end], wrong); at >= 0 {
			t.Errorf("%s: extent %+v has type %d, byte %d says otherwise", export, e, e.Type, e.Offset+int64(at))
		}
	}
	if end != int64(len(p.disk)) {
		t.Errorf("%s: extents end at %d of %d", export, end, len(p.disk))
	}
}

// readAtRandom reads from all points with several clients at once.
func (m *chainModel) readAtRandom(s *nbdkit) error {
	return atOnce(readers, func(i int) error {
		p := m.points[i%len(m.points)]
		return readAtRandom(s, "vda@"+p.name, p.disk, rand.New(rand.NewPCG(uint64(i), 1)), randomReads, longestRead)
	})
}

// readAtRandom reads n random ranges of an export, of at most longest bytes, and
// compares them.
func readAtRandom(s *nbdkit, export string, want []byte, r *rand.Rand, n int, longest int64) (err error) {
	c, err := dialNBD(s.socket, export)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if c.size != int64(len(want)) {
		return fmt.Errorf("%s has %d bytes, want %d", export, c.size, len(want))
	}
	buf := make([]byte, longest)
	for range n {
		off, length := randomRange(r, c.size, longest)
		if err := c.pread(buf[:length], off); err != nil {
			return fmt.Errorf("%s: read of %d at %d: %w", export, length, off, err)
		}
		if err := same(buf[:length], want[off:off+length]); err != nil {
			return fmt.Errorf("%s: read of %d at %d: %w", export, length, off, err)
		}
	}
	return nil
}

// randomRange is a range of the disk: small ones, large ones, single bytes, and
// ranges up to its end.
func randomRange(r *rand.Rand, size, longest int64) (off, length int64) {
	length = 1 + r.Int64N(min(size, []int64{1, 700, 64 << 10, longest}[r.IntN(4)]))
	off = r.Int64N(size - length + 1)
	if r.IntN(8) == 0 {
		off = size - length
	}
	return off, length
}

// Reading on after what is refused: the server tells, and serves on.
func TestNbdkitRefusesReadsBehindTheEnd(t *testing.T) {
	t.Parallel()
	s := serve(t, inVectors(t, "set=01-plain-full"))
	c, err := dialNBD(s.socket, "vda")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	buf := make([]byte, 4096)
	for _, off := range []int64{1 << 20, 1<<20 - 4095, 1 << 40, -4096} {
		if err := c.pread(buf, off); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("read at %d: %v, want an error of the server", off, err)
		}
	}
	if err := c.pread(buf, 1<<20-4096); err != nil || buf[0] != 0x43 {
		t.Errorf("last block is %#x (%v)", buf[0], err)
	}
}

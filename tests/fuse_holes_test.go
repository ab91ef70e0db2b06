// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"virtnb/format"
)

// holeModel is a disk at a restore point: its bytes, which of them are data,
// and what its saveset has. Where grid is 1, extents begin and end anywhere.
type holeModel struct {
	grid  int64
	disk  []byte
	data  []bool
	saved []format.Extent
	seed  uint64
	inc   bool
}

// newHoleModel is a full with extents that begin and end anywhere.
func newHoleModel(size int64, seed uint64) *holeModel {
	return newGridModel(size, seed, 1, 120, 40_000)
}

// newGridModel is a full of n extents of at most longest bytes.
func newGridModel(size int64, seed uint64, grid int64, n int, longest int64) *holeModel {
	m := &holeModel{grid: grid, disk: make([]byte, size), data: make([]bool, size), seed: seed}
	m.fill(n, longest)
	return m
}

// next is the disk after changes, which overlap data and holes.
func (m *holeModel) next(seed uint64) *holeModel {
	n := &holeModel{grid: m.grid, disk: bytes.Clone(m.disk), data: slices.Clone(m.data), seed: seed, inc: true}
	n.fill(60, 30_000)
	return n
}

func (m *holeModel) fill(n int, longest int64) {
	r := rand.New(rand.NewPCG(m.seed, 3))
	size := int64(len(m.disk))
	for at := int64(0); at < size && len(m.saved) < n; {
		start := at + r.Int64N(2*size/int64(n))/m.grid*m.grid
		length := (1 + r.Int64N(longest)) / m.grid * m.grid
		if length = min(length, size-start); length <= 0 {
			at += m.grid
			continue
		}
		e := format.Extent{Start: start, Length: length}
		newNoise(m.seed + uint64(start)).fill(m.disk[start:e.End()])
		for i := start; i < e.End(); i++ {
			m.data[i] = true
		}
		m.saved = append(m.saved, e)
		at = e.End()
	}
}

func (m *holeModel) allocated() (n int64) {
	for _, d := range m.data {
		if d {
			n++
		}
	}
	return n
}

// seek is what lseek answers; -1: ENXIO.
func (m *holeModel) seek(off int64, data bool) int64 {
	size := int64(len(m.data))
	if off < 0 || off >= size {
		return -1
	}
	i := slices.Index(m.data[off:], data)
	switch {
	case i >= 0:
		return off + int64(i)
	case data:
		return -1
	}
	return size
}

// runs are the stretches of data and of holes.
func (m *holeModel) runs() (list []fuseRun) {
	for off, size := int64(0), int64(len(m.data)); off < size; {
		data := m.data[off]
		end := m.seek(off, !data)
		if end < 0 {
			end = size
		}
		list = append(list, fuseRun{off, end - off, data})
		off = end
	}
	return list
}

// fuseRun is a stretch of a file, as qemu-img map prints it.
type fuseRun struct {
	Start, Length int64
	Data          bool
}

// writeModels makes a set of a chain.
func writeModels(t testing.TB, level int, models ...*holeModel) string {
	t.Helper()
	dir := t.TempDir()
	for n, m := range models {
		if err := m.write(savesetPath(dir, n), level); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (m *holeModel) write(path string, level int) error {
	b := builder{level: level}
	if m.inc {
		b.since = []byte{}
	}
	name, _ := format.ParseName(filepath.Base(path))
	meta := b.meta(name)
	meta.VirtualSize = int64(len(m.disk))
	for _, e := range m.saved {
		meta.DataSize += e.Length
	}
	f, err := format.Create(path, meta, format.WriterOptions{})
	if err != nil {
		return err
	}
	defer f.Abort()
	for _, e := range m.saved {
		if err := f.Data(e.Start, m.disk[e.Start:e.End()]); err != nil {
			return err
		}
	}
	return f.Commit()
}

func TestFuseSeeksToTheByte(t *testing.T) {
	for _, level := range []int{0, 2} {
		models := []*holeModel{newHoleModel(3<<20+512, 1), nil}
		models[1] = models[0].next(2)
		m := mountFuse(t, writeModels(t, level, models...))
		for n, model := range models {
			f := openFile(t, m.fuseDisk(n))
			disk := readFile(t, m.fuseDisk(n))
			wantSame(t, f.Name(), disk, model.disk)
			walkForward(t, f, model)
			probeSeeks(t, f, model)
		}
	}
}

// walkForward goes through a file from run to run.
func walkForward(t *testing.T, f *os.File, model *holeModel) {
	t.Helper()
	runs := model.runs()
	if len(runs) < 50 {
		t.Errorf("the model has only %d runs", len(runs))
	}
	for _, r := range runs {
		wantSeek(t, f, model, r.Start, r.Data)
		wantSeek(t, f, model, r.Start, !r.Data)
	}
}

// probeSeeks asks around the ends of runs, from the last to the first, at
// random, and behind the end.
func probeSeeks(t *testing.T, f *os.File, model *holeModel) {
	t.Helper()
	size := int64(len(model.data))
	r := rand.New(rand.NewPCG(4, 4))
	offsets := []int64{0, size - 1, size, size + 1, 1 << 50}
	for _, run := range slices.Backward(model.runs()) {
		end := run.Start + run.Length
		offsets = append(offsets, end-1, end, run.Start+run.Length/2, max(0, run.Start-1), r.Int64N(size))
	}
	for _, off := range offsets {
		wantSeek(t, f, model, off, true)
		wantSeek(t, f, model, off, false)
	}
}

func wantSeek(t *testing.T, f *os.File, model *holeModel, off int64, data bool) {
	t.Helper()
	whence := unix.SEEK_HOLE
	if data {
		whence = unix.SEEK_DATA
	}
	want := model.seek(off, data)
	got, err := unix.Seek(int(f.Fd()), off, whence)
	switch {
	case want < 0 && err != syscall.ENXIO:
		t.Errorf("%s: lseek %d, data %v: %d, %v; want ENXIO", f.Name(), off, data, got, err)
	case want >= 0 && (err != nil || got != want):
		t.Errorf("%s: lseek %d, data %v: %d, %v; want %d", f.Name(), off, data, got, err, want)
	}
}

// gridMount is a mounted set of a sparse disk of 4 KiB blocks.
func gridMount(t *testing.T) (*fuseMount, *holeModel) {
	t.Helper()
	model := newGridModel(48<<20, 5, blockSize, 40, 200_000)
	later := model.next(6)
	return mountFuse(t, writeModels(t, 0, model, later)), later
}

// slack is what a copy may take beside the data, bytes.
const slack = 128 << 10

func TestFuseCopyKeepsHoles(t *testing.T) {
	m, model := gridMount(t)
	to := filepath.Join(t.TempDir(), "copy")
	for _, args := range [][]string{{"cp", "--sparse=auto"}, {"cp"}, {"cp", "--sparse=always"}, {"qemu-img", "convert", "-f", "raw", "-O", "raw"}} {
		run(t, args[0], append(args[1:], m.fuseDisk(1), to)...)
		wantSame(t, args[0], readFile(t, to), model.disk)
		if got := statOf(t, to).Blocks * 512; got > model.allocated()+slack {
			t.Errorf("%q made a file of %d bytes of data, want %d", args, got, model.allocated())
		}
		if err := os.Remove(to); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFuseTarKeepsHoles(t *testing.T) {
	m, model := gridMount(t)
	dir := t.TempDir()
	archive := filepath.Join(dir, "a.tar")
	run(t, "tar", "-C", filepath.Dir(m.fuseDisk(1)), "-c", "-S", "-f", archive, "vda.raw")
	if got := statOf(t, archive).Size; got > model.allocated()+slack {
		t.Errorf("the archive has %d bytes, the disk %d of data", got, model.allocated())
	}
	run(t, "tar", "-C", dir, "-x", "-f", archive)
	wantSame(t, "from the archive", readFile(t, filepath.Join(dir, "vda.raw")), model.disk)
	if got := statOf(t, filepath.Join(dir, "vda.raw")).Blocks * 512; got > model.allocated()+slack {
		t.Errorf("the file from the archive has %d bytes of data, want %d", got, model.allocated())
	}
}

func TestFuseDuShowsData(t *testing.T) {
	m, model := gridMount(t)
	got, _, _ := strings.Cut(run(t, "du", "-B1", m.fuseDisk(1)), "\t")
	if want := fmt.Sprint(model.allocated()); got != want {
		t.Errorf("du says %s, want %s", got, want)
	}
	got, _, _ = strings.Cut(run(t, "du", "-B1", "--apparent-size", m.fuseDisk(1)), "\t")
	if want := fmt.Sprint(len(model.disk)); got != want {
		t.Errorf("du --apparent-size says %s, want %s", got, want)
	}
}

func TestFuseQemuMapShowsHoles(t *testing.T) {
	m, model := gridMount(t)
	var got []fuseRun
	out := run(t, "qemu-img", "map", "-f", "raw", "--output=json", m.fuseDisk(1))
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if want := model.runs(); !slices.Equal(got, want) {
		t.Errorf("qemu-img map says\n%v\nwant\n%v", got, want)
	}
}

// A compressed disk has its holes, and one without data is all hole.
func TestFuseEmptyDisk(t *testing.T) {
	model := &holeModel{disk: make([]byte, 1<<20), data: make([]bool, 1<<20)}
	for _, level := range []int{0, 2} {
		m := mountFuse(t, writeModels(t, level, model))
		wantSame(t, "an empty disk", readFile(t, m.fuseDisk(0)), model.disk)
		probeSeeks(t, openFile(t, m.fuseDisk(0)), model)
		if st := statOf(t, m.fuseDisk(0)); st.Blocks != 0 {
			t.Errorf("an empty disk has %d blocks", st.Blocks)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

// Package tests holds the end-to-end tests: virtnb against the programs that
// it works with, and against the data that others wrote.
package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"virtnb/format"
	"virtnb/tests/testbed"
)

// What package format writes must be restored by virtnbdrestore to the very
// bytes. Sets are built here, with a model of each disk in memory; the restored
// images are converted by qemu-img and compared with it.
//
// Left out on purpose: restoring until a checkpoint whose saveset of a disk is
// empty. virtnbdrestore skips such a file before it looks at its name, and goes
// on to the end.

const interopDomain = `<domain type='qemu'>
  <name>vm1</name>
  <memory unit='KiB'>65536</memory>
  <os><type>hvm</type></os>
  <devices>
%s  </devices>
</domain>
`

const interopDiskXML = `    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/nonexistent/%[1]s.qcow2'/>
      <target dev='%[1]s' bus='virtio'/>
    </disk>
`

// interopDisk is a disk with its content at each restore point.
type interopDisk struct {
	name   string
	now    []byte
	points [][]byte
}

// interopSet is a backup set that grows.
type interopSet struct {
	dir   string
	disks []*interopDisk
	names []string // of checkpoints
	opts  format.WriterOptions
	rand  *rand.Rand
	files int // made so far: their times must ascend
}

func newInteropSet(t *testing.T, sizes ...int64) *interopSet {
	s := &interopSet{dir: t.TempDir(), rand: rand.New(rand.NewPCG(1, 2))}
	for i, size := range sizes {
		d := &interopDisk{name: "vd" + string(rune('a'+i)), now: make([]byte, size)}
		for range 4 { // islands of data
			e := s.extent(0, size, size/6)
			s.noise(d.now[e.Start:e.End()])
		}
		s.disks = append(s.disks, d)
	}
	return s
}

// extent is one of 1 to most bytes in [from, to), on the grid of 512.
func (s *interopSet) extent(from, to, most int64) format.Extent {
	start := from + s.rand.Int64N((to-from)/512)*512
	length := min(to-start, 512+s.rand.Int64N(most/512)*512)
	return format.Extent{Start: start, Length: length}
}

func (s *interopSet) noise(p []byte) {
	for i := range p {
		p[i] = byte(s.rand.Uint32())
	}
}

// full adds a full of each disk.
func (s *interopSet) full(t *testing.T, level int) {
	s.point(t, level, false, func(d *interopDisk) []format.Extent { return dataExtents(d.now, 64<<10) })
}

// dataExtents finds the runs of clusters that are not zero.
func dataExtents(disk []byte, cluster int64) (list []format.Extent) {
	for off := int64(0); off < int64(len(disk)); off += cluster {
		n := min(cluster, int64(len(disk))-off)
		switch last := len(list) - 1; {
		case format.IsZero(disk[off:][:n]):
		case last >= 0 && list[last].End() == off:
			list[last].Length += n
		default:
			list = append(list, format.Extent{Start: off, Length: n})
		}
	}
	return list
}

// inc changes the disks and adds an incremental of each: data over data, data
// over zeroes, and zeroes over both.
func (s *interopSet) inc(t *testing.T, level int) {
	s.point(t, level, true, func(d *interopDisk) (list []format.Extent) {
		size := int64(len(d.now))
		for off := int64(0); size-off > 4096; off = list[len(list)-1].End() {
			e := s.extent(off, min(size, off+size/8), size/20)
			s.noise(d.now[e.Start:e.End()])
			if len(list)%3 == 0 {
				clear(d.now[e.Start:e.End()])
			}
			if len(list)%3 == 1 {
				clear(d.now[e.Start:][:e.Length/2])
			}
			list = append(list, e)
		}
		return list
	})
}

// empty adds incrementals without a change.
func (s *interopSet) empty(t *testing.T, level int) {
	s.point(t, level, true, func(*interopDisk) []format.Extent { return nil })
}

// point adds a restore point; extents changes a disk and says where its data
// for this point is.
func (s *interopSet) point(t *testing.T, level int, inc bool, extents func(*interopDisk) []format.Extent) {
	t.Helper()
	n := len(s.names)
	s.names = append(s.names, fmt.Sprintf("virtnbdbackup.%d", n))
	xml := ""
	for _, d := range s.disks {
		list := extents(d)
		d.points = append(d.points, bytes.Clone(d.now))
		meta := format.Metadata{VirtualSize: int64(len(d.now)), Date: time.Now(), DiskName: d.name,
			DiskFormat: "qcow2", CheckpointName: s.names[n], Compression: level, Incremental: inc}
		name := format.Name{Disk: d.name, Level: format.Full}
		if inc {
			meta.ParentCheckpoint = s.names[n-1]
			name = format.Name{Disk: d.name, Level: format.Inc, ID: s.names[n]}
		}
		for _, e := range list {
			meta.DataSize += e.Length
		}
		s.write(t, name.String(), meta, list, d.now)
		xml += fmt.Sprintf(interopDiskXML, d.name)
	}
	s.side(t, "vmconfig."+s.names[n]+".xml", fmt.Sprintf(interopDomain, xml))
	list, err := json.Marshal(s.names)
	if err != nil {
		t.Fatal(err)
	}
	s.side(t, "vm1.cpt", string(list))
}

// write makes a saveset of the extents, in all the ways there are.
func (s *interopSet) write(t *testing.T, name string, meta format.Metadata, list []format.Extent, disk []byte) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	f, err := format.Create(path, meta, s.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	for i, e := range list {
		if err := writeExtent(f.Writer, meta, i, e, disk[e.Start:e.End()]); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	s.touch(t, path)
}

func writeExtent(w *format.Writer, meta format.Metadata, i int, e format.Extent, p []byte) error {
	switch {
	case meta.Incremental && format.IsZero(p):
		return w.Zero(e)
	case meta.Compressed() && i%3 == 0 && e.Length < 32<<20:
		frame, err := format.CompressFrame(nil, p, meta.Compression)
		if err != nil {
			return err
		}
		return w.Compressed(e, frame)
	case i%2 == 0:
		return w.DataFrom(e, bytes.NewReader(p))
	}
	return w.Data(e.Start, p)
}

func (s *interopSet) side(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.touch(t, path)
}

func (s *interopSet) touch(t *testing.T, path string) {
	t.Helper()
	s.files++
	at := time.Now().Add(time.Duration(s.files-1000) * time.Second)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

// restoreAll restores every disk at every point that is not empty.
func (s *interopSet) restoreAll(t *testing.T) {
	t.Helper()
	var wg sync.WaitGroup
	for _, d := range s.disks {
		for n, name := range s.names {
			if n > 0 && bytes.Equal(d.points[n], d.points[n-1]) {
				continue
			}
			wg.Go(func() {
				if err := s.restore(t, d, n); err != nil {
					t.Errorf("%s at %s: %v", d.name, name, err)
				}
			})
		}
	}
	wg.Wait()
}

// interopSlots limits the restores that run at once. They sleep most of their
// time, so there are more than processors.
var interopSlots = make(chan struct{}, 8)

// restore runs virtnbdrestore for d at point n and compares the disk with what
// it must be. It restores one disk a run: for the second one virtnbdrestore
// 1.9.15 starts a server on the socket that the first one's server removes when
// it ends, and loses that race now and then.
func (s *interopSet) restore(t *testing.T, d *interopDisk, n int) error {
	interopSlots <- struct{}{}
	defer func() { <-interopSlots }()
	tmp, err := os.MkdirTemp("", "vn") // a short name, for the socket
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "out")
	sock := filepath.Join(tmp, "sock")
	cmd := exec.CommandContext(t.Context(), testbed.PeerRestoreProgram, "-U", "test:///default", "-n",
		"-i", s.dir, "-o", out, "-d", d.name, "--until", s.names[n], "-f", sock, "-L", filepath.Join(tmp, "log"))
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "HOME="+tmp)
	log, err := cmd.CombinedOutput()
	if err != nil || bytes.Contains(log, []byte(" ERROR ")) || bytes.Contains(log, []byte(" CRITICAL ")) {
		// It exits with 0 after many errors. Its server ends when a client did.
		_ = exec.Command("qemu-img", "info", "nbd+unix:///"+d.name+"?socket="+sock).Run()
		return fmt.Errorf("virtnbdrestore: %v\n%s", err, log)
	}
	return compareDisk(t.Context(), filepath.Join(out, d.name+".qcow2"), d.points[n])
}

// compareDisk compares a qcow2 image with what its content must be.
func compareDisk(ctx context.Context, image string, want []byte) error {
	if err := convertUnlocked(ctx, image, image+".raw"); err != nil {
		return err
	}
	got, err := os.ReadFile(image + ".raw")
	if err != nil {
		return err
	}
	if len(got) != len(want) {
		return fmt.Errorf("image has %d bytes, want %d", len(got), len(want))
	}
	if bytes.Equal(got, want) {
		return nil
	}
	at := 0
	for got[at] == want[at] {
		at++
	}
	return fmt.Errorf("byte %d is %#x, want %#x", at, got[at], want[at])
}

// convertUnlocked converts an image to raw as soon as the NBD server that
// virtnbdrestore started, and left to end alone, gave up its lock on it.
func convertUnlocked(ctx context.Context, image, raw string) error {
	for deadline := time.Now().Add(nbdPatience); ; time.Sleep(20 * time.Millisecond) {
		out, err := exec.CommandContext(ctx, "qemu-img", "convert", "-O", "raw", image, raw).CombinedOutput()
		if err == nil {
			return nil
		}
		if !strings.Contains(string(out), "lock") || time.Now().After(deadline) {
			return fmt.Errorf("qemu-img convert: %v\n%s", err, out)
		}
	}
}

func TestVirtnbdrestoreReadsChains(t *testing.T) {
	for name, levels := range map[string][]int{
		"plain":           {0, 0, 0, 0},
		"lz4":             {2, 1, 9, -3},
		"mixed":           {0, 2, 0, 3},
		"lz4 under plain": {4, 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newInteropSet(t, 5<<20+3*512, 3<<20+7*512)
			s.full(t, levels[0])
			for _, level := range levels[1 : len(levels)-1] {
				s.inc(t, level)
			}
			s.empty(t, levels[1])
			s.inc(t, levels[len(levels)-1])
			s.restoreAll(t)
		})
	}
}

// One incremental for each level, all of them in one restore.
func TestVirtnbdrestoreReadsEveryLevel(t *testing.T) {
	t.Parallel()
	s := newInteropSet(t, 1<<20+512)
	s.full(t, 2)
	for level := -3; level <= 16; level++ {
		if level != 0 {
			s.inc(t, level)
		}
	}
	if err := s.restore(t, s.disks[0], len(s.names)-1); err != nil {
		t.Error(err)
	}
}

// Extents of 32 MiB and more: one header where they are not compressed, many
// frames where they are.
func TestVirtnbdrestoreReadsBigExtents(t *testing.T) {
	for name, c := range map[string]struct{ level, frame int }{
		"plain":        {0, 0},
		"lz4":          {2, 0},
		"small frames": {1, 4096},
		"large frames": {2, format.MaxFrameSize},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newInteropSet(t, 70<<20+512)
			s.opts.FrameSize = c.frame
			disk := s.disks[0].now
			clear(disk)
			s.noise(disk[1<<20 : 41<<20+512])
			clear(disk[20<<20 : 22<<20])
			s.point(t, c.level, false, func(*interopDisk) []format.Extent {
				return []format.Extent{{Start: 1 << 20, Length: 40<<20 + 512}, {Start: 41<<20 + 512, Length: 29 << 20}}
			})
			clear(disk[2<<20 : 38<<20])
			s.point(t, c.level, true, func(*interopDisk) []format.Extent {
				return []format.Extent{{Start: 2 << 20, Length: 36 << 20}, {Start: 69 << 20, Length: 1<<20 + 512}}
			})
			s.restoreAll(t)
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"

	"virtnb/format"
	"virtnb/internal/domainxml"
	"virtnb/overlay"
	"virtnb/tests/testbed"
)

// The guest that is backed up is one of a libvirt of its own. It is paused, so
// its disks stay as they are; they are qcow2 images.

// mixShift says that noise and what compresses take turns at each 16 MiB.
const mixShift = 24

// noisePattern does not compress.
var noisePattern = sync.OnceValue(func() []byte {
	p := make([]byte, patternSize)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(p)
	return p
})

// mix sets p to the content of a disk at off, both in whole pages: half of a
// disk is noise, the other compresses as other benchmarks' disks do.
func mix(p []byte, off int64, disk int) {
	for len(p) > 0 {
		n := min(int64(len(p)), (off>>mixShift+1)<<mixShift-off)
		from := pattern
		if off>>mixShift&1 == 1 {
			from = noisePattern()
		}
		fillFrom(from, p[:n], off, disk)
		p, off = p[n:], off+n
	}
}

// guest is a domain, and a libvirt for it.
type guest struct {
	dir     string
	daemon  *testbed.Daemon
	domain  *testbed.Guest
	pid     int // of QEMU
	targets []string
	size    int64           // of each disk
	extents []format.Extent // of data, the same in all disks
	sets    int             // made so far
}

// startGuest makes the images and starts everything.
func startGuest(ctx context.Context, dir string, pl backupPlan) (_ *guest, err error) {
	size, l := alternating(pl.extents)
	g := &guest{dir: dir, size: size, extents: l(0)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.stop())
		}
	}()
	var disks []testbed.Disk
	for i := range pl.disks {
		d := testbed.Disk{Target: "vd" + string(rune('a'+i)), Source: filepath.Join(dir, fmt.Sprintf("disk%d.qcow2", i))}
		if err := g.makeImage(ctx, d.Source, i, pl.cluster); err != nil {
			return nil, err
		}
		disks, g.targets = append(disks, d), append(g.targets, d.Target)
	}
	if g.daemon, err = testbed.Start(ctx, testbed.Options{}); err != nil {
		return nil, err
	}
	if g.domain, err = g.daemon.Guest(testbed.GuestOptions{Disks: disks}); err != nil {
		return nil, err
	}
	g.pid, err = findProcess("qemu-system-x86_64", "guest="+g.domain.Name+",")
	return g, err
}

// makeImage writes the disk flat and converts it.
func (g *guest) makeImage(ctx context.Context, path string, disk, cluster int) error {
	flat := filepath.Join(g.dir, "flat.raw")
	defer os.Remove(flat)
	if err := g.writeFlat(ctx, flat, disk); err != nil {
		return err
	}
	// Without -S, runs of zeroes shorter than 4 KiB would become data.
	args := []string{"convert", "-S", "4k", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=" + strconv.Itoa(cluster), flat, path}
	if out, err := exec.CommandContext(ctx, "qemu-img", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("qemu-img convert: %w: %s", err, out)
	}
	return nil
}

func (g *guest) writeFlat(ctx context.Context, path string, disk int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for _, e := range g.extents {
		for e.Length > 0 {
			p := buf[:min(e.Length, int64(len(buf)))]
			mix(p, e.Start, disk)
			if _, err := f.WriteAt(p, e.Start); err != nil {
				return err
			}
			e = format.Extent{Start: e.Start + int64(len(p)), Length: e.Length - int64(len(p))}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return errors.Join(f.Truncate(g.size), f.Close())
}

// stop ends all and removes it.
func (g *guest) stop() error {
	var err error
	if g.daemon != nil {
		err = g.daemon.Stop()
	}
	return errors.Join(err, os.RemoveAll(g.dir))
}

// newSet is a folder that is not there yet.
func (g *guest) newSet() string {
	g.sets++
	return filepath.Join(g.dir, fmt.Sprint("out", g.sets))
}

// export starts the libvirt job of a backup, which exports the disks at the
// socket until stop is called.
func (g *guest) export() (socket string, stop func() error, err error) {
	socket = filepath.Join(g.dir, "job.sock")
	job := domainxml.BackupJob{Socket: socket}
	for _, target := range g.targets {
		job.Disks = append(job.Disks, domainxml.BackupDisk{Name: target, Scratch: filepath.Join(g.dir, "scratch."+target)})
	}
	text, err := domainxml.BackupXML(job)
	if err != nil {
		return "", nil, err
	}
	file := filepath.Join(g.dir, "job.xml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", nil, err
	}
	if _, err := g.daemon.Virsh("backup-begin", g.domain.Name, file); err != nil {
		return "", nil, err
	}
	return socket, g.endJob, nil
}

func (g *guest) endJob() error {
	_, err := g.daemon.Virsh("domjobabort", g.domain.Name)
	return err
}

// verify compares the savesets in a folder with what the disks hold.
func (g *guest) verify(folder string) error {
	set, err := format.CheckSet(folder)
	if err != nil {
		return err
	}
	for i, target := range g.targets {
		point, err := set.Find(target, "latest")
		if err != nil {
			return err
		}
		files, err := point.Files()
		if err != nil {
			return err
		}
		if err := g.verifyDisk(files, i); err != nil {
			return fmt.Errorf("%s in %s: %w", target, folder, err)
		}
	}
	return nil
}

func (g *guest) verifyDisk(files []string, disk int) error {
	img, err := overlay.Open(files, overlay.Options{})
	if err != nil {
		return err
	}
	defer img.Close()
	if img.Size() != g.size {
		return fmt.Errorf("%d bytes, want %d", img.Size(), g.size)
	}
	want, got := make([]byte, 1<<20), make([]byte, 1<<20)
	rest := g.extents
	for off := int64(0); off < g.size; off += int64(len(want)) {
		n := min(g.size-off, int64(len(want)))
		want, got = want[:n], got[:n]
		clear(want)
		rest = g.contentAt(want, off, rest, disk)
		if _, err := img.ReadAt(got, off); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if at := firstDifference(got, want); at >= 0 {
			return fmt.Errorf("byte %d is %#x, want %#x", off+int64(at), got[at], want[at])
		}
	}
	return nil
}

// contentAt sets p, which is zero, to the content of the disk at off. rest are
// the extents that end behind off; it returns those that end behind p.
func (g *guest) contentAt(p []byte, off int64, rest []format.Extent, disk int) []format.Extent {
	end := off + int64(len(p))
	for len(rest) > 0 && rest[0].Start < end {
		from, to := max(rest[0].Start, off), min(rest[0].End(), end)
		mix(p[from-off:to-off], from, disk)
		if rest[0].End() > end {
			break
		}
		rest = rest[1:]
	}
	return rest
}

// firstDifference is where two slices of one length differ, -1 if nowhere.
func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

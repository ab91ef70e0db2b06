// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"

	"virtnb/format"
	"virtnb/internal/nbd"
	"virtnb/overlay"
)

// An image that exists is brought back in two passes. The first compares it with
// the backup and notes which units differ; it reads all that the backup has of
// the disk, so that damage shows before anything is changed. The second writes
// into those units what differs. Whatever interrupts it, the same command goes
// on from there: what is right already does not differ any more.
//
// qemu-nbd has the image open from the first to the last, so that no domain can
// be started with it meanwhile, and records what is written in the image's dirty
// bitmaps, so that the next incremental backup has it.

const (
	// unitSize is what is noted as differing, in bytes: 2 MiB of notes for 1 TiB.
	unitSize = 64 << 10

	// compareBlock is what is compared and written, in bytes.
	compareBlock = 4096

	// compareWorkers is how many pieces are compared at a time, of 4 MiB each.
	compareWorkers = 12
)

// inPlace is an image that is brought back.
type inPlace struct {
	img       overlay.Image
	disk      *nbd.Client
	mu        sync.Mutex // guards units
	units     []uint64   // a bit for each unit that differs
	differing atomic.Int64
	written   atomic.Int64
	add       func(int64)
}

// restoreInPlace brings the image back that --in-place names.
func (r *run) restoreInPlace(ctx context.Context) error {
	p := &plan{}
	if err := p.chooseInPlace(r); err != nil {
		return err
	}
	j := p.jobs[0]
	r.answerDomain(p)
	if err := r.checkImage(j); err != nil {
		return err
	}
	if err := p.openImages(r); err != nil {
		return err
	}
	defer p.close()
	e := r.listen(p, j)
	e.Path, e.Format = r.o.InPlace, j.format
	s, err := r.serve(ctx, e, !r.o.DryRun)
	if err != nil {
		if strings.Contains(err.Error(), " lock") {
			err = fmt.Errorf("image %s is in use; is the domain off? %w", r.o.InPlace, err)
		}
		return err
	}
	start := time.Now()
	m := &inPlace{img: j.image, disk: s.client}
	err = m.check()
	if err == nil {
		err = j.verifySums(ctx)()
	}
	if err == nil {
		err = r.bringBack(ctx, m, j)
	}
	err = errors.Join(err, s.close())
	r.ui.answer.Disks = []diskResult{m.result(r, j, time.Since(start))}
	if err != nil && m.written.Load() > 0 {
		err = fmt.Errorf("%w: image %s is now in part as it was and in part as at restore point %s: do not start the domain, run the same command again", err, r.o.InPlace, j.pointName())
	} else if err != nil {
		err = fmt.Errorf("%w: image %s is as it was", err, r.o.InPlace)
	}
	return err
}

// pointName is what the state of the disk is called in messages.
func (j *job) pointName() string {
	if j.point == nil {
		return "of --sequence"
	}
	return j.point.Name
}

// chooseInPlace finds the restore point of the disk.
func (p *plan) chooseInPlace(r *run) error {
	r.o.Raw = true // there is no other way to say so here
	if r.o.Sequence != nil {
		return p.chooseFiles(r)
	}
	if err := p.choosePoint(r); err != nil {
		return err
	}
	if len(p.jobs) != 1 {
		return fmt.Errorf("--in-place takes one disk, and there are %s; choose one with -d", strings.Join(p.diskNames(), ", "))
	}
	return nil
}

// qcowMagic is what a qcow2 image begins with.
const qcowMagic = "QFI\xfb"

// checkImage looks whether the image is what it is said to be. The format is
// that of the backup: one that is guessed is one that the guest of a raw image
// chose.
func (r *run) checkImage(j *job) error {
	j.findFormat(r)
	info, err := r.host.Stat(r.o.InPlace)
	if err != nil {
		return err
	}
	switch {
	case info.Mode()&fs.ModeDevice != 0 && !r.o.Force:
		return fmt.Errorf("%s is a device, of which nothing tells whether a domain uses it: give --force if none does", r.o.InPlace)
	case !info.Mode().IsRegular() && info.Mode()&fs.ModeDevice == 0:
		return fmt.Errorf("%s is not an image", r.o.InPlace)
	}
	f, err := r.host.Open(r.o.InPlace)
	if err != nil {
		return err
	}
	defer f.Close()
	start := make([]byte, len(qcowMagic))
	n, _ := f.Read(start)
	if j.format == "qcow2" && string(start[:n]) != qcowMagic {
		return fmt.Errorf("%s is not of format qcow2, which disk %s is; if it is a raw image, say so with --format raw", r.o.InPlace, j.disk)
	}
	return nil
}

func (m *inPlace) check() error {
	if m.disk.Size() != m.img.Size() {
		return fmt.Errorf("the image has %d bytes and the disk in the backup %d: resize it with qemu-img resize, or restore to a new image", m.disk.Size(), m.img.Size())
	}
	m.units = make([]uint64, m.img.Size()/unitSize/64+1)
	return nil
}

// bringBack does both passes, or the first.
func (r *run) bringBack(ctx context.Context, m *inPlace, j *job) error {
	r.log.Info(fmt.Sprintf("Comparing image [%s] with disk [%s] at restore point [%s].", r.o.InPlace, j.disk, j.pointName()))
	bar := r.ui.display.Disk(j.disk, m.img.Size())
	m.add = bar.Add
	if err := m.each(ctx, m.compared(ctx), m.compare); err != nil {
		bar.Fail()
		return err
	}
	bar.Finish()
	n := m.differing.Load()
	differ := humanize.IBytes(uint64(n))
	switch {
	case r.o.DryRun:
		r.log.Info(fmt.Sprintf("[%s] of image [%s] differ and would be written.", differ, r.o.InPlace))
		return nil
	case n == 0:
		r.log.Info(fmt.Sprintf("Image [%s] is at the restore point already.", r.o.InPlace))
		return nil
	}
	r.log.Info(fmt.Sprintf("Writing [%s] that differ to image [%s].", differ, r.o.InPlace))
	if err := m.each(ctx, m.noted(), m.rewrite); err != nil {
		return err
	}
	if err := m.disk.Flush(ctx); err != nil {
		return err
	}
	r.log.Info(fmt.Sprintf("Image [%s] is at the restore point.", r.o.InPlace))
	return nil
}

func (m *inPlace) result(r *run, j *job, took time.Duration) diskResult {
	n := m.differing.Load()
	d := diskResult{Name: j.disk, Target: r.o.InPlace, Format: j.format, VirtualSize: m.img.Size(), Written: m.written.Load(), Differing: &n, Seconds: took.Seconds()}
	if j.point != nil {
		d.Point = j.point.Name
	}
	return d
}

// span is a piece of the disk to compare, and who has data in it.
type span struct {
	format.Extent
	want, have bool
}

// each has workers do f with all spans.
func (m *inPlace) each(ctx context.Context, spans func(yield func(span, error) bool), f func(context.Context, span, *pair) error) error {
	group, ctx := errgroup.WithContext(ctx)
	work := make(chan span)
	group.Go(func() error {
		defer close(work)
		for s, err := range spans {
			if err != nil {
				return err
			}
			select {
			case work <- s:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	for range compareWorkers {
		group.Go(func() error {
			p := &pair{want: make([]byte, pieceSize), have: make([]byte, pieceSize)}
			for s := range work {
				if err := f(ctx, s, p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// pair are the buffers of a worker.
type pair struct{ want, have []byte }

// read reads a span of both.
func (m *inPlace) read(ctx context.Context, s span, p *pair) (want, have []byte, err error) {
	want, have = p.want[:s.Length], p.have[:s.Length]
	if !s.want {
		clear(want)
	} else if _, err := m.img.ReadAt(want, s.Start); err != nil {
		return nil, nil, err
	}
	if !s.have {
		clear(have)
		return want, have, nil
	}
	return want, have, m.disk.ReadAt(ctx, have, s.Start)
}

// compare notes the units of a span that differ.
func (m *inPlace) compare(ctx context.Context, s span, p *pair) error {
	want, have, err := m.read(ctx, s, p)
	if err != nil {
		return err
	}
	for d := range differences(want, have) {
		m.differing.Add(d.Length)
		m.note(s.Start+d.Start, s.Start+d.End())
	}
	m.add(s.Length)
	return nil
}

// note notes that [from, to) differs.
func (m *inPlace) note(from, to int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for u := from / unitSize; u*unitSize < to; u++ {
		m.units[u/64] |= 1 << (u % 64)
	}
}

// rewrite writes what differs in a span.
func (m *inPlace) rewrite(ctx context.Context, s span, p *pair) error {
	want, have, err := m.read(ctx, s, p)
	if err != nil {
		return err
	}
	for d := range differences(want, have) {
		for run := range runs(want[d.Start:d.End()], compareBlock) {
			at := d.Start + run.Start
			m.written.Add(run.Length) // before: a write that fails may have been done in part
			if run.Data {
				err = m.disk.WriteAt(ctx, want[at:at+run.Length], s.Start+at)
			} else {
				err = m.disk.Zero(ctx, s.Start+at, run.Length)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// differences yields the ranges where a and b, which are of one length, differ,
// in blocks.
func differences(a, b []byte) func(yield func(format.Extent) bool) {
	return func(yield func(format.Extent) bool) {
		var d format.Extent
		for at := 0; at < len(a); at += compareBlock {
			end := min(at+compareBlock, len(a))
			if bytes.Equal(a[at:end], b[at:end]) {
				continue
			}
			if d.Length > 0 && d.End() != int64(at) {
				if !yield(d) {
					return
				}
				d.Length = 0
			}
			if d.Length == 0 {
				d.Start = int64(at)
			}
			d.Length = int64(end) - d.Start
		}
		if d.Length > 0 {
			yield(d)
		}
	}
}

// noted yields the units that differ.
func (m *inPlace) noted() func(yield func(span, error) bool) {
	return func(yield func(span, error) bool) {
		for u := int64(0); u*unitSize < m.img.Size(); u++ {
			if m.units[u/64]&(1<<(u%64)) == 0 {
				continue
			}
			at := u * unitSize
			s := span{format.Extent{Start: at, Length: min(unitSize, m.img.Size()-at)}, true, true}
			if !yield(s, nil) {
				return
			}
		}
	}
}

// compared yields the spans in which one of both has data, each within a piece.
func (m *inPlace) compared(ctx context.Context) func(yield func(span, error) bool) {
	return func(yield func(span, error) bool) {
		want, have := newWalker(imageData(m.img)), newWalker(exportData(ctx, m.disk))
		defer want.stop()
		defer have.stop()
		size := m.img.Size()
		for at := int64(0); at < size; at += pieceSize {
			s := span{Extent: format.Extent{Start: at, Length: min(pieceSize, size-at)}}
			var err1, err2 error
			s.want, err1 = want.any(s.Extent)
			s.have, err2 = have.any(s.Extent)
			if err := errors.Join(err1, err2); err != nil {
				yield(span{}, err)
				return
			}
			switch {
			case !s.want && !s.have:
				m.add(s.Length)
			case !yield(s, nil):
				return
			}
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"

	"virtnb/format"
	"virtnb/internal/host"
	"virtnb/internal/nbd"
	"virtnb/internal/qemu"
)

// disksAtATime is how many disks are written at a time: the memory of one is
// that of the pieces on their way.
const disksAtATime = 3

// runRestore brings disks back.
func runRestore(ctx context.Context, r *run) error {
	if err := errors.Join(r.reach(ctx), r.checkRemote()); err != nil {
		return err
	}
	defer r.host.Close()
	if r.o.InPlace != "" {
		return r.restoreInPlace(ctx)
	}
	p, err := r.makePlan()
	if err != nil {
		return err
	}
	defer p.close()
	if r.o.Salvage {
		if err := p.salvage(ctx, r); err != nil {
			return err
		}
	}
	if err := r.checkDefine(ctx, p); err != nil {
		return err
	}
	r.answerDomain(p)
	if err := r.restoreDisks(ctx, p); err != nil {
		return peersError("Disk restore failed: [%w]", err)
	}
	err = r.restoreDomain(ctx, p)
	if r.o.Salvage {
		err = errors.Join(err, r.salvaged(p))
	}
	return err
}

// answerDomain puts into the result what is restored.
func (r *run) answerDomain(p *plan) {
	r.ui.answer.Point = p.point
	if p.domain != nil {
		r.ui.answer.Domain = p.domain.Name()
	}
}

// restoreDisks restores all disks. One that fails does not keep the others from
// being restored.
func (r *run) restoreDisks(ctx context.Context, p *plan) error {
	if err := r.askAll(p); err != nil {
		return err
	}
	for _, j := range p.jobs {
		if j.place.kind == file {
			if err := r.host.Mkdir(path.Dir(j.place.path), 0o755); err != nil {
				return err
			}
		}
	}
	failed := make([]error, len(p.jobs))
	var group errgroup.Group
	group.SetLimit(disksAtATime)
	r.ui.answer.Disks = make([]diskResult, len(p.jobs))
	for i, j := range p.jobs {
		group.Go(func() error {
			r.ui.answer.Disks[i], failed[i] = r.restoreDisk(ctx, p, j)
			if failed[i] != nil {
				failed[i] = fmt.Errorf("disk %s: %w", j.disk, failed[i])
			}
			return nil
		})
	}
	_ = group.Wait()
	if err := errors.Join(failed...); err != nil {
		r.tellRest(p, failed)
		r.ui.answer.Disks = slices.DeleteFunc(r.ui.answer.Disks, func(d diskResult) bool { return d.Name == "" })
		return err
	}
	return nil
}

// tellRest says what there is after a failure, and how to go on.
func (r *run) tellRest(p *plan, failed []error) {
	for i, j := range p.jobs {
		switch {
		case failed[i] == nil:
			r.log.Info(fmt.Sprintf("Disk [%s] is complete in [%s].", j.disk, j.place))
		case j.place.kind == file:
			r.log.Info(fmt.Sprintf("Nothing of disk [%s] is left behind: run again with -d %s when the reason is gone.", j.disk, j.disk))
		default:
			r.log.Warn(fmt.Sprintf("Disk [%s] in [%s] is incomplete: run again with -d %s when the reason is gone.", j.disk, j.place, j.disk))
		}
	}
}

// restoreDisk restores one disk. The result is empty if that failed.
func (r *run) restoreDisk(ctx context.Context, p *plan, j *job) (res diskResult, failure error) {
	start := time.Now()
	res = diskResult{Name: j.disk, Target: j.place.String(), Format: j.format, VirtualSize: j.image.Size()}
	if j.point != nil {
		res.Point = j.point.Name
	}
	if j.remains != nil {
		lost := j.remains.Lost.Length()
		res.Unreadable = &lost
	}
	r.announce(j)
	if j.remains != nil {
		undo, err := r.keepMap(j)
		if err != nil {
			return diskResult{}, err
		}
		defer func() {
			if failure != nil {
				undo()
			}
		}()
	}
	total, err := dataSize(j.image, defaultBlock)
	if err != nil {
		return diskResult{}, err
	}
	bar := r.ui.display.Disk(j.disk, total)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sums := j.verifySums(ctx)
	if j.place.kind == stream {
		res.Written, err = streamImage(ctx, j.image, r.out, bar.Add)
		err = errors.Join(err, sums())
	} else {
		res.Written, err = r.write(ctx, p, j, bar.Add, sums)
	}
	if err != nil {
		bar.Fail()
		return diskResult{}, err
	}
	bar.Finish()
	res.Seconds = time.Since(start).Seconds()
	r.log.Info(fmt.Sprintf("End of stream, [%s] of data processed", humanize.IBytes(uint64(total))))
	if r.o.Until != "" && j.point != nil {
		r.log.Info(fmt.Sprintf("Reached checkpoint [%s], stopping", j.point.Name))
	}
	return res, nil
}

// announce logs which files the disk comes from.
func (r *run) announce(j *job) {
	for _, f := range j.files {
		s, err := format.OpenSaveset(f)
		if err != nil {
			continue // the image is open and tells
		}
		if s.Meta.Compressed() {
			r.log.Info("Found compression trailer.")
		}
		if s.Meta.DataSize == 0 && !s.Raw {
			r.log.Info(fmt.Sprintf("File [%s] contains no dirty blocks, skipping.", f))
		} else {
			r.log.Info(fmt.Sprintf("Applying data from backup file [%s] to target file [%s].", f, j.place))
		}
		s.Close()
	}
}

// verifySums begins to compare the savesets with their checksums, as far as they
// have any and are not compressed: what LZ4 holds is verified as it is decoded.
// It goes on beside the copy, which reads the same files, until ctx ends; what it
// returns waits for it. Salvage is told what is wrong by other means.
func (j *job) verifySums(ctx context.Context) (wait func() error) {
	if j.remains != nil {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	go func() {
		for _, f := range j.files {
			if err := verifySum(ctx, f); err != nil {
				done <- fmt.Errorf("%w; virtnb verify tells which restore points that concerns, and restore --salvage takes what there is", err)
				return
			}
		}
		done <- nil
	}()
	return func() error { return <-done }
}

func verifySum(ctx context.Context, path string) error {
	s, err := format.OpenSaveset(path)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Meta.Compressed() {
		return nil
	}
	return s.VerifySum(ctx)
}

// write makes the target and copies the disk to it. It is complete if sums, too,
// finds nothing wrong.
func (r *run) write(ctx context.Context, p *plan, j *job, add func(int64), sums func() error) (int64, error) {
	to, err := r.openSink(ctx, p, j)
	if err != nil {
		return 0, err
	}
	defer to.Abort()
	n, err := copyImage(ctx, j.image, to, add)
	if err != nil {
		return n, err
	}
	if err := sums(); err != nil {
		return n, err
	}
	return n, to.Commit(ctx)
}

// openSink makes or opens the target of a disk.
func (r *run) openSink(ctx context.Context, p *plan, j *job) (sink, error) {
	size := j.image.Size()
	_, local := r.host.(host.Local)
	switch {
	case j.place.kind == export:
		return openNBD(ctx, nbd.Options{URI: j.place.path}, size)
	case j.place.kind == device:
		return openDevice(j.place.path, size)
	case j.format == "raw" && local:
		r.log.Info(fmt.Sprintf("Restoring raw image to [%s]", j.place))
		return createRaw(j.place.path, size, r.o.Preallocate)
	}
	r.log.Info(fmt.Sprintf("Create virtual disk [%s] format: [%s] size: [%d]", j.place, j.format, size))
	o := qcowOptions{create: j.create, compress: r.o.Compress, listen: r.listen(p, j)}
	o.create.Format, o.create.Size = j.format, size
	return r.createQcow(ctx, j.place.path, o, j.image)
}

// imageOptions are the options of the new image, but for its size: those of the
// original, as far as they are known. Its external data is beside it.
func (r *run) imageOptions(p *plan, j *job, taken map[string]bool) qemu.CreateOptions {
	o := qemu.CreateOptions{}
	if info, found := r.originalInfo(p, j); found {
		o = info.OptionsLike(0)
	}
	o.Format = j.format
	if old := path.Base(o.DataFile); o.DataFile != "" {
		if !plainName(old) {
			old = path.Base(j.place.path) + ".data"
		}
		o.DataFile = free(path.Dir(j.place.path), old, j.disk, taken)
	}
	if r.o.Preallocate {
		o.Preallocation = "falloc"
	}
	return o
}

// originalInfo is what qemu-img said of the original image at the restore
// point, or else before it.
func (r *run) originalInfo(p *plan, j *job) (qemu.ImageInfo, bool) {
	for point := j.point; point != nil; point = point.Parent {
		file, ok := p.set.SavedFiles(point.Name)[j.disk+".qcow.json"]
		if !ok {
			continue
		}
		text, err := readSaved(file)
		var info qemu.ImageInfo
		if err == nil {
			info, err = qemu.ParseInfo(text)
		}
		if err == nil {
			err = checkInfo(info)
		}
		if err != nil {
			r.log.Warn(fmt.Sprintf("Unable to load original QCOW image config, using defaults: [%s: %v].", file, err))
			return qemu.ImageInfo{}, false
		}
		r.log.Info(fmt.Sprintf("Using QCOW options from backup file: [%s]", file))
		return info, true
	}
	r.log.Info("No QCOW image config found, will use default options.")
	return qemu.ImageInfo{}, false
}

// checkInfo refuses what no qcow2 has: the file may be anybody's.
func checkInfo(i qemu.ImageInfo) error {
	q := i.Specific.QCOW2
	power := func(n int64) bool { return n&(n-1) == 0 }
	switch {
	case i.Format != "qcow2":
		return fmt.Errorf("it is of format %q", i.Format)
	case i.ClusterSize != 0 && (i.ClusterSize < 512 || i.ClusterSize > 2<<20 || !power(i.ClusterSize)):
		return fmt.Errorf("clusters of %d bytes", i.ClusterSize)
	case q.Compat != "" && q.Compat != "0.10" && q.Compat != "1.1":
		return fmt.Errorf("version %q", q.Compat)
	case q.CompressionType != "" && q.CompressionType != "zlib" && q.CompressionType != "zstd":
		return fmt.Errorf("compression type %q", q.CompressionType)
	case q.RefcountBits < 0 || q.RefcountBits > 64 || !power(int64(q.RefcountBits)):
		return fmt.Errorf("reference counts of %d bits", q.RefcountBits)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"virtnb/backupcmd/pipeline"
	"virtnb/format"
	"virtnb/internal/logfile"
	"virtnb/internal/nbd"
	"virtnb/internal/progress"
)

// connections is how many are opened to each export, where the server allows
// it: more than two are not faster on any number of cores, as QEMU serves a
// disk in one thread.
const connections = 2

// stats is what became of a disk.
type stats struct {
	extents int64
	data    int64 // bytes of the disk that were saved as data
}

// source is a disk that is read over NBD.
type source struct {
	r      *run
	disk   disk
	client *nbd.Client
	bar    progress.Progress
	memory int64
}

// copyDisks saves all disks, as many at a time as the options allow.
func (r *run) copyDisks(ctx context.Context, out output) error {
	workers := r.o.Workers(len(r.disks))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	results := make([]diskResult, len(r.disks))
	for i, d := range r.disks {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			var err error
			results[i], err = r.copyDisk(ctx, d, i, r.o.Memory/int64(workers), out)
			if err != nil {
				return fmt.Errorf("Disk backup failed: [%s: %w]", d.Target, err)
			}
			return nil
		})
	}
	err := group.Wait()
	if err == nil {
		r.ui.disks = results
	}
	return err
}

// logDisk is the log with the disk where virtnbdbackup has its thread.
func (r *run) logDisk(d disk) *slog.Logger { return r.log.With(logfile.ThreadKey, d.Target) }

// copyDisk saves one disk.
func (r *run) copyDisk(ctx context.Context, d disk, number int, memory int64, out output) (res diskResult, err error) {
	start := time.Now()
	from := r.server
	if r.plan.offline {
		server, err := r.serveOffline(ctx, d, number)
		if err != nil {
			return res, err
		}
		defer func() {
			r.logDisk(d).Info("Stopping NBD Service.")
			err = errors.Join(err, server.close())
		}()
		from = &server.server
	}
	if err := r.probe(ctx, from); err != nil {
		return res, err
	}
	client, err := nbd.Connect(ctx, r.nbdOptions(from.reach, d))
	if err != nil {
		return res, r.explain(from, err)
	}
	defer client.Close()
	s := &source{r: r, disk: d, client: client, memory: memory, bar: r.ui.display.Disk(d.Target, client.Size())}
	st, err := out.save(ctx, s)
	if err != nil {
		s.bar.Fail()
		return res, r.explain(from, err)
	}
	s.bar.Finish()
	r.reportDisk(d, st, client.Size())
	return diskResult{
		Name: d.Target, File: d.file, Incremental: r.plan.parent != "" && !d.whole, VirtualSize: client.Size(),
		DataSize: st.data, Extents: st.extents, Seconds: time.Since(start).Seconds(),
	}, nil
}

func (r *run) reportDisk(d disk, st stats, size int64) {
	log := r.logDisk(d)
	log.Info(fmt.Sprintf("Got %d extents to backup.", st.extents))
	log.Info(fmt.Sprintf("%d bytes disk size", size))
	log.Info(fmt.Sprintf("%d bytes of data extents to backup", st.data))
	if st.data == 0 && r.plan.parent != "" {
		log.Info("No dirty blocks found")
	}
	log.Info(fmt.Sprintf("Backup of disk [%s] finished, file: [%s]", d.Target, r.target.path(d.file)))
}

func (r *run) nbdOptions(at endpoint, d disk) nbd.Options {
	o := nbd.Options{Socket: at.socket, Host: at.host, Export: d.Target, Connections: connections}
	if at.host != "" {
		o.Port = strconv.Itoa(at.port)
	}
	if at.tls {
		o.TLS = &nbd.TLS{Dir: r.o.Host.TLSCert, VerifyPeer: true}
	}
	if bitmap := r.bitmapContext(d); bitmap != "" {
		o.Contexts = append(o.Contexts, bitmap)
	}
	if r.wantsAllocation(d) {
		o.Contexts = append(o.Contexts, nbd.Allocation)
	}
	return o
}

// wantsAllocation says whether zeroes are to be told from data by what the
// server knows of them.
func (r *run) wantsAllocation(d disk) bool {
	return !r.o.NoSparseDetection || r.bitmapContext(d) == ""
}

func (s *source) size() int64 { return s.client.Size() }

// image says whether the disk becomes a plain image.
func (s *source) image() bool { return s.r.o.Type == Raw || s.disk.raw() }

// zeroesAsData says whether the saveset is laid over others, by readers that do
// not know zero frames there.
func (s *source) zeroesAsData() bool {
	return s.disk.whole && (s.r.plan.level == format.Inc || s.r.plan.level == format.Diff)
}

func (s *source) metadata(dataSize int64) format.Metadata {
	m := s.r.plan.metadata(s.disk, s.size(), s.r.o.CompressLevel())
	m.DataSize = dataSize
	return m
}

// zeroIsData says whether zeroes count as data in the saveset.
func (s *source) zeroIsData() bool {
	return !s.image() && (s.zeroesAsData() || s.r.plan.parent != "" && !s.disk.whole)
}

func (s *source) query() nbd.Query {
	return nbd.Query{Bitmap: s.r.bitmapContext(s.disk), Allocation: s.r.wantsAllocation(s.disk)}
}

func (s *source) stats(t pipeline.Totals) stats {
	st := stats{extents: t.Extents, data: t.Data}
	if s.zeroIsData() {
		st.data += t.Zero
	}
	return st
}

// count returns the size of the data that copySaveset would write.
func (s *source) count(ctx context.Context) (int64, error) {
	t, err := pipeline.Measure(ctx, s.client, s.query())
	return s.stats(t).data, err
}

// options are those of both kinds of copies. Progress goes by the place on the
// disk: how much there is to copy is known when it is copied.
func (s *source) options() pipeline.Options {
	at := int64(0)
	return pipeline.Options{Query: s.query(), Memory: s.memory, Progress: func(e nbd.Extent) {
		s.bar.Add(e.End() - at)
		at = e.End()
	}}
}

// copySaveset writes the disk's data, or changes, as a saveset.
func (s *source) copySaveset(ctx context.Context, w *format.Writer) (stats, error) {
	o := s.options()
	o.Level = s.r.o.CompressLevel()
	t, err := pipeline.Saveset(ctx, s.client, w, o)
	return s.stats(t), err
}

// copyImage writes the disk as a plain image.
func (s *source) copyImage(ctx context.Context, img *rawImage) (stats, error) {
	s.r.logDisk(s.disk).Info("Creating full provisioned raw backup image")
	t, err := pipeline.Raw(ctx, s.client, img, s.options())
	return s.stats(t), err
}

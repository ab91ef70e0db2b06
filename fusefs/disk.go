// SPDX-License-Identifier: Apache-2.0

package fusefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"virtnb/format"
	"virtnb/overlay"
)

// facts are what is known of a disk at a restore point once its chain was
// opened. They are kept without the chain, which is opened again when somebody
// reads.
type facts struct {
	content   uint64 // identity of the chain; 0: there is none
	size      int64  // of the disk
	allocated int64  // bytes of data on it
	parts     []partition
	table     []format.Extent // what was read to find the partitions; nil: nobody asked for them
	changed   time.Time       // when somebody wrote to it; zero: nobody did
}

// chainFacts looks at the chain of a point, the first time that somebody asks and
// when its savesets have changed since; parts says whether he asks for the
// partitions.
func (l *library) chainFacts(c *catalogue, p *format.Point, parts bool) *facts {
	content := l.identity(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.disks[p.File]
	if f != nil && f.content == content && (f.table != nil || !parts) {
		return f
	}
	f, err := l.survey(c, p, parts)
	if err == nil && f.table == nil && parts {
		known := *f // which others may read
		f, err = &known, l.readTable(p, &known)
	}
	if err != nil {
		f, err = l.examine(p) // which says the same as opening the file would
	}
	if err != nil {
		l.log(p.Name+"/"+p.Disk+".raw", err) // as opening the file does: it is told of once
		// How much of it is data is not known: cp must not take it for empty.
		f = &facts{content: content, size: p.Meta.VirtualSize, allocated: p.Meta.VirtualSize, table: []format.Extent{}}
	}
	c.note(p, f)
	return f
}

func (l *library) examine(p *format.Point) (*facts, error) {
	img, err := l.open(p)
	if err != nil {
		return nil, err
	}
	defer l.pool.Release(img)
	return examine(img, img.Identity())
}

// examine finds the facts of an image that lies over, or is, the chain of the
// identity content.
func examine(img overlay.Image, content uint64) (f *facts, err error) {
	f = &facts{content: content, size: img.Size()}
	if f.allocated, err = allocated(img, format.Extent{Length: img.Size()}); err != nil {
		return nil, err
	}
	return f, f.findPartitions(img)
}

// findPartitions adds the partitions.
func (f *facts) findPartitions(img overlay.Image) (err error) {
	seen := &witness{Image: img, read: []format.Extent{}}
	f.parts = partitions(seen)
	f.table = seen.read
	for i := range f.parts {
		part := &f.parts[i]
		if part.allocated, err = allocated(img, part.Extent); err != nil {
			return err
		}
	}
	return nil
}

// identity is that of the chain of a point as it was just now; 0: there is none.
func (l *library) identity(p *format.Point) uint64 { return l.identityWithin(p, recheck) }

// identityWithin is identity, of the savesets as they were so long ago or later.
func (l *library) identityWithin(p *format.Point, age time.Duration) uint64 {
	files, err := p.Files()
	if err != nil {
		return 0
	}
	id, err := l.pool.RecentIdentity(files, age)
	if err != nil {
		return 0
	}
	return id
}

func (l *library) open(p *format.Point) (*overlay.Shared, error) {
	files, err := p.Files()
	if err != nil {
		return nil, err
	}
	l.opened.Add(1)
	return l.pool.Open(files)
}

// allocated counts the bytes of data in a part of img.
func allocated(img overlay.Image, part format.Extent) (n int64, err error) {
	for e, err := range img.Extents(part.Start, part.Length) {
		if err != nil {
			return 0, err
		}
		if e.Data {
			n += e.Length
		}
	}
	return n, nil
}

// diskFile is an image as a file: of a disk, or of a partition of it. It stands
// for one content: the kernel has one set of pages for it, whoever reads. When
// the savesets become others, the name leads to another diskFile, and this one
// remains for those that have it open. Who comes to it by a name that the
// kernel remembers gets ESTALE, upon which the kernel asks for the name again.
type diskFile struct {
	fusefs.Inode
	lib         *library
	dir         string
	disk, point string
	part        int    // number of the partition; 0: the disk
	content     uint64 // identity of the chain
}

func (d *diskFile) name() string {
	if d.part > 0 {
		return fmt.Sprintf("%s.p%d.raw", d.disk, d.part)
	}
	return d.disk + ".raw"
}

// view is what a diskFile shows.
type view struct {
	point   *format.Point
	content uint64
	part    partition // of the disk, or all of it
	mtime   time.Time
}

// identity is that of the content as it is now.
func (d *diskFile) identity() uint64 {
	p, _, err := d.find()
	if err != nil {
		return 0
	}
	return d.lib.identity(p)
}

// find finds the disk in the catalogue as it is now.
func (d *diskFile) find() (*format.Point, *catalogue, error) {
	c, err := d.lib.set(d.dir)
	if err != nil {
		return nil, nil, err
	}
	p, err := c.Find(d.disk, d.point)
	return p, c, err
}

// lookAgain makes what identity says next not older than now.
func (d *diskFile) lookAgain() {
	if p, _, err := d.find(); err == nil && p.Err == nil {
		files, _ := p.Files()
		_, _ = d.lib.pool.Identity(files) // lookup has the same error
	}
}

// lookup returns what the file shows now.
func (d *diskFile) lookup() (view, error) {
	p, c, err := d.find()
	if err != nil {
		return view{}, err
	}
	f := d.lib.factsOf(c, p, d.part > 0)
	if f.content != d.content {
		return view{}, syscall.ESTALE
	}
	v := view{p, f.content, partition{Extent: format.Extent{Length: f.size}, allocated: f.allocated}, madeAt(p)}
	if !f.changed.IsZero() {
		v.mtime = f.changed
	}
	if d.part == 0 {
		return v, nil
	}
	for _, part := range f.parts {
		if part.number == d.part {
			v.part = part
			return v, nil
		}
	}
	return view{}, fmt.Errorf("partition %d of %s: %w", d.part, d.disk, format.ErrNotFound)
}

const (
	sector     = 512      // unit of st_blocks, bytes
	goodIOSize = 64 << 10 // st_blksize: what programs read at a time
)

// Getattr tells of an open file what it was when it was opened.
func (d *diskFile) Getattr(ctx context.Context, f fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	h, open := f.(*handle)
	var v view
	var err error
	if !open || h.layer != nil {
		v, err = d.lookup()
	}
	if open && (h.layer == nil || err != nil) {
		v, err = h.view, nil
	}
	if err != nil {
		return gone(err)
	}
	out.Mode = syscall.S_IFREG | d.lib.imageMode()
	out.Nlink = 1
	out.Size = uint64(v.part.Length)
	out.Blocks = uint64((v.part.allocated + sector - 1) / sector)
	out.Blksize = goodIOSize
	out.SetTimes(nil, &v.mtime, &v.mtime)
	return 0
}

// Open opens the image. It has no lock: reads go side by side.
func (d *diskFile) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	write := flags&syscall.O_ACCMODE != syscall.O_RDONLY
	if write && d.lib.opts.Writable == "" {
		return nil, 0, syscall.EROFS
	}
	d.lookAgain()
	v, err := d.lookup()
	if err != nil {
		return nil, 0, gone(err)
	}
	if d.lib.opts.Writable != "" {
		return d.openLayer(v, write)
	}
	img, err := d.lib.open(v.point)
	if err != nil {
		d.lib.log(d.point+"/"+d.name(), err)
		return nil, 0, syscall.EIO
	}
	if img.Identity() != d.content {
		d.lib.pool.Release(img)
		return nil, 0, syscall.ESTALE
	}
	return &handle{file: d, img: img, close: func() { d.lib.pool.Release(img) }, view: v, part: v.part.Extent}, fuse.FOPEN_KEEP_CACHE, 0
}

// handle is an open image.
type handle struct {
	file  *diskFile
	img   overlay.Image
	close func()
	layer *layer // where the image can be written to, and is img
	view  view
	part  format.Extent // of the disk
	once  sync.Once
}

func (h *handle) Release(ctx context.Context) syscall.Errno {
	h.once.Do(h.close)
	return 0
}

func (h *handle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n := max(0, min(int64(len(dest)), h.part.Length-off))
	_, err := h.img.ReadAt(dest[:n], h.part.Start+off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, h.failed(err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

func (h *handle) failed(err error) syscall.Errno {
	h.file.lib.log(h.file.point+"/"+h.file.name(), err)
	return syscall.EIO
}

// Lseek answers SEEK_DATA and SEEK_HOLE, as lseek(2) says; the kernel does the
// others itself.
func (h *handle) Lseek(ctx context.Context, off uint64, whence uint32) (uint64, syscall.Errno) {
	if off >= uint64(h.part.Length) {
		return 0, syscall.ENXIO
	}
	const seekData = 3
	for e, err := range h.img.Extents(h.part.Start+int64(off), h.part.Length-int64(off)) {
		if err != nil {
			return 0, h.failed(err)
		}
		if e.Data == (whence == seekData) {
			return uint64(e.Start - h.part.Start), 0
		}
	}
	if whence == seekData {
		return 0, syscall.ENXIO
	}
	return uint64(h.part.Length), 0
}

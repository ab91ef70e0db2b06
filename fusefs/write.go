// SPDX-License-Identifier: Apache-2.0

package fusefs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"virtnb/format"
	"virtnb/overlay"
)

// imageMode is who may read and write images, where permissions are checked.
func (l *library) imageMode() uint32 {
	if l.opts.Writable != "" {
		return 0o644
	}
	return 0o444
}

// openLayer opens the image on a mount that can be written to.
func (d *diskFile) openLayer(v view, write bool) (fusefs.FileHandle, uint32, syscall.Errno) {
	_, c, err := d.find()
	if err != nil {
		return nil, 0, gone(err)
	}
	y, err := d.lib.layer(c, v.point)
	if err == nil {
		err = y.open(v.point, write)
	}
	if err != nil {
		d.lib.log(d.point+"/"+d.name(), err)
		return nil, 0, errnoOf(err)
	}
	h := &handle{file: d, img: y, layer: y, view: v, part: v.part.Extent}
	h.close = func() {
		if err := y.close(); err != nil {
			d.lib.log(d.point+"/"+d.name(), err)
		}
	}
	if errno := d.outdated(v.point, y.base); errno != 0 {
		h.close()
		return nil, 0, errno
	}
	return h, fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES, 0
}

// errInUse means that the savesets are others than those that a layer has open,
// which cannot follow.
var errInUse = errors.New("the savesets changed while the file is in use: who has it open goes on or fails; close it, or unmount, to open it as it is now")

// outdated is why the base of a layer is not what d shows: the savesets changed
// since d was looked up, or since the layer was opened.
func (d *diskFile) outdated(p *format.Point, base *overlay.Shared) syscall.Errno {
	switch now := d.lib.identityWithin(p, 0); {
	case now != d.content:
		return syscall.ESTALE
	case now != base.Identity():
		d.lib.log(d.point+"/"+d.name(), errInUse)
		return syscall.EIO
	}
	return 0
}

// errnoOf tells those who write that there is no space, and all else as EIO.
func errnoOf(err error) syscall.Errno {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EACCES, syscall.EROFS} {
		if errors.Is(err, errno) {
			return errno
		}
	}
	return syscall.EIO
}

func (h *handle) failedToWrite(err error) syscall.Errno {
	h.failed(err)
	return errnoOf(err)
}

// Write writes up to the end of the image, which is as fixed as that of a disk.
func (h *handle) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	if off >= h.part.Length && len(data) > 0 {
		return 0, syscall.ENOSPC
	}
	data = data[:min(int64(len(data)), h.part.Length-off)]
	n, err := h.layer.WriteAt(data, h.part.Start+off)
	if err != nil && n == 0 {
		return 0, h.failedToWrite(err)
	}
	return uint32(n), 0
}

// Fsync makes what was written survive a power cut.
func (h *handle) Fsync(ctx context.Context, _ uint32) syscall.Errno {
	if h.layer == nil {
		return 0
	}
	if err := h.layer.Sync(); err != nil {
		return h.failedToWrite(err)
	}
	return 0
}

// Allocate punches holes and writes zeroes. Space is not reserved: asking for
// it does nothing, within the image.
func (h *handle) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	const known = unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_ZERO_RANGE
	end := uint64(h.part.Length)
	zero := mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0
	switch {
	case h.layer == nil:
		return syscall.EROFS
	case mode&^known != 0:
		return syscall.EOPNOTSUPP
	case mode&unix.FALLOC_FL_KEEP_SIZE == 0 && (off > end || size > end-off):
		return syscall.ENOSPC
	case !zero || off >= end:
		return 0
	}
	if err := h.layer.Zero(h.part.Start+int64(off), int64(min(size, end-off))); err != nil {
		return h.failedToWrite(err)
	}
	return 0
}

// Setattr takes times, which it ignores, and the size that the image has. To
// shorten an image is refused, also to programs that would fill it again:
// where their input has holes, they would leave what was there before.
func (d *diskFile) Setattr(ctx context.Context, f fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if d.lib.opts.Writable == "" {
		return syscall.EROFS
	}
	if errno := d.Getattr(ctx, f, out); errno != 0 {
		return errno
	}
	const fixed = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID
	size, resized := in.GetSize()
	if in.Valid&fixed != 0 || resized && size != out.Size {
		return syscall.EPERM
	}
	return 0
}

// makeWritable gets the folder for changes ready.
func (o Options) makeWritable() error {
	if o.Writable == "" {
		return nil
	}
	if err := os.MkdirAll(o.Writable, 0o700); err != nil {
		return fmt.Errorf("folder for changes: %w", err)
	}
	return nil
}

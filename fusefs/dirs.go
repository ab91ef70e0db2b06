// SPDX-License-Identifier: Apache-2.0

package fusefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"virtnb/format"
)

// entry is a name in a folder and the node behind it.
type entry struct {
	name string
	mode uint32 // S_IFDIR, S_IFREG or S_IFLNK
	ino  uint64
	node fusefs.InodeEmbedder
}

// listing answers Readdir.
func listing(entries []entry) fusefs.DirStream {
	list := make([]fuse.DirEntry, 0, len(entries))
	for _, e := range entries {
		list = append(list, fuse.DirEntry{Name: e.name, Mode: e.mode, Ino: e.ino})
	}
	return fusefs.NewListDirStream(list)
}

// enter answers Lookup for e in the folder parent.
func enter(ctx context.Context, parent *fusefs.Inode, e entry, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	id := fusefs.StableAttr{Mode: e.mode, Ino: e.ino}
	if disk, ok := e.node.(*diskFile); ok {
		disk.content = disk.identity()
		id.Gen = disk.content
	}
	child := parent.NewInode(ctx, e.node, id)
	var attr fuse.AttrOut
	if errno := child.Operations().(fusefs.NodeGetattrer).Getattr(ctx, nil, &attr); errno != 0 {
		return nil, errno
	}
	out.Attr = attr.Attr
	return child, 0
}

// find answers Lookup for a name among entries.
func find(ctx context.Context, parent *fusefs.Inode, entries []entry, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	i := slices.IndexFunc(entries, func(e entry) bool { return e.name == name })
	if i < 0 {
		return nil, syscall.ENOENT
	}
	return enter(ctx, parent, entries[i], out)
}

// dirAttr fills in the attributes of a folder.
func dirAttr(out *fuse.AttrOut, mtime time.Time) syscall.Errno {
	out.Mode = syscall.S_IFDIR | 0o555
	out.Nlink = 2
	out.SetTimes(nil, &mtime, &mtime)
	return 0
}

// gone maps the error of a catalogue: a set that is not there any more is no
// error of input and output.
func gone(err error) syscall.Errno {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, format.ErrNotFound):
		return syscall.ENOENT
	case errors.Is(err, fs.ErrPermission):
		return syscall.EACCES
	case errors.Is(err, syscall.ESTALE):
		return syscall.ESTALE
	}
	return syscall.EIO
}

// folder is a folder whose names cannot be changed. Where these methods are
// missing, the library says yes to removing a name.
type folder struct{ fusefs.Inode }

func (*folder) Unlink(context.Context, string) syscall.Errno { return syscall.EROFS }
func (*folder) Rmdir(context.Context, string) syscall.Errno  { return syscall.EROFS }

// rootDir is a folder of sets.
type rootDir struct {
	folder
	lib *library
}

func (d *rootDir) Getattr(ctx context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return dirAttr(out, d.lib.born)
}

func (d *rootDir) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	return d.lib.statfs(out)
}

func (d *rootDir) Readdir(ctx context.Context) (fusefs.DirStream, syscall.Errno) {
	sets, failed, err := format.Sets(d.lib.dir)
	if err != nil {
		d.lib.log(d.lib.dir, err)
		return nil, gone(err)
	}
	for name, err := range failed {
		d.lib.log(name, err)
	}
	var entries []entry
	for _, s := range sets {
		entries = append(entries, d.entry(filepath.Base(s.Dir)))
	}
	return listing(entries), 0
}

func (d *rootDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	if _, err := d.lib.set(filepath.Join(d.lib.dir, name)); err != nil {
		return nil, gone(err)
	}
	return enter(ctx, &d.Inode, d.entry(name), out)
}

func (d *rootDir) entry(name string) entry {
	dir := filepath.Join(d.lib.dir, name)
	return entry{name, syscall.S_IFDIR, inode("set", dir), &setDir{lib: d.lib, dir: dir}}
}

// setDir is a set: a folder for each restore point.
type setDir struct {
	folder
	lib *library
	dir string
}

func (d *setDir) Getattr(ctx context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	c, err := d.lib.set(d.dir)
	if err != nil {
		return gone(err)
	}
	return dirAttr(out, c.folder)
}

func (d *setDir) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	return d.lib.statfs(out)
}

const (
	latestName = "latest"
	byDateName = "by-date"
)

func (d *setDir) entries() ([]entry, error) {
	c, err := d.lib.set(d.dir)
	if err != nil {
		return nil, err
	}
	names := c.PointNames()
	var entries []entry
	for _, name := range names {
		entries = append(entries, entry{name, syscall.S_IFDIR, inode("point", d.dir, name), &pointDir{lib: d.lib, dir: d.dir, name: name}})
	}
	latest := names[len(names)-1]
	return append(entries,
		entry{latestName, syscall.S_IFLNK, inode("latest", d.dir, latest), &link{to: latest, mtime: date(c, latest)}},
		entry{byDateName, syscall.S_IFDIR, inode("by-date", d.dir), &dateDir{lib: d.lib, dir: d.dir}}), nil
}

func (d *setDir) Readdir(ctx context.Context) (fusefs.DirStream, syscall.Errno) {
	entries, err := d.entries()
	return listing(entries), gone(err)
}

func (d *setDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	entries, err := d.entries()
	if err != nil {
		return nil, gone(err)
	}
	return find(ctx, &d.Inode, entries, name, out)
}

// date is when a restore point was made, as far as anything tells.
func date(c *catalogue, point string) time.Time {
	for _, p := range c.PointsOf(point) {
		if !p.Meta.Date.IsZero() {
			return p.Meta.Date
		}
	}
	return c.folder
}

// dateDir has the restore points by their dates.
type dateDir struct {
	folder
	lib *library
	dir string
}

func (d *dateDir) Getattr(ctx context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	c, err := d.lib.set(d.dir)
	if err != nil {
		return gone(err)
	}
	return dirAttr(out, c.folder)
}

// entries gives points of the same second numbers.
func (d *dateDir) entries() ([]entry, error) {
	c, err := d.lib.set(d.dir)
	if err != nil {
		return nil, err
	}
	var entries []entry
	taken := map[string]int{}
	for _, point := range c.PointNames() {
		at := date(c, point)
		name := at.Format("2006-01-02T15:04:05")
		if taken[name]++; taken[name] > 1 {
			name = fmt.Sprintf("%s.%d", name, taken[name])
		}
		entries = append(entries, entry{name, syscall.S_IFLNK, inode("date", d.dir, name, point), &link{to: "../" + point, mtime: at}})
	}
	return entries, nil
}

func (d *dateDir) Readdir(ctx context.Context) (fusefs.DirStream, syscall.Errno) {
	entries, err := d.entries()
	return listing(entries), gone(err)
}

func (d *dateDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	entries, err := d.entries()
	if err != nil {
		return nil, gone(err)
	}
	return find(ctx, &d.Inode, entries, name, out)
}

// link is a symbolic link.
type link struct {
	fusefs.Inode
	to    string
	mtime time.Time
}

func (l *link) Readlink(ctx context.Context) ([]byte, syscall.Errno) { return []byte(l.to), 0 }

func (l *link) Getattr(ctx context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode = syscall.S_IFLNK | 0o777
	out.Nlink = 1
	out.Size = uint64(len(l.to))
	out.SetTimes(nil, &l.mtime, &l.mtime)
	return 0
}

// pointDir is a restore point: its disks, their partitions, and what was saved
// with them.
type pointDir struct {
	folder
	lib  *library
	dir  string
	name string
}

func (d *pointDir) Getattr(ctx context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	c, err := d.lib.set(d.dir)
	if err != nil {
		return gone(err)
	}
	if len(c.PointsOf(d.name)) == 0 {
		return syscall.ENOENT
	}
	return dirAttr(out, date(c, d.name))
}

// entries lists the folder; partitions are looked for where parts says so, as
// that opens the image.
func (d *pointDir) entries(parts bool) ([]entry, error) {
	c, err := d.lib.set(d.dir)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, p := range c.PointsOf(d.name) {
		entries = append(entries, d.image(p, 0))
		if !parts {
			continue
		}
		for _, part := range d.lib.facts(c, p).parts {
			entries = append(entries, d.image(p, part.number))
		}
	}
	for name, path := range c.SavedFiles(d.name) {
		entries = append(entries, entry{name, syscall.S_IFREG, inode("saved", path), &savedFile{path: path}})
	}
	return entries, nil
}

func (d *pointDir) image(p *format.Point, part int) entry {
	node := &diskFile{lib: d.lib, dir: d.dir, disk: p.Disk, point: p.Name, part: part}
	return entry{node.name(), syscall.S_IFREG, inode("disk", d.dir, p.Name, node.name()), node}
}

func (d *pointDir) Readdir(ctx context.Context) (fusefs.DirStream, syscall.Errno) {
	entries, err := d.entries(true)
	return listing(entries), gone(err)
}

func (d *pointDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	entries, err := d.entries(strings.Count(name, ".") > 1)
	if err != nil {
		return nil, gone(err)
	}
	return find(ctx, &d.Inode, entries, name, out)
}

// savedFile is a file of the set shown as it is.
type savedFile struct {
	fusefs.Inode
	path string
}

func (f *savedFile) Getattr(ctx context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	st, err := os.Stat(f.path)
	size := int64(-1)
	if errors.Is(err, syscall.ENOTDIR) {
		st, size, err = statMember(f.path)
	}
	if err != nil {
		return gone(err)
	}
	out.FromStat(st.Sys().(*syscall.Stat_t))
	out.Mode = syscall.S_IFREG | uint32(st.Mode().Perm())&^0o222
	if size >= 0 {
		out.Size = uint64(size)
		out.Blocks = (out.Size + 511) / 512
	}
	return 0
}

// statMember describes a member of an archive: the archive, and the size of the
// member in bytes.
func statMember(path string) (archive fs.FileInfo, size int64, err error) {
	m, err := format.OpenSideFile(path)
	if err != nil {
		return nil, 0, err
	}
	defer m.Close()
	archive, err = os.Stat(filepath.Dir(path))
	return archive, m.Size(), err
}

func (f *savedFile) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return nil, 0, syscall.EROFS
	}
	fd, err := syscall.Open(f.path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errors.Is(err, syscall.ENOTDIR) {
		m, err := format.OpenSideFile(f.path)
		if err != nil {
			return nil, 0, gone(err)
		}
		return &memberHandle{m}, 0, 0
	}
	if err != nil {
		return nil, 0, gone(err)
	}
	return fusefs.NewLoopbackFile(fd), 0, 0
}

// memberHandle is an open member of an archive.
type memberHandle struct{ file *format.SideFile }

func (h *memberHandle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := h.file.ReadAt(dest, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, syscall.EIO
	}
	return fuse.ReadResultData(dest[:n]), 0
}

func (h *memberHandle) Release(context.Context) syscall.Errno {
	return fusefs.ToErrno(h.file.Close())
}

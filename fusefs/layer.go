// SPDX-License-Identifier: Apache-2.0

package fusefs

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"virtnb/format"
	"virtnb/overlay"
)

// A mount with a folder for changes has a layer for each disk at each restore
// point: the image of the backup, and over it the changes, if there are any.
// All who have the disk or a partition of it open use the same layer, so each
// sees what the others write. The changes are a copy-on-write image in
//
//	FOLDER/SET/POINT/DISK.cow and DISK.cow.map
//
// made when somebody first opens the file for writing. A layer is open while
// it has users; what is not open can be deleted, which discards it.
//
// The kernel keeps no pages of these files (FOPEN_DIRECT_IO): it knows the disk
// and its partitions as files of their own and would not see that a write to
// one changes the others.
type layer struct {
	lib  *library
	path string // of the changes

	changes atomic.Int64 // how often the content changed
	cow     atomic.Pointer[overlay.COW]

	mu    sync.Mutex // guards the rest, and who sets cow
	users int
	base  *overlay.Shared // while there are users
	known *facts          // of the layer with changes
	at    string          // the state of the files that known is about
}

// layer returns the layer of a disk, which is opened by its users.
func (l *library) layer(c *catalogue, p *format.Point) (*layer, error) {
	dir, err := l.home(c)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, p.Name, p.Disk+cowSuffix)
	l.mu.Lock()
	defer l.mu.Unlock()
	y := l.layers[path]
	if y == nil {
		y = &layer{lib: l, path: path}
		l.layers[path] = y
	}
	return y, nil
}

// open adds a user. One who writes needs a place for changes, others only if
// there is one.
func (y *layer) open(p *format.Point, write bool) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.users == 0 {
		base, err := y.lib.open(p)
		if err != nil {
			return err
		}
		y.base = base
	}
	y.users++
	if y.cow.Load() == nil && (write || y.kept()) {
		if err := y.openCOW(p); err != nil {
			return errors.Join(err, y.leave())
		}
	}
	return nil
}

// kept says whether there are changes from before.
func (y *layer) kept() bool {
	_, err := os.Lstat(y.path)
	_, err2 := os.Lstat(y.path + ".map") // alone it is an error, which opening tells of
	return err == nil || err2 == nil
}

func (y *layer) openCOW(p *format.Point) error {
	if err := os.MkdirAll(filepath.Dir(y.path), 0o700); err != nil {
		return err
	}
	id, err := changesID(p, y.base)
	if err != nil {
		return err
	}
	awaitUnlocked(y.path, y.lib.born.Add(lockPatience))
	cow, err := overlay.OpenCOW(y.base, y.path, id)
	if err != nil {
		return explain(p, y.path, id, err)
	}
	y.cow.Store(cow)
	return nil
}

// lockPatience is how long, from the mount on, the server of the mount before,
// which was unmounted just now, may take to make its changes durable.
const lockPatience = 10 * time.Second

// awaitUnlocked waits until no other process has the changes open, or until the
// deadline; OpenCOW says then what is the matter.
func awaitUnlocked(path string, deadline time.Time) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close() // with it goes the lock
	for !time.Now().After(deadline) && isLocked(f) {
		time.Sleep(10 * time.Millisecond)
	}
}

// madeAt is when a saveset was made. Raw copies have no metadata.
func madeAt(p *format.Point) time.Time {
	if !p.Meta.Date.IsZero() {
		return p.Meta.Date
	}
	return modified(p.File)
}

// close takes a user away. After the last one, the changes are durable.
func (y *layer) close() error {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.leave()
}

func (y *layer) leave() (err error) {
	if y.users == 0 { // the mount ended before
		return nil
	}
	if y.users--; y.users > 0 {
		return nil
	}
	if cow := y.cow.Load(); cow != nil {
		if y.at != y.state() {
			y.known = nil
		}
		y.cow.Store(nil)
		err = cow.Close()
		y.at = y.state()
	}
	y.lib.pool.Release(y.base)
	y.base = nil
	return err
}

// end closes the layer for all of its users.
func (y *layer) end() error {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.users > 1 {
		y.users = 1
	}
	return y.leave()
}

// image is what the layer shows now. Only users call it.
func (y *layer) image() overlay.Image {
	if cow := y.cow.Load(); cow != nil {
		return cow
	}
	return y.base
}

func (y *layer) ReadAt(p []byte, off int64) (int, error) { return y.image().ReadAt(p, off) }
func (y *layer) Size() int64                             { return y.image().Size() }
func (y *layer) Extents(off, n int64) iter.Seq2[overlay.Extent, error] {
	return y.image().Extents(off, n)
}

// The following are for users who opened the layer for writing.

func (y *layer) WriteAt(p []byte, off int64) (int, error) {
	defer y.changes.Add(1)
	return y.writable().WriteAt(p, off)
}

func (y *layer) Zero(off, n int64) error {
	defer y.changes.Add(1)
	return y.writable().Zero(off, n)
}

// writable is nil only when the mount ended below a user.
func (y *layer) writable() *overlay.COW { return y.cow.Load() }

// Sync makes the changes durable, if there are any.
func (y *layer) Sync() error {
	if cow := y.cow.Load(); cow != nil {
		return cow.Sync()
	}
	return nil
}

// state tells one state of the files from another. While they are open, the
// number of changes does.
func (y *layer) state() string {
	if y.cow.Load() != nil {
		return fmt.Sprint(y.changes.Load())
	}
	state := ""
	for _, path := range []string{y.path, y.path + ".map"} {
		if st, err := os.Lstat(path); err == nil {
			state += fmt.Sprintln(st.Size(), st.ModTime().UnixNano())
		}
	}
	return state
}

// facts are those of the disk as it is now: of the chain where nobody wrote.
func (l *library) facts(c *catalogue, p *format.Point) *facts { return l.factsOf(c, p, true) }

// factsOf are the facts, the partitions maybe only if parts says so.
func (l *library) factsOf(c *catalogue, p *format.Point, parts bool) *facts {
	f := l.chainFacts(c, p, parts)
	if l.opts.Writable == "" || f.content == 0 {
		return f
	}
	y, err := l.layer(c, p)
	if err != nil {
		l.log(c.Dir, err)
		return f // opening the file is the error
	}
	changed, state := y.remembered()
	switch {
	case state == "":
		return f
	case changed != nil && changed.content == f.content:
		return changed
	}
	if changed, err = y.examine(p); err != nil {
		l.log(p.Name+"/"+p.Disk+".raw", err)
		return f // as above
	}
	if changed.content != f.content {
		return f // as above: in use over other savesets
	}
	return changed
}

// remembered returns what is known of the disk with its changes, and their
// state, "" for none.
func (y *layer) remembered() (f *facts, state string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if state = y.state(); state == y.at {
		f = y.known
	}
	return f, state
}

// examine finds the facts, as a user of its own.
func (y *layer) examine(p *format.Point) (f *facts, err error) {
	if err := y.open(p, false); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, y.close()) }()
	y.mu.Lock()
	defer y.mu.Unlock()
	state, changed := y.state(), modified(y.path)
	if f, err = examine(y.image(), y.base.Identity()); err == nil {
		f.changed = changed
		y.known, y.at = f, state
	}
	return f, err
}

// close ends all layers. The files of the mount are not used any more.
func (l *library) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all error
	for _, y := range l.layers {
		all = errors.Join(all, y.end())
	}
	return all
}

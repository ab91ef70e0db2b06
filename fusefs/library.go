// SPDX-License-Identifier: Apache-2.0

package fusefs

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"virtnb/format"
	"virtnb/overlay"
)

// library is what all nodes share: the catalogues of the sets, the images, and
// what is known of disks without opening them again.
type library struct {
	dir  string
	one  bool // dir is a set, not a folder of sets
	opts Options
	pool *overlay.Pool
	born time.Time

	walked, opened atomic.Int64 // savesets surveyed and chains opened, for tests

	mu      sync.Mutex // guards the rest
	sets    map[string]*catalogue
	said    map[string]bool // problems that were logged
	surveys surveys

	layers map[string]*layer // of a mount that can be written to, by the paths of the changes

	homesMu sync.Mutex           // guards homes; held while changes are looked for
	homes   map[string]time.Time // when the folder for changes was looked through for a set
}

// catalogue is a set as its folder was at a time.
type catalogue struct {
	*format.Set
	folder time.Time               // modification time of the folder when it was read
	read   time.Time               // when it was read
	sure   bool                    // the folder cannot have changed unseen since
	faulty map[string]format.Stamp // savesets with errors, which can be on their way in

	points int // of all disks
	*known
}

// known is what was found out of the disks of a set. It outlives the catalogue:
// facts say what content they are of.
type known struct {
	mu    sync.Mutex        // guards disks
	disks map[string]*facts // by the paths of the points' savesets
}

// note keeps facts of a point. What is kept of savesets that the set does not
// have any more is dropped when it is more than what is kept of others. mu is
// held.
func (c *catalogue) note(p *format.Point, f *facts) {
	c.disks[p.File] = f
	if len(c.disks) <= 2*c.points {
		return
	}
	files := map[string]bool{}
	for _, d := range c.Disks {
		for _, p := range d.Points {
			files[p.File] = true
		}
	}
	maps.DeleteFunc(c.disks, func(file string, _ *facts) bool { return !files[file] })
}

// settled is how old the modification time of a folder has to be when the
// folder is read, so that any later change gives it another one.
const settled = time.Second

// recheck is how often a folder is read that was changed just now, and how
// often savesets are asked whether they changed: not once for each name that
// somebody asks for. Who opens an image asks anew.
const recheck = 50 * time.Millisecond

func newLibrary(dir string, o Options) (*library, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	one, err := isSet(dir)
	if err != nil {
		return nil, err
	}
	return &library{
		dir: dir, one: one, opts: o, born: time.Now(),
		pool: overlay.NewPool(overlay.NewCache(o.Cache)),
		sets: map[string]*catalogue{}, said: map[string]bool{},
		layers: map[string]*layer{}, homes: map[string]time.Time{},
	}, nil
}

// set returns the catalogue of the set in dir as it is now.
func (l *library) set(dir string) (*catalogue, error) {
	st, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.sets[dir]
	if c != nil && c.current(st.ModTime()) {
		return c, nil
	}
	now, err := readCatalogue(dir, st.ModTime())
	if err != nil {
		return nil, err
	}
	if c != nil {
		now.known = c.known
	}
	l.sets[dir] = now
	return now, nil
}

func readCatalogue(dir string, modified time.Time) (*catalogue, error) {
	now := time.Now()
	set, err := format.ReadSet(dir)
	if err != nil {
		return nil, err
	}
	c := &catalogue{
		Set: set, folder: modified, read: now, sure: now.Sub(modified) > settled,
		faulty: map[string]format.Stamp{}, known: &known{disks: map[string]*facts{}},
	}
	for _, d := range set.Disks {
		c.points += len(d.Points)
		for _, p := range d.Points {
			if p.OwnFault() {
				c.faulty[p.File], _ = format.StampOf(p.File)
			}
		}
	}
	return c, nil
}

// current says whether reading the folder again, which was changed at a time,
// would give the same.
func (c *catalogue) current(modified time.Time) bool {
	if !c.folder.Equal(modified) || !c.sure && time.Since(c.read) > recheck {
		return false
	}
	for file, then := range c.faulty {
		if now, _ := format.StampOf(file); now != then {
			return false
		}
	}
	return true
}

// log tells of a problem of a file once, wherever in it.
func (l *library) log(what string, err error) {
	if l.isNews(what + ": " + err.Error()) {
		l.opts.Log.Error(what, "error", err)
	}
}

// warn tells once of what is no error.
func (l *library) warn(text string) {
	if l.isNews(text) {
		l.opts.Log.Warn(text)
	}
}

// places are what differs where a file has the same problem many times.
var places = regexp.MustCompile(`\b(offset|at|of) [0-9]+`)

func (l *library) isNews(text string) bool {
	text = places.ReplaceAllString(text, "")
	l.mu.Lock()
	defer l.mu.Unlock()
	again := l.said[text]
	l.said[text] = true
	return !again
}

// root is the node of the mount point.
func (l *library) root() fs.InodeEmbedder {
	if l.one {
		return &setDir{lib: l, dir: l.dir}
	}
	return &rootDir{lib: l}
}

// inode numbers what the parts name, the same at every mount.
func inode(parts ...string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(strings.Join(parts, "\x00")))
	return h.Sum64() | 1<<63 // far from the numbers that the library gives out
}

// statfs: what the sets take on disk is used, and free is what is so for
// changes.
func (l *library) statfs(out *fuse.StatfsOut) syscall.Errno {
	const block = 4096
	out.Bsize, out.Frsize, out.NameLen = block, block, 255
	sets := []*format.Set{}
	if l.one {
		if c, err := l.set(l.dir); err == nil {
			sets = append(sets, c.Set)
		}
	} else {
		sets, _, _ = format.Sets(l.dir)
	}
	for _, s := range sets {
		for _, d := range s.Disks {
			for _, p := range d.Points {
				out.Blocks += uint64((p.FileSize + block - 1) / block)
				out.Files++
			}
		}
	}
	if l.opts.Writable == "" {
		return 0
	}
	var changes unix.Statfs_t
	at := l.opts.Writable
	err := unix.Statfs(at, &changes)
	for ; errors.Is(err, syscall.ENOENT); err = unix.Statfs(at, &changes) {
		at = filepath.Dir(at) // who deletes the folder discards the changes, and can go on
	}
	if err != nil {
		return gone(err)
	}
	out.Bfree = changes.Bavail * uint64(changes.Bsize) / block
	out.Bavail = out.Bfree
	out.Blocks += out.Bfree
	return 0
}

// readAheadKiB is how far the kernel reads ahead in a file that is read from
// start to end.
const readAheadKiB = 4096

// readAhead raises the kernel's readahead, 128 KiB for FUSE, where that is
// allowed: for root. It is no error where it is not.
func (l *library) readAhead(mountpoint string) {
	var st syscall.Stat_t
	if syscall.Stat(mountpoint, &st) != nil {
		return
	}
	path := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
	_ = os.WriteFile(path, []byte(strconv.Itoa(readAheadKiB)), 0)
}

// The kernel asks for the file system of a file at that file.

func (d *dateDir) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	return d.lib.statfs(out)
}

func (d *pointDir) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	return d.lib.statfs(out)
}

func (d *diskFile) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	return d.lib.statfs(out)
}

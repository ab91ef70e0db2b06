// SPDX-License-Identifier: Apache-2.0

package fusefs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"virtnb/format"
	"virtnb/overlay"
)

// Where the changes of a set are: in a folder of the set's name, below the
// folder for changes. Each file of changes says what it was made over, and is
// refused for anything else.
//
// A set that was renamed or moved has its changes under its old name. They are
// found there by what they say, and the folder is renamed as the set was.

const cowSuffix = ".cow"

// changesID names the bytes below the changes: the restore point in words, and
// the fingerprint of its chain.
func changesID(p *format.Point, base *overlay.Shared) (string, error) {
	print, err := base.Fingerprint()
	return changesOf(p) + print, err
}

// changesOf is what all changes of a restore point begin their id with.
func changesOf(p *format.Point) string {
	return fmt.Sprintf("disk %s at restore point %s of %s, savesets ", p.Disk, p.Name, format.FormatDate(madeAt(p)))
}

// explain says more of the error of opening the changes at path to p, where
// they were made to p as it was before.
func explain(p *format.Point, path, id string, err error) error {
	was, idErr := overlay.COWID(path)
	if idErr != nil || was == id || !strings.HasPrefix(was, changesOf(p)) {
		return err
	}
	last := p
	for q := p; q != nil; q = q.Parent {
		if modified(q.File).After(modified(last.File)) {
			last = q
		}
	}
	return fmt.Errorf("a saveset below these changes was overwritten, replaced or touched since they were made; last modified is %s, at %s: %w",
		last.File, modified(last.File).Format("2006-01-02 15:04:05"), err)
}

// modified is when a file was written to last.
func modified(path string) time.Time {
	st, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return st.ModTime()
}

// home returns the folder of the changes of a set. Where there is none, others
// are looked through, once in each state of the folder for changes.
func (l *library) home(c *catalogue) (string, error) {
	dir := filepath.Join(l.opts.Writable, filepath.Base(c.Dir))
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, nil
	}
	l.homesMu.Lock()
	defer l.homesMu.Unlock()
	state := modified(l.opts.Writable)
	if seen, ok := l.homes[c.Dir]; ok && seen.Equal(state) {
		return dir, nil
	}
	if err := l.adopt(c, dir); err != nil {
		return "", err
	}
	l.homes[c.Dir] = state
	return dir, nil
}

// adopt looks for changes of the set under another name, which it must have had
// before, and makes dir their folder. There is an error if they are in use.
func (l *library) adopt(c *catalogue, dir string) error {
	entries, err := os.ReadDir(l.opts.Writable)
	if err != nil {
		return nil // there are none
	}
	for _, e := range entries {
		old := filepath.Join(l.opts.Writable, e.Name())
		if !e.IsDir() || !abandoned(c.Dir, e.Name()) {
			continue
		}
		files, _ := filepath.Glob(filepath.Join(escapeGlob(old), "*", "*"+cowSuffix+".map"))
		switch {
		case len(files) == 0:
		case !l.anyOf(c, files):
			l.warn(old + " has changes that are not of the set " + c.Dir + " as it is now, and are not shown")
		case anyInUse(files):
			return fmt.Errorf("changes of this set, which had another name, are in use in %s: end that mount, or close its files, first", old)
		default:
			if err := os.Rename(old, dir); err != nil {
				return fmt.Errorf("changes of this set, which had another name, are in %s: %w", old, err)
			}
			l.warn(fmt.Sprintf("%s has changes of the set %s, which had another name then: the folder is %s now", old, c.Dir, dir))
			return nil
		}
	}
	return nil
}

// abandoned says whether there is no set of that name beside the one in dir.
func abandoned(dir, name string) bool {
	other := filepath.Join(filepath.Dir(dir), name)
	st, err := os.Stat(other)
	if err != nil {
		return true
	}
	own, err := os.Stat(dir)
	return err == nil && os.SameFile(st, own)
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// anyOf says whether one of the maps of changes, POINT/DISK.cow.map, is of this
// set.
func (l *library) anyOf(c *catalogue, maps []string) bool {
	for _, file := range maps {
		path := strings.TrimSuffix(file, ".map")
		id, err := overlay.COWID(path)
		if err != nil {
			continue
		}
		p, err := c.Find(strings.TrimSuffix(filepath.Base(path), cowSuffix), filepath.Base(filepath.Dir(path)))
		if err == nil && strings.HasPrefix(id, changesOf(p)) && l.isBelow(p, id) {
			return true
		}
	}
	return false
}

// isBelow says whether changes with that id were made over p.
func (l *library) isBelow(p *format.Point, id string) bool {
	img, err := l.open(p)
	if err != nil {
		return false
	}
	defer l.pool.Release(img)
	now, err := changesID(p, img)
	return err == nil && now == id
}

// anyInUse says whether a process has some of the changes open.
func anyInUse(maps []string) bool {
	for _, file := range maps {
		f, err := os.Open(strings.TrimSuffix(file, ".map"))
		if err != nil {
			continue
		}
		locked := isLocked(f)
		f.Close()
		if locked {
			return true
		}
	}
	return false
}

// isLocked says whether another one has changes open. If not, f is locked until
// it is closed.
func isLocked(f *os.File) bool {
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), syscall.EWOULDBLOCK)
}

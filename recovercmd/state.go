// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"virtnb/format"
	"virtnb/internal/domainxml"
)

// Phase is how far a recovery is.
type Phase string

const (
	// Starting is a boot that has not come to the point where the guest runs:
	// nothing in its overlays is of use.
	Starting Phase = "starting"
	// Running is a machine that runs from the backup, or did when it was left.
	Running Phase = "running"
	// Promoting is a machine of which some disks may be copied by now.
	Promoting Phase = "promoting"
	// Discarding is a machine that is being taken away.
	Discarding Phase = "discarding"
)

// State is all that is known of a recovery. It is the content of a file, which
// is written before what it tells is done, so that a later command finds what a
// dead one left.
type State struct {
	Version int       `json:"version"`
	Name    string    `json:"name"` // of the recovery, and of its domain
	UUID    string    `json:"uuid"` // of the domain
	URI     string    `json:"uri"`  // of libvirt
	Plain   bool      `json:"qemu"` // runs without libvirt
	Phase   Phase     `json:"phase"`
	Created time.Time `json:"created"`

	Set   string `json:"set"` // absolute path
	Point string `json:"point"`
	Disks []Disk `json:"disks"`
	// Files are the savesets that the disks are read from, as they were when
	// the machine was booted. On other ones its overlays mean nothing.
	Files []File `json:"files"`

	Socket string `json:"socket"` // of nbdkit, absolute path
	Owner  Owner  `json:"owner"`  // who besides us may use the socket
	Images string `json:"images"` // the folder of the overlays
	// OwnImages says that boot made that folder.
	OwnImages bool     `json:"ownImages"`
	Made      []string `json:"made"` // other files there that boot made: firmware variables, kernels

	Target string `json:"target,omitempty"` // the folder that promote copies to; "" for none
	Pool   string `json:"pool,omitempty"`   // the storage pool of that folder
	// Stopped says that promote stopped the guest, which is to go on.
	Stopped bool `json:"stopped,omitempty"`

	folder string
}

// Disk is a disk of a recovery.
type Disk struct {
	Target  string `json:"target"`  // vda
	Export  string `json:"export"`  // vda@virtnbdbackup.2
	Overlay string `json:"overlay"` // absolute path
	Size    int64  `json:"size"`    // bytes
	// Copies are the images that promote began to copy to: a job that was given
	// up may have come to life after that, so none is overwritten or removed
	// before the end.
	Copies []string `json:"copies,omitempty"`
}

// File is a saveset with what the file system told of it.
type File struct {
	Path     string `json:"path"`
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // nanoseconds since 1970
}

// Owner is the user that QEMU runs as, where that is another one than we are.
type Owner struct {
	Other bool `json:"other"`
	GID   int  `json:"gid"`
}

const (
	stateVersion = 1
	stateFile    = "recovery.json"
	configFile   = "domain.xml" // as it was defined
	lockFile     = "lock"
	folderMode   = 0o700
)

// ErrBusy means that another command is at work on the recovery.
var ErrBusy = errors.New("another virtnb is at work on it; wait for its end")

// ErrNotFound means that there is no such recovery.
var ErrNotFound = errors.New("no such recovery")

// DefaultStateDir is where recoveries are kept: below /var/lib for root, and in
// the user's folder for state for others.
func DefaultStateDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/virtnb/recoveries"
	}
	base := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) {
		home, _ := os.UserHomeDir()
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "virtnb", "recoveries")
}

// newState makes the folder of a recovery and locks it.
func newState(dir, name string) (*State, func(), error) {
	if err := domainxml.CheckName(name); err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return nil, nil, err
	}
	s := &State{Version: stateVersion, Name: name, Phase: Starting, Created: time.Now().Round(time.Second), folder: filepath.Join(dir, name)}
	if err := os.Mkdir(s.folder, folderMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, nil, err
	}
	unlock, err := s.lock()
	if err != nil {
		return nil, nil, err
	}
	// A folder without a state is of a boot that was killed before it did anything.
	if _, err := os.Lstat(filepath.Join(s.folder, stateFile)); err == nil {
		unlock()
		return nil, nil, fmt.Errorf("there is a recovery %s already, in %s: choose another name with --name, or see virtnb recoveries", name, dir)
	}
	return s, unlock, nil
}

// openState reads the state of a recovery and locks it. Call unlock.
func openState(dir, name string) (s *State, unlock func(), err error) {
	if err := domainxml.CheckName(name); err != nil {
		return nil, nil, err
	}
	s = &State{folder: filepath.Join(dir, name)}
	if unlock, err = s.lock(); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("%s: %w in %s; see virtnb recoveries", name, ErrNotFound, dir)
		}
		return nil, nil, err
	}
	if err := s.read(); err != nil {
		unlock()
		return nil, nil, err
	}
	return s, unlock, nil
}

// lock keeps other commands away from the recovery, for as long as we live.
func (s *State) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.folder, lockFile), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", filepath.Base(s.folder), ErrBusy)
	}
	return func() { f.Close() }, nil
}

func (s *State) read() error {
	text, err := os.ReadFile(filepath.Join(s.folder, stateFile))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, s); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(s.folder, stateFile), err)
	}
	if s.Version != stateVersion {
		return fmt.Errorf("%s: version %d, and this virtnb knows %d: use the one that booted it", filepath.Join(s.folder, stateFile), s.Version, stateVersion)
	}
	return nil
}

// save makes the state durable.
func (s *State) save() error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(s.folder, stateFile), append(text, '\n'))
}

// enter saves the state with another phase.
func (s *State) enter(p Phase) error {
	s.Phase = p
	return s.save()
}

// remove takes the folder away, with what a command left that was killed while
// it wrote. One that is left without a state is taken over by the next boot.
func (s *State) remove() error { return os.RemoveAll(s.folder) }

// readStates reads all recoveries, sorted by name. What cannot be read is in
// failed.
func readStates(dir string) (list []*State, failed error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		s := &State{folder: filepath.Join(dir, e.Name())}
		switch err := s.read(); {
		case err == nil:
			list = append(list, s)
		case !errors.Is(err, fs.ErrNotExist) && !strings.HasPrefix(e.Name(), "."):
			failed = errors.Join(failed, err)
		}
	}
	return list, failed
}

// stampFiles notes what the savesets are now.
func stampFiles(paths []string) (list []File, err error) {
	for _, path := range paths {
		stamp, err := format.StampOf(path)
		if err != nil {
			return nil, err
		}
		list = append(list, File{path, stamp.Size, stamp.ModifiedSec*1e9 + stamp.Modified})
	}
	return list, nil
}

// checkFiles says whether the savesets are still those that the machine was
// booted from. A set may have been copied back with its times.
func (s *State) checkFiles() error {
	for _, f := range s.Files {
		now, err := stampFiles([]string{f.Path})
		if err != nil {
			return fmt.Errorf("the backup that %s runs from: %w; bring it back and try again", s.Name, err)
		}
		if now[0] != f {
			return fmt.Errorf("%s is not the file any more that %s was booted from, and what the guest wrote does not fit another one: bring the old file back, with its time of modification", f.Path, s.Name)
		}
	}
	return nil
}

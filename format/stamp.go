// SPDX-License-Identifier: Apache-2.0

package format

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Stamp identifies the content of a file as far as the file system tells.
type Stamp struct {
	Dev, Ino              uint64
	Size                  int64
	ModifiedSec, Modified int64 // modification time: seconds, nanoseconds
	ChangedSec, Changed   int64 // time of the last change of the inode
	Links                 uint64
	Mode, UID, GID        uint32
	Member                string // of the archive that the file is; "": all of it
	fromSystem            bool
}

func stampOf(st *syscall.Stat_t) Stamp {
	return Stamp{
		Dev: st.Dev, Ino: st.Ino, Size: st.Size,
		ModifiedSec: st.Mtim.Sec, Modified: st.Mtim.Nsec,
		ChangedSec: st.Ctim.Sec, Changed: st.Ctim.Nsec,
		Links: uint64(st.Nlink), Mode: st.Mode, UID: st.Uid, GID: st.Gid,
		fromSystem: true,
	}
}

// StampOf returns the stamp of the file at path as it is now; for a member of an
// archive it is that of the archive.
func StampOf(path string) (Stamp, error) {
	member := ""
	st, err := os.Stat(path)
	if isMember(err) {
		member = filepath.Base(path)
		st, err = os.Stat(filepath.Dir(path))
	}
	if err != nil {
		return Stamp{}, fmt.Errorf("saveset: %w", err)
	}
	stamp := stampOf(st.Sys().(*syscall.Stat_t))
	stamp.Member = member
	return stamp, nil
}

// Same says whether now is the stamp of the same file as s, with the same
// content as far as the file system tells.
func (s Stamp) Same(now Stamp) bool {
	return s.Dev == now.Dev && s.Ino == now.Ino && s.Member == now.Member && s.sameContent(now)
}

// sameContent says whether now, of the same open file as s, is the stamp of the
// same content. Whoever writes to a file moves its modification time. Who puts
// that back cannot put back the time of the change of the inode; but that moves
// also when a file is unlinked, linked or gets another mode or owner, which
// takes nothing from its content.
func (s Stamp) sameContent(now Stamp) bool {
	if s.Size != now.Size || s.ModifiedSec != now.ModifiedSec || s.Modified != now.Modified {
		return false
	}
	return s.ChangedSec == now.ChangedSec && s.Changed == now.Changed ||
		s.Links != now.Links || s.Mode != now.Mode || s.UID != now.UID || s.GID != now.GID
}

// Stamp returns what identified the file's content when it was opened. Two
// savesets with equal stamps have the same content. ok is false if the saveset
// was not opened by its path.
func (s *Saveset) Stamp() (stamp Stamp, ok bool) { return s.stamp, s.stamp.fromSystem }

// ErrChanged means that a saveset is not the file any more that it was when it
// was opened: what was read from it may be anything.
var ErrChanged = errors.New("file changed after it was opened; reconnect or mount again to read it anew")

// Unchanged returns nil, or an error that is ErrChanged. Called after a read,
// it says whether the bytes can be trusted.
func (s *Saveset) Unchanged() error {
	if s.file == nil {
		return nil
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(int(s.file.Fd()), &st); err != nil {
		return fmt.Errorf("saveset %s: %w", s.Path, err)
	}
	now, last := stampOf(&st), s.lastStamp()
	now.Member = last.Member
	switch {
	case now == last:
		return nil
	case !last.sameContent(now):
		return fmt.Errorf("saveset %s: %w", s.Path, ErrChanged)
	}
	// A link that is made and removed leaves nothing but another time. What was
	// seen in between tells that the content is still the same.
	s.last.Store(&now)
	return nil
}

// Current says whether the saveset's path still leads to the file that was
// opened, unchanged.
func (s *Saveset) Current() bool {
	stamp, err := StampOf(s.Path)
	return err == nil && stamp == s.stamp
}

// lastStamp is that of the content that was opened, as it was last seen.
func (s *Saveset) lastStamp() Stamp {
	if last := s.last.Load(); last != nil {
		return *last
	}
	return s.stamp
}

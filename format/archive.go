// SPDX-License-Identifier: Apache-2.0

package format

import (
	"archive/zip"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// A backup to the standard output ("-o -") is a zip archive whose members are
// stored as they are, so a saveset in it is a range of the archive, and is read
// where it is. A path that leads through an archive names the member:
//
//	/backup/full.zip/vda.full.data
//
// Everywhere that this package or overlay takes or gives the path of a saveset
// it can be such a one. Nothing is unpacked, and the names of members never
// become paths of the file system. All the same an archive with a name that
// leads out of a folder, with doubled names or with members that share bytes is
// refused as a whole: no backup made it.
//
// Left out on purpose: compressed and encrypted members, of an archive that was
// packed again by somebody. There is no reading in the middle of those.

// archive is an open zip archive.
type archive struct {
	f       *os.File
	path    string
	stamp   Stamp
	members []member // without folders
}

// member is a file in an archive.
type member struct {
	name     string
	at, size int64 // where its bytes are in the archive
	crc      uint32
}

// openArchive opens the archive at path. The caller closes its file.
func openArchive(path string) (*archive, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	a, err := newArchive(f, path)
	if err != nil {
		f.Close()
		return nil, err
	}
	return a, nil
}

func newArchive(f *os.File, path string) (*archive, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("archive %s: not a regular file but a %s: %w", path, typeName(st.Mode()), ErrCorrupt)
	}
	members, err := readMembers(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", path, err)
	}
	return &archive{f, path, stampOf(st.Sys().(*syscall.Stat_t)), members}, nil
}

// readMembers reads and checks the directory of an archive of size bytes.
func readMembers(r io.ReaderAt, size int64) ([]member, error) {
	z, err := zip.NewReader(r, size)
	switch {
	case errors.Is(err, zip.ErrFormat) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return nil, fmt.Errorf("no zip archive, or one that is cut before its directory: %w", ErrCorrupt)
	case err != nil && !errors.Is(err, zip.ErrInsecurePath):
		return nil, err
	}
	var members []member
	seen := map[string]bool{}
	for _, f := range z.File {
		if seen[f.Name] {
			return nil, fmt.Errorf("two members are named %q: %w", f.Name, ErrCorrupt)
		}
		seen[f.Name] = true
		m, err := readMember(f, size)
		if err != nil {
			return nil, fmt.Errorf("member %q: %w", f.Name, err)
		}
		members = append(members, m)
	}
	if err := checkApart(members); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(members, func(m member) bool { return strings.HasSuffix(m.name, "/") }), nil
}

// zipEncrypted is bit 0 of a member's flags: its content is encrypted.
const zipEncrypted = 1

func readMember(f *zip.File, size int64) (member, error) {
	local := strings.TrimSuffix(f.Name, "/")
	if !filepath.IsLocal(local) || filepath.Clean(local) != local || strings.ContainsAny(local, "\\\x00") {
		return member{}, fmt.Errorf("the name is not one of a file in the archive: %w", ErrCorrupt)
	}
	if f.Flags&zipEncrypted != 0 {
		return member{}, fmt.Errorf("it is encrypted; unpack the archive and name the folder: %w", errors.ErrUnsupported)
	}
	if f.Method != zip.Store {
		return member{}, fmt.Errorf("it is compressed, which a backup never does to an archive; unpack it and name the folder: %w", errors.ErrUnsupported)
	}
	at, err := f.DataOffset()
	if err != nil {
		return member{}, fmt.Errorf("no member where the directory says: %w", ErrCorrupt)
	}
	n := f.UncompressedSize64
	if n != f.CompressedSize64 || at < 0 || at > size || n > uint64(size-at) {
		return member{}, fmt.Errorf("its size, %d bytes, is not one that the archive of %d bytes can hold: %w", n, size, ErrCorrupt)
	}
	return member{f.Name, at, int64(n), f.CRC32}, nil
}

// zipHeader is the size, in bytes, of what stands in an archive before each
// member's name and data.
const zipHeader = 30

// checkApart refuses members that share bytes of the archive.
func checkApart(members []member) error {
	sorted := slices.SortedFunc(slices.Values(members), func(a, b member) int { return cmp.Compare(a.at, b.at) })
	end := int64(0)
	for _, m := range sorted {
		if m.at-zipHeader-int64(len(m.name)) < end {
			return fmt.Errorf("member %q lies over another one: %w", m.name, ErrCorrupt)
		}
		end = m.at + m.size
	}
	return nil
}

// memberOf opens the archive that a path leads through, and finds the member.
// The caller closes the archive's file.
func memberOf(path string) (*archive, member, error) {
	a, err := openArchive(filepath.Dir(path))
	if err != nil {
		return nil, member{}, err
	}
	for _, m := range a.members {
		if m.name == filepath.Base(path) {
			return a, m, nil
		}
	}
	a.f.Close()
	return nil, member{}, fmt.Errorf("archive %s has no member %s: %w", a.path, filepath.Base(path), os.ErrNotExist)
}

// isMember says whether err, of opening a path, means that it leads through
// what is no folder.
func isMember(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// openMember opens the saveset at a path that leads through an archive.
func openMember(path string) (*Saveset, error) {
	a, m, err := memberOf(path)
	if err != nil {
		return nil, err
	}
	s := &Saveset{Path: path}
	s.setMember(a, m)
	if err := s.open(); err != nil {
		a.f.Close()
		return nil, err
	}
	return s, nil
}

func (s *Saveset) setMember(a *archive, m member) {
	s.r, s.file, s.Size, s.tail = io.NewSectionReader(a.f, m.at, m.size), a.f, m.size, m.size
	s.stamp, s.base, s.crc = a.stamp, m.at, m.crc
	s.stamp.Member = m.name
}

// InArchive says whether the saveset is a member of an archive.
func (s *Saveset) InArchive() bool { return s.base != 0 }

// SideFile is an open file of a set that is no saveset.
type SideFile struct {
	*io.SectionReader
	f *os.File
}

// OpenSideFile opens a file of a set that is no saveset, in a folder or in an
// archive: a path of [Set.SavedFiles]. It must be a regular file. The caller
// closes it.
func OpenSideFile(path string) (*SideFile, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if isMember(err) {
		a, m, err := memberOf(path)
		if err != nil {
			return nil, err
		}
		return &SideFile{io.NewSectionReader(a.f, m.at, m.size), a.f}, nil
	}
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &SideFile{io.NewSectionReader(f, 0, st.Size()), f}, nil
}

// Close closes the file.
func (s *SideFile) Close() error { return s.f.Close() }

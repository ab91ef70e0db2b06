// SPDX-License-Identifier: Apache-2.0

package format

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// A saveset comes into being under its name with ".partial" behind it. Commit
// makes its content durable, then its checksum file, and only then gives it its
// name, so that whoever finds a saveset under its name finds a whole one. Where
// the program dies, the partial file stays, and perhaps a checksum file of
// nothing; a later saveset of the name replaces the latter. The removal of
// partial files of dead programs is not for here: only who holds the lock on
// the set knows that they are dead.

// File is a saveset that is being written to disk. Whoever has one ends it by
// Commit or Abort.
type File struct {
	*Writer
	path   string
	file   *os.File
	placed bool // the checksum file is ours
	ended  bool
}

// Create begins the saveset path in a new file path + ".partial" that only its
// owner may read. It fails, with an error that is fs.ErrExist, if one of the
// two exists.
func Create(path string, meta Metadata, opts WriterOptions) (*File, error) {
	if err := vacant(path); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path+partialSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("saveset %w: another backup is writing it, or one died: remove the file then", err)
	}
	if err != nil {
		return nil, fmt.Errorf("saveset %w", err)
	}
	f := &File{path: path, file: file}
	if f.Writer, err = NewWriter(file, meta, opts); err != nil {
		return nil, errors.Join(err, f.Abort())
	}
	return f, nil
}

// Commit finishes the saveset, makes it durable and gives it its name. It
// refuses, with an error that is fs.ErrExist, to replace another file. After
// an error there is no file of that name, and Abort remains to be called.
func (f *File) Commit() error {
	if f.ended {
		return fmt.Errorf("saveset %s: %w", f.path, fs.ErrClosed)
	}
	if err := f.Finish(); err != nil {
		return err
	}
	if err := f.publish(); err != nil {
		return fmt.Errorf("saveset %w", err)
	}
	f.ended = true
	return nil
}

func (f *File) publish() error {
	if err := errors.Join(f.file.Sync(), f.file.Close()); err != nil {
		return err
	}
	if err := vacant(f.path); err != nil {
		return err
	}
	if err := f.placeChecksum(); err != nil {
		return err
	}
	if err := os.Rename(f.path+partialSuffix, f.path); err != nil {
		return err
	}
	if err := syncDir(f.path); err != nil {
		return errors.Join(err, os.Rename(f.path, f.path+partialSuffix))
	}
	return nil
}

// placeChecksum writes the file beside the saveset that virtnbdrestore compares
// with: the Adler-32 as a decimal number, and nothing else.
func (f *File) placeChecksum() error {
	name := f.path + chksumSuffix
	tmp, err := os.OpenFile(name+partialSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	f.placed = true
	_, err = tmp.WriteString(strconv.FormatUint(uint64(f.Adler32()), 10))
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+partialSuffix, name); err != nil {
		return err
	}
	return syncDir(name)
}

// Abort removes what was written. After Commit or Abort it does nothing, so
// that it can be deferred.
func (f *File) Abort() error {
	if f.ended {
		return nil
	}
	f.ended = true
	_ = f.file.Close() // Commit may have closed it
	names := []string{f.path + partialSuffix}
	if f.placed {
		names = append(names, f.path+chksumSuffix+partialSuffix, f.path+chksumSuffix)
	}
	var errs []error
	for _, name := range names {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("saveset %w", err))
		}
	}
	return errors.Join(errs...)
}

// vacant returns nil if there is nothing at path.
func vacant(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return fmt.Errorf("saveset %s: %w: backups are never overwritten", path, fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("saveset %w", err)
	}
	return nil
}

// syncDir makes the names in the folder of path durable. File systems that
// cannot do that say so by EINVAL or ENOTSUP.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// cowFile is what the copy-on-write layer needs of a file.
type cowFile interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes content, and what is needed to find it, survive a power cut.
	Sync() error
	// Punch frees the space of [off, off+n), which reads as zeroes then.
	Punch(off, n int64) error
	Close() error
}

// cowOSFile is a cowFile of the operating system.
type cowOSFile struct{ *os.File }

func (f cowOSFile) Sync() error {
	return fileCall(f.File, "fdatasync", syscall.Fdatasync)
}

func (f cowOSFile) Punch(off, n int64) error {
	const keepSize, punchHole = 1, 2 // FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE
	return fileCall(f.File, "punch hole", func(fd int) error {
		return syscall.Fallocate(fd, keepSize|punchHole, off, n)
	})
}

// fileCall makes a system call on an open file, again when a signal came in
// between.
func fileCall(f *os.File, name string, call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = conn.Control(func(fd uintptr) {
		for callErr = syscall.EINTR; callErr == syscall.EINTR; {
			callErr = call(int(fd))
		}
	})
	if err == nil && callErr != nil {
		err = &os.PathError{Op: name, Path: f.Name(), Err: callErr}
	}
	return err
}

// bare takes the operation and the path off an error of package os, for
// messages that tell them in their own words.
func bare(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// readFull fills p from offset off. An end before that is
// io.ErrUnexpectedEOF.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read at %d: %w", off+int64(n), bare(err))
}

// cowMapName is the name of the map file that belongs to a data file.
func cowMapName(path string) string { return path + ".map" }

// openCOWFiles opens the data file at path, locked against others, and its
// map file, both made if neither was there. The map's header is checked
// against want, and the lengths of both files against the header.
func openCOWFiles(path string, want cowHeader) (data, index *os.File, err error) {
	data, created, err := openCOWData(path)
	if err != nil {
		return nil, nil, err
	}
	if err := lockCOWData(data); err != nil {
		return nil, nil, errors.Join(err, data.Close())
	}
	index, err = openCOWMap(data, want)
	if err == nil {
		return data, index, nil
	}
	if created { // the map first: it must not be there alone
		os.Remove(cowMapName(path))
		os.Remove(path)
	}
	return nil, nil, errors.Join(err, data.Close())
}

// openCOWData opens the data file, or creates it if there is no map either: a
// map without its data would show holes where changes were.
func openCOWData(path string) (f *os.File, created bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR, 0)
	if !errors.Is(err, os.ErrNotExist) {
		return f, false, err
	}
	if _, err := os.Lstat(cowMapName(path)); err == nil {
		return nil, false, fmt.Errorf("copy-on-write file %s: missing, but its map %s is there; "+
			"bring it back, or delete the map to discard the changes", path, cowMapName(path))
	}
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	return f, err == nil, err
}

// lockCOWData keeps other openers out until the file is closed, by any means.
func lockCOWData(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("copy-on-write file %s: not a regular file", f.Name())
	}
	err = fileCall(f, "flock", func(fd int) error {
		return syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
	})
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("copy-on-write file %s: in use by another mount or process; "+
			"end that one first, or use another folder", f.Name())
	}
	if err != nil {
		return err
	}
	if now, err := os.Stat(f.Name()); err != nil || !os.SameFile(info, now) {
		return fmt.Errorf("copy-on-write file %s: replaced or deleted while it was opened; try again", f.Name())
	}
	return nil
}

// openCOWMap opens and checks the map file of a data file, and creates it
// first if need be.
func openCOWMap(data *os.File, want cowHeader) (*os.File, error) {
	name := cowMapName(data.Name())
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		if err := createCOWMap(data, want); err != nil {
			return nil, err
		}
		f, err = os.OpenFile(name, os.O_RDWR, 0)
	}
	if err != nil {
		return nil, err
	}
	if err := checkCOWFiles(data, f, want); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// createCOWMap makes the map file for a data file that holds nothing yet, and
// gives that its length. The map appears under its name when all of this is
// durable, so a map that is there always has its data file.
func createCOWMap(data *os.File, h cowHeader) error {
	if err := prepareCOWData(data, h.size); err != nil {
		return err
	}
	name := cowMapName(data.Name())
	partial := name + ".partial"
	defer os.Remove(partial) // after the rename there is none
	if err := writeCOWMap(partial, h); err != nil {
		return err
	}
	if err := os.Rename(partial, name); err != nil {
		return err
	}
	return syncFolder(name)
}

// writeCOWMap makes an empty map file, durably.
func writeCOWMap(name string, h cowHeader) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(h.mapBytes()); err != nil {
		return err
	}
	if _, err := f.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	return f.Sync()
}

// prepareCOWData gives a data file without a map its length. Only an empty
// one, as a creation that was cut short leaves it, is taken.
func prepareCOWData(data *os.File, size int64) error {
	info, err := data.Stat()
	if err != nil {
		return err
	}
	if n := info.Size(); n != 0 && (n != size || !allHole(data)) {
		return fmt.Errorf("copy-on-write file %s: holds data, but its map %s is missing; "+
			"bring that back, or delete the file to discard the changes", data.Name(), cowMapName(data.Name()))
	}
	if err := data.Truncate(size); err != nil {
		return err
	}
	if err := data.Sync(); err != nil {
		return err
	}
	return syncFolder(data.Name())
}

// allHole tells whether the file system knows that the file holds no data.
func allHole(f *os.File) bool {
	const seekData = 3 // SEEK_DATA
	_, err := f.Seek(0, seekData)
	return errors.Is(err, syscall.ENXIO)
}

// checkCOWFiles checks the map's header and both lengths.
func checkCOWFiles(data, index *os.File, want cowHeader) error {
	info, err := index.Stat()
	if err != nil {
		return err
	}
	if err := readCOWHeader(index, info.Size(), want, data.Name()); err != nil {
		return err
	}
	if info, err = data.Stat(); err != nil {
		return err
	}
	if info.Size() != want.size {
		return fmt.Errorf("copy-on-write file %s: %d bytes long, not %d as its map says; "+
			"bring it back as it was, or delete it and %s to discard the changes",
			data.Name(), info.Size(), want.size, cowMapName(data.Name()))
	}
	return nil
}

// syncFolder makes the name of a file survive a power cut.
func syncFolder(name string) error {
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

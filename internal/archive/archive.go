// SPDX-License-Identifier: Apache-2.0

// Package archive writes a backup as a zip archive to a stream, such as a pipe.
//
// Members are stored as they are, in the order in which they are added, with
// sizes and checksums behind their data, since those of a saveset are not known
// before. What was added before an error is of no use: an archive without its
// directory, which Close writes, is none.
package archive

import (
	"archive/zip"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"virtnb/internal/terminal"
)

// ErrTerminal says that the archive would go to somebody's screen.
var ErrTerminal = errors.New("the archive would go to a terminal; redirect the standard output to a file or a pipe, as in \"-o - > backup.zip\"")

// bufferSize is how many bytes are gathered before they are written: headers of
// frames are small.
const bufferSize = 128 << 10

// Writer writes an archive. Its methods may not be called concurrently. After
// an error every method returns that error.
type Writer struct {
	out    io.Writer
	buffer *bufio.Writer
	zip    *zip.Writer
	names  map[string]bool
	err    error
}

// New begins an archive on out, which is not closed. It fails with ErrTerminal
// if out is a terminal.
func New(out io.Writer) (*Writer, error) {
	if terminal.Is(out) {
		return nil, ErrTerminal
	}
	w := &Writer{out: out, buffer: bufio.NewWriterSize(out, bufferSize), names: map[string]bool{}}
	w.zip = zip.NewWriter(w.buffer)
	return w, nil
}

// Stream adds a member that is as long as write makes it.
func (w *Writer) Stream(name string, write func(io.Writer) error) error {
	member := w.create(name, 0o600)
	if w.err == nil {
		w.fail(name, write(member))
	}
	return w.err
}

// Bytes adds a member with this content.
func (w *Writer) Bytes(name string, content []byte) error {
	return w.Stream(name, func(member io.Writer) error {
		_, err := member.Write(content)
		return err
	})
}

// File adds what is in a file now: a log may grow further.
func (w *Writer) File(name, path string) error {
	if w.err != nil {
		return w.err
	}
	f, err := os.Open(path)
	if err != nil {
		w.fail(name, err)
		return w.err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		w.fail(name, err)
		return w.err
	}
	return w.Stream(name, func(member io.Writer) error {
		_, err := io.Copy(member, io.LimitReader(f, info.Size()))
		return err
	})
}

// Folder adds a folder; what is in it are members whose names begin with its
// name and a slash.
func (w *Writer) Folder(name string) error {
	if w.err == nil {
		w.create(name+"/", fs.ModeDir|0o700)
	}
	return w.err
}

// Close ends the archive. If it goes into a file, it is on the disk then.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	w.fail("the directory", w.zip.Close())
	if w.err == nil {
		w.fail("the end", w.buffer.Flush())
	}
	if w.err == nil {
		w.fail("the end", sync(w.out))
	}
	err := w.err
	w.err = errors.Join(err, errors.New("the archive is closed"))
	return err
}

// sync makes a file durable. Pipes and sockets have nothing to sync.
func sync(out io.Writer) error {
	f, ok := out.(*os.File)
	if !ok {
		return nil
	}
	err := f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

// create begins a member.
func (w *Writer) create(name string, mode fs.FileMode) io.Writer {
	if w.err != nil {
		return nil
	}
	if !fs.ValidPath(strings.TrimSuffix(name, "/")) || w.names[name] {
		w.fail(name, errors.New("the name is wrong, or there already"))
		return nil
	}
	w.names[name] = true
	h := &zip.FileHeader{Name: name, Method: zip.Store, Modified: time.Now()}
	h.SetMode(mode)
	member, err := w.zip.CreateHeader(h)
	w.fail(name, err)
	return member
}

// fail keeps the first error.
func (w *Writer) fail(name string, err error) {
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("zip archive: %s: %w", name, err)
	}
}

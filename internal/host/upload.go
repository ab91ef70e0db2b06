// SPDX-License-Identifier: Apache-2.0

package host

import (
	"crypto/rand"
	"io"
	"io/fs"
)

// Upload is a file that is being written. Close it in every case: without
// Commit before, what was there stays as it was. It is for one goroutine.
type Upload struct {
	files      uploadFiles
	file       uploadFile
	path, temp string
	finished   bool
}

// uploadFiles is what Upload needs of a machine.
type uploadFiles interface {
	createNew(path string, mode fs.FileMode) (uploadFile, error)
	sync(f uploadFile) error
	rename(from, to string) error
	remove(path string) error
}

type uploadFile interface {
	io.WriteCloser
	io.ReaderFrom
}

func newUpload(files uploadFiles, path string, mode fs.FileMode) (*Upload, error) {
	temp := path + "." + rand.Text()[:8] + ".partial"
	f, err := files.createNew(temp, mode.Perm())
	if err != nil {
		return nil, err
	}
	return &Upload{files: files, file: f, path: path, temp: temp}, nil
}

// Write adds to the file.
func (u *Upload) Write(p []byte) (int, error) { return u.file.Write(p) }

// ReadFrom adds all of r, over SSH with several packets in flight.
func (u *Upload) ReadFrom(r io.Reader) (int64, error) { return u.file.ReadFrom(r) }

// Commit makes the content durable and gives the file its name.
func (u *Upload) Commit() error {
	if err := u.files.sync(u.file); err != nil {
		return err
	}
	err := u.file.Close()
	u.file = nil
	if err != nil {
		return err
	}
	if err := u.files.rename(u.temp, u.path); err != nil {
		return err
	}
	u.finished = true
	return nil
}

// Close removes the file unless it is committed.
func (u *Upload) Close() error {
	if u.finished {
		return nil
	}
	u.finished = true
	if u.file != nil {
		u.file.Close()
	}
	return u.files.remove(u.temp)
}

// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"virtnb/format"
)

// rawImage is the plain image of a disk, as it is written: of the disk's size,
// with holes for zeroes. It becomes a file as a saveset does.
type rawImage struct {
	path  string
	file  *os.File
	ended bool
}

func createRaw(path string, size int64) (*rawImage, error) {
	if err := vacant(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path+partialSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("raw image: %w", err)
	}
	r := &rawImage{path: path, file: f}
	if err := f.Truncate(size); err != nil {
		return nil, errors.Join(fmt.Errorf("raw image: %w", err), r.Abort())
	}
	return r, nil
}

// WriteAt writes what is not zero.
func (r *rawImage) WriteAt(p []byte, off int64) (int, error) {
	const grain = 64 << 10
	for at := 0; at < len(p); at += grain {
		piece := p[at:min(at+grain, len(p))]
		if format.IsZero(piece) {
			continue
		}
		if _, err := r.file.WriteAt(piece, off+int64(at)); err != nil {
			return at, err
		}
	}
	return len(p), nil
}

// Commit makes the image durable and gives it its name.
func (r *rawImage) Commit() error {
	if err := errors.Join(r.file.Sync(), r.file.Close()); err != nil {
		return err
	}
	if err := vacant(r.path); err != nil {
		return err
	}
	if err := os.Rename(r.path+partialSuffix, r.path); err != nil {
		return err
	}
	r.ended = true
	return syncDir(filepath.Dir(r.path))
}

// Abort removes what was written. After Commit or Abort it does nothing.
func (r *rawImage) Abort() error {
	if r.ended {
		return nil
	}
	r.ended = true
	_ = r.file.Close()
	if err := os.Remove(r.path + partialSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

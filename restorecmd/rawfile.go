// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"virtnb/internal/host"
)

// defaultBlock is the unit of most file systems.
const defaultBlock = 4096

// rawFile is a new image of format raw on this machine: a sparse file.
type rawFile struct {
	path string // when it is complete
	file *os.File
}

// createRaw makes an image of size bytes. Neither it nor its partial name may
// exist.
func createRaw(path string, size int64, preallocate bool) (*rawFile, error) {
	f, err := os.OpenFile(path+partialSuffix, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	r := &rawFile{path: path, file: f}
	err = f.Truncate(size)
	if err == nil && preallocate && size > 0 {
		err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	}
	if err != nil {
		r.Abort()
		return nil, fmt.Errorf("image %s of %d bytes: %w", path, size, err)
	}
	return r, nil
}

func (r *rawFile) WriteAt(_ context.Context, p []byte, off int64) error {
	_, err := r.file.WriteAt(p, off)
	return err
}

func (r *rawFile) Zero(context.Context, int64, int64) error { return nil }

func (r *rawFile) Block() int64 { return defaultBlock }

func (r *rawFile) Fresh() bool { return true }

func (r *rawFile) Commit(ctx context.Context) error {
	if err := r.file.Close(); err != nil {
		return err
	}
	return settle(ctx, host.Local{}, r.path)
}

func (r *rawFile) Abort() {
	_ = r.file.Close()
	_ = os.Remove(r.path + partialSuffix)
}

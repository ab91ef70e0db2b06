// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"virtnb/format"
	"virtnb/internal/host"
)

// partialSuffix is the end of the name of a file that is not complete.
const partialSuffix = ".partial"

// settle makes a file on a host durable that has its partial name, and gives it
// its own, which nothing may have.
func settle(ctx context.Context, h host.Host, name string) error {
	if err := vacant(h, name); err != nil {
		return err
	}
	if _, local := h.(host.Local); local {
		return settleHere(ctx, name)
	}
	for _, argv := range [][]string{
		{"sync", name + partialSuffix},
		{"mv", "-n", "-T", "--", name + partialSuffix, name},
		{"sync", path.Dir(name)},
	} {
		if _, err := h.Run(ctx, argv); err != nil {
			return err
		}
	}
	if _, err := h.Stat(name + partialSuffix); err == nil {
		return fmt.Errorf("%s on %s: %w", name, h, fs.ErrExist)
	}
	return nil
}

func settleHere(ctx context.Context, name string) error {
	if err := syncPath(name + partialSuffix); err != nil {
		return err
	}
	if ctx.Err() != nil { // that may have taken long
		return context.Cause(ctx)
	}
	if err := os.Rename(name+partialSuffix, name); err != nil {
		return err
	}
	return syncPath(filepath.Dir(name))
}

// syncPath makes a file or a folder durable. Not every file system can do that
// with folders.
func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// vacant refuses what is there, and what an earlier restore left.
func vacant(h host.Host, name string) error {
	_, err := h.Stat(name)
	switch {
	case err == nil:
		return peersError("Target file already exists: [%s], wont overwrite.", name)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}

// maxSaved bounds the files beside the savesets that are read as a whole, in
// bytes: configurations have some kilobytes.
const maxSaved = 16 << 20

// readSaved reads a file that was saved beside the savesets.
func readSaved(name string) ([]byte, error) {
	f, err := openSaved(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSaved+1))
	if err == nil && len(text) > maxSaved {
		err = fmt.Errorf("%s is longer than %d bytes", name, maxSaved)
	}
	return text, err
}

// openSaved opens a file that was saved beside the savesets, in the folder or the
// archive of the set.
func openSaved(name string) (io.ReadCloser, error) { return format.OpenSideFile(name) }

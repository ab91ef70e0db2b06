// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"virtnb/internal/host"
)

// CreateOptions say what a new image is like. What is not set is qemu-img's
// default.
type CreateOptions struct {
	Format          string // needed
	Size            int64  // virtual size in bytes
	Compat          string
	ClusterSize     int64 // bytes
	LazyRefcounts   bool
	RefcountBits    int
	ExtendedL2      bool
	CompressionType string
	DataFile        string // path of the file for the data, made too
	DataFileRaw     bool
	Preallocation   string // off, metadata, falloc, full

	// Backing is the backing image: a path, or a URI of NBD. It is opened, and
	// so must be there.
	Backing       string
	BackingFormat string // needed with Backing
}

// OptionsLike gives the options for an image like that one, of that size. The
// data file is the same path: set another where it has to be elsewhere.
func (i ImageInfo) OptionsLike(size int64) CreateOptions {
	q := i.Specific.QCOW2
	return CreateOptions{
		Format: i.Format, Size: size, ClusterSize: i.ClusterSize,
		Compat: q.Compat, LazyRefcounts: q.LazyRefcounts, RefcountBits: q.RefcountBits, ExtendedL2: q.ExtendedL2,
		CompressionType: q.CompressionType, DataFile: q.DataFile, DataFileRaw: q.DataFileRaw,
	}
}

// list is the argument of -o.
func (o CreateOptions) list() string {
	var options []string
	add := func(set bool, key, value string) {
		if set {
			options = append(options, key+"="+escape(value))
		}
	}
	qcow2 := o.Format == "qcow2"
	add(o.Compat != "", "compat", o.Compat)
	add(qcow2 && o.ClusterSize > 0, "cluster_size", strconv.FormatInt(o.ClusterSize, 10))
	add(o.LazyRefcounts, "lazy_refcounts", "on")
	add(o.RefcountBits > 0, "refcount_bits", strconv.Itoa(o.RefcountBits))
	add(o.ExtendedL2, "extended_l2", "on")
	// An image of the old version has this one only, and no option for it.
	add(o.CompressionType != "" && o.Compat != "0.10", "compression_type", o.CompressionType)
	add(o.DataFile != "", "data_file", o.DataFile)
	add(o.DataFileRaw, "data_file_raw", "on")
	add(o.Backing != "", "backing_file", o.Backing)
	add(o.BackingFormat != "", "backing_fmt", o.BackingFormat)
	add(o.Preallocation != "", "preallocation", o.Preallocation)
	return strings.Join(options, ",")
}

// Create makes an image. One that is there, or a data file that is, is an
// error (fs.ErrExist) and stays as it is; what a failure left is removed.
func Create(ctx context.Context, h host.Host, path string, o CreateOptions) error {
	made := []string{path}
	if o.DataFile != "" {
		made = append(made, o.DataFile)
	}
	for _, name := range made {
		if err := wantFree(h, name); err != nil {
			return err
		}
	}
	argv := []string{"qemu-img", "create", "-q", "-f", o.Format}
	if list := o.list(); list != "" {
		argv = append(argv, "-o", list)
	}
	_, err := h.Run(ctx, append(argv, "--", filename(path), strconv.FormatInt(o.Size, 10)))
	if err == nil {
		return nil
	}
	for _, name := range made {
		h.Remove(name)
	}
	return fmt.Errorf("create image %s: %w", path, err)
}

func wantFree(h host.Host, path string) error {
	_, err := h.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil:
		return fmt.Errorf("create image %s on %s: %w", path, h, fs.ErrExist)
	}
	return err
}

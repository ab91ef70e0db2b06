// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"libguestfs.org/nbdkit"
)

// failing fails reads in as many ways as it has blocks of 4 KiB.
type failing struct{ nbdkit.Connection }

var failures = []func() error{
	func() error { return nil },
	func() error { return nbdkit.PluginError{Errmsg: "by value", Errno: syscall.ENOSPC} },
	func() error { return &nbdkit.PluginError{Errmsg: "by pointer", Errno: syscall.EPERM} },
	func() error {
		return fmt.Errorf("wrapped: %w", nbdkit.PluginError{Errmsg: "by value", Errno: syscall.EOVERFLOW})
	},
	func() error { return &fs.PathError{Op: "read", Path: "disk", Err: syscall.ENOMEM} },
	func() error { return errors.New("plain error") },
	func() error { return (*nbdkit.PluginError)(nil) },
	func() error { panic("panic value") },
	func() error { panic(fmt.Errorf("panic error: %w", syscall.ENOSPC)) },
	func() error { var none *ramDisk; return none.PRead(nil, 0, 0) },
	func() error { nbdkit.SetError(syscall.ESHUTDOWN); return errors.New("errno set before") },
	func() error { return errors.New("100%s %n not a format") },
}

func (*failing) GetSize() (uint64, error) { return uint64(len(failures)) * 4096, nil }

func (*failing) PRead(buf []byte, offset uint64, flags uint32) error {
	return failures[offset/4096]()
}

// sized has a size that does not do.
type sized struct {
	nbdkit.Connection
	size   uint64
	panics bool
}

func (c *sized) GetSize() (uint64, error) {
	if c.panics {
		panic("no size today")
	}
	return c.size, nil
}

// panicsOnClose is a disk whose Close panics.
type panicsOnClose struct{ plain }

func (*panicsOnClose) Close() { panic("no end today") }

// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"fmt"
	"io/fs"
	"net"

	"virtnb/internal/host"
)

// unreachable is the name of a host whose files cannot be reached: libvirt
// answers there by TLS or TCP, which carry no files.
type unreachable string

func (u unreachable) err() error {
	return fmt.Errorf("files of %s can be reached through SSH only: use a URI with qemu+ssh", string(u))
}

func (u unreachable) String() string                                             { return string(u) }
func (u unreachable) Run(context.Context, []string) ([]byte, error)              { return nil, u.err() }
func (u unreachable) Start(context.Context, host.Command) (*host.Process, error) { return nil, u.err() }
func (u unreachable) Open(string) (fs.File, error)                               { return nil, u.err() }
func (u unreachable) Stat(string) (fs.FileInfo, error)                           { return nil, u.err() }
func (u unreachable) ReadDir(string) ([]fs.DirEntry, error)                      { return nil, u.err() }
func (u unreachable) Create(string, fs.FileMode) (*host.Upload, error)           { return nil, u.err() }
func (u unreachable) Mkdir(string, fs.FileMode) error                            { return u.err() }
func (u unreachable) Remove(string) error                                        { return u.err() }
func (u unreachable) Dial(context.Context, string, string) (net.Conn, error)     { return nil, u.err() }
func (u unreachable) Close() error                                               { return nil }

// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"

	"libguestfs.org/nbdkit"

	"virtnb/format"
	"virtnb/overlay"
)

// Connection serves one client with one restore point. Its methods are called
// from several threads at once.
type Connection struct {
	nbdkit.Connection

	img         *overlay.Shared
	images      *overlay.Pool
	description string
	closed      []func()
}

// OpenExport connects a client to the export of that name.
func (p *Plugin) OpenExport(readonly, tls bool, name string) (nbdkit.ConnectionInterface, error) {
	c, err := p.openExport(name)
	if err != nil {
		return nil, errno(fmt.Errorf("export %q: %w", name, err))
	}
	if p.Opened != nil {
		p.Opened(c)
	}
	return c, nil
}

func (p *Plugin) openExport(name string) (*Connection, error) {
	if p.params.files != nil {
		return p.openSequence(name)
	}
	point, err := p.resolve(name)
	if err != nil {
		return nil, err
	}
	files, err := point.Files()
	if err != nil {
		return nil, err
	}
	img, err := p.images().Open(files)
	if err != nil {
		return nil, err
	}
	return &Connection{img: img, images: p.images(), description: describe(point)}, nil
}

// openSequence serves the savesets of files=, under the name of their disk.
func (p *Plugin) openSequence(name string) (*Connection, error) {
	img, err := p.images().Open(p.params.files)
	if err != nil {
		return nil, err
	}
	if only := p.exportOf(img.DiskName()); name != "" && name != only {
		p.images().Release(img)
		return nil, fmt.Errorf("the only export is %q: %w", only, format.ErrNotFound)
	}
	return &Connection{img: img, images: p.images()}, nil
}

// Chain is the image that the connection serves.
func (c *Connection) Chain() *overlay.Chain { return c.img.Chain }

// OnClose has f called when the connection is closed.
func (c *Connection) OnClose(f func()) { c.closed = append(c.closed, f) }

// Close gives the image back.
func (c *Connection) Close() {
	for _, f := range c.closed {
		f()
	}
	c.images.Release(c.img)
}

func (c *Connection) ExportDescription() string   { return c.description }
func (c *Connection) GetSize() (uint64, error)    { return uint64(c.img.Size()), nil }
func (c *Connection) CanMultiConn() (bool, error) { return true, nil } // read-only: nothing to disagree on
func (c *Connection) CanExtents() (bool, error)   { return true, nil }
func (c *Connection) CanCache() (uint32, error)   { return nbdkit.CacheNative, nil }
func (c *Connection) IsRotational() (bool, error) { return false, nil }

// Block sizes that clients are told: any byte can be read, pages of compressed
// data come in 64 KiB, and QEMU and libnbd ask for 32 MiB at most.
const (
	minimumBlock   = 1
	preferredBlock = 64 << 10
	maximumBlock   = 32 << 20
)

func (c *Connection) BlockSize() (minimum, preferred, maximum uint32, err error) {
	return minimumBlock, preferredBlock, maximumBlock, nil
}

// PRead reads from the image. The server has checked the range.
func (c *Connection) PRead(buf []byte, offset uint64, flags uint32) error {
	_, err := c.img.ReadAt(buf, int64(offset))
	return errno(err)
}

// Cache reads ahead.
func (c *Connection) Cache(count uint32, offset uint64, flags uint32) error {
	c.img.Prefetch(int64(offset), int64(count))
	return nil
}

// Extents tells the client what is data and what is not.
func (c *Connection) Extents(count uint32, offset uint64, flags uint32, add func(offset, length uint64, typ uint32) error) error {
	for e, err := range c.img.Extents(int64(offset), int64(count)) {
		if err != nil {
			return errno(err)
		}
		typ := uint32(0)
		if !e.Data {
			typ = nbdkit.ExtentHole | nbdkit.ExtentZero
		}
		if err := add(uint64(e.Start), uint64(e.Length), typ); err != nil {
			return err
		}
		if flags&nbdkit.FlagReqOne != 0 {
			return nil
		}
	}
	return nil
}

// The server finds these by their signatures; a typing error would hide them.
var (
	_ interface {
		OpenExport(readonly, tls bool, name string) (nbdkit.ConnectionInterface, error)
		ListExports(readonly, tls bool, add func(name, description string) error) error
		DefaultExport(readonly, tls bool) (string, error)
		LongName() string
		Description() string
		ConfigHelp() string
		MagicConfigKey() string
	} = (*Plugin)(nil)
	_ interface {
		ExportDescription() string
		BlockSize() (minimum, preferred, maximum uint32, err error)
		CanExtents() (bool, error)
		Extents(count uint32, offset uint64, flags uint32, add func(offset, length uint64, typ uint32) error) error
		CanCache() (uint32, error)
		Cache(count uint32, offset uint64, flags uint32) error
	} = (*Connection)(nil)
)

func logf(f string, args ...any) { nbdkit.Debug(fmt.Sprintf(f, args...)) }

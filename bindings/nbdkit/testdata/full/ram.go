// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"sync"
	"syscall"

	"libguestfs.org/nbdkit"
)

// ramDisk is a disk in memory that all connections share. It has the methods
// for writing and no optional one.
type ramDisk struct {
	nbdkit.Connection
	mu    sync.RWMutex // guards bytes
	bytes []byte
}

var ram = &ramDisk{bytes: make([]byte, 8<<20)}

func (d *ramDisk) log(method string, count int, offset uint64, flags uint32) {
	nbdkit.Debug(fmt.Sprintf("full: %s %d at %d flags=%#x", method, count, offset, flags))
}

func (d *ramDisk) GetSize() (uint64, error)  { return uint64(len(d.bytes)), nil }
func (*ramDisk) CanMultiConn() (bool, error) { return true, nil }
func (*ramDisk) CanWrite() (bool, error)     { return true, nil }
func (*ramDisk) CanFlush() (bool, error)     { return true, nil }
func (*ramDisk) CanTrim() (bool, error)      { return true, nil }
func (*ramDisk) CanZero() (bool, error)      { return true, nil }
func (d *ramDisk) Flush(flags uint32) error  { d.log("Flush", 0, 0, flags); return nil }

func (d *ramDisk) PRead(buf []byte, offset uint64, flags uint32) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	copy(buf, d.bytes[offset:])
	return nil
}

func (d *ramDisk) PWrite(buf []byte, offset uint64, flags uint32) error {
	d.log("PWrite", len(buf), offset, flags)
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.bytes[offset:], buf)
	return nil
}

func (d *ramDisk) Trim(count uint32, offset uint64, flags uint32) error {
	d.log("Trim", int(count), offset, flags)
	d.clear(count, offset)
	return nil
}

// Zero refuses the first 64 KiB with ENOTSUP, so that nbdkit has to write.
func (d *ramDisk) Zero(count uint32, offset uint64, flags uint32) error {
	d.log("Zero", int(count), offset, flags)
	if offset < 64<<10 {
		return nbdkit.PluginError{Errmsg: "zero it yourself", Errno: syscall.ENOTSUP}
	}
	d.clear(count, offset)
	return nil
}

func (d *ramDisk) clear(count uint32, offset uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.bytes[offset : offset+uint64(count)])
}

// native is the disk with forced unit access and fast zeroing of its own.
type native struct{ *ramDisk }

var _ interface {
	CanFUA() (uint32, error)
	CanFastZero() (bool, error)
} = (*native)(nil)

func (*native) CanFUA() (uint32, error)    { return nbdkit.FUANative, nil }
func (*native) CanFastZero() (bool, error) { return true, nil }

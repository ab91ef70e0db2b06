// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"libguestfs.org/nbdkit"
)

// plain is 1 MiB of data without any optional method: in every even run of
// 64 KiB each byte is the number of its 4 KiB block plus 1, the odd ones are
// zero.
type plain struct{ nbdkit.Connection }

const (
	plainSize = 1 << 20
	run       = 64 << 10
)

func (*plain) GetSize() (uint64, error) { return plainSize, nil }

func (*plain) PRead(buf []byte, offset uint64, flags uint32) error {
	for i := range buf {
		off := offset + uint64(i)
		buf[i] = 0
		if off/run%2 == 0 {
			buf[i] = byte(off/4096) + 1
		}
	}
	return nil
}

// holes is the same with what a read-only export can have besides.
type holes struct{ plain }

var _ interface {
	ExportDescription() string
	BlockSize() (minimum, preferred, maximum uint32, err error)
	CanExtents() (bool, error)
	Extents(count uint32, offset uint64, flags uint32, add func(offset, length uint64, typ uint32) error) error
	CanCache() (uint32, error)
	Cache(count uint32, offset uint64, flags uint32) error
} = (*holes)(nil)

func (*holes) IsRotational() (bool, error) { return true, nil }
func (*holes) CanMultiConn() (bool, error) { return true, nil }
func (*holes) ExportDescription() string   { return "alternating data and holes" }
func (*holes) CanExtents() (bool, error)   { return true, nil }
func (*holes) CanCache() (uint32, error)   { return nbdkit.CacheNative, nil }

func (*holes) BlockSize() (minimum, preferred, maximum uint32, err error) {
	return 1, run, 32 << 20, nil
}

func (*holes) Cache(count uint32, offset uint64, flags uint32) error {
	nbdkit.Debug(fmt.Sprintf("full: Cache %d at %d", count, offset))
	return nil
}

// Extents starts at the run that holds offset, before it as a rule: nbdkit
// cuts that off.
func (*holes) Extents(count uint32, offset uint64, flags uint32, add func(offset, length uint64, typ uint32) error) error {
	one := flags&nbdkit.FlagReqOne != 0
	nbdkit.Debug(fmt.Sprintf("full: Extents %d at %d one=%v", count, offset, one))
	for off := offset / run * run; off < offset+uint64(count); off += run {
		typ := uint32(0)
		if off/run%2 == 1 {
			typ = nbdkit.ExtentHole | nbdkit.ExtentZero
		}
		if err := add(off, run, typ); err != nil {
			return err
		}
		if one {
			break
		}
	}
	return nil
}

// lateExtents adds extents in the wrong order first, which nbdkit refuses,
// and then with an add function of a call that is over.
type lateExtents struct {
	holes
	kept func(offset, length uint64, typ uint32) error
}

func (c *lateExtents) Extents(count uint32, offset uint64, flags uint32, add func(offset, length uint64, typ uint32) error) error {
	if c.kept != nil {
		return c.kept(offset, uint64(count), 0)
	}
	c.kept = add
	if err := add(offset, run, 0); err != nil {
		return err
	}
	return add(offset+8*run, run, 0)
}

// SPDX-License-Identifier: Apache-2.0

package nbdkit

// The callbacks of nbdkit for one client, called by shim.c, in nbdkit's
// threads and at the same time.
//
// nbdkit keeps a handle for each client. Ours is a cgo.Handle: a number that
// stands for the connection, looked up without a lock. The C struct has one
// function per callback for all connections, so where a connection lacks an
// optional method the function answers what nbdkit would do without it.

// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"math"
	"runtime/cgo"
	"unsafe"
)

// connection is the connection that a handle of nbdkit stands for. It panics
// on a handle that nbdkitGoOpen did not give out or nbdkitGoClose took back;
// call it within try.
func connection(h C.uintptr_t) ConnectionInterface {
	return cgo.Handle(h).Value().(ConnectionInterface)
}

// open asks the plugin for a connection to the export that the client named.
func open(readonly bool) (ConnectionInterface, error) {
	p, ok := plugin.(exportOpener)
	if !ok {
		return plugin.Open(readonly)
	}
	name, tls := C.nbdkit_export_name(), C.nbdkit_is_tls()
	if name == nil || tls == -1 {
		return nil, errors.New("nbdkit does not know what the client asked for")
	}
	return p.OpenExport(readonly, tls != 0, C.GoString(name))
}

//export nbdkitGoOpen
func nbdkitGoOpen(readonly C.int) C.uintptr_t {
	var h cgo.Handle
	try("Open", func() error {
		c, err := open(readonly != 0)
		if err != nil {
			return err
		}
		if c == nil {
			return errors.New("the plugin opened no connection")
		}
		h = cgo.NewHandle(c)
		return nil
	})
	return C.uintptr_t(h) // 0, which is NULL, after a failure
}

//export nbdkitGoClose
func nbdkitGoClose(h C.uintptr_t) {
	try("Close", func() error {
		c := connection(h)
		cgo.Handle(h).Delete()
		c.Close()
		return nil
	})
}

// askBool answers nbdkit with 1 or 0 for true and false, and -1 for a failure.
func askBool(method string, f func() (bool, error)) C.int {
	var yes bool
	if !try(method, func() (err error) { yes, err = f(); return err }) {
		return -1
	}
	if yes {
		return 1
	}
	return 0
}

// askNumber answers nbdkit with a number, and -1 for a failure.
func askNumber(method string, f func() (uint32, error)) C.int {
	var n uint32
	if !try(method, func() (err error) { n, err = f(); return err }) {
		return -1
	}
	return C.int(n)
}

//export nbdkitGoExportDescription
func nbdkitGoExportDescription(h C.uintptr_t) *C.char {
	var text string
	try("ExportDescription", func() error {
		if c, ok := connection(h).(exportDescriber); ok {
			text = c.ExportDescription()
		}
		return nil
	})
	if text == "" {
		return nil
	}
	return intern(text)
}

//export nbdkitGoGetSize
func nbdkitGoGetSize(h C.uintptr_t) C.int64_t {
	var size uint64
	if !try("GetSize", func() (err error) {
		size, err = connection(h).GetSize()
		if err == nil && size > math.MaxInt64 {
			err = fmt.Errorf("export of %d bytes: the largest size is %d", size, math.MaxInt64)
		}
		return err
	}) {
		return -1
	}
	return C.int64_t(size)
}

//export nbdkitGoBlockSize
func nbdkitGoBlockSize(h C.uintptr_t, minimum, preferred, maximum *C.uint32_t) C.int {
	var least, best, most uint32 // 0, 0, 0: nothing known
	ok := try("BlockSize", func() (err error) {
		if c, ok := connection(h).(blockSizer); ok {
			least, best, most, err = c.BlockSize()
		}
		return err
	})
	*minimum, *preferred, *maximum = C.uint32_t(least), C.uint32_t(best), C.uint32_t(most)
	return status(ok)
}

//export nbdkitGoIsRotational
func nbdkitGoIsRotational(h C.uintptr_t) C.int {
	return askBool("IsRotational", func() (bool, error) { return connection(h).IsRotational() })
}

//export nbdkitGoCanMultiConn
func nbdkitGoCanMultiConn(h C.uintptr_t) C.int {
	return askBool("CanMultiConn", func() (bool, error) { return connection(h).CanMultiConn() })
}

//export nbdkitGoCanWrite
func nbdkitGoCanWrite(h C.uintptr_t) C.int {
	return askBool("CanWrite", func() (bool, error) { return connection(h).CanWrite() })
}

//export nbdkitGoCanFlush
func nbdkitGoCanFlush(h C.uintptr_t) C.int {
	return askBool("CanFlush", func() (bool, error) { return connection(h).CanFlush() })
}

//export nbdkitGoCanTrim
func nbdkitGoCanTrim(h C.uintptr_t) C.int {
	return askBool("CanTrim", func() (bool, error) { return connection(h).CanTrim() })
}

//export nbdkitGoCanZero
func nbdkitGoCanZero(h C.uintptr_t) C.int {
	return askBool("CanZero", func() (bool, error) { return connection(h).CanZero() })
}

// Without CanFastZero: nbdkit fails fast zero requests on its own where the
// plugin cannot zero, so it may offer them exactly then.
//
//export nbdkitGoCanFastZero
func nbdkitGoCanFastZero(h C.uintptr_t) C.int {
	return askBool("CanFastZero", func() (bool, error) {
		c := connection(h)
		if c, ok := c.(fastZeroChecker); ok {
			return c.CanFastZero()
		}
		zero, err := c.CanZero()
		return !zero, err
	})
}

// Without CanFUA: nbdkit flushes after the write, if there is a flush.
//
//export nbdkitGoCanFUA
func nbdkitGoCanFUA(h C.uintptr_t) C.int {
	return askNumber("CanFUA", func() (uint32, error) {
		c := connection(h)
		if c, ok := c.(fuaChecker); ok {
			return c.CanFUA()
		}
		if flush, err := c.CanFlush(); !flush || err != nil {
			return FUANone, err
		}
		return FUAEmulate, nil
	})
}

// Without CanExtents: true if there is Extents. Where it is false, nbdkit
// reports the whole export as data.
//
//export nbdkitGoCanExtents
func nbdkitGoCanExtents(h C.uintptr_t) C.int {
	return askBool("CanExtents", func() (bool, error) {
		c := connection(h)
		if c, ok := c.(extentChecker); ok {
			return c.CanExtents()
		}
		_, ok := c.(extentLister)
		return ok, nil
	})
}

// Without CanCache: native if there is Cache.
//
//export nbdkitGoCanCache
func nbdkitGoCanCache(h C.uintptr_t) C.int {
	return askNumber("CanCache", func() (uint32, error) {
		c := connection(h)
		if c, ok := c.(cacheChecker); ok {
			return c.CanCache()
		}
		if _, ok := c.(cacher); ok {
			return CacheNative, nil
		}
		return CacheNone, nil
	})
}

//export nbdkitGoPRead
func nbdkitGoPRead(h C.uintptr_t, buf unsafe.Pointer, count C.uint32_t, offset C.uint64_t, flags C.uint32_t) C.int {
	return status(try("PRead", func() error {
		return connection(h).PRead(unsafe.Slice((*byte)(buf), count), uint64(offset), uint32(flags))
	}))
}

//export nbdkitGoPWrite
func nbdkitGoPWrite(h C.uintptr_t, buf unsafe.Pointer, count C.uint32_t, offset C.uint64_t, flags C.uint32_t) C.int {
	return status(try("PWrite", func() error {
		return connection(h).PWrite(unsafe.Slice((*byte)(buf), count), uint64(offset), uint32(flags))
	}))
}

//export nbdkitGoFlush
func nbdkitGoFlush(h C.uintptr_t, flags C.uint32_t) C.int {
	return status(try("Flush", func() error {
		return connection(h).Flush(uint32(flags))
	}))
}

//export nbdkitGoTrim
func nbdkitGoTrim(h C.uintptr_t, count C.uint32_t, offset C.uint64_t, flags C.uint32_t) C.int {
	return status(try("Trim", func() error {
		return connection(h).Trim(uint32(count), uint64(offset), uint32(flags))
	}))
}

//export nbdkitGoZero
func nbdkitGoZero(h C.uintptr_t, count C.uint32_t, offset C.uint64_t, flags C.uint32_t) C.int {
	return status(try("Zero", func() error {
		return connection(h).Zero(uint32(count), uint64(offset), uint32(flags))
	}))
}

//export nbdkitGoCache
func nbdkitGoCache(h C.uintptr_t, count C.uint32_t, offset C.uint64_t, flags C.uint32_t) C.int {
	return status(try("Cache", func() error {
		c, ok := connection(h).(cacher)
		if !ok {
			return missing("Cache")
		}
		return c.Cache(uint32(count), uint64(offset), uint32(flags))
	}))
}

//export nbdkitGoExtents
func nbdkitGoExtents(h C.uintptr_t, count C.uint32_t, offset C.uint64_t, flags C.uint32_t, extents *C.struct_nbdkit_extents) C.int {
	list := extentList{extents}
	defer list.end()
	return status(try("Extents", func() error {
		c, ok := connection(h).(extentLister)
		if !ok {
			return missing("Extents")
		}
		return c.Extents(uint32(count), uint64(offset), uint32(flags), list.add)
	}))
}

// extentList is nbdkit's list of extents while Extents runs; see exportList.
type extentList struct{ c *C.struct_nbdkit_extents }

func (l *extentList) end() { l.c = nil }

func (l *extentList) add(offset, length uint64, typ uint32) error {
	if l.c == nil {
		return errors.New("extent added after Extents returned")
	}
	if r, err := C.nbdkit_add_extent(l.c, C.uint64_t(offset), C.uint64_t(length), C.uint32_t(typ)); r == -1 {
		return failed(err, "cannot report extent of %d bytes at %d", length, offset)
	}
	return nil
}

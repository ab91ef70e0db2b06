// SPDX-License-Identifier: Apache-2.0

package nbdkit

// The callbacks of nbdkit for the plugin as a whole, called by shim.c. Each
// asks the plugin and turns the answer into C's.

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"
)

// loadFailed says that Load panicked. Load has no result to say so; nbdkit
// calls it before the other callbacks, in the same thread.
var loadFailed bool

// status is C's answer for ok: 0 for success and -1 for failure.
func status(ok bool) C.int {
	if ok {
		return 0
	}
	return -1
}

//export nbdkitGoLoad
func nbdkitGoLoad() {
	loadFailed = !try("Load", func() error { plugin.Load(); return nil })
}

//export nbdkitGoUnload
func nbdkitGoUnload() {
	try("Unload", func() error { plugin.Unload(); return nil })
}

//export nbdkitGoDumpPlugin
func nbdkitGoDumpPlugin() {
	try("DumpPlugin", func() error { plugin.DumpPlugin(); return nil })
}

//export nbdkitGoConfig
func nbdkitGoConfig(key, value *C.char) C.int {
	return status(try("Config", func() error {
		return plugin.Config(C.GoString(key), C.GoString(value))
	}))
}

//export nbdkitGoConfigComplete
func nbdkitGoConfigComplete() C.int {
	return status(try("ConfigComplete", func() error {
		if loadFailed {
			return errors.New("the plugin failed to load")
		}
		return plugin.ConfigComplete()
	}))
}

//export nbdkitGoThreadModel
func nbdkitGoThreadModel() C.int {
	var model uint32
	if !try("ThreadModel", func() error {
		model = plugin.(threadModeler).ThreadModel()
		return nil
	}) {
		return -1
	}
	return C.int(model)
}

//export nbdkitGoGetReady
func nbdkitGoGetReady() C.int {
	return status(try("GetReady", func() error { return plugin.GetReady() }))
}

//export nbdkitGoAfterFork
func nbdkitGoAfterFork() C.int {
	p, ok := plugin.(afterForker)
	if !ok {
		return 0
	}
	return status(try("AfterFork", p.AfterFork))
}

//export nbdkitGoCleanup
func nbdkitGoCleanup() {
	try("Cleanup", func() error { plugin.(cleaner).Cleanup(); return nil })
}

//export nbdkitGoPreConnect
func nbdkitGoPreConnect(readonly C.int) C.int {
	return status(try("PreConnect", func() error { return plugin.PreConnect(readonly != 0) }))
}

//export nbdkitGoListExports
func nbdkitGoListExports(readonly, tls C.int, exports *C.struct_nbdkit_exports) C.int {
	list := exportList{exports}
	defer list.end()
	return status(try("ListExports", func() error {
		return plugin.(exportLister).ListExports(readonly != 0, tls != 0, list.add)
	}))
}

//export nbdkitGoDefaultExport
func nbdkitGoDefaultExport(readonly, tls C.int) *C.char {
	var name string
	if !try("DefaultExport", func() (err error) {
		name, err = plugin.(exportDefaulter).DefaultExport(readonly != 0, tls != 0)
		return err
	}) {
		return nil
	}
	return intern(name)
}

// intern copies s into memory that nbdkit frees after the connection.
func intern(s string) *C.char {
	cs := C.CString(s)
	defer C.free(unsafe.Pointer(cs))
	return C.nbdkit_strdup_intern(cs)
}

// exportList is nbdkit's list of exports while ListExports runs. end cuts it
// off, so that a kept add function fails instead of writing to freed memory.
type exportList struct{ c *C.struct_nbdkit_exports }

func (l *exportList) end() { l.c = nil }

func (l *exportList) add(name, description string) error {
	if l.c == nil {
		return errors.New("export added after ListExports returned")
	}
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var cdescription *C.char
	if description != "" {
		cdescription = C.CString(description)
		defer C.free(unsafe.Pointer(cdescription))
	}
	if r, err := C.nbdkit_add_export(l.c, cname, cdescription); r == -1 {
		return failed(err, "cannot list export %q", name)
	}
	return nil
}

// failed is the error of a call of nbdkit that failed with the errno err,
// which it may have left 0.
func failed(err error, format string, args ...any) error {
	if err == nil {
		err = syscall.EINVAL
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}

// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

import (
	"runtime/cgo"
	"sync/atomic"
)

// handles is how many Go callbacks libvirt knows.
var handles atomic.Int64

// newHandle makes callback a number that libvirt carries around and gives
// back when it calls. It lives until libvirt calls libvirtGoFree, which it
// does once nothing can call back any more, or until deleteHandle where
// libvirt never took it.
func newHandle(callback any) cgo.Handle {
	handles.Add(1)
	return cgo.NewHandle(callback)
}

func deleteHandle(id cgo.Handle) {
	id.Delete()
	handles.Add(-1)
}

//export libvirtGoFree
func libvirtGoFree(id C.uintptr_t) {
	deleteHandle(cgo.Handle(id))
}

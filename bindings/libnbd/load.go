// SPDX-License-Identifier: Apache-2.0

package libnbd

// #cgo CFLAGS: -Wall -Wextra -Wno-unused-parameter
// #cgo LDFLAGS: -ldl
// #include <stdlib.h>
// #include "calls.h"
import "C"

import (
	"sync"
	"syscall"
	"unsafe"
)

// library is the ABI that the calls are of: libnbd has had no other.
const library = "libnbd.so.0"

// load loads the library, the first time.
var load = sync.OnceValue(func() *LibnbdError { return open(library) })

// open loads the library in file. If it fails, what was loaded before stays.
func open(file string) *LibnbdError {
	name := C.CString(file)
	defer C.free(unsafe.Pointer(name))
	why := C.nbdGoLoad(name)
	if why == nil {
		return nil
	}
	defer C.free(unsafe.Pointer(why))
	return &LibnbdError{
		Op: "create",
		Errmsg: "the library libnbd does not load: " + C.GoString(why) +
			" (install it: the package is libnbd0 on Debian and Ubuntu, libnbd elsewhere)",
		Errno: syscall.ENOENT,
	}
}

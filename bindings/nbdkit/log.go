// SPDX-License-Identifier: Apache-2.0

package nbdkit

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"syscall"
	"unsafe"
)

// Debug logs s where nbdkit runs with -v. It may be called from any
// goroutine.
func Debug(s string) {
	cs := C.CString(s)
	defer C.free(unsafe.Pointer(cs))
	C.nbdkitGoDebug(cs)
}

// Error logs s as an error. A method that returns an error need not call it.
// It may be called from any goroutine.
func Error(s string) {
	cs := C.CString(s)
	defer C.free(unsafe.Pointer(cs))
	C.nbdkitGoError(cs)
}

// SetError sets the errno that the client gets if the method that is running
// fails without one of its own. It acts on the calling thread: call it from
// the goroutine that nbdkit called.
func SetError(err syscall.Errno) {
	C.nbdkit_set_error(C.int(err))
}

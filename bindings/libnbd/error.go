// SPDX-License-Identifier: Apache-2.0

package libnbd

// #include <stdlib.h>
// #include "calls.h"
import "C"

import (
	"syscall"
	"unsafe"
)

// LibnbdError is the error of all functions of this package.
type LibnbdError struct {
	Op     string        // function that failed, without "nbd_"
	Errmsg string        // libnbd's message, which most often begins with the function
	Errno  syscall.Errno // 0 if there is none
}

// Error is the message, or what is known where there is no message.
func (e *LibnbdError) Error() string {
	switch {
	case e.Errmsg != "":
		return e.Errmsg
	case e.Errno != 0:
		return "nbd_" + e.Op + ": " + e.Errno.Error()
	}
	return "nbd_" + e.Op + " failed"
}

// String is the same.
func (e *LibnbdError) String() string { return e.Error() }

// take makes an error of what a call of fn left in e, nil if it succeeded.
func take(fn call, e *C.struct_nbd_go_error) error {
	if e.failed == 0 {
		return nil
	}
	err := &LibnbdError{Op: fn.name(), Errno: syscall.Errno(e.code)}
	if e.message != nil {
		err.Errmsg = C.GoString(e.message)
		C.free(unsafe.Pointer(e.message))
	}
	return err
}

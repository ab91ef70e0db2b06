// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// Error is why a call failed, as libvirt tells it. Calls return it by value:
//
//	var e libvirt.Error
//	if errors.As(err, &e) && e.Code == libvirt.ERR_NO_DOMAIN { ... }
//
// errors.Is(err, libvirt.ERR_NO_DOMAIN) asks for the code alone.
//
// A function that the installed libvirt does not have is [ERR_NO_SUPPORT], as
// one that the driver of the connection does not have; a libvirt that is not
// installed is [ERR_SYSTEM_ERROR]. The message names which it is.
type Error struct {
	Code    ErrorNumber
	Domain  ErrorDomain
	Message string
	Level   ErrorLevel
}

// Error is libvirt's message and the code.
func (e Error) Error() string {
	return fmt.Sprintf("%s (libvirt error %d)", e.Message, int(e.Code))
}

// Is says whether target is the error's code.
func (e Error) Is(target error) bool {
	code, ok := target.(ErrorNumber)
	return ok && e.Code == code
}

// Error makes a code an error, for errors.Is.
func (n ErrorNumber) Error() string {
	return fmt.Sprintf("libvirt error %d", int(n))
}

// newError takes over what a call said about its failure.
func newError(e *C.callError) error {
	defer C.free(unsafe.Pointer(e.message))
	return Error{
		Code:    ErrorNumber(e.code),
		Domain:  ErrorDomain(e.domain),
		Message: C.GoString(e.message),
		Level:   ErrorLevel(e.level),
	}
}

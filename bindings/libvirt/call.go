// SPDX-License-Identifier: Apache-2.0

package libvirt

// #cgo CFLAGS: -Wall -Wno-unused-parameter
// #cgo LDFLAGS: -ldl -lpthread
// #include "shim.h"
import "C"

import "unsafe"

// arena holds the C strings of one call.
type arena []unsafe.Pointer

// str is s for C, until free.
func (a *arena) str(s string) *C.char {
	c := C.CString(s)
	*a = append(*a, unsafe.Pointer(c))
	return c
}

// optional is nil for the empty string, else str.
func (a *arena) optional(s string) *C.char {
	if s == "" {
		return nil
	}
	return a.str(s)
}

// list is the strings as an array of n; nil and 0 for none.
func (a *arena) list(strings []string) (array **C.char, n C.uint) {
	if len(strings) == 0 {
		return nil, 0
	}
	p := C.calloc(C.size_t(len(strings)), C.size_t(unsafe.Sizeof(array)))
	*a = append(*a, p)
	for i, s := range strings {
		unsafe.Slice((**C.char)(p), len(strings))[i] = a.str(s)
	}
	return (**C.char)(p), C.uint(len(strings))
}

func (a *arena) free() {
	for _, p := range *a {
		C.free(p)
	}
}

// check is the error of a call that answers with a negative number if it
// fails.
func check(result C.int, e *C.callError) error {
	if result < 0 {
		return newError(e)
	}
	return nil
}

// truth is the answer of a call that says 1, 0 or, if it fails, -1.
func truth(result C.int, e *C.callError) (bool, error) {
	return result > 0, check(result, e)
}

// takeString is the answer of a call that gives away a string, nil if it
// fails.
func takeString(s *C.char, e *C.callError) (string, error) {
	defer C.free(unsafe.Pointer(s))
	return borrowString(s, e)
}

// borrowString is the same for a string that libvirt keeps.
func borrowString(s *C.char, e *C.callError) (string, error) {
	if s == nil {
		return "", newError(e)
	}
	return C.GoString(s), nil
}

// takeList is the answer of a call that gives away an array of n objects.
func takeList[P, T any](n C.int, array *P, e *C.callError, wrap func(P) T) ([]T, error) {
	defer C.free(unsafe.Pointer(array))
	if n < 0 {
		return nil, newError(e)
	}
	out := make([]T, 0, n)
	for _, p := range unsafe.Slice(array, n) {
		out = append(out, wrap(p))
	}
	return out, nil
}

// SPDX-License-Identifier: Apache-2.0

package libnbd

// #include <stdlib.h>
// #include "calls.h"
import "C"

import (
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

// Libnbd is a connection to a server, or will become one.
type Libnbd struct {
	mu     sync.RWMutex // held by every call, for writing by Close
	h      *C.struct_nbd_handle
	panics *panicked
}

// Create makes a new handle. [Libnbd.Close] is to be called in the end; one
// that was forgotten is closed when the garbage collector finds it.
func Create() (*Libnbd, error) {
	if err := load(); err != nil {
		return nil, err
	}
	var e C.struct_nbd_go_error
	c := C.nbdGoCreate(&e)
	if err := take(C.nbd_go_create, &e); err != nil {
		return nil, err
	}
	h := &Libnbd{h: c, panics: new(panicked)}
	runtime.SetFinalizer(h, func(h *Libnbd) { h.Close() })
	return h, nil
}

// Close frees the handle and ends its connection without a word to the server
// ([Libnbd.Shutdown] says goodbye). Commands in flight fail. It waits for calls
// that are running.
func (h *Libnbd) Close() *LibnbdError {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.h == nil {
		return closed(C.nbd_go_close)
	}
	C.nbdGoClose(h.h)
	h.h = nil
	runtime.SetFinalizer(h, nil)
	return nil
}

// String is for messages.
func (h *Libnbd) String() string { return fmt.Sprintf("&Libnbd{%p}", h) }

// call is a function of libnbd.
type call C.enum_nbd_go_call

func (fn call) name() string { return C.GoString(C.nbdGoName(C.enum_nbd_go_call(fn))) }
func (fn call) has() bool    { return bool(C.nbdGoHas(C.enum_nbd_go_call(fn))) }

func closed(fn call) *LibnbdError {
	return &LibnbdError{Op: fn.name(), Errmsg: "nbd_" + fn.name() + ": the handle is closed", Errno: syscall.EBADF}
}

// args are the arguments of a call, of all shapes; see nbdGoCall.
type args struct {
	p        *C.char
	n        int
	q        *C.char
	a, b     uint64
	flags    uint32
	callback any                // a function
	done     CompletionCallback // or nil
}

// issue calls fn. It is for commands, where an error must mean that there is
// no such command.
func (h *Libnbd) issue(fn call, a args) (int64, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if err := h.usable(fn); err != nil {
		return -1, err
	}
	var done any
	if a.done != nil {
		done = a.done
	}
	// libnbd frees both, even if it fails.
	cb, completion := register(a.callback, h.panics), register(done, h.panics)
	var e C.struct_nbd_go_error
	r := C.nbdGoCall(C.enum_nbd_go_call(fn), h.h, a.p, C.size_t(a.n), a.q, C.uint64_t(a.a), C.uint64_t(a.b),
		C.uint32_t(a.flags), C.uintptr_t(cb), C.uintptr_t(completion), &e)
	return int64(r), take(fn, &e)
}

// usable says whether fn can be called at all. h.mu is held.
func (h *Libnbd) usable(fn call) error {
	if h.h == nil {
		return closed(fn)
	}
	if fn.has() {
		return nil
	}
	var e C.struct_nbd_go_error
	version := C.nbdGoText(C.nbd_go_get_version, h.h, 0, &e)
	take(C.nbd_go_get_version, &e)
	defer C.free(unsafe.Pointer(version))
	return &LibnbdError{
		Op:     fn.name(),
		Errmsg: fmt.Sprintf("nbd_%s: the installed libnbd %s does not have this function", fn.name(), C.GoString(version)),
		Errno:  syscall.ENOTSUP,
	}
}

// call calls fn, and reports a callback that panicked meanwhile.
func (h *Libnbd) call(fn call, a args) (int64, error) {
	r, err := h.issue(fn, a)
	if p := h.panics.take(fn); p != nil {
		return -1, p
	}
	return r, err
}

// do is call without a result.
func (h *Libnbd) do(fn call, a args) error {
	_, err := h.call(fn, a)
	return err
}

// set calls fn with a bool.
func (h *Libnbd) set(fn call, on bool) error {
	if on {
		return h.do(fn, args{a: 1})
	}
	return h.do(fn, args{})
}

// with calls fn with a string.
func (h *Libnbd) with(fn call, s string) error {
	c := C.CString(s)
	defer C.free(unsafe.Pointer(c))
	return h.do(fn, args{p: c})
}

// is calls fn for a bool.
func (h *Libnbd) is(fn call) (bool, error) {
	r, err := h.call(fn, args{})
	return r > 0, err
}

// count calls fn for a number that is not negative.
func (h *Libnbd) count(fn call, a args) (uint, error) {
	r, err := h.call(fn, a)
	return uint(max(r, 0)), err
}

// command issues an asynchronous command and returns its cookie.
func (h *Libnbd) command(fn call, a args) (uint64, error) {
	r, err := h.issue(fn, a)
	return uint64(max(r, 0)), err
}

// text calls fn for a string.
func (h *Libnbd) text(fn call, i int) (*string, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if err := h.usable(fn); err != nil {
		return nil, err
	}
	var e C.struct_nbd_go_error
	c := C.nbdGoText(C.enum_nbd_go_call(fn), h.h, C.size_t(i), &e)
	if err := take(fn, &e); err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(c))
	s := C.GoString(c)
	return &s, nil
}

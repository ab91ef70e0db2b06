// SPDX-License-Identifier: Apache-2.0

// Package libnbd is a client of Network Block Device servers: the C library
// libnbd from Go.
//
// It has the exported names and signatures of the Go package that comes with
// libnbd (see libnbd-golang(3)), so that a program written for one builds with
// the other. What a method does is in the man page of the C function:
// SetExportName is nbd_set_export_name(3). It is a new implementation on top
// of the C API.
//
//	h, err := libnbd.Create()
//	...
//	defer h.Close()
//	if err := h.ConnectUri("nbd+unix:///?socket=/run/nbd.sock"); err != nil {
//	...
//	err = h.Pread(buf, 0, nil)
//
// # The library is loaded when it is needed
//
// The first [Create] loads libnbd.so.0, so a program starts, and does what it
// can without NBD, on a machine that does not have it. A function that the
// installed version lacks is an error with ENOTSUP when it is called;
// [Libnbd.BlockStatus64] then uses the older call.
//
// # Errors
//
// Every error is a [*LibnbdError]. It is taken from libnbd in the thread of the
// call. Beware that [Libnbd.Close] returns that type itself: assigned to an
// error, its nil is not nil.
//
// # Concurrency
//
// Methods may be called from any goroutine. libnbd serves one call of a handle
// at a time: another waits, as long as a read from a silent server takes. Close
// waits for the calls that are running.
//
// # Callbacks
//
// A callback runs in the goroutine of a call of the handle, and must not call
// the handle itself. A callback for one command of the Aio kind is kept until
// libnbd has finished with it, at the latest until Close. A callback that
// panics fails its command, and the panic is the error of the call in which it
// ran, or of the next one that may fail without harm.
package libnbd

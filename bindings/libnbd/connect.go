// SPDX-License-Identifier: Apache-2.0

package libnbd

// #include <stdlib.h>
// #include "calls.h"
import "C"

import "unsafe"

// A Connect method returns when the server is ready for commands, or for
// options where SetOptMode asked for that. The Aio one of the same name starts
// this, and Poll carries it on.

func (h *Libnbd) ConnectUri(uri string) error    { return h.with(C.nbd_go_connect_uri, uri) }
func (h *Libnbd) AioConnectUri(uri string) error { return h.with(C.nbd_go_aio_connect_uri, uri) }

func (h *Libnbd) ConnectUnix(unixsocket string) error {
	return h.with(C.nbd_go_connect_unix, unixsocket)
}
func (h *Libnbd) AioConnectUnix(unixsocket string) error {
	return h.with(C.nbd_go_aio_connect_unix, unixsocket)
}

func (h *Libnbd) ConnectTcp(hostname string, port string) error {
	return h.tcp(C.nbd_go_connect_tcp, hostname, port)
}
func (h *Libnbd) AioConnectTcp(hostname string, port string) error {
	return h.tcp(C.nbd_go_aio_connect_tcp, hostname, port)
}

func (h *Libnbd) tcp(fn call, hostname, port string) error {
	p, q := C.CString(hostname), C.CString(port)
	defer C.free(unsafe.Pointer(p))
	defer C.free(unsafe.Pointer(q))
	return h.do(fn, args{p: p, q: q})
}

func (h *Libnbd) ConnectVsock(cid uint32, port uint32) error {
	return h.do(C.nbd_go_connect_vsock, args{a: uint64(cid), b: uint64(port)})
}
func (h *Libnbd) AioConnectVsock(cid uint32, port uint32) error {
	return h.do(C.nbd_go_aio_connect_vsock, args{a: uint64(cid), b: uint64(port)})
}

// ConnectSocket takes a connected socket over: libnbd closes it.
func (h *Libnbd) ConnectSocket(sock int) error {
	return h.do(C.nbd_go_connect_socket, args{a: uint64(sock)})
}
func (h *Libnbd) AioConnectSocket(sock int) error {
	return h.do(C.nbd_go_aio_connect_socket, args{a: uint64(sock)})
}

// ConnectCommand runs a server that talks on its standard input and output.
func (h *Libnbd) ConnectCommand(argv []string) error { return h.argv(C.nbd_go_connect_command, argv) }
func (h *Libnbd) AioConnectCommand(argv []string) error {
	return h.argv(C.nbd_go_aio_connect_command, argv)
}

// ConnectSystemdSocketActivation runs a server that expects a listening socket.
func (h *Libnbd) ConnectSystemdSocketActivation(argv []string) error {
	return h.argv(C.nbd_go_connect_systemd_socket_activation, argv)
}
func (h *Libnbd) AioConnectSystemdSocketActivation(argv []string) error {
	return h.argv(C.nbd_go_aio_connect_systemd_socket_activation, argv)
}

// argv calls fn with an array of strings that ends with a null pointer.
func (h *Libnbd) argv(fn call, argv []string) error {
	array := C.calloc(C.size_t(len(argv)+1), C.size_t(unsafe.Sizeof(uintptr(0))))
	defer C.free(array)
	strings := unsafe.Slice((**C.char)(array), len(argv)+1)
	for i, s := range argv {
		strings[i] = C.CString(s)
		defer C.free(unsafe.Pointer(strings[i]))
	}
	return h.do(fn, args{p: (*C.char)(array)})
}

// AioConnect connects to an address, which is the bytes of a struct sockaddr.
func (h *Libnbd) AioConnect(addr string) error {
	p := C.CString(addr)
	defer C.free(unsafe.Pointer(p))
	return h.do(C.nbd_go_aio_connect, args{p: p, n: len(addr)})
}

// KillSubprocess sends a signal to the server of ConnectCommand, SIGTERM if
// signum is 0.
func (h *Libnbd) KillSubprocess(signum int) error {
	return h.do(C.nbd_go_kill_subprocess, args{a: uint64(signum)})
}

// Options: between the connection and the use of an export.

func (h *Libnbd) SetOptMode(enable bool) error { return h.set(C.nbd_go_set_opt_mode, enable) }
func (h *Libnbd) GetOptMode() (bool, error)    { return h.is(C.nbd_go_get_opt_mode) }
func (h *Libnbd) OptGo() error                 { return h.do(C.nbd_go_opt_go, args{}) }
func (h *Libnbd) OptAbort() error              { return h.do(C.nbd_go_opt_abort, args{}) }
func (h *Libnbd) OptInfo() error               { return h.do(C.nbd_go_opt_info, args{}) }
func (h *Libnbd) AioOptAbort() error           { return h.do(C.nbd_go_aio_opt_abort, args{}) }

// OptStarttls asks for TLS and says whether the server agreed. libnbd 1.14 does
// not have it.
func (h *Libnbd) OptStarttls() (bool, error) { return h.is(C.nbd_go_opt_starttls) }

// OptList calls list for each export, and returns how many there are.
func (h *Libnbd) OptList(list ListCallback) (uint, error) {
	return h.count(C.nbd_go_opt_list, args{callback: function(list == nil, list)})
}

// OptListMetaContext calls context for each meta context of the export, and
// returns how many there are.
func (h *Libnbd) OptListMetaContext(context ContextCallback) (uint, error) {
	return h.count(C.nbd_go_opt_list_meta_context, args{callback: function(context == nil, context)})
}

// AioOptGoOptargs are optional arguments.
type AioOptGoOptargs struct {
	CompletionCallbackSet bool
	CompletionCallback    CompletionCallback
}

// AioOptInfoOptargs are optional arguments.
type AioOptInfoOptargs AioOptGoOptargs

// AioOptListOptargs are optional arguments.
type AioOptListOptargs AioOptGoOptargs

// AioOptListMetaContextOptargs are optional arguments.
type AioOptListMetaContextOptargs AioOptGoOptargs

func (o *AioOptGoOptargs) done() CompletionCallback {
	if o == nil || !o.CompletionCallbackSet {
		return nil
	}
	return o.CompletionCallback
}

func (h *Libnbd) AioOptGo(optargs *AioOptGoOptargs) error {
	return h.do(C.nbd_go_aio_opt_go, args{done: optargs.done()})
}
func (h *Libnbd) AioOptInfo(optargs *AioOptInfoOptargs) error {
	return h.do(C.nbd_go_aio_opt_info, args{done: (*AioOptGoOptargs)(optargs).done()})
}
func (h *Libnbd) AioOptList(list ListCallback, optargs *AioOptListOptargs) error {
	return h.do(C.nbd_go_aio_opt_list,
		args{callback: function(list == nil, list), done: (*AioOptGoOptargs)(optargs).done()})
}
func (h *Libnbd) AioOptListMetaContext(context ContextCallback, optargs *AioOptListMetaContextOptargs) (uint, error) {
	return h.count(C.nbd_go_aio_opt_list_meta_context,
		args{callback: function(context == nil, context), done: (*AioOptGoOptargs)(optargs).done()})
}

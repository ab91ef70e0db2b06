// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

import (
	"runtime/cgo"
	"unsafe"
)

// ConnectCredential is something that libvirt asks for while connecting, and
// the answer to it.
type ConnectCredential struct {
	Type      ConnectCredentialType
	Prompt    string // for a person
	Challenge string // what Prompt is about, such as the host
	DefResult string // the answer that is offered
	Result    string // the answer
	ResultLen int    // its length in bytes; 0 stands for all of it
}

// ConnectAuthCallback fills in the results of creds. It is called in the
// goroutine that connects, before that returns, possibly more than once.
type ConnectAuthCallback func(creds []*ConnectCredential)

// ConnectAuth is how a connection gets its credentials: CredType lists those
// that Callback can give.
type ConnectAuth struct {
	CredType []ConnectCredentialType
	Callback ConnectAuthCallback
}

// NewConnectWithAuth connects with the credentials that auth gives, or those
// in the authentication file that the URI or libvirt's configuration names.
// auth must not be nil.
func NewConnectWithAuth(uri string, auth *ConnectAuth, flags ConnectFlags) (*Connect, error) {
	var a arena
	defer a.free()
	types := make([]C.int, len(auth.CredType), len(auth.CredType)+1)
	for i, t := range auth.CredType {
		types[i] = C.int(t)
	}
	id := newHandle(auth.Callback)
	defer deleteHandle(id)
	var e C.callError
	return newConnect(C.libvirtGoOpenAuth(&e, a.optional(uri), unsafe.SliceData(types),
		C.uint(len(types)), C.uintptr_t(id), C.uint(flags)), &e)
}

// NewConnectWithAuthDefault connects with the credentials of an authentication
// file, or asks for them on the terminal.
func NewConnectWithAuthDefault(uri string, flags ConnectFlags) (*Connect, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newConnect(C.libvirtGoOpenAuthDefault(&e, a.optional(uri), C.uint(flags)), &e)
}

//export libvirtGoCredentials
func libvirtGoCredentials(array C.virConnectCredentialPtr, n C.uint, id C.uintptr_t) C.int {
	callback := cgo.Handle(id).Value().(ConnectAuthCallback)
	if callback == nil {
		return -1
	}
	asked := unsafe.Slice((*C.virConnectCredential)(array), n)
	creds := make([]*ConnectCredential, n)
	for i, c := range asked {
		creds[i] = &ConnectCredential{
			Type:      ConnectCredentialType(c._type),
			Prompt:    C.GoString(c.prompt),
			Challenge: C.GoString(c.challenge),
			DefResult: C.GoString(c.defresult),
		}
	}
	callback(creds)
	for i, c := range creds {
		n := len(c.Result)
		if c.ResultLen > 0 {
			n = min(n, c.ResultLen)
		}
		asked[i].result = C.CString(c.Result[:n]) // libvirt frees it
		asked[i].resultlen = C.uint(n)
	}
	return 0
}

// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

import "runtime/cgo"

// Connect is a connection to a hypervisor. It may be used from many
// goroutines. Close it; domains, pools and the like hold it open until they
// are freed.
type Connect struct {
	ptr C.virConnectPtr
}

func newConnect(p C.virConnectPtr, e *C.callError) (*Connect, error) {
	if p == nil {
		return nil, newError(e)
	}
	return &Connect{p}, nil
}

// NewConnect connects to the hypervisor at uri, without authentication: even
// one that the URI's authfile would give needs [NewConnectWithAuth]. The empty
// URI lets libvirt choose.
func NewConnect(uri string) (*Connect, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newConnect(C.go_virConnectOpen(&e, a.optional(uri)), &e)
}

// NewConnectReadOnly is [NewConnect] for a connection that can look only.
func NewConnectReadOnly(uri string) (*Connect, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newConnect(C.go_virConnectOpenReadOnly(&e, a.optional(uri)), &e)
}

// Close gives back one reference. It returns 0 when the connection is gone,
// and 1 while others hold it.
func (c *Connect) Close() (int, error) {
	var e C.callError
	n := C.go_virConnectClose(&e, c.ptr)
	return int(n), check(n, &e)
}

// Ref takes a reference, which another Close gives back.
func (c *Connect) Ref() error {
	var e C.callError
	return check(C.go_virConnectRef(&e, c.ptr), &e)
}

// SetKeepAlive lets libvirt ask the other end every interval seconds whether
// it is there, and close the connection after count questions without an
// answer. interval 0 ends that. It needs a running event loop. A driver in
// this process has no other end, which is [ERR_NO_SUPPORT].
func (c *Connect) SetKeepAlive(interval int, count uint) error {
	var e C.callError
	return check(C.go_virConnectSetKeepAlive(&e, c.ptr, C.int(interval), C.uint(count)), &e)
}

// IsAlive says whether the connection is open as far as this end knows.
func (c *Connect) IsAlive() (bool, error) {
	var e C.callError
	return truth(C.go_virConnectIsAlive(&e, c.ptr), &e)
}

// IsSecure says whether the connection is encrypted or does not leave the
// machine.
func (c *Connect) IsSecure() (bool, error) {
	var e C.callError
	return truth(C.go_virConnectIsSecure(&e, c.ptr), &e)
}

// IsEncrypted says whether the connection is encrypted.
func (c *Connect) IsEncrypted() (bool, error) {
	var e C.callError
	return truth(C.go_virConnectIsEncrypted(&e, c.ptr), &e)
}

// GetURI is the URI of the connection, which the empty URI made libvirt choose.
func (c *Connect) GetURI() (string, error) {
	var e C.callError
	return takeString(C.go_virConnectGetURI(&e, c.ptr), &e)
}

// GetHostname is the name of the hypervisor's host.
func (c *Connect) GetHostname() (string, error) {
	var e C.callError
	return takeString(C.go_virConnectGetHostname(&e, c.ptr), &e)
}

// GetType is the name of the driver, such as QEMU.
func (c *Connect) GetType() (string, error) {
	var e C.callError
	return borrowString(C.go_virConnectGetType(&e, c.ptr), &e)
}

// GetCapabilities is an XML document about the host and its guests.
func (c *Connect) GetCapabilities() (string, error) {
	var e C.callError
	return takeString(C.go_virConnectGetCapabilities(&e, c.ptr), &e)
}

// GetDomainCapabilities is an XML document about what domains may have:
// firmware, machine types, devices. Empty strings stand for the default.
func (c *Connect) GetDomainCapabilities(emulatorbin, arch, machine, virttype string, flags ConnectGetDomainCapabilitiesFlags) (string, error) {
	var a arena
	defer a.free()
	var e C.callError
	return takeString(C.go_virConnectGetDomainCapabilities(&e, c.ptr, a.optional(emulatorbin),
		a.optional(arch), a.optional(machine), a.optional(virttype), C.uint(flags)), &e)
}

// GetSysinfo is an XML document with the host's SMBIOS data.
func (c *Connect) GetSysinfo(flags uint32) (string, error) {
	var e C.callError
	return takeString(C.go_virConnectGetSysinfo(&e, c.ptr, C.uint(flags)), &e)
}

// GetLibVersion is the version of libvirt at the other end:
// major*1000000 + minor*1000 + release.
func (c *Connect) GetLibVersion() (uint32, error) {
	var e C.callError
	var version C.ulong
	err := check(C.go_virConnectGetLibVersion(&e, c.ptr, &version), &e)
	return uint32(version), err
}

// GetVersion is the version of the hypervisor, in the same form.
func (c *Connect) GetVersion() (uint32, error) {
	var e C.callError
	var version C.ulong
	err := check(C.go_virConnectGetVersion(&e, c.ptr, &version), &e)
	return uint32(version), err
}

// GetVersion is the version of the libvirt library in this process, in the
// form of [Connect.GetLibVersion].
func GetVersion() (uint32, error) {
	var e C.callError
	var version C.ulong
	err := check(C.go_virGetVersion(&e, &version, nil, nil), &e)
	return uint32(version), err
}

// GetFreeMemory is the free memory of the host in bytes.
func (c *Connect) GetFreeMemory() (uint64, error) {
	var e C.callError
	n := C.go_virNodeGetFreeMemory(&e, c.ptr)
	if n == 0 {
		return 0, newError(&e)
	}
	return uint64(n), nil
}

// CloseCallback learns that a connection ended, and why. It runs in the event
// loop. conn is valid until it returns, unless it takes a reference.
type CloseCallback func(conn *Connect, reason ConnectCloseReason)

// RegisterCloseCallback lets callback be called when the connection ends
// without having been closed. A connection has at most one. While it is
// registered it may hold the connection open: unregister it before Close.
func (c *Connect) RegisterCloseCallback(callback CloseCallback) error {
	id := newHandle(callback)
	var e C.callError
	if err := check(C.libvirtGoRegisterClose(&e, c.ptr, C.uintptr_t(id)), &e); err != nil {
		deleteHandle(id)
		return err
	}
	return nil
}

// UnregisterCloseCallback takes the callback away.
func (c *Connect) UnregisterCloseCallback() error {
	var e C.callError
	return check(C.libvirtGoUnregisterClose(&e, c.ptr), &e)
}

//export libvirtGoClosed
func libvirtGoClosed(conn C.virConnectPtr, reason C.int, id C.uintptr_t) {
	cgo.Handle(id).Value().(CloseCallback)(&Connect{conn}, ConnectCloseReason(reason))
}

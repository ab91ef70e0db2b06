// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

import "unsafe"

func newDomain(p C.virDomainPtr, e *C.callError) (*Domain, error) {
	if p == nil {
		return nil, newError(e)
	}
	return &Domain{p}, nil
}

// LookupDomainByName finds a domain, or fails with [ERR_NO_DOMAIN].
func (c *Connect) LookupDomainByName(id string) (*Domain, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newDomain(C.go_virDomainLookupByName(&e, c.ptr, a.str(id)), &e)
}

// LookupDomainByUUIDString finds a domain by a UUID such as
// 6695eb01-f6a4-8304-79aa-97f2502e193f.
func (c *Connect) LookupDomainByUUIDString(uuid string) (*Domain, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newDomain(C.go_virDomainLookupByUUIDString(&e, c.ptr, a.str(uuid)), &e)
}

// LookupDomainByUUID finds a domain by the 16 bytes of its UUID.
func (c *Connect) LookupDomainByUUID(uuid []byte) (*Domain, error) {
	if len(uuid) != C.VIR_UUID_BUFLEN {
		return nil, Error{Code: ERR_INVALID_ARG, Message: "a UUID has 16 bytes", Level: ERR_ERROR}
	}
	var e C.callError
	return newDomain(C.go_virDomainLookupByUUID(&e, c.ptr, (*C.uchar)(unsafe.SliceData(uuid))), &e)
}

// LookupDomainById finds a running domain by its number.
func (c *Connect) LookupDomainById(id uint32) (*Domain, error) {
	var e C.callError
	return newDomain(C.go_virDomainLookupByID(&e, c.ptr, C.int(id)), &e)
}

// ListAllDomains lists the domains that flags choose, 0 for all. Free each.
func (c *Connect) ListAllDomains(flags ConnectListAllDomainsFlags) ([]Domain, error) {
	var e C.callError
	var array *C.virDomainPtr
	n := C.go_virConnectListAllDomains(&e, c.ptr, &array, C.uint(flags))
	return takeList(n, array, &e, func(p C.virDomainPtr) Domain { return Domain{p} })
}

// DomainDefineXML makes a persistent domain, or changes the definition of the
// one that has its name and UUID.
func (c *Connect) DomainDefineXML(xmlConfig string) (*Domain, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newDomain(C.go_virDomainDefineXML(&e, c.ptr, a.str(xmlConfig)), &e)
}

// DomainDefineXMLFlags is [Connect.DomainDefineXML] with flags.
func (c *Connect) DomainDefineXMLFlags(xmlConfig string, flags DomainDefineFlags) (*Domain, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newDomain(C.go_virDomainDefineXMLFlags(&e, c.ptr, a.str(xmlConfig), C.uint(flags)), &e)
}

// DomainCreateXML starts a transient domain.
func (c *Connect) DomainCreateXML(xmlConfig string, flags DomainCreateFlags) (*Domain, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newDomain(C.go_virDomainCreateXML(&e, c.ptr, a.str(xmlConfig), C.uint(flags)), &e)
}

// DomainXMLToNative is the command line, or other configuration, that the
// hypervisor would get for a domain. nativeFormat is qemu-argv for QEMU.
func (c *Connect) DomainXMLToNative(nativeFormat string, domainXml string, flags uint32) (string, error) {
	var a arena
	defer a.free()
	var e C.callError
	return takeString(C.go_virConnectDomainXMLToNative(&e, c.ptr, a.str(nativeFormat), a.str(domainXml), C.uint(flags)), &e)
}

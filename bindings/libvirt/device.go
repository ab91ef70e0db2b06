// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

// AttachDevice adds the device of an XML element to the running domain.
func (d *Domain) AttachDevice(xml string) error {
	var a arena
	defer a.free()
	var e C.callError
	return check(C.go_virDomainAttachDevice(&e, d.ptr, a.str(xml)), &e)
}

// AttachDeviceFlags is [Domain.AttachDevice] for what flags choose.
func (d *Domain) AttachDeviceFlags(xml string, flags DomainDeviceModifyFlags) error {
	var a arena
	defer a.free()
	var e C.callError
	return check(C.go_virDomainAttachDeviceFlags(&e, d.ptr, a.str(xml), C.uint(flags)), &e)
}

// DetachDevice asks the guest to let go of a device.
func (d *Domain) DetachDevice(xml string) error {
	var a arena
	defer a.free()
	var e C.callError
	return check(C.go_virDomainDetachDevice(&e, d.ptr, a.str(xml)), &e)
}

// DetachDeviceFlags is [Domain.DetachDevice] for what flags choose.
func (d *Domain) DetachDeviceFlags(xml string, flags DomainDeviceModifyFlags) error {
	var a arena
	defer a.free()
	var e C.callError
	return check(C.go_virDomainDetachDeviceFlags(&e, d.ptr, a.str(xml), C.uint(flags)), &e)
}

// DetachDeviceAlias is the same for a device named by its alias; the device is
// gone when its [DomainEventDeviceRemoved] comes.
func (d *Domain) DetachDeviceAlias(alias string, flags DomainDeviceModifyFlags) error {
	var a arena
	defer a.free()
	var e C.callError
	return check(C.go_virDomainDetachDeviceAlias(&e, d.ptr, a.str(alias), C.uint(flags)), &e)
}

// UpdateDeviceFlags changes the device that the XML element names, for example
// the medium of a cdrom.
func (d *Domain) UpdateDeviceFlags(xml string, flags DomainDeviceModifyFlags) error {
	var a arena
	defer a.free()
	var e C.callError
	return check(C.go_virDomainUpdateDeviceFlags(&e, d.ptr, a.str(xml), C.uint(flags)), &e)
}

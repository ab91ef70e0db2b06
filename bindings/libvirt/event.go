// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

import "runtime/cgo"

// EventRegisterDefaultImpl gives libvirt an event loop. Call it once, before
// the first connection, and then run the loop:
//
//	go func() {
//		for libvirt.EventRunDefaultImpl() == nil {
//		}
//	}()
func EventRegisterDefaultImpl() error {
	var e C.callError
	return check(C.go_virEventRegisterDefaultImpl(&e), &e)
}

// EventRunDefaultImpl waits for something to happen and does what is to do
// about it: it calls the callbacks and keeps connections alive.
func EventRunDefaultImpl() error {
	var e C.callError
	return check(C.go_virEventRunDefaultImpl(&e), &e)
}

// The callbacks of domain events run in the event loop, one at a time: a
// callback that waits for another event waits for ever, and so may a call to
// the hypervisor. The connection and the domain that they get are valid until
// they return, unless they take a reference.
//
// libvirt takes an event once for each domain of a connection and once for all
// of them; a second time is [ERR_INVALID_ARG].

// DomainEventLifecycle says that a domain was defined, started, and so on.
// Detail is one of the types DomainEvent...DetailType, as Event says.
type DomainEventLifecycle struct {
	Event  DomainEventType
	Detail int
}

// DomainEventBlockJob is news of a block job. Disk is the target, or with
// [Connect.DomainEventBlockJobRegister] the path of the image.
type DomainEventBlockJob struct {
	Disk   string
	Type   DomainBlockJobType
	Status ConnectDomainEventBlockJobStatus
}

// DomainEventJobCompleted says that a job of the domain ended, and how.
type DomainEventJobCompleted struct {
	Info DomainJobInfo
}

// DomainEventAgentLifecycle says that the guest agent came or went.
type DomainEventAgentLifecycle struct {
	State  ConnectDomainEventAgentLifecycleState
	Reason ConnectDomainEventAgentLifecycleReason
}

// DomainEventIOErrorReason says that the guest met an I/O error on a disk.
// Reason is enospc, or whatever the hypervisor calls it, or empty.
type DomainEventIOErrorReason struct {
	SrcPath  string
	DevAlias string
	Action   DomainEventIOErrorAction
	Reason   string
}

// DomainEventDeviceRemoved says that the guest let go of a device.
type DomainEventDeviceRemoved struct {
	DevAlias string
}

type DomainEventLifecycleCallback func(c *Connect, d *Domain, event *DomainEventLifecycle)
type DomainEventBlockJobCallback func(c *Connect, d *Domain, event *DomainEventBlockJob)
type DomainEventJobCompletedCallback func(c *Connect, d *Domain, event *DomainEventJobCompleted)
type DomainEventAgentLifecycleCallback func(c *Connect, d *Domain, event *DomainEventAgentLifecycle)
type DomainEventIOErrorReasonCallback func(c *Connect, d *Domain, event *DomainEventIOErrorReason)
type DomainEventDeviceRemovedCallback func(c *Connect, d *Domain, event *DomainEventDeviceRemoved)

// register lets callback, which is of the type for event, be called for the
// events of dom, or of all domains if that is nil. It answers with the number
// for [Connect.DomainEventDeregister].
func (c *Connect) register(dom *Domain, event C.int, callback any) (int, error) {
	var ptr C.virDomainPtr
	if dom != nil {
		ptr = dom.ptr
	}
	id := newHandle(callback)
	var e C.callError
	n := C.libvirtGoRegisterEvent(&e, c.ptr, ptr, event, C.uintptr_t(id))
	if err := check(n, &e); err != nil {
		deleteHandle(id)
		return 0, err
	}
	return int(n), nil
}

// DomainEventDeregister ends what a Register call began. A callback may be
// running at that moment, none starts afterwards. Call it before Close: what is
// registered holds the connection open, and c must not be used after Close.
func (c *Connect) DomainEventDeregister(callbackId int) error {
	var e C.callError
	return check(C.go_virConnectDomainEventDeregisterAny(&e, c.ptr, C.int(callbackId)), &e)
}

// DomainEventLifecycleRegister asks for the events of dom, nil for all domains.
func (c *Connect) DomainEventLifecycleRegister(dom *Domain, callback DomainEventLifecycleCallback) (int, error) {
	return c.register(dom, C.VIR_DOMAIN_EVENT_ID_LIFECYCLE, callback)
}

// DomainEventBlockJobRegister asks for the events that name disks by their
// image. Prefer [Connect.DomainEventBlockJob2Register].
func (c *Connect) DomainEventBlockJobRegister(dom *Domain, callback DomainEventBlockJobCallback) (int, error) {
	return c.register(dom, C.VIR_DOMAIN_EVENT_ID_BLOCK_JOB, callback)
}

// DomainEventBlockJob2Register asks for the events that name disks by their
// target.
func (c *Connect) DomainEventBlockJob2Register(dom *Domain, callback DomainEventBlockJobCallback) (int, error) {
	return c.register(dom, C.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, callback)
}

// DomainEventJobCompletedRegister asks for the ends of jobs, backups among them.
func (c *Connect) DomainEventJobCompletedRegister(dom *Domain, callback DomainEventJobCompletedCallback) (int, error) {
	return c.register(dom, C.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, callback)
}

// DomainEventAgentLifecycleRegister asks for the coming and going of agents.
func (c *Connect) DomainEventAgentLifecycleRegister(dom *Domain, callback DomainEventAgentLifecycleCallback) (int, error) {
	return c.register(dom, C.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, callback)
}

// DomainEventIOErrorReasonRegister asks for I/O errors.
func (c *Connect) DomainEventIOErrorReasonRegister(dom *Domain, callback DomainEventIOErrorReasonCallback) (int, error) {
	return c.register(dom, C.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, callback)
}

// DomainEventDeviceRemovedRegister asks for the ends of detaching.
func (c *Connect) DomainEventDeviceRemovedRegister(dom *Domain, callback DomainEventDeviceRemovedCallback) (int, error) {
	return c.register(dom, C.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, callback)
}

//export libvirtGoLifecycle
func libvirtGoLifecycle(c C.virConnectPtr, d C.virDomainPtr, event, detail C.int, id C.uintptr_t) {
	cgo.Handle(id).Value().(DomainEventLifecycleCallback)(&Connect{c}, &Domain{d},
		&DomainEventLifecycle{DomainEventType(event), int(detail)})
}

//export libvirtGoBlockJob
func libvirtGoBlockJob(c C.virConnectPtr, d C.virDomainPtr, disk *C.char, typ, status C.int, id C.uintptr_t) {
	cgo.Handle(id).Value().(DomainEventBlockJobCallback)(&Connect{c}, &Domain{d},
		&DomainEventBlockJob{C.GoString(disk), DomainBlockJobType(typ), ConnectDomainEventBlockJobStatus(status)})
}

//export libvirtGoJobCompleted
func libvirtGoJobCompleted(c C.virConnectPtr, d C.virDomainPtr, array C.virTypedParameterPtr, n C.int, id C.uintptr_t) {
	info := newJobInfo(DOMAIN_JOB_COMPLETED, readParams(array, n))
	if info.JobSuccessSet && !info.JobSuccess {
		info.Type = DOMAIN_JOB_FAILED
	}
	cgo.Handle(id).Value().(DomainEventJobCompletedCallback)(&Connect{c}, &Domain{d}, &DomainEventJobCompleted{*info})
}

//export libvirtGoAgentLifecycle
func libvirtGoAgentLifecycle(c C.virConnectPtr, d C.virDomainPtr, state, reason C.int, id C.uintptr_t) {
	cgo.Handle(id).Value().(DomainEventAgentLifecycleCallback)(&Connect{c}, &Domain{d},
		&DomainEventAgentLifecycle{ConnectDomainEventAgentLifecycleState(state), ConnectDomainEventAgentLifecycleReason(reason)})
}

//export libvirtGoIOError
func libvirtGoIOError(c C.virConnectPtr, d C.virDomainPtr, path, alias *C.char, action C.int, reason *C.char, id C.uintptr_t) {
	cgo.Handle(id).Value().(DomainEventIOErrorReasonCallback)(&Connect{c}, &Domain{d},
		&DomainEventIOErrorReason{C.GoString(path), C.GoString(alias), DomainEventIOErrorAction(action), C.GoString(reason)})
}

//export libvirtGoDeviceRemoved
func libvirtGoDeviceRemoved(c C.virConnectPtr, d C.virDomainPtr, alias *C.char, id C.uintptr_t) {
	cgo.Handle(id).Value().(DomainEventDeviceRemovedCallback)(&Connect{c}, &Domain{d}, &DomainEventDeviceRemoved{C.GoString(alias)})
}

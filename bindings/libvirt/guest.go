// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

import "unsafe"

// FSFreeze lets the guest agent freeze the filesystems mounted at mounts, or
// all of them. It waits for the agent as long as that takes.
func (d *Domain) FSFreeze(mounts []string, flags uint32) error {
	var a arena
	defer a.free()
	var e C.callError
	list, n := a.list(mounts)
	return check(C.go_virDomainFSFreeze(&e, d.ptr, list, n, C.uint(flags)), &e)
}

// FSThaw lets the guest agent thaw the filesystems. QEMU's thaws all and wants
// no mounts.
func (d *Domain) FSThaw(mounts []string, flags uint32) error {
	var a arena
	defer a.free()
	var e C.callError
	list, n := a.list(mounts)
	return check(C.go_virDomainFSThaw(&e, d.ptr, list, n, C.uint(flags)), &e)
}

// DomainFSInfo is a mounted filesystem of the guest, with the targets of the
// disks that it is on.
type DomainFSInfo struct {
	MountPoint string
	Name       string
	FSType     string
	DevAlias   []string
}

// GetFSInfo asks the guest agent for the mounted filesystems.
func (d *Domain) GetFSInfo(flags uint32) ([]DomainFSInfo, error) {
	var e C.callError
	var array *C.virDomainFSInfoPtr
	n := C.go_virDomainGetFSInfo(&e, d.ptr, &array, C.uint(flags))
	return takeList(n, array, &e, takeFSInfo)
}

func takeFSInfo(p C.virDomainFSInfoPtr) DomainFSInfo {
	defer C.libvirtGoFreeFSInfo(p)
	info := DomainFSInfo{
		MountPoint: C.GoString(p.mountpoint),
		Name:       C.GoString(p.name),
		FSType:     C.GoString(p.fstype),
	}
	for _, alias := range unsafe.Slice(p.devAlias, p.ndevAlias) {
		info.DevAlias = append(info.DevAlias, C.GoString(alias))
	}
	return info
}

// AgentSetResponseTimeout is how long libvirt waits for an answer of the guest
// agent: seconds, or a [DomainAgentSetResponseTimeoutValues].
func (d *Domain) AgentSetResponseTimeout(timeout int, flags uint32) error {
	var e C.callError
	return check(C.go_virDomainAgentSetResponseTimeout(&e, d.ptr, C.int(timeout), C.uint(flags)), &e)
}

// QemuAgentCommand sends the guest agent a command in JSON and returns its
// answer. timeout is in seconds, or a [DomainQemuAgentCommandTimeout].
func (d *Domain) QemuAgentCommand(command string, timeout DomainQemuAgentCommandTimeout, flags uint32) (string, error) {
	var a arena
	defer a.free()
	var e C.callError
	return takeString(C.go_virDomainQemuAgentCommand(&e, d.ptr, a.str(command), C.int(timeout), C.uint(flags)), &e)
}

// QemuMonitorCommand sends QEMU's monitor a command, in JSON or, with
// [DOMAIN_QEMU_MONITOR_COMMAND_HMP], as a person types it, and returns its
// answer. libvirt counts the domain as tainted afterwards.
func (d *Domain) QemuMonitorCommand(command string, flags DomainQemuMonitorCommandFlags) (string, error) {
	var a arena
	defer a.free()
	var e C.callError
	var answer *C.char
	if err := check(C.go_virDomainQemuMonitorCommand(&e, d.ptr, a.str(command), &answer, C.uint(flags)), &e); err != nil {
		return "", err
	}
	return takeString(answer, &e)
}

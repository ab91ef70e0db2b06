// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

import "unsafe"

// Domain is a virtual machine. It may be used from many goroutines. Free it.
type Domain struct {
	ptr C.virDomainPtr
}

// Free gives back one reference. After the last one d must not be used.
func (d *Domain) Free() error {
	var e C.callError
	return check(C.go_virDomainFree(&e, d.ptr), &e)
}

// Ref takes a reference, which another Free gives back.
func (d *Domain) Ref() error {
	var e C.callError
	return check(C.go_virDomainRef(&e, d.ptr), &e)
}

// DomainGetConnect is the connection of the domain, with a reference of its
// own: Close it.
func (d *Domain) DomainGetConnect() (*Connect, error) {
	var e C.callError
	p := C.go_virDomainGetConnect(&e, d.ptr)
	if p == nil {
		return nil, newError(&e)
	}
	c := &Connect{p}
	return c, c.Ref()
}

// GetName is the name of the domain.
func (d *Domain) GetName() (string, error) {
	var e C.callError
	return borrowString(C.go_virDomainGetName(&e, d.ptr), &e)
}

// GetUUIDString is the UUID in its usual form.
func (d *Domain) GetUUIDString() (string, error) {
	var e C.callError
	var buf [C.VIR_UUID_STRING_BUFLEN]C.char
	if err := check(C.go_virDomainGetUUIDString(&e, d.ptr, &buf[0]), &e); err != nil {
		return "", err
	}
	return C.GoString(&buf[0]), nil
}

// GetUUID is the UUID as 16 bytes.
func (d *Domain) GetUUID() ([]byte, error) {
	var e C.callError
	uuid := make([]byte, C.VIR_UUID_BUFLEN)
	if err := check(C.go_virDomainGetUUID(&e, d.ptr, (*C.uchar)(&uuid[0])), &e); err != nil {
		return nil, err
	}
	return uuid, nil
}

// GetID is the number of a running domain; one that is off has none, which is
// an error.
func (d *Domain) GetID() (uint, error) {
	var e C.callError
	id := C.go_virDomainGetID(&e, d.ptr)
	if id == ^C.uint(0) {
		return 0, newError(&e)
	}
	return uint(id), nil
}

// GetOSType is hvm for a fully virtualised guest.
func (d *Domain) GetOSType() (string, error) {
	var e C.callError
	return takeString(C.go_virDomainGetOSType(&e, d.ptr), &e)
}

// GetXMLDesc is the domain's XML: that of the running domain, or its
// definition if it is off or flags ask for it.
func (d *Domain) GetXMLDesc(flags DomainXMLFlags) (string, error) {
	var e C.callError
	return takeString(C.go_virDomainGetXMLDesc(&e, d.ptr, C.uint(flags)), &e)
}

// IsActive says whether the domain is running or paused.
func (d *Domain) IsActive() (bool, error) {
	var e C.callError
	return truth(C.go_virDomainIsActive(&e, d.ptr), &e)
}

// IsPersistent says whether the domain has a definition that outlives it.
func (d *Domain) IsPersistent() (bool, error) {
	var e C.callError
	return truth(C.go_virDomainIsPersistent(&e, d.ptr), &e)
}

// IsUpdated says whether the definition differs from what is running.
func (d *Domain) IsUpdated() (bool, error) {
	var e C.callError
	return truth(C.go_virDomainIsUpdated(&e, d.ptr), &e)
}

// GetState is the state, and the reason for it: one of the Domain...Reason
// types, as the state says.
func (d *Domain) GetState() (DomainState, int, error) {
	var e C.callError
	var state, reason C.int
	err := check(C.go_virDomainGetState(&e, d.ptr, &state, &reason, 0), &e)
	return DomainState(state), int(reason), err
}

// DomainInfo is the size and use of a domain: memory in KiB, CpuTime in
// nanoseconds.
type DomainInfo struct {
	State     DomainState
	MaxMem    uint64
	Memory    uint64
	NrVirtCpu uint
	CpuTime   uint64
}

// GetInfo is the size and use of the domain.
func (d *Domain) GetInfo() (*DomainInfo, error) {
	var e C.callError
	var info C.virDomainInfo
	if err := check(C.go_virDomainGetInfo(&e, d.ptr, &info), &e); err != nil {
		return nil, err
	}
	return &DomainInfo{
		State:     DomainState(info.state),
		MaxMem:    uint64(info.maxMem),
		Memory:    uint64(info.memory),
		NrVirtCpu: uint(info.nrVirtCpu),
		CpuTime:   uint64(info.cpuTime),
	}, nil
}

// DomainControlInfo is the state of the way from libvirt to the hypervisor;
// Details is a [DomainControlErrorReason] where State is an error, StateTime
// the milliseconds since it is in a state other than OK.
type DomainControlInfo struct {
	State     DomainControlState
	Details   int
	StateTime uint64
}

// GetControlInfo says whether libvirt can talk to the domain's hypervisor.
func (d *Domain) GetControlInfo(flags uint32) (*DomainControlInfo, error) {
	var e C.callError
	var info C.virDomainControlInfo
	if err := check(C.go_virDomainGetControlInfo(&e, d.ptr, &info, C.uint(flags)), &e); err != nil {
		return nil, err
	}
	return &DomainControlInfo{
		State:     DomainControlState(info.state),
		Details:   int(info.details),
		StateTime: uint64(info.stateTime),
	}, nil
}

// GetMaxMemory is the memory that the domain may have, in KiB.
func (d *Domain) GetMaxMemory() (uint64, error) {
	var e C.callError
	n := C.go_virDomainGetMaxMemory(&e, d.ptr)
	if n == 0 {
		return 0, newError(&e)
	}
	return uint64(n), nil
}

// GetMaxVcpus is the number of virtual CPUs that the domain may have.
func (d *Domain) GetMaxVcpus() (uint, error) {
	var e C.callError
	n := C.go_virDomainGetMaxVcpus(&e, d.ptr)
	return uint(n), check(n, &e)
}

// GetVcpusFlags is the number of virtual CPUs that flags choose.
func (d *Domain) GetVcpusFlags(flags DomainVcpuFlags) (int32, error) {
	var e C.callError
	n := C.go_virDomainGetVcpusFlags(&e, d.ptr, C.uint(flags))
	return int32(n), check(n, &e)
}

// GetHostname is the name of the guest, as the agent or a lease tells it.
func (d *Domain) GetHostname(flags DomainGetHostnameFlags) (string, error) {
	var e C.callError
	return takeString(C.go_virDomainGetHostname(&e, d.ptr, C.uint(flags)), &e)
}

// GetAutostart says whether the domain starts with the host.
func (d *Domain) GetAutostart() (bool, error) {
	var e C.callError
	var on C.int
	err := check(C.go_virDomainGetAutostart(&e, d.ptr, &on), &e)
	return on != 0, err
}

// SetAutostart lets the domain start with the host, or not.
func (d *Domain) SetAutostart(autostart bool) error {
	var e C.callError
	return check(C.go_virDomainSetAutostart(&e, d.ptr, number(autostart)), &e)
}

func number(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

// GetMetadata is a text that someone left in the domain's XML: its title, its
// description, or the element that has the namespace uri.
func (d *Domain) GetMetadata(metadataType DomainMetadataType, uri string, flags DomainModificationImpact) (string, error) {
	var a arena
	defer a.free()
	var e C.callError
	return takeString(C.go_virDomainGetMetadata(&e, d.ptr, C.int(metadataType), a.optional(uri), C.uint(flags)), &e)
}

// SetMetadata leaves such a text, or with the empty one takes it away. uriKey
// is the prefix that an element gets for its namespace uri.
func (d *Domain) SetMetadata(metadataType DomainMetadataType, metaDataCont, uriKey, uri string, flags DomainModificationImpact) error {
	var a arena
	defer a.free()
	var e C.callError
	return check(C.go_virDomainSetMetadata(&e, d.ptr, C.int(metadataType), a.optional(metaDataCont),
		a.optional(uriKey), a.optional(uri), C.uint(flags)), &e)
}

// Rename gives a domain that is off another name.
func (d *Domain) Rename(name string, flags uint32) error {
	var a arena
	defer a.free()
	var e C.callError
	return check(C.go_virDomainRename(&e, d.ptr, a.str(name), C.uint(flags)), &e)
}

// HasManagedSaveImage says whether the next start brings back a saved state.
func (d *Domain) HasManagedSaveImage(flags uint32) (bool, error) {
	var e C.callError
	return truth(C.go_virDomainHasManagedSaveImage(&e, d.ptr, C.uint(flags)), &e)
}

// ManagedSaveRemove throws the saved state away.
func (d *Domain) ManagedSaveRemove(flags uint32) error {
	var e C.callError
	return check(C.go_virDomainManagedSaveRemove(&e, d.ptr, C.uint(flags)), &e)
}

// ManagedSaveGetXMLDesc is the XML of the saved state.
func (d *Domain) ManagedSaveGetXMLDesc(flags DomainSaveImageXMLFlags) (string, error) {
	var e C.callError
	return takeString(C.go_virDomainManagedSaveGetXMLDesc(&e, d.ptr, C.uint(flags)), &e)
}

// DomainDiskError is an I/O error of a disk, named by its target.
type DomainDiskError struct {
	Disk  string
	Error DomainDiskErrorCode
}

// GetDiskErrors lists the disks on which the hypervisor met an I/O error.
func (d *Domain) GetDiskErrors(flags uint32) ([]DomainDiskError, error) {
	var e C.callError
	count := C.go_virDomainGetDiskErrors(&e, d.ptr, nil, 0, 0)
	if count <= 0 {
		return nil, check(count, &e)
	}
	found := make([]C.virDomainDiskError, count)
	n := C.go_virDomainGetDiskErrors(&e, d.ptr, unsafe.SliceData(found), C.uint(count), C.uint(flags))
	if n < 0 {
		return nil, newError(&e)
	}
	var out []DomainDiskError
	for _, f := range found[:n] {
		out = append(out, DomainDiskError{C.GoString(f.disk), DomainDiskErrorCode(f.error)})
		C.free(unsafe.Pointer(f.disk))
	}
	return out, nil
}

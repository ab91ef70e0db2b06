// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

import "strconv"

// DomainGuestInfo is what the guest agent tells about the guest. A value counts
// where its Set field is true; a part that was not asked for is nil.
type DomainGuestInfo struct {
	Users       []DomainGuestInfoUser
	OS          *DomainGuestInfoOS
	TimeZone    *DomainGuestInfoTimeZone
	HostnameSet bool
	Hostname    string
	FileSystems []DomainGuestInfoFileSystem
	Disks       []DomainGuestInfoDisk
	Interfaces  []DomainGuestInfoInterface
	Load        *DomainGuestInfoLoad
}

// DomainGuestInfoUser is a user who is logged in; LoginTime is in milliseconds since 1970.
type DomainGuestInfoUser struct {
	NameSet      bool
	Name         string
	DomainSet    bool
	Domain       string
	LoginTimeSet bool
	LoginTime    uint64
}

// DomainGuestInfoFileSystem is a mounted filesystem.
type DomainGuestInfoFileSystem struct {
	NameSet       bool
	Name          string
	MountPointSet bool
	MountPoint    string
	FSTypeSet     bool
	FSType        string
	TotalBytesSet bool
	TotalBytes    uint64
	UsedBytesSet  bool
	UsedBytes     uint64
	Disks         []DomainGuestInfoFileSystemDisk
}

// DomainGuestInfoFileSystemDisk is a disk under a filesystem; Alias is its target.
type DomainGuestInfoFileSystemDisk struct {
	AliasSet  bool
	Alias     string
	SerialSet bool
	Serial    string
	DeviceSet bool
	Device    string
}

// DomainGuestInfoDisk is a disk, or a partition, as the guest sees it; Alias is the target of the domain's disk.
type DomainGuestInfoDisk struct {
	NameSet       bool
	Name          string
	PartitionSet  bool
	Partition     bool
	SerialSet     bool
	Serial        string
	AliasSet      bool
	Alias         string
	GuestAliasSet bool
	GuestAlias    string
	GuestBusSet   bool
	GuestBus      string
	Dependencies  []DomainGuestInfoDiskDependency
}

// DomainGuestInfoDiskDependency is a device that a disk consists of.
type DomainGuestInfoDiskDependency struct {
	NameSet bool
	Name    string
}

// DomainGuestInfoInterface is a network interface.
type DomainGuestInfoInterface struct {
	NameSet   bool
	Name      string
	HwaddrSet bool
	Hwaddr    string
	Addrs     []DomainGuestInfoIPAddress
}

// DomainGuestInfoIPAddress is an address of an interface; Type is ipv4 or ipv6.
type DomainGuestInfoIPAddress struct {
	TypeSet   bool
	Type      string
	AddrSet   bool
	Addr      string
	PrefixSet bool
	Prefix    uint
}

// DomainGuestInfoOS is the guest's operating system.
type DomainGuestInfoOS struct {
	IDSet            bool
	ID               string
	NameSet          bool
	Name             string
	PrettyNameSet    bool
	PrettyName       string
	VersionSet       bool
	Version          string
	VersionIDSet     bool
	VersionID        string
	KernelReleaseSet bool
	KernelRelease    string
	KernelVersionSet bool
	KernelVersion    string
	MachineSet       bool
	Machine          string
	VariantSet       bool
	Variant          string
	VariantIDSet     bool
	VariantID        string
}

// DomainGuestInfoTimeZone is the guest's time zone; Offset is in seconds east of UTC.
type DomainGuestInfoTimeZone struct {
	NameSet   bool
	Name      string
	OffsetSet bool
	Offset    int
}

// DomainGuestInfoLoad is the guest's load average.
type DomainGuestInfoLoad struct {
	Load1MSet  bool
	Load1M     float64
	Load5MSet  bool
	Load5M     float64
	Load15MSet bool
	Load15M    float64
}

// GetGuestInfo asks the guest agent. It fails if the agent cannot tell one of
// types, except for 0, which is all that it can.
func (d *Domain) GetGuestInfo(types DomainGuestInfoTypes, flags uint32) (*DomainGuestInfo, error) {
	var e C.callError
	var array C.virTypedParameterPtr
	var n C.int
	if err := check(C.go_virDomainGetGuestInfo(&e, d.ptr, C.uint(types), &array, &n, C.uint(flags)), &e); err != nil {
		return nil, err
	}
	return newGuestInfo(takeParams(array, n)), nil
}

func newGuestInfo(ps params) *DomainGuestInfo {
	info := &DomainGuestInfo{
		Users:       elements(ps, "user", newGuestUser),
		OS:          newGuestOS(ps),
		TimeZone:    newGuestTimeZone(ps),
		FileSystems: elements(ps, "fs", newGuestFileSystem),
		Disks:       elements(ps, "disk", newGuestDisk),
		Interfaces:  elements(ps, "if", newGuestInterface),
		Load:        newGuestLoad(ps),
	}
	ps.get("hostname", &info.Hostname, &info.HostnameSet)
	return info
}

// elements makes the array whose elements have the names PREFIX.0 and so on.
func elements[T any](ps params, prefix string, element func(ps params, prefix string) T) []T {
	var out []T
	for i := range ps.count(prefix) {
		out = append(out, element(ps, prefix+"."+strconv.Itoa(i)+"."))
	}
	return out
}

func newGuestUser(ps params, prefix string) (x DomainGuestInfoUser) {
	ps.get(prefix+"name", &x.Name, &x.NameSet)
	ps.get(prefix+"domain", &x.Domain, &x.DomainSet)
	ps.get(prefix+"login-time", &x.LoginTime, &x.LoginTimeSet)
	return x
}

func newGuestFileSystem(ps params, prefix string) (x DomainGuestInfoFileSystem) {
	ps.get(prefix+"name", &x.Name, &x.NameSet)
	ps.get(prefix+"mountpoint", &x.MountPoint, &x.MountPointSet)
	ps.get(prefix+"fstype", &x.FSType, &x.FSTypeSet)
	ps.get(prefix+"total-bytes", &x.TotalBytes, &x.TotalBytesSet)
	ps.get(prefix+"used-bytes", &x.UsedBytes, &x.UsedBytesSet)
	x.Disks = elements(ps, prefix+"disk", newGuestFileSystemDisk)
	return x
}

func newGuestFileSystemDisk(ps params, prefix string) (x DomainGuestInfoFileSystemDisk) {
	ps.get(prefix+"alias", &x.Alias, &x.AliasSet)
	ps.get(prefix+"serial", &x.Serial, &x.SerialSet)
	ps.get(prefix+"device", &x.Device, &x.DeviceSet)
	return x
}

func newGuestDisk(ps params, prefix string) (x DomainGuestInfoDisk) {
	ps.get(prefix+"name", &x.Name, &x.NameSet)
	ps.get(prefix+"partition", &x.Partition, &x.PartitionSet)
	ps.get(prefix+"serial", &x.Serial, &x.SerialSet)
	ps.get(prefix+"alias", &x.Alias, &x.AliasSet)
	ps.get(prefix+"guest_alias", &x.GuestAlias, &x.GuestAliasSet)
	ps.get(prefix+"guest_bus", &x.GuestBus, &x.GuestBusSet)
	x.Dependencies = elements(ps, prefix+"dependency", newGuestDiskDependency)
	return x
}

func newGuestDiskDependency(ps params, prefix string) (x DomainGuestInfoDiskDependency) {
	ps.get(prefix+"name", &x.Name, &x.NameSet)
	return x
}

func newGuestInterface(ps params, prefix string) (x DomainGuestInfoInterface) {
	ps.get(prefix+"name", &x.Name, &x.NameSet)
	ps.get(prefix+"hwaddr", &x.Hwaddr, &x.HwaddrSet)
	x.Addrs = elements(ps, prefix+"addr", newGuestIPAddress)
	return x
}

func newGuestIPAddress(ps params, prefix string) (x DomainGuestInfoIPAddress) {
	ps.get(prefix+"type", &x.Type, &x.TypeSet)
	ps.get(prefix+"addr", &x.Addr, &x.AddrSet)
	ps.get(prefix+"prefix", &x.Prefix, &x.PrefixSet)
	return x
}

func newGuestOS(ps params) *DomainGuestInfoOS {
	var x DomainGuestInfoOS
	ps.get("os.id", &x.ID, &x.IDSet)
	ps.get("os.name", &x.Name, &x.NameSet)
	ps.get("os.pretty-name", &x.PrettyName, &x.PrettyNameSet)
	ps.get("os.version", &x.Version, &x.VersionSet)
	ps.get("os.version-id", &x.VersionID, &x.VersionIDSet)
	ps.get("os.kernel-release", &x.KernelRelease, &x.KernelReleaseSet)
	ps.get("os.kernel-version", &x.KernelVersion, &x.KernelVersionSet)
	ps.get("os.machine", &x.Machine, &x.MachineSet)
	ps.get("os.variant", &x.Variant, &x.VariantSet)
	ps.get("os.variant-id", &x.VariantID, &x.VariantIDSet)
	if x == (DomainGuestInfoOS{}) {
		return nil
	}
	return &x
}

func newGuestTimeZone(ps params) *DomainGuestInfoTimeZone {
	var x DomainGuestInfoTimeZone
	ps.get("timezone.name", &x.Name, &x.NameSet)
	ps.get("timezone.offset", &x.Offset, &x.OffsetSet)
	if x == (DomainGuestInfoTimeZone{}) {
		return nil
	}
	return &x
}

func newGuestLoad(ps params) *DomainGuestInfoLoad {
	var x DomainGuestInfoLoad
	ps.get("load.1m", &x.Load1M, &x.Load1MSet)
	ps.get("load.5m", &x.Load5M, &x.Load5MSet)
	ps.get("load.15m", &x.Load15M, &x.Load15MSet)
	if x == (DomainGuestInfoLoad{}) {
		return nil
	}
	return &x
}

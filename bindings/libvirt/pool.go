// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

// StoragePool is a place that has volumes. Free it.
type StoragePool struct {
	ptr C.virStoragePoolPtr
}

func newPool(p C.virStoragePoolPtr, e *C.callError) (*StoragePool, error) {
	if p == nil {
		return nil, newError(e)
	}
	return &StoragePool{p}, nil
}

// LookupStoragePoolByName finds a pool, or fails with [ERR_NO_STORAGE_POOL].
func (c *Connect) LookupStoragePoolByName(name string) (*StoragePool, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newPool(C.go_virStoragePoolLookupByName(&e, c.ptr, a.str(name)), &e)
}

// LookupStoragePoolByTargetPath finds the pool that is the folder path.
func (c *Connect) LookupStoragePoolByTargetPath(path string) (*StoragePool, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newPool(C.go_virStoragePoolLookupByTargetPath(&e, c.ptr, a.str(path)), &e)
}

// LookupStoragePoolByUUIDString finds a pool by its UUID.
func (c *Connect) LookupStoragePoolByUUIDString(uuid string) (*StoragePool, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newPool(C.go_virStoragePoolLookupByUUIDString(&e, c.ptr, a.str(uuid)), &e)
}

// ListAllStoragePools lists the pools that flags choose, 0 for all. Free each.
func (c *Connect) ListAllStoragePools(flags ConnectListAllStoragePoolsFlags) ([]StoragePool, error) {
	var e C.callError
	var array *C.virStoragePoolPtr
	n := C.go_virConnectListAllStoragePools(&e, c.ptr, &array, C.uint(flags))
	return takeList(n, array, &e, func(p C.virStoragePoolPtr) StoragePool { return StoragePool{p} })
}

// StoragePoolDefineXML makes a persistent pool.
func (c *Connect) StoragePoolDefineXML(xmlConfig string, flags StoragePoolDefineFlags) (*StoragePool, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newPool(C.go_virStoragePoolDefineXML(&e, c.ptr, a.str(xmlConfig), C.uint(flags)), &e)
}

// StoragePoolCreateXML starts a transient pool.
func (c *Connect) StoragePoolCreateXML(xmlConfig string, flags StoragePoolCreateFlags) (*StoragePool, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newPool(C.go_virStoragePoolCreateXML(&e, c.ptr, a.str(xmlConfig), C.uint(flags)), &e)
}

// Build makes what the pool stands on, such as its folder.
func (p *StoragePool) Build(flags StoragePoolBuildFlags) error {
	var e C.callError
	return check(C.go_virStoragePoolBuild(&e, p.ptr, C.uint(flags)), &e)
}

// Create starts the pool.
func (p *StoragePool) Create(flags StoragePoolCreateFlags) error {
	var e C.callError
	return check(C.go_virStoragePoolCreate(&e, p.ptr, C.uint(flags)), &e)
}

// Destroy stops the pool. Its volumes stay.
func (p *StoragePool) Destroy() error {
	var e C.callError
	return check(C.go_virStoragePoolDestroy(&e, p.ptr), &e)
}

// Delete removes what a stopped pool stands on.
func (p *StoragePool) Delete(flags StoragePoolDeleteFlags) error {
	var e C.callError
	return check(C.go_virStoragePoolDelete(&e, p.ptr, C.uint(flags)), &e)
}

// Undefine takes a stopped pool away. Its volumes stay.
func (p *StoragePool) Undefine() error {
	var e C.callError
	return check(C.go_virStoragePoolUndefine(&e, p.ptr), &e)
}

// Refresh looks for volumes that came or went without libvirt.
func (p *StoragePool) Refresh(flags uint32) error {
	var e C.callError
	return check(C.go_virStoragePoolRefresh(&e, p.ptr, C.uint(flags)), &e)
}

// IsActive says whether the pool is started.
func (p *StoragePool) IsActive() (bool, error) {
	var e C.callError
	return truth(C.go_virStoragePoolIsActive(&e, p.ptr), &e)
}

// IsPersistent says whether the pool has a definition.
func (p *StoragePool) IsPersistent() (bool, error) {
	var e C.callError
	return truth(C.go_virStoragePoolIsPersistent(&e, p.ptr), &e)
}

// GetName is the name of the pool.
func (p *StoragePool) GetName() (string, error) {
	var e C.callError
	return borrowString(C.go_virStoragePoolGetName(&e, p.ptr), &e)
}

// GetUUIDString is the UUID in its usual form.
func (p *StoragePool) GetUUIDString() (string, error) {
	var e C.callError
	var buf [C.VIR_UUID_STRING_BUFLEN]C.char
	if err := check(C.go_virStoragePoolGetUUIDString(&e, p.ptr, &buf[0]), &e); err != nil {
		return "", err
	}
	return C.GoString(&buf[0]), nil
}

// GetXMLDesc is the XML of the pool.
func (p *StoragePool) GetXMLDesc(flags StorageXMLFlags) (string, error) {
	var e C.callError
	return takeString(C.go_virStoragePoolGetXMLDesc(&e, p.ptr, C.uint(flags)), &e)
}

// StoragePoolInfo is the state and the size of a pool, in bytes.
type StoragePoolInfo struct {
	State      StoragePoolState
	Capacity   uint64
	Allocation uint64
	Available  uint64
}

// GetInfo is the state and the size of the pool.
func (p *StoragePool) GetInfo() (*StoragePoolInfo, error) {
	var e C.callError
	var info C.virStoragePoolInfo
	if err := check(C.go_virStoragePoolGetInfo(&e, p.ptr, &info), &e); err != nil {
		return nil, err
	}
	return &StoragePoolInfo{
		State:      StoragePoolState(info.state),
		Capacity:   uint64(info.capacity),
		Allocation: uint64(info.allocation),
		Available:  uint64(info.available),
	}, nil
}

// GetAutostart says whether the pool starts with the host.
func (p *StoragePool) GetAutostart() (bool, error) {
	var e C.callError
	var on C.int
	err := check(C.go_virStoragePoolGetAutostart(&e, p.ptr, &on), &e)
	return on != 0, err
}

// SetAutostart lets the pool start with the host, or not.
func (p *StoragePool) SetAutostart(autostart bool) error {
	var e C.callError
	return check(C.go_virStoragePoolSetAutostart(&e, p.ptr, number(autostart)), &e)
}

// ListAllStorageVolumes lists the volumes of the pool. Free each.
func (p *StoragePool) ListAllStorageVolumes(flags uint32) ([]StorageVol, error) {
	var e C.callError
	var array *C.virStorageVolPtr
	n := C.go_virStoragePoolListAllVolumes(&e, p.ptr, &array, C.uint(flags))
	return takeList(n, array, &e, func(p C.virStorageVolPtr) StorageVol { return StorageVol{p} })
}

// Ref takes a reference, which another Free gives back.
func (p *StoragePool) Ref() error {
	var e C.callError
	return check(C.go_virStoragePoolRef(&e, p.ptr), &e)
}

// Free gives back one reference. After the last one p must not be used.
func (p *StoragePool) Free() error {
	var e C.callError
	return check(C.go_virStoragePoolFree(&e, p.ptr), &e)
}

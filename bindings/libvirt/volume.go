// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

// StorageVol is a volume of a pool, such as an image file. Free it.
type StorageVol struct {
	ptr C.virStorageVolPtr
}

func newVolume(p C.virStorageVolPtr, e *C.callError) (*StorageVol, error) {
	if p == nil {
		return nil, newError(e)
	}
	return &StorageVol{p}, nil
}

// LookupStorageVolByPath finds a volume of any active pool, or fails with
// [ERR_NO_STORAGE_VOL].
func (c *Connect) LookupStorageVolByPath(path string) (*StorageVol, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newVolume(C.go_virStorageVolLookupByPath(&e, c.ptr, a.str(path)), &e)
}

// LookupStorageVolByKey finds a volume of any active pool.
func (c *Connect) LookupStorageVolByKey(key string) (*StorageVol, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newVolume(C.go_virStorageVolLookupByKey(&e, c.ptr, a.str(key)), &e)
}

// LookupStorageVolByName finds a volume of the pool.
func (p *StoragePool) LookupStorageVolByName(name string) (*StorageVol, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newVolume(C.go_virStorageVolLookupByName(&e, p.ptr, a.str(name)), &e)
}

// StorageVolCreateXML makes a volume.
func (p *StoragePool) StorageVolCreateXML(xmlConfig string, flags StorageVolCreateFlags) (*StorageVol, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newVolume(C.go_virStorageVolCreateXML(&e, p.ptr, a.str(xmlConfig), C.uint(flags)), &e)
}

// StorageVolCreateXMLFrom makes a volume with the content of clonevol.
func (p *StoragePool) StorageVolCreateXMLFrom(xmlConfig string, clonevol *StorageVol, flags StorageVolCreateFlags) (*StorageVol, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newVolume(C.go_virStorageVolCreateXMLFrom(&e, p.ptr, a.str(xmlConfig), clonevol.ptr, C.uint(flags)), &e)
}

// LookupPoolByVolume is the pool of the volume. Free it.
func (v *StorageVol) LookupPoolByVolume() (*StoragePool, error) {
	var e C.callError
	return newPool(C.go_virStoragePoolLookupByVolume(&e, v.ptr), &e)
}

// GetName is the name of the volume in its pool.
func (v *StorageVol) GetName() (string, error) {
	var e C.callError
	return borrowString(C.go_virStorageVolGetName(&e, v.ptr), &e)
}

// GetKey is what no other volume has.
func (v *StorageVol) GetKey() (string, error) {
	var e C.callError
	return borrowString(C.go_virStorageVolGetKey(&e, v.ptr), &e)
}

// GetPath is the path of the volume on the hypervisor's host.
func (v *StorageVol) GetPath() (string, error) {
	var e C.callError
	return takeString(C.go_virStorageVolGetPath(&e, v.ptr), &e)
}

// GetXMLDesc is the XML of the volume.
func (v *StorageVol) GetXMLDesc(flags uint32) (string, error) {
	var e C.callError
	return takeString(C.go_virStorageVolGetXMLDesc(&e, v.ptr, C.uint(flags)), &e)
}

// StorageVolInfo is the kind and the size of a volume, in bytes.
type StorageVolInfo struct {
	Type       StorageVolType
	Capacity   uint64
	Allocation uint64
}

func newVolumeInfo(info *C.virStorageVolInfo) *StorageVolInfo {
	return &StorageVolInfo{StorageVolType(info._type), uint64(info.capacity), uint64(info.allocation)}
}

// GetInfo is the kind and the size of the volume.
func (v *StorageVol) GetInfo() (*StorageVolInfo, error) {
	var e C.callError
	var info C.virStorageVolInfo
	if err := check(C.go_virStorageVolGetInfo(&e, v.ptr, &info), &e); err != nil {
		return nil, err
	}
	return newVolumeInfo(&info), nil
}

// GetInfoFlags is [StorageVol.GetInfo] with flags: with
// [STORAGE_VOL_GET_PHYSICAL] Allocation is how far the image reaches.
func (v *StorageVol) GetInfoFlags(flags StorageVolInfoFlags) (*StorageVolInfo, error) {
	var e C.callError
	var info C.virStorageVolInfo
	if err := check(C.go_virStorageVolGetInfoFlags(&e, v.ptr, &info, C.uint(flags)), &e); err != nil {
		return nil, err
	}
	return newVolumeInfo(&info), nil
}

// Delete removes the volume and its content.
func (v *StorageVol) Delete(flags StorageVolDeleteFlags) error {
	var e C.callError
	return check(C.go_virStorageVolDelete(&e, v.ptr, C.uint(flags)), &e)
}

// Resize changes the size of the volume to capacity bytes, or by that many
// with [STORAGE_VOL_RESIZE_DELTA].
func (v *StorageVol) Resize(capacity uint64, flags StorageVolResizeFlags) error {
	var e C.callError
	return check(C.go_virStorageVolResize(&e, v.ptr, C.ulonglong(capacity), C.uint(flags)), &e)
}

// Upload lets stream carry length bytes, 0 for all that come, into the image
// from offset on: the bytes of the file, not those that a guest would see.
func (v *StorageVol) Upload(stream *Stream, offset uint64, length uint64, flags StorageVolUploadFlags) error {
	var e C.callError
	return check(C.go_virStorageVolUpload(&e, v.ptr, stream.ptr, C.ulonglong(offset), C.ulonglong(length), C.uint(flags)), &e)
}

// Download lets stream carry length bytes, 0 for all, of the image from offset
// on.
func (v *StorageVol) Download(stream *Stream, offset uint64, length uint64, flags StorageVolDownloadFlags) error {
	var e C.callError
	return check(C.go_virStorageVolDownload(&e, v.ptr, stream.ptr, C.ulonglong(offset), C.ulonglong(length), C.uint(flags)), &e)
}

// Wipe overwrites the content of the volume with zeros.
func (v *StorageVol) Wipe(flags uint32) error {
	var e C.callError
	return check(C.go_virStorageVolWipe(&e, v.ptr, C.uint(flags)), &e)
}

// Ref takes a reference, which another Free gives back.
func (v *StorageVol) Ref() error {
	var e C.callError
	return check(C.go_virStorageVolRef(&e, v.ptr), &e)
}

// Free gives back one reference. After the last one v must not be used.
func (v *StorageVol) Free() error {
	var e C.callError
	return check(C.go_virStorageVolFree(&e, v.ptr), &e)
}

// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

// DomainCheckpoint is a moment of a domain from which its disks' changes are
// recorded. Free it.
type DomainCheckpoint struct {
	ptr C.virDomainCheckpointPtr
}

func newCheckpoint(p C.virDomainCheckpointPtr, e *C.callError) (*DomainCheckpoint, error) {
	if p == nil {
		return nil, newError(e)
	}
	return &DomainCheckpoint{p}, nil
}

func takeCheckpoints(n C.int, array *C.virDomainCheckpointPtr, e *C.callError) ([]DomainCheckpoint, error) {
	return takeList(n, array, e, func(p C.virDomainCheckpointPtr) DomainCheckpoint { return DomainCheckpoint{p} })
}

// CreateCheckpointXML makes a checkpoint, or with
// [DOMAIN_CHECKPOINT_CREATE_REDEFINE] lets libvirt know again of one whose
// dirty bitmaps are in the disks.
func (d *Domain) CreateCheckpointXML(xml string, flags DomainCheckpointCreateFlags) (*DomainCheckpoint, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newCheckpoint(C.go_virDomainCheckpointCreateXML(&e, d.ptr, a.str(xml), C.uint(flags)), &e)
}

// ListAllCheckpoints lists the checkpoints that flags choose, 0 for all. Free
// each.
func (d *Domain) ListAllCheckpoints(flags DomainCheckpointListFlags) ([]DomainCheckpoint, error) {
	var e C.callError
	var array *C.virDomainCheckpointPtr
	n := C.go_virDomainListAllCheckpoints(&e, d.ptr, &array, C.uint(flags))
	return takeCheckpoints(n, array, &e)
}

// CheckpointLookupByName finds a checkpoint, or fails with
// [ERR_NO_DOMAIN_CHECKPOINT].
func (d *Domain) CheckpointLookupByName(name string, flags uint32) (*DomainCheckpoint, error) {
	var a arena
	defer a.free()
	var e C.callError
	return newCheckpoint(C.go_virDomainCheckpointLookupByName(&e, d.ptr, a.str(name), C.uint(flags)), &e)
}

// GetName is the name of the checkpoint.
func (c *DomainCheckpoint) GetName() (string, error) {
	var e C.callError
	return borrowString(C.go_virDomainCheckpointGetName(&e, c.ptr), &e)
}

// GetXMLDesc is the XML of the checkpoint: what to redefine it with, or with
// [DOMAIN_CHECKPOINT_XML_SIZE] how much its disks changed since.
func (c *DomainCheckpoint) GetXMLDesc(flags DomainCheckpointXMLFlags) (string, error) {
	var e C.callError
	return takeString(C.go_virDomainCheckpointGetXMLDesc(&e, c.ptr, C.uint(flags)), &e)
}

// GetParent is the checkpoint before this one, or [ERR_NO_DOMAIN_CHECKPOINT].
func (c *DomainCheckpoint) GetParent(flags uint32) (*DomainCheckpoint, error) {
	var e C.callError
	return newCheckpoint(C.go_virDomainCheckpointGetParent(&e, c.ptr, C.uint(flags)), &e)
}

// ListAllChildren lists the checkpoints after this one. Free each.
func (c *DomainCheckpoint) ListAllChildren(flags DomainCheckpointListFlags) ([]DomainCheckpoint, error) {
	var e C.callError
	var array *C.virDomainCheckpointPtr
	n := C.go_virDomainCheckpointListAllChildren(&e, c.ptr, &array, C.uint(flags))
	return takeCheckpoints(n, array, &e)
}

// Delete takes the checkpoint away; what it recorded counts for its parent
// from now on. The domain must run, unless only the metadata goes.
func (c *DomainCheckpoint) Delete(flags DomainCheckpointDeleteFlags) error {
	var e C.callError
	return check(C.go_virDomainCheckpointDelete(&e, c.ptr, C.uint(flags)), &e)
}

// Ref takes a reference, which another Free gives back.
func (c *DomainCheckpoint) Ref() error {
	var e C.callError
	return check(C.go_virDomainCheckpointRef(&e, c.ptr), &e)
}

// Free gives back one reference. After the last one c must not be used.
func (c *DomainCheckpoint) Free() error {
	var e C.callError
	return check(C.go_virDomainCheckpointFree(&e, c.ptr), &e)
}

// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

import "unsafe"

// Disks are named by their target (vda), or by target and index in the
// backing chain (vda[1]) where the call says so, or by the path of the image.

// DomainBlockInfo is the size of a disk in bytes: what the guest sees, what
// is allocated, and how far the image reaches.
type DomainBlockInfo struct {
	Capacity   uint64
	Allocation uint64
	Physical   uint64
}

// GetBlockInfo is the size of a disk.
func (d *Domain) GetBlockInfo(disk string, flags uint32) (*DomainBlockInfo, error) {
	var a arena
	defer a.free()
	var e C.callError
	var info C.virDomainBlockInfo
	if err := check(C.go_virDomainGetBlockInfo(&e, d.ptr, a.str(disk), &info, C.uint(flags)), &e); err != nil {
		return nil, err
	}
	return &DomainBlockInfo{uint64(info.capacity), uint64(info.allocation), uint64(info.physical)}, nil
}

// BlockResize changes the size of a disk, in KiB, or in bytes with
// [DOMAIN_BLOCK_RESIZE_BYTES].
func (d *Domain) BlockResize(disk string, size uint64, flags DomainBlockResizeFlags) error {
	var a arena
	defer a.free()
	var e C.callError
	return check(C.go_virDomainBlockResize(&e, d.ptr, a.str(disk), C.ulonglong(size), C.uint(flags)), &e)
}

// BlockPeek reads size bytes of a disk as the guest sees them.
func (d *Domain) BlockPeek(disk string, offset uint64, size uint64, flags uint32) ([]byte, error) {
	var a arena
	defer a.free()
	var e C.callError
	buf := make([]byte, size)
	if err := check(C.go_virDomainBlockPeek(&e, d.ptr, a.str(disk), C.ulonglong(offset), C.size_t(size),
		unsafe.Pointer(unsafe.SliceData(buf)), C.uint(flags)), &e); err != nil {
		return nil, err
	}
	return buf, nil
}

// DomainBlockCopyParameters tune [Domain.BlockCopy]: bytes a second, the
// granularity in which changes are recorded, and bytes in flight.
type DomainBlockCopyParameters struct {
	BandwidthSet   bool
	Bandwidth      uint64
	GranularitySet bool
	Granularity    uint
	BufSizeSet     bool
	BufSize        uint64
}

// params are those that are set. A nil p has none.
func (p *DomainBlockCopyParameters) params() []C.virTypedParameter {
	var out []C.virTypedParameter
	if p == nil {
		return nil
	}
	if p.BandwidthSet {
		out = append(out, ulongParam(C.VIR_DOMAIN_BLOCK_COPY_BANDWIDTH, p.Bandwidth))
	}
	if p.GranularitySet {
		out = append(out, uintParam(C.VIR_DOMAIN_BLOCK_COPY_GRANULARITY, p.Granularity))
	}
	if p.BufSizeSet {
		out = append(out, ulongParam(C.VIR_DOMAIN_BLOCK_COPY_BUF_SIZE, p.BufSize))
	}
	return out
}

// BlockCopy starts to copy a disk to the one that destxml, a disk element,
// describes. Once the [DomainEventBlockJob] READY has come, what the guest
// writes goes to both, and [Domain.BlockJobAbort] ends that on the one or,
// with PIVOT, on the other. A persistent domain wants
// [DOMAIN_BLOCK_COPY_TRANSIENT_JOB]. params may be nil.
func (d *Domain) BlockCopy(disk string, destxml string, params *DomainBlockCopyParameters, flags DomainBlockCopyFlags) error {
	var a arena
	defer a.free()
	var e C.callError
	list := params.params()
	return check(C.go_virDomainBlockCopy(&e, d.ptr, a.str(disk), a.str(destxml),
		unsafe.SliceData(list), C.int(len(list)), C.uint(flags)), &e)
}

// BlockCommit starts to merge the images of a disk from top down into base;
// empty strings are the ends of the chain. bandwidth is in MiB a second, 0 is
// without limit.
func (d *Domain) BlockCommit(disk string, base string, top string, bandwidth uint64, flags DomainBlockCommitFlags) error {
	var a arena
	defer a.free()
	var e C.callError
	return check(C.go_virDomainBlockCommit(&e, d.ptr, a.str(disk), a.optional(base), a.optional(top),
		C.ulong(bandwidth), C.uint(flags)), &e)
}

// BlockPull starts to copy what the backing images hold into the disk's own
// image, which has no backing image afterwards.
func (d *Domain) BlockPull(disk string, bandwidth uint64, flags DomainBlockPullFlags) error {
	var a arena
	defer a.free()
	var e C.callError
	return check(C.go_virDomainBlockPull(&e, d.ptr, a.str(disk), C.ulong(bandwidth), C.uint(flags)), &e)
}

// BlockRebase is [Domain.BlockPull] down to the image base.
func (d *Domain) BlockRebase(disk string, base string, bandwidth uint64, flags DomainBlockRebaseFlags) error {
	var a arena
	defer a.free()
	var e C.callError
	return check(C.go_virDomainBlockRebase(&e, d.ptr, a.str(disk), a.optional(base), C.ulong(bandwidth), C.uint(flags)), &e)
}

// BlockJobAbort ends the block job of a disk.
func (d *Domain) BlockJobAbort(disk string, flags DomainBlockJobAbortFlags) error {
	var a arena
	defer a.free()
	var e C.callError
	return check(C.go_virDomainBlockJobAbort(&e, d.ptr, a.str(disk), C.uint(flags)), &e)
}

// BlockJobSetSpeed limits the block job of a disk.
func (d *Domain) BlockJobSetSpeed(disk string, bandwidth uint64, flags DomainBlockJobSetSpeedFlags) error {
	var a arena
	defer a.free()
	var e C.callError
	return check(C.go_virDomainBlockJobSetSpeed(&e, d.ptr, a.str(disk), C.ulong(bandwidth), C.uint(flags)), &e)
}

// DomainBlockJobInfo is how far a block job is: Cur of End, in units of its
// own. All of it is zero where no job runs.
type DomainBlockJobInfo struct {
	Type      DomainBlockJobType
	Bandwidth uint64
	Cur       uint64
	End       uint64
}

// GetBlockJobInfo is how far the block job of a disk is.
func (d *Domain) GetBlockJobInfo(disk string, flags DomainBlockJobInfoFlags) (*DomainBlockJobInfo, error) {
	var a arena
	defer a.free()
	var e C.callError
	var info C.virDomainBlockJobInfo
	if err := check(C.go_virDomainGetBlockJobInfo(&e, d.ptr, a.str(disk), &info, C.uint(flags)), &e); err != nil {
		return nil, err
	}
	return &DomainBlockJobInfo{
		Type:      DomainBlockJobType(info._type),
		Bandwidth: uint64(info.bandwidth),
		Cur:       uint64(info.cur),
		End:       uint64(info.end),
	}, nil
}

// SPDX-License-Identifier: Apache-2.0

package libnbd

// #include "calls.h"
import "C"

import "unsafe"

// Commands that return when the server has answered. Offsets and counts are in
// bytes. nil optargs are none.

// PreadOptargs are optional arguments.
type PreadOptargs struct {
	FlagsSet bool
	Flags    CmdFlag
}

// The optional arguments of the other commands.
type (
	PreadStructuredOptargs PreadOptargs
	PwriteOptargs          PreadOptargs
	TrimOptargs            PreadOptargs
	CacheOptargs           PreadOptargs
	ZeroOptargs            PreadOptargs
	FlushOptargs           PreadOptargs
	BlockStatusOptargs     PreadOptargs
	BlockStatus64Optargs   PreadOptargs
)

// ShutdownOptargs are optional arguments.
type ShutdownOptargs struct {
	FlagsSet bool
	Flags    Shutdown
}

func (o *PreadOptargs) flags() uint32 {
	if o == nil || !o.FlagsSet {
		return 0
	}
	return uint32(o.Flags)
}

// memory are the bytes of p as arguments.
func memory(p []byte, offset uint64, flags uint32) args {
	return args{p: (*C.char)(unsafe.Pointer(unsafe.SliceData(p))), n: len(p), b: offset, flags: flags}
}

// Pread fills buf.
func (h *Libnbd) Pread(buf []byte, offset uint64, optargs *PreadOptargs) error {
	return h.do(C.nbd_go_pread, memory(buf, offset, optargs.flags()))
}

// PreadStructured fills buf, and calls chunk for each part as it arrives.
func (h *Libnbd) PreadStructured(buf []byte, offset uint64, chunk ChunkCallback, optargs *PreadStructuredOptargs) error {
	a := memory(buf, offset, (*PreadOptargs)(optargs).flags())
	a.callback = function(chunk == nil, chunk)
	return h.do(C.nbd_go_pread_structured, a)
}

// Pwrite writes buf.
func (h *Libnbd) Pwrite(buf []byte, offset uint64, optargs *PwriteOptargs) error {
	return h.do(C.nbd_go_pwrite, memory(buf, offset, (*PreadOptargs)(optargs).flags()))
}

func (h *Libnbd) Trim(count uint64, offset uint64, optargs *TrimOptargs) error {
	return h.do(C.nbd_go_trim, args{a: count, b: offset, flags: (*PreadOptargs)(optargs).flags()})
}

func (h *Libnbd) Cache(count uint64, offset uint64, optargs *CacheOptargs) error {
	return h.do(C.nbd_go_cache, args{a: count, b: offset, flags: (*PreadOptargs)(optargs).flags()})
}

func (h *Libnbd) Zero(count uint64, offset uint64, optargs *ZeroOptargs) error {
	return h.do(C.nbd_go_zero, args{a: count, b: offset, flags: (*PreadOptargs)(optargs).flags()})
}

// Flush returns when all writes that have ended are durable.
func (h *Libnbd) Flush(optargs *FlushOptargs) error {
	return h.do(C.nbd_go_flush, args{flags: (*PreadOptargs)(optargs).flags()})
}

// BlockStatus calls extent for each meta context, once or more often, with
// extents from offset on: perhaps fewer than count asked for, and perhaps not
// as many for one context as for another.
func (h *Libnbd) BlockStatus(count uint64, offset uint64, extent ExtentCallback, optargs *BlockStatusOptargs) error {
	return h.do(C.nbd_go_block_status, args{a: count, b: offset,
		callback: function(extent == nil, extent), flags: (*PreadOptargs)(optargs).flags()})
}

// BlockStatus64 is BlockStatus with 64 bits. Where libnbd does not have it
// (before 1.18), it is the old call, whose requests are below 4 GiB.
func (h *Libnbd) BlockStatus64(count uint64, offset uint64, extent64 Extent64Callback, optargs *BlockStatus64Optargs) error {
	if call(C.nbd_go_block_status_64).has() {
		return h.do(C.nbd_go_block_status_64, args{a: count, b: offset,
			callback: function(extent64 == nil, extent64), flags: (*PreadOptargs)(optargs).flags()})
	}
	return h.BlockStatus(count, offset, widen(extent64), (*BlockStatusOptargs)(optargs))
}

// widen makes a callback of 32 bits of one of 64.
func widen(f Extent64Callback) ExtentCallback {
	if f == nil {
		return nil
	}
	return func(metacontext string, offset uint64, entries []uint32, error *int) int {
		wide := make([]LibnbdExtent, len(entries)/2)
		for i := range wide {
			wide[i] = LibnbdExtent{uint64(entries[2*i]), uint64(entries[2*i+1])}
		}
		return f(metacontext, offset, wide, error)
	}
}

// Shutdown says goodbye to the server and waits until the connection has ended.
func (h *Libnbd) Shutdown(optargs *ShutdownOptargs) error {
	var flags uint32
	if optargs != nil && optargs.FlagsSet {
		flags = uint32(optargs.Flags)
	}
	return h.do(C.nbd_go_shutdown, args{flags: flags})
}

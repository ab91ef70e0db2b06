// SPDX-License-Identifier: Apache-2.0

package libnbd

// #include <stdlib.h>
// #include "calls.h"
import "C"

import "unsafe"

// Properties of the connection and its export, known once it is connected.

// GetSize is the size of the export in bytes.
func (h *Libnbd) GetSize() (uint64, error) { return h.number(C.nbd_go_get_size, args{}) }

// GetBlockSize is one of the server's limits on requests in bytes, 0 if it
// named none.
func (h *Libnbd) GetBlockSize(size_type Size) (uint64, error) {
	return h.number(C.nbd_go_get_block_size, args{a: uint64(size_type)})
}

func (h *Libnbd) number(fn call, a args) (uint64, error) {
	r, err := h.call(fn, a)
	return uint64(max(r, 0)), err
}

func (h *Libnbd) IsReadOnly() (bool, error)   { return h.is(C.nbd_go_is_read_only) }
func (h *Libnbd) IsRotational() (bool, error) { return h.is(C.nbd_go_is_rotational) }
func (h *Libnbd) CanCache() (bool, error)     { return h.is(C.nbd_go_can_cache) }
func (h *Libnbd) CanDf() (bool, error)        { return h.is(C.nbd_go_can_df) }
func (h *Libnbd) CanFastZero() (bool, error)  { return h.is(C.nbd_go_can_fast_zero) }
func (h *Libnbd) CanFlush() (bool, error)     { return h.is(C.nbd_go_can_flush) }
func (h *Libnbd) CanFua() (bool, error)       { return h.is(C.nbd_go_can_fua) }
func (h *Libnbd) CanMultiConn() (bool, error) { return h.is(C.nbd_go_can_multi_conn) }
func (h *Libnbd) CanTrim() (bool, error)      { return h.is(C.nbd_go_can_trim) }
func (h *Libnbd) CanZero() (bool, error)      { return h.is(C.nbd_go_can_zero) }

// CanMetaContext says whether the server agreed to report this context.
func (h *Libnbd) CanMetaContext(metacontext string) (bool, error) {
	c := C.CString(metacontext)
	defer C.free(unsafe.Pointer(c))
	r, err := h.call(C.nbd_go_can_meta_context, args{p: c})
	return r > 0, err
}

func (h *Libnbd) GetStructuredRepliesNegotiated() (bool, error) {
	return h.is(C.nbd_go_get_structured_replies_negotiated)
}
func (h *Libnbd) GetTlsNegotiated() (bool, error) { return h.is(C.nbd_go_get_tls_negotiated) }
func (h *Libnbd) GetProtocol() (*string, error)   { return h.text(C.nbd_go_get_protocol, 0) }
func (h *Libnbd) GetUri() (*string, error)        { return h.text(C.nbd_go_get_uri, 0) }
func (h *Libnbd) GetCanonicalExportName() (*string, error) {
	return h.text(C.nbd_go_get_canonical_export_name, 0)
}
func (h *Libnbd) GetExportDescription() (*string, error) {
	return h.text(C.nbd_go_get_export_description, 0)
}

// ConnectionState is for messages.
func (h *Libnbd) ConnectionState() (*string, error) { return h.text(C.nbd_go_connection_state, 0) }

func (h *Libnbd) AioIsCreated() (bool, error)     { return h.is(C.nbd_go_aio_is_created) }
func (h *Libnbd) AioIsConnecting() (bool, error)  { return h.is(C.nbd_go_aio_is_connecting) }
func (h *Libnbd) AioIsNegotiating() (bool, error) { return h.is(C.nbd_go_aio_is_negotiating) }
func (h *Libnbd) AioIsReady() (bool, error)       { return h.is(C.nbd_go_aio_is_ready) }
func (h *Libnbd) AioIsProcessing() (bool, error)  { return h.is(C.nbd_go_aio_is_processing) }
func (h *Libnbd) AioIsDead() (bool, error)        { return h.is(C.nbd_go_aio_is_dead) }
func (h *Libnbd) AioIsClosed() (bool, error)      { return h.is(C.nbd_go_aio_is_closed) }

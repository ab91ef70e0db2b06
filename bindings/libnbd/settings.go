// SPDX-License-Identifier: Apache-2.0

package libnbd

// #include "calls.h"
import "C"

// Settings are made before the connection. Each has the meaning of the C
// function of its name.

func (h *Libnbd) SetHandleName(handle_name string) error {
	return h.with(C.nbd_go_set_handle_name, handle_name)
}
func (h *Libnbd) GetHandleName() (*string, error) { return h.text(C.nbd_go_get_handle_name, 0) }

func (h *Libnbd) SetPrivateData(private_data uint) (uint, error) {
	return h.word(C.nbd_go_set_private_data, args{a: uint64(private_data)})
}
func (h *Libnbd) GetPrivateData() (uint, error) { return h.word(C.nbd_go_get_private_data, args{}) }

// word calls one of the functions whose results are all numbers.
func (h *Libnbd) word(fn call, a args) (uint, error) {
	r, err := h.call(fn, a)
	if err != nil {
		return 0, err
	}
	return uint(r), nil
}

func (h *Libnbd) SetDebug(debug bool) error { return h.set(C.nbd_go_set_debug, debug) }
func (h *Libnbd) GetDebug() (bool, error)   { return h.is(C.nbd_go_get_debug) }
func (h *Libnbd) ClearDebugCallback() error { return h.do(C.nbd_go_clear_debug_callback, args{}) }

// SetDebugCallback sends debug messages to debug instead of standard error. It
// is kept until another one is set, or the handle is closed.
func (h *Libnbd) SetDebugCallback(debug DebugCallback) error {
	return h.do(C.nbd_go_set_debug_callback, args{callback: function(debug == nil, debug)})
}

// function is f, or no callback at all where it is nil.
func function(isNil bool, f any) any {
	if isNil {
		return nil
	}
	return f
}

func (h *Libnbd) SetExportName(export_name string) error {
	return h.with(C.nbd_go_set_export_name, export_name)
}
func (h *Libnbd) GetExportName() (*string, error) { return h.text(C.nbd_go_get_export_name, 0) }

func (h *Libnbd) SetFullInfo(request bool) error { return h.set(C.nbd_go_set_full_info, request) }
func (h *Libnbd) GetFullInfo() (bool, error)     { return h.is(C.nbd_go_get_full_info) }

func (h *Libnbd) SetRequestBlockSize(request bool) error {
	return h.set(C.nbd_go_set_request_block_size, request)
}
func (h *Libnbd) GetRequestBlockSize() (bool, error) { return h.is(C.nbd_go_get_request_block_size) }

func (h *Libnbd) SetRequestStructuredReplies(request bool) error {
	return h.set(C.nbd_go_set_request_structured_replies, request)
}
func (h *Libnbd) GetRequestStructuredReplies() (bool, error) {
	return h.is(C.nbd_go_get_request_structured_replies)
}

func (h *Libnbd) SetHandshakeFlags(flags HandshakeFlag) error {
	return h.do(C.nbd_go_set_handshake_flags, args{flags: uint32(flags)})
}
func (h *Libnbd) GetHandshakeFlags() (HandshakeFlag, error) {
	r, err := h.word(C.nbd_go_get_handshake_flags, args{})
	return HandshakeFlag(r), err
}

func (h *Libnbd) SetPreadInitialize(request bool) error {
	return h.set(C.nbd_go_set_pread_initialize, request)
}
func (h *Libnbd) GetPreadInitialize() (bool, error) { return h.is(C.nbd_go_get_pread_initialize) }

func (h *Libnbd) SetStrictMode(flags Strict) error {
	return h.do(C.nbd_go_set_strict_mode, args{flags: uint32(flags)})
}
func (h *Libnbd) GetStrictMode() (Strict, error) {
	r, err := h.word(C.nbd_go_get_strict_mode, args{})
	return Strict(r), err
}

// TLS. libnbd 1.14 verifies no peer on a Unix socket, with ConnectSocket, or
// where the folder of certificates has no ca-cert.pem.

func (h *Libnbd) SetTls(tls Tls) error { return h.do(C.nbd_go_set_tls, args{a: uint64(tls)}) }
func (h *Libnbd) GetTls() (Tls, error) {
	r, err := h.count(C.nbd_go_get_tls, args{})
	return Tls(r), err
}

func (h *Libnbd) SetTlsCertificates(dir string) error {
	return h.with(C.nbd_go_set_tls_certificates, dir)
}
func (h *Libnbd) SetTlsVerifyPeer(verify bool) error {
	return h.set(C.nbd_go_set_tls_verify_peer, verify)
}
func (h *Libnbd) GetTlsVerifyPeer() (bool, error) { return h.is(C.nbd_go_get_tls_verify_peer) }
func (h *Libnbd) SetTlsUsername(username string) error {
	return h.with(C.nbd_go_set_tls_username, username)
}
func (h *Libnbd) GetTlsUsername() (*string, error) { return h.text(C.nbd_go_get_tls_username, 0) }
func (h *Libnbd) SetTlsPskFile(filename string) error {
	return h.with(C.nbd_go_set_tls_psk_file, filename)
}

// SetTlsHostname sets the name that the server's certificate must have, where
// that is not the host connected to. libnbd 1.14 does not have it.
func (h *Libnbd) SetTlsHostname(hostname string) error {
	return h.with(C.nbd_go_set_tls_hostname, hostname)
}
func hasTlsHostname() bool { return call(C.nbd_go_set_tls_hostname).has() }

func (h *Libnbd) GetTlsHostname() (*string, error) { return h.text(C.nbd_go_get_tls_hostname, 0) }

// What a URI may make libnbd do.

func (h *Libnbd) SetUriAllowTransports(mask AllowTransport) error {
	return h.do(C.nbd_go_set_uri_allow_transports, args{flags: uint32(mask)})
}
func (h *Libnbd) SetUriAllowTls(tls Tls) error {
	return h.do(C.nbd_go_set_uri_allow_tls, args{a: uint64(tls)})
}
func (h *Libnbd) SetUriAllowLocalFile(allow bool) error {
	return h.set(C.nbd_go_set_uri_allow_local_file, allow)
}

func (h *Libnbd) AddMetaContext(name string) error { return h.with(C.nbd_go_add_meta_context, name) }
func (h *Libnbd) GetNrMetaContexts() (uint, error) {
	return h.count(C.nbd_go_get_nr_meta_contexts, args{})
}
func (h *Libnbd) GetMetaContext(i int) (*string, error) { return h.text(C.nbd_go_get_meta_context, i) }
func (h *Libnbd) ClearMetaContexts() error              { return h.do(C.nbd_go_clear_meta_contexts, args{}) }

func (h *Libnbd) GetPackageName() (*string, error) { return h.text(C.nbd_go_get_package_name, 0) }
func (h *Libnbd) GetVersion() (*string, error)     { return h.text(C.nbd_go_get_version, 0) }
func (h *Libnbd) SupportsTls() (bool, error)       { return h.is(C.nbd_go_supports_tls) }
func (h *Libnbd) SupportsUri() (bool, error)       { return h.is(C.nbd_go_supports_uri) }

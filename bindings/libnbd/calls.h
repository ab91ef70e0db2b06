// SPDX-License-Identifier: Apache-2.0

/* All functions of libnbd that the Go side calls, by shape (their C type).
 *
 * The library is loaded with dlopen, so there is a table of addresses, and one
 * C function that calls any of them: by index, with the arguments of all
 * shapes side by side. That each name has the type of its shape is checked
 * against libnbd.h by the compiler.
 */

#ifndef LIBNBD_GO_CALLS_H
#define LIBNBD_GO_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <libnbd.h>
#include "newer.h"

/* X (SHAPE, NAME) for each; NAME without nbd_. */
#define NBD_GO_CALLS(X)                                                 \
  X (is, opt_go) X (is, opt_abort) X (is, opt_info) X (is, opt_starttls) \
  X (is, clear_meta_contexts) X (is, clear_debug_callback)              \
  X (is, get_debug) X (is, get_request_block_size) X (is, get_full_info) \
  X (is, get_tls) X (is, get_tls_negotiated) X (is, get_tls_verify_peer) \
  X (is, get_request_structured_replies)                                \
  X (is, get_structured_replies_negotiated)                             \
  X (is, get_pread_initialize) X (is, get_opt_mode)                     \
  X (is, is_read_only) X (is, is_rotational) X (is, can_flush)          \
  X (is, can_fua) X (is, can_trim) X (is, can_zero) X (is, can_fast_zero) \
  X (is, can_df) X (is, can_multi_conn) X (is, can_cache)               \
  X (is, supports_tls) X (is, supports_uri)                             \
  X (is, aio_opt_abort) X (is, aio_get_fd) X (is, aio_in_flight)        \
  X (is, aio_notify_read) X (is, aio_notify_write)                      \
  X (is, aio_is_created) X (is, aio_is_connecting)                      \
  X (is, aio_is_negotiating) X (is, aio_is_ready)                       \
  X (is, aio_is_processing) X (is, aio_is_dead) X (is, aio_is_closed)   \
  X (bool, set_debug) X (bool, set_request_block_size)                  \
  X (bool, set_full_info) X (bool, set_tls_verify_peer)                 \
  X (bool, set_request_structured_replies)                              \
  X (bool, set_pread_initialize) X (bool, set_opt_mode)                 \
  X (bool, set_uri_allow_local_file)                                    \
  X (int, set_tls) X (int, set_uri_allow_tls) X (int, connect_socket)   \
  X (int, aio_connect_socket) X (int, poll) X (int, kill_subprocess)    \
  X (flags, set_handshake_flags) X (flags, set_strict_mode)             \
  X (flags, set_uri_allow_transports) X (flags, shutdown)               \
  X (flags, flush) X (flags, aio_disconnect)                            \
  X (string, set_handle_name) X (string, set_export_name)               \
  X (string, set_tls_certificates) X (string, set_tls_username)         \
  X (string, set_tls_psk_file) X (string, set_tls_hostname)             \
  X (string, add_meta_context) X (string, can_meta_context)             \
  X (string, connect_uri) X (string, connect_unix)                      \
  X (string, aio_connect_uri) X (string, aio_connect_unix)              \
  X (strings, connect_tcp) X (strings, aio_connect_tcp)                 \
  X (vsock, connect_vsock) X (vsock, aio_connect_vsock)                 \
  X (argv, connect_command) X (argv, connect_systemd_socket_activation) \
  X (argv, aio_connect_command)                                         \
  X (argv, aio_connect_systemd_socket_activation)                       \
  X (address, aio_connect)                                              \
  X (word, get_handshake_flags) X (word, get_strict_mode)               \
  X (word, aio_get_direction)                                           \
  X (pointer, get_private_data) X (swap, set_private_data)              \
  X (number, get_nr_meta_contexts)                                      \
  X (long, get_size) X (long, aio_peek_command_completed)               \
  X (size, get_block_size) X (cookie, aio_command_completed)            \
  X (text, get_handle_name) X (text, get_export_name)                   \
  X (text, get_canonical_export_name) X (text, get_export_description)  \
  X (text, get_tls_username) X (text, get_tls_hostname) X (text, get_uri) \
  X (fixed, get_protocol) X (fixed, connection_state)                   \
  X (fixed, get_package_name) X (fixed, get_version)                    \
  X (item, get_meta_context)                                            \
  X (read, pread) X (write, pwrite) X (chunks, pread_structured)        \
  X (range, trim) X (range, cache) X (range, zero)                      \
  X (extents, block_status) X (extents64, block_status_64)              \
  X (list, opt_list) X (contexts, opt_list_meta_context)                \
  X (debug, set_debug_callback)                                         \
  X (done, aio_opt_go) X (done, aio_opt_info)                           \
  X (aio_list, aio_opt_list)                                            \
  X (aio_contexts, aio_opt_list_meta_context)                           \
  X (aio_read, aio_pread) X (aio_write, aio_pwrite)                     \
  X (aio_chunks, aio_pread_structured) X (aio_flush, aio_flush)         \
  X (aio_range, aio_trim) X (aio_range, aio_cache) X (aio_range, aio_zero) \
  X (aio_extents, aio_block_status)                                     \
  X (aio_extents64, aio_block_status_64)                                \
  X (create, create) X (close, close)                                   \
  X (get_error, get_error) X (get_errno, get_errno)

#define NBD_GO_ENUM(shape, name) nbd_go_##name,
enum nbd_go_call { NBD_GO_CALLS (NBD_GO_ENUM) nbd_go_count };

/* What a call failed with. message, where it is not NULL, is the caller's to
 * free; failed says whether there was an error.
 */
struct nbd_go_error {
  char *message;
  int code;
  int failed;
};

/* Loads the library, once. The answer is NULL, or why it does not load, the
 * caller's to free. No other function may be called before it succeeded.
 */
extern char *nbdGoLoad (const char *file);

/* The name of a function without nbd_, and whether the library has it. */
extern const char *nbdGoName (enum nbd_go_call call);
extern bool nbdGoHas (enum nbd_go_call call);

extern struct nbd_handle *nbdGoCreate (struct nbd_go_error *err);
extern void nbdGoClose (struct nbd_handle *h);

/* Calls one of the functions whose result is a number. A shape takes its
 * arguments from p (a string or the bytes of a request, of which there are n),
 * q (a second string), a and b (numbers; of a request: count, offset), flags,
 * cb and done (ids of callbacks, 0 for none). The error is taken in the same
 * thread.
 */
extern int64_t nbdGoCall (enum nbd_go_call call, struct nbd_handle *h,
                          const char *p, size_t n, const char *q,
                          uint64_t a, uint64_t b, uint32_t flags,
                          uintptr_t cb, uintptr_t done,
                          struct nbd_go_error *err);

/* Calls one whose result is a string: the caller's to free. */
extern char *nbdGoText (enum nbd_go_call call, struct nbd_handle *h, size_t i,
                        struct nbd_go_error *err);

/* The callbacks with the Go function of this id behind them. */
extern nbd_chunk_callback nbdGoChunkCallback (uintptr_t id);
extern nbd_completion_callback nbdGoCompletionCallback (uintptr_t id);
extern nbd_context_callback nbdGoContextCallback (uintptr_t id);
extern nbd_debug_callback nbdGoDebugCallback (uintptr_t id);
extern nbd_extent_callback nbdGoExtentCallback (uintptr_t id);
extern nbd_extent64_callback nbdGoExtent64Callback (uintptr_t id);
extern nbd_list_callback nbdGoListCallback (uintptr_t id);

#endif

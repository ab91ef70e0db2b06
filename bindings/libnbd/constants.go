// SPDX-License-Identifier: Apache-2.0

package libnbd

// #include "calls.h"
import "C"

// Tls is how a connection uses TLS.
type Tls int

const (
	TLS_DISABLE Tls = C.LIBNBD_TLS_DISABLE
	TLS_ALLOW   Tls = C.LIBNBD_TLS_ALLOW // without it, where the server has none: no protection from an attacker
	TLS_REQUIRE Tls = C.LIBNBD_TLS_REQUIRE
)

// Size chooses one of the block sizes of a server.
type Size int

const (
	SIZE_MINIMUM   Size = C.LIBNBD_SIZE_MINIMUM
	SIZE_PREFERRED Size = C.LIBNBD_SIZE_PREFERRED
	SIZE_MAXIMUM   Size = C.LIBNBD_SIZE_MAXIMUM
)

// CmdFlag are the flags of commands.
type CmdFlag uint32

const (
	CMD_FLAG_FUA       CmdFlag = C.LIBNBD_CMD_FLAG_FUA       // durable when the command has ended
	CMD_FLAG_NO_HOLE   CmdFlag = C.LIBNBD_CMD_FLAG_NO_HOLE   // zero, but allocated
	CMD_FLAG_DF        CmdFlag = C.LIBNBD_CMD_FLAG_DF        // a read in one chunk
	CMD_FLAG_REQ_ONE   CmdFlag = C.LIBNBD_CMD_FLAG_REQ_ONE   // one extent only
	CMD_FLAG_FAST_ZERO CmdFlag = C.LIBNBD_CMD_FLAG_FAST_ZERO // fail rather than write zeroes
	CMD_FLAG_MASK      CmdFlag = C.LIBNBD_CMD_FLAG_MASK
)

// HandshakeFlag are what the client may agree to in the handshake.
type HandshakeFlag uint32

const (
	HANDSHAKE_FLAG_FIXED_NEWSTYLE HandshakeFlag = C.LIBNBD_HANDSHAKE_FLAG_FIXED_NEWSTYLE
	HANDSHAKE_FLAG_NO_ZEROES      HandshakeFlag = C.LIBNBD_HANDSHAKE_FLAG_NO_ZEROES
	HANDSHAKE_FLAG_MASK           HandshakeFlag = C.LIBNBD_HANDSHAKE_FLAG_MASK
)

// Strict is what libnbd refuses before it reaches the server.
type Strict uint32

const (
	STRICT_COMMANDS  Strict = C.LIBNBD_STRICT_COMMANDS
	STRICT_FLAGS     Strict = C.LIBNBD_STRICT_FLAGS
	STRICT_BOUNDS    Strict = C.LIBNBD_STRICT_BOUNDS
	STRICT_ZERO_SIZE Strict = C.LIBNBD_STRICT_ZERO_SIZE
	STRICT_ALIGN     Strict = C.LIBNBD_STRICT_ALIGN
	STRICT_MASK      Strict = C.LIBNBD_STRICT_MASK
)

// AllowTransport is which transports a URI may name.
type AllowTransport uint32

const (
	ALLOW_TRANSPORT_TCP   AllowTransport = C.LIBNBD_ALLOW_TRANSPORT_TCP
	ALLOW_TRANSPORT_UNIX  AllowTransport = C.LIBNBD_ALLOW_TRANSPORT_UNIX
	ALLOW_TRANSPORT_VSOCK AllowTransport = C.LIBNBD_ALLOW_TRANSPORT_VSOCK
	ALLOW_TRANSPORT_MASK  AllowTransport = C.LIBNBD_ALLOW_TRANSPORT_MASK
)

// Shutdown are the flags of [Libnbd.Shutdown].
type Shutdown uint32

const (
	SHUTDOWN_ABANDON_PENDING Shutdown = C.LIBNBD_SHUTDOWN_ABANDON_PENDING
	SHUTDOWN_MASK            Shutdown = C.LIBNBD_SHUTDOWN_MASK
)

// What [Libnbd.AioGetDirection] says to wait for.
const (
	AIO_DIRECTION_READ  uint32 = C.LIBNBD_AIO_DIRECTION_READ
	AIO_DIRECTION_WRITE uint32 = C.LIBNBD_AIO_DIRECTION_WRITE
	AIO_DIRECTION_BOTH  uint32 = C.LIBNBD_AIO_DIRECTION_BOTH
)

// The status of a chunk.
const (
	READ_DATA  uint32 = C.LIBNBD_READ_DATA
	READ_HOLE  uint32 = C.LIBNBD_READ_HOLE
	READ_ERROR uint32 = C.LIBNBD_READ_ERROR
)

// Meta contexts. The name of a bitmap follows CONTEXT_QEMU_DIRTY_BITMAP.
// Versions of upstream's package before 1.16 do not export these names.
const (
	CONTEXT_BASE_ALLOCATION       = "base:allocation"
	CONTEXT_QEMU_DIRTY_BITMAP     = "qemu:dirty-bitmap:"
	CONTEXT_QEMU_ALLOCATION_DEPTH = "qemu:allocation-depth"
)

// Flags of extents: the first two of base:allocation, STATE_DIRTY of a dirty
// bitmap. A hole that is not zero has content that nobody knows.
const (
	STATE_HOLE  uint32 = C.LIBNBD_STATE_HOLE
	STATE_ZERO  uint32 = C.LIBNBD_STATE_ZERO
	STATE_DIRTY uint32 = 1
)

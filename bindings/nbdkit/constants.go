// SPDX-License-Identifier: Apache-2.0

package nbdkit

// #include "shim.h"
import "C"

// Thread models, from the most restricted to full concurrency: what
// ThreadModel may return.
const (
	ThreadModelSerializeConnections uint32 = C.NBDKIT_THREAD_MODEL_SERIALIZE_CONNECTIONS
	ThreadModelSerializeAllRequests uint32 = C.NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS
	ThreadModelSerializeRequests    uint32 = C.NBDKIT_THREAD_MODEL_SERIALIZE_REQUESTS
	ThreadModelParallel             uint32 = C.NBDKIT_THREAD_MODEL_PARALLEL
)

// Flags of a request. FlagMayTrim comes with Zero, FlagFUA with PWrite, Trim
// and Zero where CanFUA said [FUANative], FlagReqOne with Extents (one extent
// is enough), FlagFastZero with Zero (fail with ENOTSUP rather than be slow).
const (
	FlagMayTrim  uint32 = C.NBDKIT_FLAG_MAY_TRIM
	FlagFUA      uint32 = C.NBDKIT_FLAG_FUA
	FlagReqOne   uint32 = C.NBDKIT_FLAG_REQ_ONE
	FlagFastZero uint32 = C.NBDKIT_FLAG_FAST_ZERO
)

// Forced unit access, the answer of CanFUA: not offered, done by nbdkit with
// Flush, or done by the plugin.
const (
	FUANone    uint32 = C.NBDKIT_FUA_NONE
	FUAEmulate uint32 = C.NBDKIT_FUA_EMULATE
	FUANative  uint32 = C.NBDKIT_FUA_NATIVE
)

// Cache requests, the answer of CanCache: not offered, done by nbdkit with
// PRead, or done by Cache.
const (
	CacheNone    uint32 = C.NBDKIT_CACHE_NONE
	CacheEmulate uint32 = C.NBDKIT_CACHE_EMULATE
	CacheNative  uint32 = C.NBDKIT_CACHE_NATIVE
)

// The type of an extent is a union of these; 0 is allocated data.
const (
	ExtentHole uint32 = C.NBDKIT_EXTENT_HOLE
	ExtentZero uint32 = C.NBDKIT_EXTENT_ZERO
)

// APIVersion is the version of nbdkit's C plugin API underneath.
const APIVersion uint32 = C.NBDKIT_API_VERSION

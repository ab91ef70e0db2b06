// SPDX-License-Identifier: Apache-2.0

/* The callbacks that libnbd calls. Each carries its arguments to the Go
 * function that is registered under the id in user_data; free drops it.
 */

#include "calls.h"
#include "_cgo_export.h"

#define ID ((uintptr_t) user_data)

static void
drop (void *user_data)
{
  nbdGoDrop (ID);
}

static int
chunk (void *user_data, const void *buf, size_t n, uint64_t offset,
       unsigned status, int *error)
{
  return nbdGoChunk (ID, (void *) buf, n, offset, status, error);
}

static int
completion (void *user_data, int *error)
{
  return nbdGoCompletion (ID, error);
}

static int
context (void *user_data, const char *name)
{
  return nbdGoContext (ID, (char *) name);
}

static int
debug (void *user_data, const char *context, const char *message)
{
  return nbdGoDebug (ID, (char *) context, (char *) message);
}

static int
extent (void *user_data, const char *context, uint64_t offset,
        uint32_t *entries, size_t n, int *error)
{
  return nbdGoExtent (ID, (char *) context, offset, entries, n, error);
}

static int
extent64 (void *user_data, const char *context, uint64_t offset,
          nbd_extent *entries, size_t n, int *error)
{
  return nbdGoExtent64 (ID, (char *) context, offset, entries, n, error);
}

static int
list (void *user_data, const char *name, const char *description)
{
  return nbdGoList (ID, (char *) name, (char *) description);
}

#define CALLBACK(type, function, id)                            \
  ((type) { .callback = (id) ? function : NULL,                 \
            .user_data = (void *) (id),                         \
            .free = (id) ? drop : NULL })

nbd_chunk_callback
nbdGoChunkCallback (uintptr_t id)
{
  return CALLBACK (nbd_chunk_callback, chunk, id);
}

nbd_completion_callback
nbdGoCompletionCallback (uintptr_t id)
{
  return CALLBACK (nbd_completion_callback, completion, id);
}

nbd_context_callback
nbdGoContextCallback (uintptr_t id)
{
  return CALLBACK (nbd_context_callback, context, id);
}

nbd_debug_callback
nbdGoDebugCallback (uintptr_t id)
{
  return CALLBACK (nbd_debug_callback, debug, id);
}

nbd_extent_callback
nbdGoExtentCallback (uintptr_t id)
{
  return CALLBACK (nbd_extent_callback, extent, id);
}

nbd_extent64_callback
nbdGoExtent64Callback (uintptr_t id)
{
  return CALLBACK (nbd_extent64_callback, extent64, id);
}

nbd_list_callback
nbdGoListCallback (uintptr_t id)
{
  return CALLBACK (nbd_list_callback, list, id);
}

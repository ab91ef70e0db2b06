// SPDX-License-Identifier: Apache-2.0

/* The callbacks that nbdkit calls. Each carries its arguments to the Go
 * function of the same name. Handles are small numbers, so they travel as
 * uintptr_t: Go must not see a pointer that is none.
 *
 * The idea that is not in Go is the fork guard. The Go runtime has threads
 * from the moment the plugin is loaded, and a fork leaves them behind: the
 * first callback that waits for one waits for ever. after_fork is the first
 * callback in the new process, so it compares process ids, and it must not
 * call Go before that.
 */

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

#include "shim.h"
#include "_cgo_export.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL
#define H(handle) ((uintptr_t) (handle))

static struct nbdkit_plugin plugin;
static pid_t loaded_pid;

void
nbdkitGoError (const char *msg)
{
  nbdkit_error ("%s", msg);
}

void
nbdkitGoDebug (const char *msg)
{
  nbdkit_debug ("%s", msg);
}

/* Go writes past stdio: flush, so that the lines come after nbdkit's own. */
static void
dump_plugin (void)
{
  fflush (stdout);
  nbdkitGoDumpPlugin ();
}

static int
config (const char *key, const char *value)
{
  return nbdkitGoConfig ((char *) key, (char *) value);
}

#define FORKED \
  "plugin %s is written in Go, which does not survive the fork that nbdkit " \
  "does to go into the background or for --run: start nbdkit with -f and " \
  "without --run, or use the plugin's loader if it has one"

static int
after_fork (void)
{
  if (getpid () != loaded_pid) {
    nbdkit_error (FORKED, plugin.name);
    /* In the background errors go to syslog only, debug messages do not. */
    nbdkit_debug (FORKED, plugin.name);
    return -1;
  }
  return nbdkitGoAfterFork ();
}

static int
list_exports (int readonly, int is_tls, struct nbdkit_exports *exports)
{
  return nbdkitGoListExports (readonly, is_tls, exports);
}

static const char *
default_export (int readonly, int is_tls)
{
  return nbdkitGoDefaultExport (readonly, is_tls);
}

static void *
open_handle (int readonly)
{
  return (void *) nbdkitGoOpen (readonly);
}

static void
close_handle (void *handle)
{
  nbdkitGoClose (H (handle));
}

static const char *
export_description (void *handle)
{
  return nbdkitGoExportDescription (H (handle));
}

static int64_t
get_size (void *handle)
{
  return nbdkitGoGetSize (H (handle));
}

static int
block_size (void *handle,
            uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
  return nbdkitGoBlockSize (H (handle), minimum, preferred, maximum);
}

static int
is_rotational (void *handle)
{
  return nbdkitGoIsRotational (H (handle));
}

static int
can_multi_conn (void *handle)
{
  return nbdkitGoCanMultiConn (H (handle));
}

static int
can_write (void *handle)
{
  return nbdkitGoCanWrite (H (handle));
}

static int
can_flush (void *handle)
{
  return nbdkitGoCanFlush (H (handle));
}

static int
can_trim (void *handle)
{
  return nbdkitGoCanTrim (H (handle));
}

static int
can_zero (void *handle)
{
  return nbdkitGoCanZero (H (handle));
}

static int
can_fast_zero (void *handle)
{
  return nbdkitGoCanFastZero (H (handle));
}

static int
can_fua (void *handle)
{
  return nbdkitGoCanFUA (H (handle));
}

static int
can_extents (void *handle)
{
  return nbdkitGoCanExtents (H (handle));
}

static int
can_cache (void *handle)
{
  return nbdkitGoCanCache (H (handle));
}

static int
pread_handle (void *handle, void *buf, uint32_t count, uint64_t offset,
              uint32_t flags)
{
  return nbdkitGoPRead (H (handle), buf, count, offset, flags);
}

static int
pwrite_handle (void *handle, const void *buf, uint32_t count, uint64_t offset,
               uint32_t flags)
{
  return nbdkitGoPWrite (H (handle), (void *) buf, count, offset, flags);
}

static int
flush (void *handle, uint32_t flags)
{
  return nbdkitGoFlush (H (handle), flags);
}

static int
trim (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  return nbdkitGoTrim (H (handle), count, offset, flags);
}

static int
zero (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  return nbdkitGoZero (H (handle), count, offset, flags);
}

static int
extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
         struct nbdkit_extents *list)
{
  return nbdkitGoExtents (H (handle), count, offset, flags, list);
}

static int
cache (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  return nbdkitGoCache (H (handle), count, offset, flags);
}

struct nbdkit_plugin *
nbdkitGoPlugin (void)
{
  loaded_pid = getpid ();
  plugin = (struct nbdkit_plugin) {
    ._struct_size = sizeof plugin,
    ._api_version = NBDKIT_API_VERSION,
    ._thread_model = THREAD_MODEL,

    /* Go's errno is not C's: the errno comes by nbdkit_set_error. */
    .errno_is_preserved = 0,

    .load = nbdkitGoLoad,
    .unload = nbdkitGoUnload,
    .dump_plugin = dump_plugin,
    .config = config,
    .config_complete = nbdkitGoConfigComplete,
    .thread_model = nbdkitGoThreadModel,
    .get_ready = nbdkitGoGetReady,
    .after_fork = after_fork,
    .cleanup = nbdkitGoCleanup,
    .preconnect = nbdkitGoPreConnect,
    .list_exports = list_exports,
    .default_export = default_export,

    .open = open_handle,
    .close = close_handle,
    .export_description = export_description,
    .get_size = get_size,
    .block_size = block_size,
    .is_rotational = is_rotational,
    .can_multi_conn = can_multi_conn,
    .can_write = can_write,
    .can_flush = can_flush,
    .can_trim = can_trim,
    .can_zero = can_zero,
    .can_fast_zero = can_fast_zero,
    .can_fua = can_fua,
    .can_extents = can_extents,
    .can_cache = can_cache,

    .pread = pread_handle,
    .pwrite = pwrite_handle,
    .flush = flush,
    .trim = trim,
    .zero = zero,
    .extents = extents,
    .cache = cache,
  };
  return &plugin;
}

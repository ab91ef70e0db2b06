// SPDX-License-Identifier: Apache-2.0

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"

#define H struct nbd_handle *
#define DONE nbd_completion_callback

typedef int t_is (H);
typedef int t_bool (H, bool);
typedef int t_int (H, int);
typedef int t_flags (H, uint32_t);
typedef int t_string (H, const char *);
typedef int t_strings (H, const char *, const char *);
typedef int t_vsock (H, uint32_t, uint32_t);
typedef int t_argv (H, char **);
typedef int t_address (H, const struct sockaddr *, socklen_t);
typedef uint32_t t_word (H);
typedef uintptr_t t_pointer (H);
typedef uintptr_t t_swap (H, uintptr_t);
typedef ssize_t t_number (H);
typedef int64_t t_long (H);
typedef int64_t t_size (H, int);
typedef int t_cookie (H, uint64_t);
typedef char *t_text (H);
typedef const char *t_fixed (H);
typedef char *t_item (H, size_t);
typedef int t_read (H, void *, size_t, uint64_t, uint32_t);
typedef int t_write (H, const void *, size_t, uint64_t, uint32_t);
typedef int t_chunks (H, void *, size_t, uint64_t, nbd_chunk_callback, uint32_t);
typedef int t_range (H, uint64_t, uint64_t, uint32_t);
typedef int t_extents (H, uint64_t, uint64_t, nbd_extent_callback, uint32_t);
typedef int t_extents64 (H, uint64_t, uint64_t, nbd_extent64_callback, uint32_t);
typedef int t_list (H, nbd_list_callback);
typedef int t_contexts (H, nbd_context_callback);
typedef int t_debug (H, nbd_debug_callback);
typedef int t_done (H, DONE);
typedef int t_aio_list (H, nbd_list_callback, DONE);
typedef int t_aio_contexts (H, nbd_context_callback, DONE);
typedef int64_t t_aio_read (H, void *, size_t, uint64_t, DONE, uint32_t);
typedef int64_t t_aio_write (H, const void *, size_t, uint64_t, DONE, uint32_t);
typedef int64_t t_aio_chunks (H, void *, size_t, uint64_t, nbd_chunk_callback, DONE, uint32_t);
typedef int64_t t_aio_flush (H, DONE, uint32_t);
typedef int64_t t_aio_range (H, uint64_t, uint64_t, DONE, uint32_t);
typedef int64_t t_aio_extents (H, uint64_t, uint64_t, nbd_extent_callback, DONE, uint32_t);
typedef int64_t t_aio_extents64 (H, uint64_t, uint64_t, nbd_extent64_callback, DONE, uint32_t);
typedef struct nbd_handle *t_create (void);
typedef void t_close (H);
typedef const char *t_get_error (void);
typedef int t_get_errno (void);

#define CHECK(shape, name)                                            \
  _Static_assert (__builtin_types_compatible_p (__typeof__ (nbd_##name), \
                                                t_##shape),           \
                  "type of nbd_" #name);
NBD_GO_CALLS (CHECK)

enum shape {
  s_is, s_bool, s_int, s_flags, s_string, s_strings, s_vsock, s_argv,
  s_address, s_word, s_pointer, s_swap, s_number, s_long, s_size, s_cookie,
  s_text, s_fixed, s_item, s_read, s_write, s_chunks, s_range, s_extents,
  s_extents64, s_list, s_contexts, s_debug, s_done, s_aio_list,
  s_aio_contexts, s_aio_read, s_aio_write, s_aio_chunks, s_aio_flush,
  s_aio_range, s_aio_extents, s_aio_extents64, s_create, s_close,
  s_get_error, s_get_errno,
};

static struct {
  enum shape shape;
  const char *name;
  void *address;                /* NULL: this version does not have it */
} calls[] = {
#define ENTRY(shape, name) { s_##shape, "nbd_" #name, NULL },
  NBD_GO_CALLS (ENTRY)
};

/* The function, as one of its shape. */
#define AS(shape) ((t_##shape *) calls[call].address)

char *
nbdGoLoad (const char *file)
{
  void *library = dlopen (file, RTLD_NOW | RTLD_LOCAL);
  int i;

  if (library == NULL)
    return strdup (dlerror ());
  for (i = nbd_go_create; i <= nbd_go_get_errno; ++i) {
    if (dlsym (library, calls[i].name) == NULL) {
      dlclose (library);
      return strdup ("it lacks nbd_create, nbd_close or nbd_get_error");
    }
  }
  for (i = 0; i < nbd_go_count; ++i)
    calls[i].address = dlsym (library, calls[i].name);
  return NULL;
}

const char *
nbdGoName (enum nbd_go_call call)
{
  return calls[call].name + strlen ("nbd_");
}

bool
nbdGoHas (enum nbd_go_call call)
{
  return calls[call].address != NULL;
}

/* Fills err from libnbd, which keeps the last error of each thread. */
static void
failed (struct nbd_go_error *err)
{
  const char *message = ((t_get_error *) calls[nbd_go_get_error].address) ();

  err->failed = 1;
  err->code = ((t_get_errno *) calls[nbd_go_get_errno].address) ();
  err->message = message ? strdup (message) : NULL;
}

struct nbd_handle *
nbdGoCreate (struct nbd_go_error *err)
{
  struct nbd_handle *h = ((t_create *) calls[nbd_go_create].address) ();

  if (h == NULL)
    failed (err);
  return h;
}

void
nbdGoClose (struct nbd_handle *h)
{
  ((t_close *) calls[nbd_go_close].address) (h);
}

int64_t
nbdGoCall (enum nbd_go_call call, struct nbd_handle *h,
           const char *p, size_t n, const char *q,
           uint64_t a, uint64_t b, uint32_t flags,
           uintptr_t cb, uintptr_t done, struct nbd_go_error *err)
{
  const DONE completed = nbdGoCompletionCallback (done);
  int64_t r = -1;

  switch (calls[call].shape) {
  case s_is: r = AS (is) (h); break;
  case s_bool: r = AS (bool) (h, a != 0); break;
  case s_int: r = AS (int) (h, (int) a); break;
  case s_flags: r = AS (flags) (h, flags); break;
  case s_string: r = AS (string) (h, p); break;
  case s_strings: r = AS (strings) (h, p, q); break;
  case s_vsock: r = AS (vsock) (h, a, b); break;
  case s_argv: r = AS (argv) (h, (char **) p); break;
  case s_address: r = AS (address) (h, (const struct sockaddr *) p, n); break;
  case s_word: return AS (word) (h);       /* these three cannot fail */
  case s_pointer: return AS (pointer) (h);
  case s_swap: return AS (swap) (h, a);
  case s_number: r = AS (number) (h); break;
  case s_long: r = AS (long) (h); break;
  case s_size: r = AS (size) (h, (int) a); break;
  case s_cookie: r = AS (cookie) (h, a); break;
  case s_read: r = AS (read) (h, (void *) p, n, b, flags); break;
  case s_write: r = AS (write) (h, p, n, b, flags); break;
  case s_chunks: r = AS (chunks) (h, (void *) p, n, b, nbdGoChunkCallback (cb), flags); break;
  case s_range: r = AS (range) (h, a, b, flags); break;
  case s_extents: r = AS (extents) (h, a, b, nbdGoExtentCallback (cb), flags); break;
  case s_extents64: r = AS (extents64) (h, a, b, nbdGoExtent64Callback (cb), flags); break;
  case s_list: r = AS (list) (h, nbdGoListCallback (cb)); break;
  case s_contexts: r = AS (contexts) (h, nbdGoContextCallback (cb)); break;
  case s_debug: r = AS (debug) (h, nbdGoDebugCallback (cb)); break;
  case s_done: r = AS (done) (h, completed); break;
  case s_aio_list: r = AS (aio_list) (h, nbdGoListCallback (cb), completed); break;
  case s_aio_contexts: r = AS (aio_contexts) (h, nbdGoContextCallback (cb), completed); break;
  case s_aio_read: r = AS (aio_read) (h, (void *) p, n, b, completed, flags); break;
  case s_aio_write: r = AS (aio_write) (h, p, n, b, completed, flags); break;
  case s_aio_chunks: r = AS (aio_chunks) (h, (void *) p, n, b, nbdGoChunkCallback (cb), completed, flags); break;
  case s_aio_flush: r = AS (aio_flush) (h, completed, flags); break;
  case s_aio_range: r = AS (aio_range) (h, a, b, completed, flags); break;
  case s_aio_extents: r = AS (aio_extents) (h, a, b, nbdGoExtentCallback (cb), completed, flags); break;
  case s_aio_extents64: r = AS (aio_extents64) (h, a, b, nbdGoExtent64Callback (cb), completed, flags); break;
  default: abort ();             /* a shape of the functions below */
  }
  if (r == -1)
    failed (err);
  return r;
}

char *
nbdGoText (enum nbd_go_call call, struct nbd_handle *h, size_t i,
           struct nbd_go_error *err)
{
  char *own = NULL;
  const char *kept;

  switch (calls[call].shape) {
  case s_text: own = AS (text) (h); break;
  case s_item: own = AS (item) (h, i); break;
  case s_fixed:
    kept = AS (fixed) (h);
    own = kept ? strdup (kept) : NULL;
    break;
  default: abort ();
  }
  if (own == NULL)
    failed (err);
  return own;
}

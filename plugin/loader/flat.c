/* SPDX-License-Identifier: Apache-2.0 */

/* Reading of uncompressed runs, without a call into Go: on a request of 4 KiB
 * that call and what follows it cost as much as reading.
 *
 * Like package overlay, it reads neighbouring frames of a saveset with one
 * call, with the frame headers between them dropped, and afterwards asks
 * whether the file is still the one that was opened. It never reports an
 * error: the Go code reads again and says what is wrong.
 */

#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "flat.h"

#define MAX_PIECES 256          /* of one call */
#define MAX_ASIDE 512           /* bytes between two pieces */

struct gather {
  const struct virtnb_file *file;
  int64_t pos, end;             /* in the file */
  int n;
  struct iovec v[MAX_PIECES + 1];
  char aside[MAX_ASIDE];
};

static uint64_t
find (const struct virtnb_flat *f, int64_t offset)
{
  uint64_t lo = f->bucket[offset >> f->shift];
  uint64_t hi = f->bucket[(offset >> f->shift) + 1];

  while (lo < hi) {
    uint64_t mid = (lo + hi + 1) / 2;
    if (f->start[mid] <= offset)
      lo = mid;
    else
      hi = mid - 1;
  }
  return lo;
}

static int
same_time (const struct timespec *a, const struct timespec *b)
{
  return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Whether nothing at all has happened to the file. What takes nothing from its
 * content, such as another link, is for Saveset.Unchanged of package format to
 * tell, which remembers it: the request goes to Go then.
 */
static int
unchanged (const struct virtnb_file *f)
{
  struct stat st;

  if (fstat (f->fd, &st) == -1 || st.st_size != f->size ||
      !same_time (&st.st_mtim, &f->mtime))
    return 0;
  return same_time (&st.st_ctim, &f->ctime);
}

static int
flush (struct gather *g)
{
  ssize_t n;

  if (g->n == 0)
    return 0;
  if (g->n == 1)
    n = pread (g->file->fd, g->v[0].iov_base, g->v[0].iov_len, g->pos);
  else
    n = preadv (g->file->fd, g->v, g->n, g->pos);
  g->n = 0;
  return n == g->end - g->pos && unchanged (g->file) ? 0 : -1;
}

static void
append (struct gather *g, void *base, size_t len)
{
  g->v[g->n].iov_base = base;
  g->v[g->n++].iov_len = len;
}

static int
add (struct gather *g, const struct virtnb_file *file,
     void *buf, int64_t len, int64_t pos)
{
  int64_t gap = pos - g->end;

  if (file->fd == -1)
    return -1;
  if (g->n > 0 && (file != g->file || gap < 0 || gap > MAX_ASIDE ||
                   g->n > MAX_PIECES - 2) && flush (g) == -1)
    return -1;
  if (g->n == 0) {
    g->file = file;
    g->pos = pos;
  }
  else if (gap > 0)
    append (g, g->aside, gap);
  append (g, buf, len);
  g->end = pos + len;
  return 0;
}

int
virtnb_flat_read (const struct virtnb_flat *f,
                  void *buf, uint32_t count, uint64_t offset)
{
  struct gather g;
  char *p = buf;
  int64_t off = offset, end = off + count;
  uint64_t i;

  g.n = 0;
  g.end = 0;
  for (i = find (f, off); off < end; i++) {
    int64_t next = i + 1 < f->runs ? f->start[i + 1] : f->size;
    int64_t len = (next < end ? next : end) - off;

    if (f->source[i] == 0)
      memset (p, 0, len);
    else if (add (&g, &f->files[f->source[i] - 1], p, len,
                  f->pos[i] + (off - f->start[i])) == -1)
      return -1;
    p += len;
    off += len;
  }
  return flush (&g);
}

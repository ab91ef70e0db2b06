/* SPDX-License-Identifier: Apache-2.0 */

/* The index of an image in plain memory, as overlay.Flat describes it. It
 * belongs to the Go library and is valid until the connection is closed.
 */

#ifndef VIRTNB_FLAT_H
#define VIRTNB_FLAT_H

#include <stdint.h>
#include <time.h>

/* A saveset: fd -1 if it is compressed. The rest is what fstat said when it
 * was opened.
 */
struct virtnb_file {
  int fd;
  int64_t size;
  struct timespec mtime, ctime;
};

struct virtnb_flat {
  int64_t size;                 /* of the disk */
  uint64_t runs;                /* 0: there is no index, call Go */
  const int64_t *start;         /* [runs] disk offset */
  const int64_t *pos;           /* [runs] file offset */
  const uint16_t *source;       /* [runs] 0: zeroes, else 1 + number of file */
  const uint32_t *bucket;       /* run of disk offset i << shift */
  unsigned shift;
  struct virtnb_file *files;
};

/* In the Go library: moves the index of the connection that this thread has
 * just opened to *flat.
 */
void virtnb_take_flat (struct virtnb_flat *flat);

/* Reads count bytes at offset, which are inside the disk, into buf. Returns
 * -1 if that needs Go: something is compressed, or went wrong and wants a
 * message.
 */
int virtnb_flat_read (const struct virtnb_flat *flat,
                      void *buf, uint32_t count, uint64_t offset);

#endif

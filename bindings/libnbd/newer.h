// SPDX-License-Identifier: Apache-2.0

/* Functions that some installed libnbd.h does not know: libnbd 1.14 lacks all
 * of them. They are declared here as in the newer versions, so that a program
 * that was built with an old header uses them where the library that it finds
 * at run time has them.
 */

#ifndef LIBNBD_GO_NEWER_H
#define LIBNBD_GO_NEWER_H

#ifndef LIBNBD_HAVE_NBD_EXTENT64_CALLBACK
typedef struct {
  uint64_t length;
  uint64_t flags;
} nbd_extent;

typedef struct {
  int (*callback) (void *user_data, const char *metacontext, uint64_t offset,
                   nbd_extent *entries, size_t nr_entries, int *error);
  void *user_data;
  void (*free) (void *user_data);
} nbd_extent64_callback;
#endif

#ifndef LIBNBD_HAVE_NBD_BLOCK_STATUS_64
extern int nbd_block_status_64 (struct nbd_handle *h, uint64_t count,
                                uint64_t offset, nbd_extent64_callback cb,
                                uint32_t flags);
#endif

#ifndef LIBNBD_HAVE_NBD_AIO_BLOCK_STATUS_64
extern int64_t nbd_aio_block_status_64 (struct nbd_handle *h, uint64_t count,
                                        uint64_t offset,
                                        nbd_extent64_callback cb,
                                        nbd_completion_callback done,
                                        uint32_t flags);
#endif

#ifndef LIBNBD_HAVE_NBD_OPT_STARTTLS
extern int nbd_opt_starttls (struct nbd_handle *h);
#endif

#ifndef LIBNBD_HAVE_NBD_SET_TLS_HOSTNAME
extern int nbd_set_tls_hostname (struct nbd_handle *h, const char *hostname);
#endif

#ifndef LIBNBD_HAVE_NBD_GET_TLS_HOSTNAME
extern char *nbd_get_tls_hostname (struct nbd_handle *h);
#endif

#endif

// SPDX-License-Identifier: Apache-2.0

/* What the Go side needs of C: nbdkit's own header for version 2 of the
 * plugin API, and the functions of shim.c.
 */

#ifndef NBDKIT_GO_SHIM_H
#define NBDKIT_GO_SHIM_H

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

/* The plugin struct with every callback filled in, and the id of the process
 * remembered for the fork guard. The caller sets the names, and clears the
 * callbacks that the plugin does not have.
 */
extern struct nbdkit_plugin *nbdkitGoPlugin (void);

/* nbdkit_error and nbdkit_debug are variadic, which cgo cannot call. */
extern void nbdkitGoError (const char *msg);
extern void nbdkitGoDebug (const char *msg);

#endif

/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "../loader/flat.h"

/* The index of the connection that this thread has opened last. */
static __thread struct virtnb_flat last;

void
virtnb_publish_flat (struct virtnb_flat *flat)
{
  last = *flat;
}

void
virtnb_take_flat (struct virtnb_flat *flat)
{
  *flat = last;
  memset (&last, 0, sizeof last);
}

/* SPDX-License-Identifier: Apache-2.0 */

/* nbdkit-virtnb-plugin.so, the plugin that nbdkit loads.
 *
 * Go does not survive a fork, and nbdkit forks to go into the background and
 * for --run. So this plugin has no Go in it: it keeps the parameters, and
 * loads the Go library, itself a plugin, when nbdkit says that no fork follows
 * (.after_fork). From then on it passes calls on; the one thing that it does
 * itself is reading what is not compressed (flat.c).
 *
 * Mistakes in the parameters have to be reported before the fork. For that a
 * child process goes through the same steps first (.get_ready); its errors are
 * those of the server, and it ends without having served anything.
 *
 * States: parameters collected -> checked in the child -> library loaded.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "flat.h"
#include "help.h"               /* VIRTNB_HELP, made from plugin/help.txt */

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL
#define LIBRARY "virtnb-plugin.so"

static struct {
  char *key, *value;
} *params;
static size_t nr_params;

static char *library;           /* absolute path of the Go library */
static int cwd = -1;            /* where relative paths begin */

static const struct nbdkit_plugin *go;  /* the Go plugin, once loaded */
static void (*take_flat) (struct virtnb_flat *);

/* A connection: that of the Go plugin, and its index if it has one. */
struct connection {
  void *handle;
  struct virtnb_flat flat;
};

/* The Go library lies beside this file. nbdkit may have been given a relative
 * path, and changes to the root directory later on.
 */
static void
virtnb_load (void)
{
  Dl_info info;
  char *self;

  cwd = open (".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dladdr (&params, &info) == 0 ||
      (self = realpath (info.dli_fname, NULL)) == NULL)
    return;
  if (asprintf (&library, "%s/" LIBRARY, dirname (self)) == -1)
    library = NULL;
  free (self);
}

static void
virtnb_unload (void)
{
  size_t i;

  if (go && go->unload)
    go->unload ();
  for (i = 0; i < nr_params; i++) {
    free (params[i].key);
    free (params[i].value);
  }
  free (params);
  free (library);
  if (cwd != -1)
    close (cwd);
}

static void
virtnb_dump_plugin (void)
{
  printf ("virtnb_version=%s\n", VIRTNB_VERSION);
  printf ("virtnb_library=%s\n", library ? library : "");
}

static int
virtnb_config (const char *key, const char *value)
{
  void *p = realloc (params, (nr_params + 1) * sizeof *params);

  if (p == NULL)
    goto err;
  params = p;
  params[nr_params].key = strdup (key);
  params[nr_params].value = strdup (value);
  if (params[nr_params].key == NULL || params[nr_params].value == NULL)
    goto err;
  nr_params++;
  return 0;

 err:
  nbdkit_error ("cannot keep parameter %s: %m", key);
  return -1;
}

/* Loads the Go library and brings it to where this plugin is. */
static int
load_library (void)
{
  void *dl;
  const struct nbdkit_plugin *(*init) (void);
  const struct nbdkit_plugin *p;
  size_t i;

  if (library == NULL || (dl = dlopen (library, RTLD_NOW)) == NULL) {
    nbdkit_error ("cannot load %s, which belongs beside the plugin: %s",
                  LIBRARY, library ? dlerror () : "its folder is not known");
    return -1;
  }
  init = dlsym (dl, "plugin_init");
  take_flat = dlsym (dl, "virtnb_take_flat");
  if (init == NULL || take_flat == NULL || (p = init ()) == NULL) {
    nbdkit_error ("%s is not the library of this plugin", library);
    return -1;
  }
  if (p->load)
    p->load ();
  for (i = 0; i < nr_params; i++)
    if (p->config (params[i].key, params[i].value) == -1)
      return -1;
  if (p->config_complete () == -1 || p->get_ready () == -1 ||
      (p->after_fork && p->after_fork () == -1))
    return -1;
  go = p;
  return 0;
}

/* Loads the library in the folder that the server was started in. */
static int
load_in_cwd (void)
{
  int here = open (".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int r;

  if (cwd != -1 && fchdir (cwd) == -1)
    nbdkit_debug ("fchdir: %m");
  r = load_library ();
  if (here != -1) {
    if (fchdir (here) == -1)
      nbdkit_debug ("fchdir: %m");
    close (here);
  }
  return r;
}

static int
virtnb_get_ready (void)
{
  pid_t pid;
  int status;

  fflush (NULL);
  pid = fork ();
  if (pid == -1) {
    nbdkit_error ("fork: %m");
    return -1;
  }
  if (pid == 0)
    _exit (load_in_cwd () == 0 ? 0 : 1);
  while (waitpid (pid, &status, 0) == -1) {
    if (errno != EINTR) {
      nbdkit_error ("waitpid: %m");
      return -1;
    }
  }
  if (WIFEXITED (status) && WEXITSTATUS (status) == 0)
    return 0;
  if (!WIFEXITED (status))
    nbdkit_error ("checking the parameters ended with signal %d",
                  WTERMSIG (status));
  return -1;
}

static int
virtnb_after_fork (void)
{
  return load_in_cwd ();
}

static void
virtnb_cleanup (void)
{
  if (go && go->cleanup)
    go->cleanup ();
}

static int
virtnb_preconnect (int readonly)
{
  return go->preconnect ? go->preconnect (readonly) : 0;
}

static int
virtnb_list_exports (int readonly, int is_tls, struct nbdkit_exports *exports)
{
  return go->list_exports (readonly, is_tls, exports);
}

static const char *
virtnb_default_export (int readonly, int is_tls)
{
  return go->default_export (readonly, is_tls);
}

static void *
virtnb_open (int readonly)
{
  struct connection *c = calloc (1, sizeof *c);

  if (c == NULL) {
    nbdkit_error ("calloc: %m");
    return NULL;
  }
  c->handle = go->open (readonly);
  if (c->handle == NULL) {
    free (c);
    return NULL;
  }
  take_flat (&c->flat);
  return c;
}

static void
virtnb_close (void *handle)
{
  struct connection *c = handle;

  go->close (c->handle);
  free (c);
}

#define GO(h) (((struct connection *) (h))->handle)

static const char *
virtnb_export_description (void *h)
{
  return go->export_description (GO (h));
}

static int64_t
virtnb_get_size (void *h)
{
  return go->get_size (GO (h));
}

static int
virtnb_block_size (void *h, uint32_t *minimum, uint32_t *preferred,
                   uint32_t *maximum)
{
  return go->block_size (GO (h), minimum, preferred, maximum);
}

static int
virtnb_can_multi_conn (void *h)
{
  return go->can_multi_conn (GO (h));
}

static int
virtnb_is_rotational (void *h)
{
  return go->is_rotational (GO (h));
}

static int
virtnb_can_extents (void *h)
{
  return go->can_extents (GO (h));
}

static int
virtnb_extents (void *h, uint32_t count, uint64_t offset, uint32_t flags,
                struct nbdkit_extents *extents)
{
  return go->extents (GO (h), count, offset, flags, extents);
}

static int
virtnb_can_cache (void *h)
{
  return go->can_cache (GO (h));
}

static int
virtnb_cache (void *h, uint32_t count, uint64_t offset, uint32_t flags)
{
  return go->cache (GO (h), count, offset, flags);
}

static int
virtnb_pread (void *h, void *buf, uint32_t count, uint64_t offset,
              uint32_t flags)
{
  const struct connection *c = h;

  if (c->flat.runs > 0 && virtnb_flat_read (&c->flat, buf, count, offset) == 0)
    return 0;
  return go->pread (c->handle, buf, count, offset, flags);
}

static struct nbdkit_plugin plugin = {
  .name               = "virtnb",
  .longname           = "virtnb backup set plugin",
  .version            = VIRTNB_VERSION,
  .description        = "serve every restore point of a backup chain",
  .magic_config_key   = "set",
  .config_help        = VIRTNB_HELP,
  .load               = virtnb_load,
  .unload             = virtnb_unload,
  .dump_plugin        = virtnb_dump_plugin,
  .config             = virtnb_config,
  .get_ready          = virtnb_get_ready,
  .after_fork         = virtnb_after_fork,
  .cleanup            = virtnb_cleanup,
  .preconnect         = virtnb_preconnect,
  .list_exports       = virtnb_list_exports,
  .default_export     = virtnb_default_export,
  .open               = virtnb_open,
  .close              = virtnb_close,
  .export_description = virtnb_export_description,
  .get_size           = virtnb_get_size,
  .block_size         = virtnb_block_size,
  .can_multi_conn     = virtnb_can_multi_conn,
  .is_rotational      = virtnb_is_rotational,
  .can_extents        = virtnb_can_extents,
  .extents            = virtnb_extents,
  .can_cache          = virtnb_can_cache,
  .cache              = virtnb_cache,
  .pread              = virtnb_pread,
};

NBDKIT_REGISTER_PLUGIN (plugin)

/* SPDX-License-Identifier: Apache-2.0 */

/* libvirt is not linked: a program that has this package must start and do
 * what needs no libvirt on a machine without it. The first call loads the
 * library, every function is looked up by its name when it is first called,
 * and one that the installed libvirt does not have is an error of that call.
 * The headers give the types. The library stays loaded.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "shim.h"
#include "_cgo_export.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void *library, *qemu_library;
static char *load_error;

static void
set_error (callError *err, int code, const char *format, const char *arg)
{
  err->code = code;
  err->domain = VIR_FROM_NONE;
  err->level = VIR_ERR_ERROR;
  if (asprintf (&err->message, format, arg) < 0)
    err->message = NULL;
}

static void
silent (void *data, virErrorPtr error)
{
}

/* Errors go to the caller and not, as by default, also to standard error. */
static void
load (void)
{
  typeof (virSetErrorFunc) *set_error_func;
  typeof (virInitialize) *initialize;

  library = dlopen ("libvirt.so.0", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    load_error = strdup (dlerror ());
    return;
  }
  qemu_library = dlopen ("libvirt-qemu.so.0", RTLD_NOW | RTLD_LOCAL);
  if ((initialize = dlsym (library, "virInitialize")))
    initialize ();
  if ((set_error_func = dlsym (library, "virSetErrorFunc")))
    set_error_func (NULL, silent);
}

static void *
lookup (const char *name, callError *err)
{
  void *f;

  pthread_once (&once, load);
  if (!library) {
    set_error (err, VIR_ERR_SYSTEM_ERROR,
               "cannot load the libvirt library: %s: install it (Debian: package libvirt0)",
               load_error ? load_error : "dlopen failed");
    return NULL;
  }
  f = dlsym (library, name);
  if (!f && qemu_library)
    f = dlsym (qemu_library, name);
  if (!f)
    set_error (err, VIR_ERR_NO_SUPPORT,
               "the installed libvirt library has no function %s: a newer libvirt is needed", name);
  return f;
}

/* last_error is for the thread that made the call. */
static void
last_error (const char *name, callError *err)
{
  typeof (virGetLastError) *get = dlsym (library, "virGetLastError");
  virErrorPtr last = get ? get () : NULL;

  if (!last || last->code == VIR_ERR_OK) {
    set_error (err, VIR_ERR_INTERNAL_ERROR, "%s failed and libvirt does not say why", name);
    return;
  }
  set_error (err, last->code, "%s", last->message ? last->message : "");
  err->domain = last->domain;
  err->level = last->level;
}

#define BODY(result, failed, name, arguments)                           \
  {                                                                     \
    static typeof (name) *cached;                                       \
    typeof (name) *f = __atomic_load_n (&cached, __ATOMIC_ACQUIRE);     \
    result r;                                                           \
                                                                        \
    if (!f) {                                                           \
      if (!(f = lookup (#name, err)))                                   \
        return failed;                                                  \
      __atomic_store_n (&cached, f, __ATOMIC_RELEASE);                  \
    }                                                                   \
    r = f arguments;                                                    \
    if (r == (result) failed)                                           \
      last_error (#name, err);                                          \
    return r;                                                           \
  }

#define CALL(result, failed, name, parameters, arguments)               \
  result go_##name (callError *err, PARAMETERS parameters)              \
    BODY (result, failed, name, arguments)
#define VOID(result, failed, name)                                      \
  result go_##name (callError *err) BODY (result, failed, name, ())
#include "functions.h"

static int
on_credentials (virConnectCredentialPtr creds, unsigned int count, void *id)
{
  return libvirtGoCredentials (creds, count, (uintptr_t) id);
}

virConnectPtr
libvirtGoOpenAuth (callError *err, const char *uri, int *types, unsigned int count, uintptr_t id, unsigned int flags)
{
  virConnectAuth auth = { types, count, on_credentials, (void *) id };

  return go_virConnectOpenAuth (err, uri, &auth, flags);
}

virConnectPtr
libvirtGoOpenAuthDefault (callError *err, const char *uri, unsigned int flags)
{
  virConnectAuthPtr *auth = lookup ("virConnectAuthPtrDefault", err);

  return auth ? go_virConnectOpenAuth (err, uri, *auth, flags) : NULL;
}

static void
on_free (void *id)
{
  libvirtGoFree ((uintptr_t) id);
}

static void
on_close (virConnectPtr conn, int reason, void *id)
{
  libvirtGoClosed (conn, reason, (uintptr_t) id);
}

int
libvirtGoRegisterClose (callError *err, virConnectPtr conn, uintptr_t id)
{
  return go_virConnectRegisterCloseCallback (err, conn, on_close, (void *) id, on_free);
}

int
libvirtGoUnregisterClose (callError *err, virConnectPtr conn)
{
  return go_virConnectUnregisterCloseCallback (err, conn, on_close);
}

static int
on_lifecycle (virConnectPtr conn, virDomainPtr dom, int event, int detail, void *id)
{
  libvirtGoLifecycle (conn, dom, event, detail, (uintptr_t) id);
  return 0;
}

static void
on_block_job (virConnectPtr conn, virDomainPtr dom, const char *disk, int type, int status, void *id)
{
  libvirtGoBlockJob (conn, dom, (char *) disk, type, status, (uintptr_t) id);
}

static void
on_job_completed (virConnectPtr conn, virDomainPtr dom, virTypedParameterPtr params, int count, void *id)
{
  libvirtGoJobCompleted (conn, dom, params, count, (uintptr_t) id);
}

static void
on_agent_lifecycle (virConnectPtr conn, virDomainPtr dom, int state, int reason, void *id)
{
  libvirtGoAgentLifecycle (conn, dom, state, reason, (uintptr_t) id);
}

static void
on_io_error (virConnectPtr conn, virDomainPtr dom, const char *path, const char *alias, int action, const char *reason, void *id)
{
  libvirtGoIOError (conn, dom, (char *) path, (char *) alias, action, (char *) reason, (uintptr_t) id);
}

static void
on_device_removed (virConnectPtr conn, virDomainPtr dom, const char *alias, void *id)
{
  libvirtGoDeviceRemoved (conn, dom, (char *) alias, (uintptr_t) id);
}

/* callback_of is the C function that libvirt calls for an event. */
static virConnectDomainEventGenericCallback
callback_of (int event)
{
  switch (event) {
  case VIR_DOMAIN_EVENT_ID_LIFECYCLE: return VIR_DOMAIN_EVENT_CALLBACK (on_lifecycle);
  case VIR_DOMAIN_EVENT_ID_BLOCK_JOB:
  case VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2: return VIR_DOMAIN_EVENT_CALLBACK (on_block_job);
  case VIR_DOMAIN_EVENT_ID_JOB_COMPLETED: return VIR_DOMAIN_EVENT_CALLBACK (on_job_completed);
  case VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE: return VIR_DOMAIN_EVENT_CALLBACK (on_agent_lifecycle);
  case VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON: return VIR_DOMAIN_EVENT_CALLBACK (on_io_error);
  case VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED: return VIR_DOMAIN_EVENT_CALLBACK (on_device_removed);
  }
  return NULL;
}

int
libvirtGoRegisterEvent (callError *err, virConnectPtr conn, virDomainPtr dom, int event, uintptr_t id)
{
  return go_virConnectDomainEventRegisterAny (err, conn, dom, event, callback_of (event), (void *) id, on_free);
}

void
libvirtGoFreeParams (virTypedParameterPtr params, int count)
{
  typeof (virTypedParamsFree) *f = dlsym (library, "virTypedParamsFree");

  if (f)
    f (params, count);
}

void
libvirtGoFreeFSInfo (virDomainFSInfoPtr info)
{
  typeof (virDomainFSInfoFree) *f = dlsym (library, "virDomainFSInfoFree");

  if (f)
    f (info);
}

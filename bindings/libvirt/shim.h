/* SPDX-License-Identifier: Apache-2.0 */

#ifndef LIBVIRT_GO_SHIM_H
#define LIBVIRT_GO_SHIM_H

#include <stdint.h>
#include <stdlib.h>

#include <libvirt/libvirt.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>

/* Why a call failed; message is malloc'ed. */
typedef struct {
  int code;
  int domain;
  int level;
  char *message;
} callError;

/* go_NAME calls NAME and, if that fails, fills in the error in the same
 * thread: libvirt keeps the last error of each thread.
 */
#define PARAMETERS(...) __VA_ARGS__
#define CALL(result, failed, name, parameters, arguments) \
  result go_##name (callError *err, PARAMETERS parameters);
#define VOID(result, failed, name) result go_##name (callError *err);
#include "functions.h"
#undef CALL
#undef VOID

/* The calls that need a callback: id is the handle of the Go function. */
virConnectPtr libvirtGoOpenAuth (callError *err, const char *uri, int *types, unsigned int count, uintptr_t id, unsigned int flags);
virConnectPtr libvirtGoOpenAuthDefault (callError *err, const char *uri, unsigned int flags);
int libvirtGoRegisterEvent (callError *err, virConnectPtr conn, virDomainPtr dom, int event, uintptr_t id);
int libvirtGoRegisterClose (callError *err, virConnectPtr conn, uintptr_t id);
int libvirtGoUnregisterClose (callError *err, virConnectPtr conn);

/* The calls that cannot fail. They follow one that had success. */
void libvirtGoFreeParams (virTypedParameterPtr params, int count);
void libvirtGoFreeFSInfo (virDomainFSInfoPtr info);

#endif

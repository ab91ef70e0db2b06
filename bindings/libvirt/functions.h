/* SPDX-License-Identifier: Apache-2.0
 *
 * The functions of libvirt that the package calls: result, the result that
 * means failure, name, parameters, arguments. Included where CALL, and VOID
 * for functions without parameters, are defined.
 */

/* connect.go, auth.go */
CALL (virConnectPtr, NULL, virConnectOpen, (const char *name), (name))
CALL (virConnectPtr, NULL, virConnectOpenReadOnly, (const char *name), (name))
CALL (virConnectPtr, NULL, virConnectOpenAuth,
      (const char *name, virConnectAuthPtr auth, unsigned int flags),
      (name, auth, flags))
CALL (int, -1, virConnectClose, (virConnectPtr conn), (conn))
CALL (int, -1, virConnectRef, (virConnectPtr conn), (conn))
CALL (int, -1, virConnectSetKeepAlive,
      (virConnectPtr conn, int interval, unsigned int count),
      (conn, interval, count))
CALL (int, -1, virConnectIsAlive, (virConnectPtr conn), (conn))
CALL (int, -1, virConnectIsSecure, (virConnectPtr conn), (conn))
CALL (int, -1, virConnectIsEncrypted, (virConnectPtr conn), (conn))
CALL (char *, NULL, virConnectGetURI, (virConnectPtr conn), (conn))
CALL (char *, NULL, virConnectGetHostname, (virConnectPtr conn), (conn))
CALL (const char *, NULL, virConnectGetType, (virConnectPtr conn), (conn))
CALL (char *, NULL, virConnectGetCapabilities, (virConnectPtr conn), (conn))
CALL (char *, NULL, virConnectGetDomainCapabilities,
      (virConnectPtr conn, const char *emulatorbin, const char *arch, const char *machine,
       const char *virttype, unsigned int flags),
      (conn, emulatorbin, arch, machine, virttype, flags))
CALL (char *, NULL, virConnectGetSysinfo, (virConnectPtr conn, unsigned int flags), (conn, flags))
CALL (int, -1, virConnectGetLibVersion, (virConnectPtr conn, unsigned long *libVer), (conn, libVer))
CALL (int, -1, virConnectGetVersion, (virConnectPtr conn, unsigned long *hvVer), (conn, hvVer))
CALL (int, -1, virGetVersion,
      (unsigned long *libVer, const char *type, unsigned long *typeVer),
      (libVer, type, typeVer))
CALL (int, -1, virConnectRegisterCloseCallback,
      (virConnectPtr conn, virConnectCloseFunc cb, void *opaque, virFreeCallback freecb),
      (conn, cb, opaque, freecb))
CALL (int, -1, virConnectUnregisterCloseCallback,
      (virConnectPtr conn, virConnectCloseFunc cb),
      (conn, cb))
CALL (unsigned long long, 0, virNodeGetFreeMemory, (virConnectPtr conn), (conn))

/* event.go */
VOID (int, -1, virEventRegisterDefaultImpl)
VOID (int, -1, virEventRunDefaultImpl)
CALL (int, -1, virConnectDomainEventRegisterAny,
      (virConnectPtr conn, virDomainPtr dom, int eventID,
       virConnectDomainEventGenericCallback cb, void *opaque, virFreeCallback freecb),
      (conn, dom, eventID, cb, opaque, freecb))
CALL (int, -1, virConnectDomainEventDeregisterAny,
      (virConnectPtr conn, int callbackID),
      (conn, callbackID))

/* domain.go, lookup.go */
CALL (virDomainPtr, NULL, virDomainLookupByName,
      (virConnectPtr conn, const char *name),
      (conn, name))
CALL (virDomainPtr, NULL, virDomainLookupByUUIDString,
      (virConnectPtr conn, const char *uuid),
      (conn, uuid))
CALL (virDomainPtr, NULL, virDomainLookupByUUID,
      (virConnectPtr conn, const unsigned char *uuid),
      (conn, uuid))
CALL (virDomainPtr, NULL, virDomainLookupByID, (virConnectPtr conn, int id), (conn, id))
CALL (int, -1, virConnectListAllDomains,
      (virConnectPtr conn, virDomainPtr **domains, unsigned int flags),
      (conn, domains, flags))
CALL (virConnectPtr, NULL, virDomainGetConnect, (virDomainPtr domain), (domain))
CALL (virDomainPtr, NULL, virDomainDefineXML, (virConnectPtr conn, const char *xml), (conn, xml))
CALL (virDomainPtr, NULL, virDomainDefineXMLFlags,
      (virConnectPtr conn, const char *xml, unsigned int flags),
      (conn, xml, flags))
CALL (virDomainPtr, NULL, virDomainCreateXML,
      (virConnectPtr conn, const char *xmlDesc, unsigned int flags),
      (conn, xmlDesc, flags))
CALL (char *, NULL, virConnectDomainXMLToNative,
      (virConnectPtr conn, const char *nativeFormat, const char *domainXml, unsigned int flags),
      (conn, nativeFormat, domainXml, flags))
CALL (int, -1, virDomainFree, (virDomainPtr domain), (domain))
CALL (int, -1, virDomainRef, (virDomainPtr domain), (domain))
CALL (const char *, NULL, virDomainGetName, (virDomainPtr domain), (domain))
CALL (int, -1, virDomainGetUUIDString, (virDomainPtr domain, char *buf), (domain, buf))
CALL (int, -1, virDomainGetUUID, (virDomainPtr domain, unsigned char *uuid), (domain, uuid))
CALL (unsigned int, -1, virDomainGetID, (virDomainPtr domain), (domain))
CALL (char *, NULL, virDomainGetOSType, (virDomainPtr domain), (domain))
CALL (char *, NULL, virDomainGetXMLDesc, (virDomainPtr domain, unsigned int flags), (domain, flags))
CALL (int, -1, virDomainIsActive, (virDomainPtr dom), (dom))
CALL (int, -1, virDomainIsPersistent, (virDomainPtr dom), (dom))
CALL (int, -1, virDomainIsUpdated, (virDomainPtr dom), (dom))
CALL (int, -1, virDomainGetState,
      (virDomainPtr domain, int *state, int *reason, unsigned int flags),
      (domain, state, reason, flags))
CALL (int, -1, virDomainGetInfo, (virDomainPtr domain, virDomainInfoPtr info), (domain, info))
CALL (int, -1, virDomainGetAutostart, (virDomainPtr domain, int *autostart), (domain, autostart))
CALL (int, -1, virDomainSetAutostart, (virDomainPtr domain, int autostart), (domain, autostart))
CALL (unsigned long, 0, virDomainGetMaxMemory, (virDomainPtr domain), (domain))
CALL (int, -1, virDomainGetMaxVcpus, (virDomainPtr domain), (domain))
CALL (int, -1, virDomainGetVcpusFlags, (virDomainPtr domain, unsigned int flags), (domain, flags))
CALL (char *, NULL, virDomainGetMetadata,
      (virDomainPtr domain, int type, const char *uri, unsigned int flags),
      (domain, type, uri, flags))
CALL (int, -1, virDomainSetMetadata,
      (virDomainPtr domain, int type, const char *metadata, const char *key, const char *uri,
       unsigned int flags),
      (domain, type, metadata, key, uri, flags))
CALL (char *, NULL, virDomainGetHostname,
      (virDomainPtr domain, unsigned int flags),
      (domain, flags))
CALL (int, -1, virDomainGetControlInfo,
      (virDomainPtr domain, virDomainControlInfoPtr info, unsigned int flags),
      (domain, info, flags))
CALL (int, -1, virDomainHasManagedSaveImage, (virDomainPtr dom, unsigned int flags), (dom, flags))
CALL (int, -1, virDomainManagedSaveRemove, (virDomainPtr dom, unsigned int flags), (dom, flags))
CALL (char *, NULL, virDomainManagedSaveGetXMLDesc,
      (virDomainPtr domain, unsigned int flags),
      (domain, flags))
CALL (int, -1, virDomainRename,
      (virDomainPtr dom, const char *new_name, unsigned int flags),
      (dom, new_name, flags))
CALL (int, -1, virDomainCreate, (virDomainPtr domain), (domain))
CALL (int, -1, virDomainCreateWithFlags, (virDomainPtr domain, unsigned int flags), (domain, flags))
CALL (int, -1, virDomainDestroy, (virDomainPtr domain), (domain))
CALL (int, -1, virDomainDestroyFlags, (virDomainPtr domain, unsigned int flags), (domain, flags))
CALL (int, -1, virDomainShutdown, (virDomainPtr domain), (domain))
CALL (int, -1, virDomainShutdownFlags, (virDomainPtr domain, unsigned int flags), (domain, flags))
CALL (int, -1, virDomainSuspend, (virDomainPtr domain), (domain))
CALL (int, -1, virDomainResume, (virDomainPtr domain), (domain))
CALL (int, -1, virDomainReset, (virDomainPtr domain, unsigned int flags), (domain, flags))
CALL (int, -1, virDomainUndefine, (virDomainPtr domain), (domain))
CALL (int, -1, virDomainUndefineFlags, (virDomainPtr domain, unsigned int flags), (domain, flags))

/* device.go, block.go */
CALL (int, -1, virDomainAttachDevice, (virDomainPtr domain, const char *xml), (domain, xml))
CALL (int, -1, virDomainAttachDeviceFlags,
      (virDomainPtr domain, const char *xml, unsigned int flags),
      (domain, xml, flags))
CALL (int, -1, virDomainDetachDevice, (virDomainPtr domain, const char *xml), (domain, xml))
CALL (int, -1, virDomainDetachDeviceFlags,
      (virDomainPtr domain, const char *xml, unsigned int flags),
      (domain, xml, flags))
CALL (int, -1, virDomainDetachDeviceAlias,
      (virDomainPtr domain, const char *alias, unsigned int flags),
      (domain, alias, flags))
CALL (int, -1, virDomainUpdateDeviceFlags,
      (virDomainPtr domain, const char *xml, unsigned int flags),
      (domain, xml, flags))
CALL (int, -1, virDomainGetBlockInfo,
      (virDomainPtr dom, const char *disk, virDomainBlockInfoPtr info, unsigned int flags),
      (dom, disk, info, flags))
CALL (int, -1, virDomainBlockResize,
      (virDomainPtr dom, const char *disk, unsigned long long size, unsigned int flags),
      (dom, disk, size, flags))
CALL (int, -1, virDomainBlockPeek,
      (virDomainPtr dom, const char *disk, unsigned long long offset, size_t size,
       void *buffer, unsigned int flags),
      (dom, disk, offset, size, buffer, flags))
CALL (int, -1, virDomainBlockCopy,
      (virDomainPtr dom, const char *disk, const char *destxml, virTypedParameterPtr params,
       int nparams, unsigned int flags),
      (dom, disk, destxml, params, nparams, flags))
CALL (int, -1, virDomainBlockCommit,
      (virDomainPtr dom, const char *disk, const char *base, const char *top,
       unsigned long bandwidth, unsigned int flags),
      (dom, disk, base, top, bandwidth, flags))
CALL (int, -1, virDomainBlockPull,
      (virDomainPtr dom, const char *disk, unsigned long bandwidth, unsigned int flags),
      (dom, disk, bandwidth, flags))
CALL (int, -1, virDomainBlockRebase,
      (virDomainPtr dom, const char *disk, const char *base, unsigned long bandwidth,
       unsigned int flags),
      (dom, disk, base, bandwidth, flags))
CALL (int, -1, virDomainBlockJobAbort,
      (virDomainPtr dom, const char *disk, unsigned int flags),
      (dom, disk, flags))
CALL (int, -1, virDomainBlockJobSetSpeed,
      (virDomainPtr dom, const char *disk, unsigned long bandwidth, unsigned int flags),
      (dom, disk, bandwidth, flags))
CALL (int, -1, virDomainGetBlockJobInfo,
      (virDomainPtr dom, const char *disk, virDomainBlockJobInfoPtr info, unsigned int flags),
      (dom, disk, info, flags))
CALL (int, -1, virDomainGetDiskErrors,
      (virDomainPtr dom, virDomainDiskErrorPtr errors, unsigned int maxerrors, unsigned int flags),
      (dom, errors, maxerrors, flags))

/* backup.go, checkpoint.go, job.go */
CALL (int, -1, virDomainBackupBegin,
      (virDomainPtr domain, const char *backupXML, const char *checkpointXML, unsigned int flags),
      (domain, backupXML, checkpointXML, flags))
CALL (char *, NULL, virDomainBackupGetXMLDesc,
      (virDomainPtr domain, unsigned int flags),
      (domain, flags))
CALL (int, -1, virDomainAbortJob, (virDomainPtr dom), (dom))
CALL (int, -1, virDomainAbortJobFlags, (virDomainPtr dom, unsigned int flags), (dom, flags))
CALL (int, -1, virDomainGetJobInfo, (virDomainPtr dom, virDomainJobInfoPtr info), (dom, info))
CALL (int, -1, virDomainGetJobStats,
      (virDomainPtr domain, int *type, virTypedParameterPtr *params, int *nparams,
       unsigned int flags),
      (domain, type, params, nparams, flags))
CALL (virDomainCheckpointPtr, NULL, virDomainCheckpointCreateXML,
      (virDomainPtr domain, const char *xmlDesc, unsigned int flags),
      (domain, xmlDesc, flags))
CALL (int, -1, virDomainListAllCheckpoints,
      (virDomainPtr domain, virDomainCheckpointPtr **checkpoints, unsigned int flags),
      (domain, checkpoints, flags))
CALL (virDomainCheckpointPtr, NULL, virDomainCheckpointLookupByName,
      (virDomainPtr domain, const char *name, unsigned int flags),
      (domain, name, flags))
CALL (const char *, NULL, virDomainCheckpointGetName,
      (virDomainCheckpointPtr checkpoint),
      (checkpoint))
CALL (char *, NULL, virDomainCheckpointGetXMLDesc,
      (virDomainCheckpointPtr checkpoint, unsigned int flags),
      (checkpoint, flags))
CALL (virDomainCheckpointPtr, NULL, virDomainCheckpointGetParent,
      (virDomainCheckpointPtr checkpoint, unsigned int flags),
      (checkpoint, flags))
CALL (int, -1, virDomainCheckpointListAllChildren,
      (virDomainCheckpointPtr checkpoint, virDomainCheckpointPtr **children, unsigned int flags),
      (checkpoint, children, flags))
CALL (int, -1, virDomainCheckpointDelete,
      (virDomainCheckpointPtr checkpoint, unsigned int flags),
      (checkpoint, flags))
CALL (int, -1, virDomainCheckpointRef, (virDomainCheckpointPtr checkpoint), (checkpoint))
CALL (int, -1, virDomainCheckpointFree, (virDomainCheckpointPtr checkpoint), (checkpoint))

/* guest.go, qemu.go */
CALL (int, -1, virDomainFSFreeze,
      (virDomainPtr dom, const char **mountpoints, unsigned int nmountpoints, unsigned int flags),
      (dom, mountpoints, nmountpoints, flags))
CALL (int, -1, virDomainFSThaw,
      (virDomainPtr dom, const char **mountpoints, unsigned int nmountpoints, unsigned int flags),
      (dom, mountpoints, nmountpoints, flags))
CALL (int, -1, virDomainGetFSInfo,
      (virDomainPtr dom, virDomainFSInfoPtr **info, unsigned int flags),
      (dom, info, flags))
CALL (int, -1, virDomainGetGuestInfo,
      (virDomainPtr domain, unsigned int types, virTypedParameterPtr *params, int *nparams,
       unsigned int flags),
      (domain, types, params, nparams, flags))
CALL (int, -1, virDomainAgentSetResponseTimeout,
      (virDomainPtr domain, int timeout, unsigned int flags),
      (domain, timeout, flags))
CALL (char *, NULL, virDomainQemuAgentCommand,
      (virDomainPtr domain, const char *cmd, int timeout, unsigned int flags),
      (domain, cmd, timeout, flags))
CALL (int, -1, virDomainQemuMonitorCommand,
      (virDomainPtr domain, const char *cmd, char **result, unsigned int flags),
      (domain, cmd, result, flags))

/* pool.go, volume.go */
CALL (virStoragePoolPtr, NULL, virStoragePoolLookupByName,
      (virConnectPtr conn, const char *name),
      (conn, name))
CALL (virStoragePoolPtr, NULL, virStoragePoolLookupByTargetPath,
      (virConnectPtr conn, const char *path),
      (conn, path))
CALL (virStoragePoolPtr, NULL, virStoragePoolLookupByUUIDString,
      (virConnectPtr conn, const char *uuid),
      (conn, uuid))
CALL (int, -1, virConnectListAllStoragePools,
      (virConnectPtr conn, virStoragePoolPtr **pools, unsigned int flags),
      (conn, pools, flags))
CALL (virStoragePoolPtr, NULL, virStoragePoolDefineXML,
      (virConnectPtr conn, const char *xmlDesc, unsigned int flags),
      (conn, xmlDesc, flags))
CALL (virStoragePoolPtr, NULL, virStoragePoolCreateXML,
      (virConnectPtr conn, const char *xmlDesc, unsigned int flags),
      (conn, xmlDesc, flags))
CALL (int, -1, virStoragePoolBuild, (virStoragePoolPtr pool, unsigned int flags), (pool, flags))
CALL (int, -1, virStoragePoolCreate, (virStoragePoolPtr pool, unsigned int flags), (pool, flags))
CALL (int, -1, virStoragePoolDestroy, (virStoragePoolPtr pool), (pool))
CALL (int, -1, virStoragePoolDelete, (virStoragePoolPtr pool, unsigned int flags), (pool, flags))
CALL (int, -1, virStoragePoolUndefine, (virStoragePoolPtr pool), (pool))
CALL (int, -1, virStoragePoolRefresh, (virStoragePoolPtr pool, unsigned int flags), (pool, flags))
CALL (int, -1, virStoragePoolIsActive, (virStoragePoolPtr pool), (pool))
CALL (int, -1, virStoragePoolIsPersistent, (virStoragePoolPtr pool), (pool))
CALL (const char *, NULL, virStoragePoolGetName, (virStoragePoolPtr pool), (pool))
CALL (int, -1, virStoragePoolGetUUIDString, (virStoragePoolPtr pool, char *buf), (pool, buf))
CALL (char *, NULL, virStoragePoolGetXMLDesc,
      (virStoragePoolPtr pool, unsigned int flags),
      (pool, flags))
CALL (int, -1, virStoragePoolGetInfo,
      (virStoragePoolPtr vol, virStoragePoolInfoPtr info),
      (vol, info))
CALL (int, -1, virStoragePoolGetAutostart,
      (virStoragePoolPtr pool, int *autostart),
      (pool, autostart))
CALL (int, -1, virStoragePoolSetAutostart,
      (virStoragePoolPtr pool, int autostart),
      (pool, autostart))
CALL (int, -1, virStoragePoolListAllVolumes,
      (virStoragePoolPtr pool, virStorageVolPtr **vols, unsigned int flags),
      (pool, vols, flags))
CALL (int, -1, virStoragePoolRef, (virStoragePoolPtr pool), (pool))
CALL (int, -1, virStoragePoolFree, (virStoragePoolPtr pool), (pool))
CALL (virStorageVolPtr, NULL, virStorageVolLookupByName,
      (virStoragePoolPtr pool, const char *name),
      (pool, name))
CALL (virStorageVolPtr, NULL, virStorageVolLookupByPath,
      (virConnectPtr conn, const char *path),
      (conn, path))
CALL (virStorageVolPtr, NULL, virStorageVolLookupByKey,
      (virConnectPtr conn, const char *key),
      (conn, key))
CALL (virStorageVolPtr, NULL, virStorageVolCreateXML,
      (virStoragePoolPtr pool, const char *xmldesc, unsigned int flags),
      (pool, xmldesc, flags))
CALL (virStorageVolPtr, NULL, virStorageVolCreateXMLFrom,
      (virStoragePoolPtr pool, const char *xmldesc, virStorageVolPtr clonevol, unsigned int flags),
      (pool, xmldesc, clonevol, flags))
CALL (virStoragePoolPtr, NULL, virStoragePoolLookupByVolume, (virStorageVolPtr vol), (vol))
CALL (const char *, NULL, virStorageVolGetName, (virStorageVolPtr vol), (vol))
CALL (const char *, NULL, virStorageVolGetKey, (virStorageVolPtr vol), (vol))
CALL (char *, NULL, virStorageVolGetPath, (virStorageVolPtr vol), (vol))
CALL (char *, NULL, virStorageVolGetXMLDesc,
      (virStorageVolPtr pool, unsigned int flags),
      (pool, flags))
CALL (int, -1, virStorageVolGetInfo, (virStorageVolPtr vol, virStorageVolInfoPtr info), (vol, info))
CALL (int, -1, virStorageVolGetInfoFlags,
      (virStorageVolPtr vol, virStorageVolInfoPtr info, unsigned int flags),
      (vol, info, flags))
CALL (int, -1, virStorageVolDelete, (virStorageVolPtr vol, unsigned int flags), (vol, flags))
CALL (int, -1, virStorageVolResize,
      (virStorageVolPtr vol, unsigned long long capacity, unsigned int flags),
      (vol, capacity, flags))
CALL (int, -1, virStorageVolUpload,
      (virStorageVolPtr vol, virStreamPtr stream, unsigned long long offset,
       unsigned long long length, unsigned int flags),
      (vol, stream, offset, length, flags))
CALL (int, -1, virStorageVolDownload,
      (virStorageVolPtr vol, virStreamPtr stream, unsigned long long offset,
       unsigned long long length, unsigned int flags),
      (vol, stream, offset, length, flags))
CALL (int, -1, virStorageVolWipe, (virStorageVolPtr vol, unsigned int flags), (vol, flags))
CALL (int, -1, virStorageVolRef, (virStorageVolPtr vol), (vol))
CALL (int, -1, virStorageVolFree, (virStorageVolPtr vol), (vol))

/* stream.go */
CALL (virStreamPtr, NULL, virStreamNew, (virConnectPtr conn, unsigned int flags), (conn, flags))
CALL (int, -1, virStreamSend,
      (virStreamPtr st, const char *data, size_t nbytes),
      (st, data, nbytes))
CALL (int, -1, virStreamSendHole,
      (virStreamPtr st, long long length, unsigned int flags),
      (st, length, flags))
CALL (int, -1, virStreamRecv, (virStreamPtr st, char *data, size_t nbytes), (st, data, nbytes))
CALL (int, -1, virStreamRecvFlags,
      (virStreamPtr st, char *data, size_t nbytes, unsigned int flags),
      (st, data, nbytes, flags))
CALL (int, -1, virStreamRecvHole,
      (virStreamPtr stream, long long *length, unsigned int flags),
      (stream, length, flags))
CALL (int, -1, virStreamFinish, (virStreamPtr st), (st))
CALL (int, -1, virStreamAbort, (virStreamPtr st), (st))
CALL (int, -1, virStreamRef, (virStreamPtr st), (st))
CALL (int, -1, virStreamFree, (virStreamPtr st), (st))

// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

// ConnectListAllStoragePoolsFlags filter [Connect.ListAllStoragePools].
type ConnectListAllStoragePoolsFlags uint

const (
	CONNECT_LIST_STORAGE_POOLS_INACTIVE     ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE
	CONNECT_LIST_STORAGE_POOLS_ACTIVE       ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
	CONNECT_LIST_STORAGE_POOLS_PERSISTENT   ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_PERSISTENT
	CONNECT_LIST_STORAGE_POOLS_TRANSIENT    ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_TRANSIENT
	CONNECT_LIST_STORAGE_POOLS_AUTOSTART    ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART
	CONNECT_LIST_STORAGE_POOLS_NO_AUTOSTART ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_NO_AUTOSTART
	CONNECT_LIST_STORAGE_POOLS_DIR          ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_DIR
	CONNECT_LIST_STORAGE_POOLS_FS           ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_FS
	CONNECT_LIST_STORAGE_POOLS_NETFS        ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_NETFS
	CONNECT_LIST_STORAGE_POOLS_LOGICAL      ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_LOGICAL
	CONNECT_LIST_STORAGE_POOLS_DISK         ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_DISK
	CONNECT_LIST_STORAGE_POOLS_ISCSI        ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_ISCSI
	CONNECT_LIST_STORAGE_POOLS_SCSI         ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_SCSI
	CONNECT_LIST_STORAGE_POOLS_MPATH        ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_MPATH
	CONNECT_LIST_STORAGE_POOLS_RBD          ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_RBD
	CONNECT_LIST_STORAGE_POOLS_SHEEPDOG     ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_SHEEPDOG
	CONNECT_LIST_STORAGE_POOLS_GLUSTER      ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_GLUSTER
	CONNECT_LIST_STORAGE_POOLS_ZFS          ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_ZFS
	CONNECT_LIST_STORAGE_POOLS_VSTORAGE     ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_VSTORAGE
	CONNECT_LIST_STORAGE_POOLS_ISCSI_DIRECT ConnectListAllStoragePoolsFlags = C.VIR_CONNECT_LIST_STORAGE_POOLS_ISCSI_DIRECT
)

// StoragePoolState is the state of a storage pool.
type StoragePoolState int

const (
	STORAGE_POOL_INACTIVE     StoragePoolState = C.VIR_STORAGE_POOL_INACTIVE
	STORAGE_POOL_BUILDING     StoragePoolState = C.VIR_STORAGE_POOL_BUILDING
	STORAGE_POOL_RUNNING      StoragePoolState = C.VIR_STORAGE_POOL_RUNNING
	STORAGE_POOL_DEGRADED     StoragePoolState = C.VIR_STORAGE_POOL_DEGRADED
	STORAGE_POOL_INACCESSIBLE StoragePoolState = C.VIR_STORAGE_POOL_INACCESSIBLE
)

// StoragePoolBuildFlags are those of [StoragePool.Build].
type StoragePoolBuildFlags uint

const (
	STORAGE_POOL_BUILD_NEW          StoragePoolBuildFlags = C.VIR_STORAGE_POOL_BUILD_NEW
	STORAGE_POOL_BUILD_REPAIR       StoragePoolBuildFlags = C.VIR_STORAGE_POOL_BUILD_REPAIR
	STORAGE_POOL_BUILD_RESIZE       StoragePoolBuildFlags = C.VIR_STORAGE_POOL_BUILD_RESIZE
	STORAGE_POOL_BUILD_NO_OVERWRITE StoragePoolBuildFlags = C.VIR_STORAGE_POOL_BUILD_NO_OVERWRITE
	STORAGE_POOL_BUILD_OVERWRITE    StoragePoolBuildFlags = C.VIR_STORAGE_POOL_BUILD_OVERWRITE
)

// StoragePoolCreateFlags are those of starting a storage pool.
type StoragePoolCreateFlags uint

const (
	STORAGE_POOL_CREATE_NORMAL                  StoragePoolCreateFlags = C.VIR_STORAGE_POOL_CREATE_NORMAL
	STORAGE_POOL_CREATE_WITH_BUILD              StoragePoolCreateFlags = C.VIR_STORAGE_POOL_CREATE_WITH_BUILD
	STORAGE_POOL_CREATE_WITH_BUILD_OVERWRITE    StoragePoolCreateFlags = C.VIR_STORAGE_POOL_CREATE_WITH_BUILD_OVERWRITE
	STORAGE_POOL_CREATE_WITH_BUILD_NO_OVERWRITE StoragePoolCreateFlags = C.VIR_STORAGE_POOL_CREATE_WITH_BUILD_NO_OVERWRITE
)

// StoragePoolDefineFlags are those of [Connect.StoragePoolDefineXML].
type StoragePoolDefineFlags uint

const (
	STORAGE_POOL_DEFINE_VALIDATE StoragePoolDefineFlags = C.VIR_STORAGE_POOL_DEFINE_VALIDATE
)

// StoragePoolDeleteFlags are those of [StoragePool.Delete].
type StoragePoolDeleteFlags uint

const (
	STORAGE_POOL_DELETE_NORMAL StoragePoolDeleteFlags = C.VIR_STORAGE_POOL_DELETE_NORMAL
	STORAGE_POOL_DELETE_ZEROED StoragePoolDeleteFlags = C.VIR_STORAGE_POOL_DELETE_ZEROED
)

// StorageVolCreateFlags are those of creating a volume.
type StorageVolCreateFlags uint

const (
	STORAGE_VOL_CREATE_PREALLOC_METADATA StorageVolCreateFlags = C.VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA
	STORAGE_VOL_CREATE_REFLINK           StorageVolCreateFlags = C.VIR_STORAGE_VOL_CREATE_REFLINK
	STORAGE_VOL_CREATE_VALIDATE          StorageVolCreateFlags = C.VIR_STORAGE_VOL_CREATE_VALIDATE
)

// StorageVolDeleteFlags are those of [StorageVol.Delete].
type StorageVolDeleteFlags uint

const (
	STORAGE_VOL_DELETE_NORMAL         StorageVolDeleteFlags = C.VIR_STORAGE_VOL_DELETE_NORMAL
	STORAGE_VOL_DELETE_ZEROED         StorageVolDeleteFlags = C.VIR_STORAGE_VOL_DELETE_ZEROED
	STORAGE_VOL_DELETE_WITH_SNAPSHOTS StorageVolDeleteFlags = C.VIR_STORAGE_VOL_DELETE_WITH_SNAPSHOTS
)

// StorageVolDownloadFlags are those of [StorageVol.Download].
type StorageVolDownloadFlags uint

const (
	STORAGE_VOL_DOWNLOAD_SPARSE_STREAM StorageVolDownloadFlags = C.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM
)

// StorageVolUploadFlags are those of [StorageVol.Upload].
type StorageVolUploadFlags uint

const (
	STORAGE_VOL_UPLOAD_SPARSE_STREAM StorageVolUploadFlags = C.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM
)

// StorageVolInfoFlags are those of [StorageVol.GetInfoFlags].
type StorageVolInfoFlags uint

const (
	STORAGE_VOL_USE_ALLOCATION StorageVolInfoFlags = C.VIR_STORAGE_VOL_USE_ALLOCATION
	STORAGE_VOL_GET_PHYSICAL   StorageVolInfoFlags = C.VIR_STORAGE_VOL_GET_PHYSICAL
)

// StorageVolResizeFlags are those of [StorageVol.Resize].
type StorageVolResizeFlags uint

const (
	STORAGE_VOL_RESIZE_ALLOCATE StorageVolResizeFlags = C.VIR_STORAGE_VOL_RESIZE_ALLOCATE
	STORAGE_VOL_RESIZE_DELTA    StorageVolResizeFlags = C.VIR_STORAGE_VOL_RESIZE_DELTA
	STORAGE_VOL_RESIZE_SHRINK   StorageVolResizeFlags = C.VIR_STORAGE_VOL_RESIZE_SHRINK
)

// StorageVolType is the kind of a volume.
type StorageVolType int

const (
	STORAGE_VOL_FILE    StorageVolType = C.VIR_STORAGE_VOL_FILE
	STORAGE_VOL_BLOCK   StorageVolType = C.VIR_STORAGE_VOL_BLOCK
	STORAGE_VOL_DIR     StorageVolType = C.VIR_STORAGE_VOL_DIR
	STORAGE_VOL_NETWORK StorageVolType = C.VIR_STORAGE_VOL_NETWORK
	STORAGE_VOL_NETDIR  StorageVolType = C.VIR_STORAGE_VOL_NETDIR
	STORAGE_VOL_PLOOP   StorageVolType = C.VIR_STORAGE_VOL_PLOOP
)

// StorageXMLFlags are those of [StoragePool.GetXMLDesc].
type StorageXMLFlags uint

const (
	STORAGE_XML_INACTIVE StorageXMLFlags = C.VIR_STORAGE_XML_INACTIVE
)

// StreamFlags are those of [Connect.NewStream].
type StreamFlags uint

const (
	STREAM_NONBLOCK StreamFlags = C.VIR_STREAM_NONBLOCK
)

// StreamRecvFlagsValues are those of [Stream.RecvFlags].
type StreamRecvFlagsValues int

const (
	STREAM_RECV_STOP_AT_HOLE StreamRecvFlagsValues = C.VIR_STREAM_RECV_STOP_AT_HOLE
)

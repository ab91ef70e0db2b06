// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

// DomainState is the state of a domain.
type DomainState int

const (
	DOMAIN_NOSTATE     DomainState = C.VIR_DOMAIN_NOSTATE
	DOMAIN_RUNNING     DomainState = C.VIR_DOMAIN_RUNNING
	DOMAIN_BLOCKED     DomainState = C.VIR_DOMAIN_BLOCKED
	DOMAIN_PAUSED      DomainState = C.VIR_DOMAIN_PAUSED
	DOMAIN_SHUTDOWN    DomainState = C.VIR_DOMAIN_SHUTDOWN
	DOMAIN_SHUTOFF     DomainState = C.VIR_DOMAIN_SHUTOFF
	DOMAIN_CRASHED     DomainState = C.VIR_DOMAIN_CRASHED
	DOMAIN_PMSUSPENDED DomainState = C.VIR_DOMAIN_PMSUSPENDED
)

// DomainRunningReason is the reason that [Domain.GetState] gives for a running domain.
type DomainRunningReason int

const (
	DOMAIN_RUNNING_UNKNOWN            DomainRunningReason = C.VIR_DOMAIN_RUNNING_UNKNOWN
	DOMAIN_RUNNING_BOOTED             DomainRunningReason = C.VIR_DOMAIN_RUNNING_BOOTED
	DOMAIN_RUNNING_MIGRATED           DomainRunningReason = C.VIR_DOMAIN_RUNNING_MIGRATED
	DOMAIN_RUNNING_RESTORED           DomainRunningReason = C.VIR_DOMAIN_RUNNING_RESTORED
	DOMAIN_RUNNING_FROM_SNAPSHOT      DomainRunningReason = C.VIR_DOMAIN_RUNNING_FROM_SNAPSHOT
	DOMAIN_RUNNING_UNPAUSED           DomainRunningReason = C.VIR_DOMAIN_RUNNING_UNPAUSED
	DOMAIN_RUNNING_MIGRATION_CANCELED DomainRunningReason = C.VIR_DOMAIN_RUNNING_MIGRATION_CANCELED
	DOMAIN_RUNNING_SAVE_CANCELED      DomainRunningReason = C.VIR_DOMAIN_RUNNING_SAVE_CANCELED
	DOMAIN_RUNNING_WAKEUP             DomainRunningReason = C.VIR_DOMAIN_RUNNING_WAKEUP
	DOMAIN_RUNNING_CRASHED            DomainRunningReason = C.VIR_DOMAIN_RUNNING_CRASHED
	DOMAIN_RUNNING_POSTCOPY           DomainRunningReason = C.VIR_DOMAIN_RUNNING_POSTCOPY
	DOMAIN_RUNNING_POSTCOPY_FAILED    DomainRunningReason = C.VIR_DOMAIN_RUNNING_POSTCOPY_FAILED
)

// DomainPausedReason is the reason that [Domain.GetState] gives for a paused domain.
type DomainPausedReason int

const (
	DOMAIN_PAUSED_UNKNOWN         DomainPausedReason = C.VIR_DOMAIN_PAUSED_UNKNOWN
	DOMAIN_PAUSED_USER            DomainPausedReason = C.VIR_DOMAIN_PAUSED_USER
	DOMAIN_PAUSED_MIGRATION       DomainPausedReason = C.VIR_DOMAIN_PAUSED_MIGRATION
	DOMAIN_PAUSED_SAVE            DomainPausedReason = C.VIR_DOMAIN_PAUSED_SAVE
	DOMAIN_PAUSED_DUMP            DomainPausedReason = C.VIR_DOMAIN_PAUSED_DUMP
	DOMAIN_PAUSED_IOERROR         DomainPausedReason = C.VIR_DOMAIN_PAUSED_IOERROR
	DOMAIN_PAUSED_WATCHDOG        DomainPausedReason = C.VIR_DOMAIN_PAUSED_WATCHDOG
	DOMAIN_PAUSED_FROM_SNAPSHOT   DomainPausedReason = C.VIR_DOMAIN_PAUSED_FROM_SNAPSHOT
	DOMAIN_PAUSED_SHUTTING_DOWN   DomainPausedReason = C.VIR_DOMAIN_PAUSED_SHUTTING_DOWN
	DOMAIN_PAUSED_SNAPSHOT        DomainPausedReason = C.VIR_DOMAIN_PAUSED_SNAPSHOT
	DOMAIN_PAUSED_CRASHED         DomainPausedReason = C.VIR_DOMAIN_PAUSED_CRASHED
	DOMAIN_PAUSED_STARTING_UP     DomainPausedReason = C.VIR_DOMAIN_PAUSED_STARTING_UP
	DOMAIN_PAUSED_POSTCOPY        DomainPausedReason = C.VIR_DOMAIN_PAUSED_POSTCOPY
	DOMAIN_PAUSED_POSTCOPY_FAILED DomainPausedReason = C.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED
	DOMAIN_PAUSED_API_ERROR       DomainPausedReason = 14 // since libvirt 10.1
)

// DomainShutdownReason is the reason that [Domain.GetState] gives for a domain that shuts down.
type DomainShutdownReason int

const (
	DOMAIN_SHUTDOWN_UNKNOWN DomainShutdownReason = C.VIR_DOMAIN_SHUTDOWN_UNKNOWN
	DOMAIN_SHUTDOWN_USER    DomainShutdownReason = C.VIR_DOMAIN_SHUTDOWN_USER
)

// DomainShutoffReason is the reason that [Domain.GetState] gives for a domain that is off.
type DomainShutoffReason int

const (
	DOMAIN_SHUTOFF_UNKNOWN       DomainShutoffReason = C.VIR_DOMAIN_SHUTOFF_UNKNOWN
	DOMAIN_SHUTOFF_SHUTDOWN      DomainShutoffReason = C.VIR_DOMAIN_SHUTOFF_SHUTDOWN
	DOMAIN_SHUTOFF_DESTROYED     DomainShutoffReason = C.VIR_DOMAIN_SHUTOFF_DESTROYED
	DOMAIN_SHUTOFF_CRASHED       DomainShutoffReason = C.VIR_DOMAIN_SHUTOFF_CRASHED
	DOMAIN_SHUTOFF_MIGRATED      DomainShutoffReason = C.VIR_DOMAIN_SHUTOFF_MIGRATED
	DOMAIN_SHUTOFF_SAVED         DomainShutoffReason = C.VIR_DOMAIN_SHUTOFF_SAVED
	DOMAIN_SHUTOFF_FAILED        DomainShutoffReason = C.VIR_DOMAIN_SHUTOFF_FAILED
	DOMAIN_SHUTOFF_FROM_SNAPSHOT DomainShutoffReason = C.VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT
	DOMAIN_SHUTOFF_DAEMON        DomainShutoffReason = C.VIR_DOMAIN_SHUTOFF_DAEMON
)

// DomainCrashedReason is the reason that [Domain.GetState] gives for a crashed domain.
type DomainCrashedReason int

const (
	DOMAIN_CRASHED_UNKNOWN  DomainCrashedReason = C.VIR_DOMAIN_CRASHED_UNKNOWN
	DOMAIN_CRASHED_PANICKED DomainCrashedReason = C.VIR_DOMAIN_CRASHED_PANICKED
)

// DomainXMLFlags are those of [Domain.GetXMLDesc].
type DomainXMLFlags uint

const (
	DOMAIN_XML_SECURE     DomainXMLFlags = C.VIR_DOMAIN_XML_SECURE
	DOMAIN_XML_INACTIVE   DomainXMLFlags = C.VIR_DOMAIN_XML_INACTIVE
	DOMAIN_XML_UPDATE_CPU DomainXMLFlags = C.VIR_DOMAIN_XML_UPDATE_CPU
	DOMAIN_XML_MIGRATABLE DomainXMLFlags = C.VIR_DOMAIN_XML_MIGRATABLE
)

// DomainCreateFlags are those of starting a domain.
type DomainCreateFlags uint

const (
	DOMAIN_NONE               DomainCreateFlags = C.VIR_DOMAIN_NONE
	DOMAIN_START_PAUSED       DomainCreateFlags = C.VIR_DOMAIN_START_PAUSED
	DOMAIN_START_AUTODESTROY  DomainCreateFlags = C.VIR_DOMAIN_START_AUTODESTROY
	DOMAIN_START_BYPASS_CACHE DomainCreateFlags = C.VIR_DOMAIN_START_BYPASS_CACHE
	DOMAIN_START_FORCE_BOOT   DomainCreateFlags = C.VIR_DOMAIN_START_FORCE_BOOT
	DOMAIN_START_VALIDATE     DomainCreateFlags = C.VIR_DOMAIN_START_VALIDATE
	DOMAIN_START_RESET_NVRAM  DomainCreateFlags = C.VIR_DOMAIN_START_RESET_NVRAM
)

// DomainDefineFlags are those of [Connect.DomainDefineXMLFlags].
type DomainDefineFlags uint

const (
	DOMAIN_DEFINE_VALIDATE DomainDefineFlags = C.VIR_DOMAIN_DEFINE_VALIDATE
)

// DomainDestroyFlags are those of [Domain.DestroyFlags].
type DomainDestroyFlags uint

const (
	DOMAIN_DESTROY_DEFAULT     DomainDestroyFlags = C.VIR_DOMAIN_DESTROY_DEFAULT
	DOMAIN_DESTROY_GRACEFUL    DomainDestroyFlags = C.VIR_DOMAIN_DESTROY_GRACEFUL
	DOMAIN_DESTROY_REMOVE_LOGS DomainDestroyFlags = C.VIR_DOMAIN_DESTROY_REMOVE_LOGS
)

// DomainShutdownFlags choose how [Domain.ShutdownFlags] asks the guest.
type DomainShutdownFlags uint

const (
	DOMAIN_SHUTDOWN_DEFAULT        DomainShutdownFlags = C.VIR_DOMAIN_SHUTDOWN_DEFAULT
	DOMAIN_SHUTDOWN_ACPI_POWER_BTN DomainShutdownFlags = C.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN
	DOMAIN_SHUTDOWN_GUEST_AGENT    DomainShutdownFlags = C.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT
	DOMAIN_SHUTDOWN_INITCTL        DomainShutdownFlags = C.VIR_DOMAIN_SHUTDOWN_INITCTL
	DOMAIN_SHUTDOWN_SIGNAL         DomainShutdownFlags = C.VIR_DOMAIN_SHUTDOWN_SIGNAL
	DOMAIN_SHUTDOWN_PARAVIRT       DomainShutdownFlags = C.VIR_DOMAIN_SHUTDOWN_PARAVIRT
)

// DomainUndefineFlagsValues are those of [Domain.UndefineFlags].
type DomainUndefineFlagsValues int

const (
	DOMAIN_UNDEFINE_MANAGED_SAVE         DomainUndefineFlagsValues = C.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
	DOMAIN_UNDEFINE_SNAPSHOTS_METADATA   DomainUndefineFlagsValues = C.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
	DOMAIN_UNDEFINE_NVRAM                DomainUndefineFlagsValues = C.VIR_DOMAIN_UNDEFINE_NVRAM
	DOMAIN_UNDEFINE_KEEP_NVRAM           DomainUndefineFlagsValues = C.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
	DOMAIN_UNDEFINE_CHECKPOINTS_METADATA DomainUndefineFlagsValues = C.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
	DOMAIN_UNDEFINE_TPM                  DomainUndefineFlagsValues = C.VIR_DOMAIN_UNDEFINE_TPM
	DOMAIN_UNDEFINE_KEEP_TPM             DomainUndefineFlagsValues = C.VIR_DOMAIN_UNDEFINE_KEEP_TPM
)

// DomainDeviceModifyFlags say whether a change is for the running domain, its definition, or both.
type DomainDeviceModifyFlags uint

const (
	DOMAIN_DEVICE_MODIFY_CURRENT DomainDeviceModifyFlags = C.VIR_DOMAIN_DEVICE_MODIFY_CURRENT
	DOMAIN_DEVICE_MODIFY_LIVE    DomainDeviceModifyFlags = C.VIR_DOMAIN_DEVICE_MODIFY_LIVE
	DOMAIN_DEVICE_MODIFY_CONFIG  DomainDeviceModifyFlags = C.VIR_DOMAIN_DEVICE_MODIFY_CONFIG
	DOMAIN_DEVICE_MODIFY_FORCE   DomainDeviceModifyFlags = C.VIR_DOMAIN_DEVICE_MODIFY_FORCE
)

// DomainModificationImpact says the same for the calls that are not about devices.
type DomainModificationImpact int

const (
	DOMAIN_AFFECT_CURRENT DomainModificationImpact = C.VIR_DOMAIN_AFFECT_CURRENT
	DOMAIN_AFFECT_LIVE    DomainModificationImpact = C.VIR_DOMAIN_AFFECT_LIVE
	DOMAIN_AFFECT_CONFIG  DomainModificationImpact = C.VIR_DOMAIN_AFFECT_CONFIG
)

// DomainMetadataType is the kind of metadata of [Domain.GetMetadata].
type DomainMetadataType int

const (
	DOMAIN_METADATA_DESCRIPTION DomainMetadataType = C.VIR_DOMAIN_METADATA_DESCRIPTION
	DOMAIN_METADATA_TITLE       DomainMetadataType = C.VIR_DOMAIN_METADATA_TITLE
	DOMAIN_METADATA_ELEMENT     DomainMetadataType = C.VIR_DOMAIN_METADATA_ELEMENT
)

// DomainBackupBeginFlags are those of [Domain.BackupBegin].
type DomainBackupBeginFlags uint

const (
	DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL           DomainBackupBeginFlags = C.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL
	DOMAIN_BACKUP_BEGIN_PRESERVE_SHUTDOWN_DOMAIN DomainBackupBeginFlags = 1 << 1 // since libvirt 11.10
)

// DomainAbortJobFlags are those of [Domain.AbortJobFlags].
type DomainAbortJobFlags uint

const (
	DOMAIN_ABORT_JOB_POSTCOPY DomainAbortJobFlags = C.VIR_DOMAIN_ABORT_JOB_POSTCOPY
)

// DomainGetJobStatsFlags are those of [Domain.GetJobStats].
type DomainGetJobStatsFlags uint

const (
	DOMAIN_JOB_STATS_COMPLETED      DomainGetJobStatsFlags = C.VIR_DOMAIN_JOB_STATS_COMPLETED
	DOMAIN_JOB_STATS_KEEP_COMPLETED DomainGetJobStatsFlags = C.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
)

// DomainJobType is the state of a job.
type DomainJobType int

const (
	DOMAIN_JOB_NONE      DomainJobType = C.VIR_DOMAIN_JOB_NONE
	DOMAIN_JOB_BOUNDED   DomainJobType = C.VIR_DOMAIN_JOB_BOUNDED
	DOMAIN_JOB_UNBOUNDED DomainJobType = C.VIR_DOMAIN_JOB_UNBOUNDED
	DOMAIN_JOB_COMPLETED DomainJobType = C.VIR_DOMAIN_JOB_COMPLETED
	DOMAIN_JOB_FAILED    DomainJobType = C.VIR_DOMAIN_JOB_FAILED
	DOMAIN_JOB_CANCELLED DomainJobType = C.VIR_DOMAIN_JOB_CANCELLED
)

// DomainJobOperationType is what a job does.
type DomainJobOperationType int

const (
	DOMAIN_JOB_OPERATION_UNKNOWN         DomainJobOperationType = C.VIR_DOMAIN_JOB_OPERATION_UNKNOWN
	DOMAIN_JOB_OPERATION_START           DomainJobOperationType = C.VIR_DOMAIN_JOB_OPERATION_START
	DOMAIN_JOB_OPERATION_SAVE            DomainJobOperationType = C.VIR_DOMAIN_JOB_OPERATION_SAVE
	DOMAIN_JOB_OPERATION_RESTORE         DomainJobOperationType = C.VIR_DOMAIN_JOB_OPERATION_RESTORE
	DOMAIN_JOB_OPERATION_MIGRATION_IN    DomainJobOperationType = C.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN
	DOMAIN_JOB_OPERATION_MIGRATION_OUT   DomainJobOperationType = C.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
	DOMAIN_JOB_OPERATION_SNAPSHOT        DomainJobOperationType = C.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT
	DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT DomainJobOperationType = C.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT
	DOMAIN_JOB_OPERATION_DUMP            DomainJobOperationType = C.VIR_DOMAIN_JOB_OPERATION_DUMP
	DOMAIN_JOB_OPERATION_BACKUP          DomainJobOperationType = C.VIR_DOMAIN_JOB_OPERATION_BACKUP
	DOMAIN_JOB_OPERATION_SNAPSHOT_DELETE DomainJobOperationType = C.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_DELETE
)

// DomainCheckpointCreateFlags are those of [Domain.CreateCheckpointXML].
type DomainCheckpointCreateFlags uint

const (
	DOMAIN_CHECKPOINT_CREATE_REDEFINE          DomainCheckpointCreateFlags = C.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE
	DOMAIN_CHECKPOINT_CREATE_QUIESCE           DomainCheckpointCreateFlags = C.VIR_DOMAIN_CHECKPOINT_CREATE_QUIESCE
	DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE DomainCheckpointCreateFlags = C.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE
)

// DomainCheckpointDeleteFlags are those of [DomainCheckpoint.Delete].
type DomainCheckpointDeleteFlags uint

const (
	DOMAIN_CHECKPOINT_DELETE_CHILDREN      DomainCheckpointDeleteFlags = C.VIR_DOMAIN_CHECKPOINT_DELETE_CHILDREN
	DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY DomainCheckpointDeleteFlags = C.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY
	DOMAIN_CHECKPOINT_DELETE_CHILDREN_ONLY DomainCheckpointDeleteFlags = C.VIR_DOMAIN_CHECKPOINT_DELETE_CHILDREN_ONLY
)

// DomainCheckpointListFlags filter and order lists of checkpoints. ROOTS and DESCENDANTS share a bit.
type DomainCheckpointListFlags uint

const (
	DOMAIN_CHECKPOINT_LIST_DESCENDANTS DomainCheckpointListFlags = C.VIR_DOMAIN_CHECKPOINT_LIST_DESCENDANTS
	DOMAIN_CHECKPOINT_LIST_ROOTS       DomainCheckpointListFlags = C.VIR_DOMAIN_CHECKPOINT_LIST_ROOTS
	DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL DomainCheckpointListFlags = C.VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL
	DOMAIN_CHECKPOINT_LIST_LEAVES      DomainCheckpointListFlags = C.VIR_DOMAIN_CHECKPOINT_LIST_LEAVES
	DOMAIN_CHECKPOINT_LIST_NO_LEAVES   DomainCheckpointListFlags = C.VIR_DOMAIN_CHECKPOINT_LIST_NO_LEAVES
)

// DomainCheckpointXMLFlags are those of [DomainCheckpoint.GetXMLDesc].
type DomainCheckpointXMLFlags uint

const (
	DOMAIN_CHECKPOINT_XML_SECURE    DomainCheckpointXMLFlags = C.VIR_DOMAIN_CHECKPOINT_XML_SECURE
	DOMAIN_CHECKPOINT_XML_NO_DOMAIN DomainCheckpointXMLFlags = C.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN
	DOMAIN_CHECKPOINT_XML_SIZE      DomainCheckpointXMLFlags = C.VIR_DOMAIN_CHECKPOINT_XML_SIZE
)

// DomainBlockCommitFlags are those of [Domain.BlockCommit].
type DomainBlockCommitFlags uint

const (
	DOMAIN_BLOCK_COMMIT_SHALLOW         DomainBlockCommitFlags = C.VIR_DOMAIN_BLOCK_COMMIT_SHALLOW
	DOMAIN_BLOCK_COMMIT_DELETE          DomainBlockCommitFlags = C.VIR_DOMAIN_BLOCK_COMMIT_DELETE
	DOMAIN_BLOCK_COMMIT_ACTIVE          DomainBlockCommitFlags = C.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE
	DOMAIN_BLOCK_COMMIT_RELATIVE        DomainBlockCommitFlags = C.VIR_DOMAIN_BLOCK_COMMIT_RELATIVE
	DOMAIN_BLOCK_COMMIT_BANDWIDTH_BYTES DomainBlockCommitFlags = C.VIR_DOMAIN_BLOCK_COMMIT_BANDWIDTH_BYTES
)

// DomainBlockCopyFlags are those of [Domain.BlockCopy].
type DomainBlockCopyFlags uint

const (
	DOMAIN_BLOCK_COPY_SHALLOW            DomainBlockCopyFlags = C.VIR_DOMAIN_BLOCK_COPY_SHALLOW
	DOMAIN_BLOCK_COPY_REUSE_EXT          DomainBlockCopyFlags = C.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT
	DOMAIN_BLOCK_COPY_TRANSIENT_JOB      DomainBlockCopyFlags = C.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
	DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES DomainBlockCopyFlags = C.VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES
)

// DomainBlockPullFlags are those of [Domain.BlockPull].
type DomainBlockPullFlags uint

const (
	DOMAIN_BLOCK_PULL_BANDWIDTH_BYTES DomainBlockPullFlags = C.VIR_DOMAIN_BLOCK_PULL_BANDWIDTH_BYTES
)

// DomainBlockRebaseFlags are those of [Domain.BlockRebase].
type DomainBlockRebaseFlags uint

const (
	DOMAIN_BLOCK_REBASE_SHALLOW         DomainBlockRebaseFlags = C.VIR_DOMAIN_BLOCK_REBASE_SHALLOW
	DOMAIN_BLOCK_REBASE_REUSE_EXT       DomainBlockRebaseFlags = C.VIR_DOMAIN_BLOCK_REBASE_REUSE_EXT
	DOMAIN_BLOCK_REBASE_COPY_RAW        DomainBlockRebaseFlags = C.VIR_DOMAIN_BLOCK_REBASE_COPY_RAW
	DOMAIN_BLOCK_REBASE_COPY            DomainBlockRebaseFlags = C.VIR_DOMAIN_BLOCK_REBASE_COPY
	DOMAIN_BLOCK_REBASE_RELATIVE        DomainBlockRebaseFlags = C.VIR_DOMAIN_BLOCK_REBASE_RELATIVE
	DOMAIN_BLOCK_REBASE_COPY_DEV        DomainBlockRebaseFlags = C.VIR_DOMAIN_BLOCK_REBASE_COPY_DEV
	DOMAIN_BLOCK_REBASE_BANDWIDTH_BYTES DomainBlockRebaseFlags = C.VIR_DOMAIN_BLOCK_REBASE_BANDWIDTH_BYTES
)

// DomainBlockJobAbortFlags are those of [Domain.BlockJobAbort].
type DomainBlockJobAbortFlags uint

const (
	DOMAIN_BLOCK_JOB_ABORT_ASYNC DomainBlockJobAbortFlags = C.VIR_DOMAIN_BLOCK_JOB_ABORT_ASYNC
	DOMAIN_BLOCK_JOB_ABORT_PIVOT DomainBlockJobAbortFlags = C.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT
)

// DomainBlockJobInfoFlags are those of [Domain.GetBlockJobInfo].
type DomainBlockJobInfoFlags uint

const (
	DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES DomainBlockJobInfoFlags = C.VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES
)

// DomainBlockJobSetSpeedFlags are those of [Domain.BlockJobSetSpeed].
type DomainBlockJobSetSpeedFlags uint

const (
	DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES DomainBlockJobSetSpeedFlags = C.VIR_DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES
)

// DomainBlockResizeFlags are those of [Domain.BlockResize].
type DomainBlockResizeFlags uint

const (
	DOMAIN_BLOCK_RESIZE_BYTES DomainBlockResizeFlags = C.VIR_DOMAIN_BLOCK_RESIZE_BYTES
)

// DomainBlockJobType is what a block job does.
type DomainBlockJobType int

const (
	DOMAIN_BLOCK_JOB_TYPE_UNKNOWN       DomainBlockJobType = C.VIR_DOMAIN_BLOCK_JOB_TYPE_UNKNOWN
	DOMAIN_BLOCK_JOB_TYPE_PULL          DomainBlockJobType = C.VIR_DOMAIN_BLOCK_JOB_TYPE_PULL
	DOMAIN_BLOCK_JOB_TYPE_COPY          DomainBlockJobType = C.VIR_DOMAIN_BLOCK_JOB_TYPE_COPY
	DOMAIN_BLOCK_JOB_TYPE_COMMIT        DomainBlockJobType = C.VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT
	DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT DomainBlockJobType = C.VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT
	DOMAIN_BLOCK_JOB_TYPE_BACKUP        DomainBlockJobType = C.VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP
)

// DomainQemuAgentCommandTimeout is how long to wait for the guest agent: seconds, or one of these.
type DomainQemuAgentCommandTimeout int

const (
	DOMAIN_QEMU_AGENT_COMMAND_BLOCK    DomainQemuAgentCommandTimeout = C.VIR_DOMAIN_QEMU_AGENT_COMMAND_BLOCK
	DOMAIN_QEMU_AGENT_COMMAND_MIN      DomainQemuAgentCommandTimeout = C.VIR_DOMAIN_QEMU_AGENT_COMMAND_MIN
	DOMAIN_QEMU_AGENT_COMMAND_DEFAULT  DomainQemuAgentCommandTimeout = C.VIR_DOMAIN_QEMU_AGENT_COMMAND_DEFAULT
	DOMAIN_QEMU_AGENT_COMMAND_NOWAIT   DomainQemuAgentCommandTimeout = C.VIR_DOMAIN_QEMU_AGENT_COMMAND_NOWAIT
	DOMAIN_QEMU_AGENT_COMMAND_SHUTDOWN DomainQemuAgentCommandTimeout = C.VIR_DOMAIN_QEMU_AGENT_COMMAND_SHUTDOWN
)

// DomainAgentSetResponseTimeoutValues are the special values of [Domain.AgentSetResponseTimeout].
type DomainAgentSetResponseTimeoutValues int

const (
	DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK   DomainAgentSetResponseTimeoutValues = C.VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK
	DOMAIN_AGENT_RESPONSE_TIMEOUT_DEFAULT DomainAgentSetResponseTimeoutValues = C.VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_DEFAULT
	DOMAIN_AGENT_RESPONSE_TIMEOUT_NOWAIT  DomainAgentSetResponseTimeoutValues = C.VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_NOWAIT
)

// DomainQemuMonitorCommandFlags choose the language of [Domain.QemuMonitorCommand].
type DomainQemuMonitorCommandFlags uint

const (
	DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT DomainQemuMonitorCommandFlags = C.VIR_DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT
	DOMAIN_QEMU_MONITOR_COMMAND_HMP     DomainQemuMonitorCommandFlags = C.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
)

// DomainGuestInfoTypes choose what [Domain.GetGuestInfo] asks the agent for; 0 is all.
type DomainGuestInfoTypes int

const (
	DOMAIN_GUEST_INFO_USERS      DomainGuestInfoTypes = C.VIR_DOMAIN_GUEST_INFO_USERS
	DOMAIN_GUEST_INFO_OS         DomainGuestInfoTypes = C.VIR_DOMAIN_GUEST_INFO_OS
	DOMAIN_GUEST_INFO_TIMEZONE   DomainGuestInfoTypes = C.VIR_DOMAIN_GUEST_INFO_TIMEZONE
	DOMAIN_GUEST_INFO_HOSTNAME   DomainGuestInfoTypes = C.VIR_DOMAIN_GUEST_INFO_HOSTNAME
	DOMAIN_GUEST_INFO_FILESYSTEM DomainGuestInfoTypes = C.VIR_DOMAIN_GUEST_INFO_FILESYSTEM
	DOMAIN_GUEST_INFO_DISKS      DomainGuestInfoTypes = C.VIR_DOMAIN_GUEST_INFO_DISKS
	DOMAIN_GUEST_INFO_INTERFACES DomainGuestInfoTypes = C.VIR_DOMAIN_GUEST_INFO_INTERFACES
	DOMAIN_GUEST_INFO_LOAD       DomainGuestInfoTypes = 1 << 7 // since libvirt 11.2
)

// DomainDiskErrorCode is an I/O error of a disk.
type DomainDiskErrorCode int

const (
	DOMAIN_DISK_ERROR_NONE     DomainDiskErrorCode = C.VIR_DOMAIN_DISK_ERROR_NONE
	DOMAIN_DISK_ERROR_UNSPEC   DomainDiskErrorCode = C.VIR_DOMAIN_DISK_ERROR_UNSPEC
	DOMAIN_DISK_ERROR_NO_SPACE DomainDiskErrorCode = C.VIR_DOMAIN_DISK_ERROR_NO_SPACE
)

// DomainControlState is the state of the way from libvirt to the hypervisor.
type DomainControlState int

const (
	DOMAIN_CONTROL_OK       DomainControlState = C.VIR_DOMAIN_CONTROL_OK
	DOMAIN_CONTROL_JOB      DomainControlState = C.VIR_DOMAIN_CONTROL_JOB
	DOMAIN_CONTROL_OCCUPIED DomainControlState = C.VIR_DOMAIN_CONTROL_OCCUPIED
	DOMAIN_CONTROL_ERROR    DomainControlState = C.VIR_DOMAIN_CONTROL_ERROR
)

// DomainControlErrorReason says why that way is broken.
type DomainControlErrorReason int

const (
	DOMAIN_CONTROL_ERROR_REASON_NONE     DomainControlErrorReason = C.VIR_DOMAIN_CONTROL_ERROR_REASON_NONE
	DOMAIN_CONTROL_ERROR_REASON_UNKNOWN  DomainControlErrorReason = C.VIR_DOMAIN_CONTROL_ERROR_REASON_UNKNOWN
	DOMAIN_CONTROL_ERROR_REASON_MONITOR  DomainControlErrorReason = C.VIR_DOMAIN_CONTROL_ERROR_REASON_MONITOR
	DOMAIN_CONTROL_ERROR_REASON_INTERNAL DomainControlErrorReason = C.VIR_DOMAIN_CONTROL_ERROR_REASON_INTERNAL
)

// DomainVcpuFlags choose what [Domain.GetVcpusFlags] counts.
type DomainVcpuFlags uint

const (
	DOMAIN_VCPU_CURRENT      DomainVcpuFlags = C.VIR_DOMAIN_VCPU_CURRENT
	DOMAIN_VCPU_LIVE         DomainVcpuFlags = C.VIR_DOMAIN_VCPU_LIVE
	DOMAIN_VCPU_CONFIG       DomainVcpuFlags = C.VIR_DOMAIN_VCPU_CONFIG
	DOMAIN_VCPU_MAXIMUM      DomainVcpuFlags = C.VIR_DOMAIN_VCPU_MAXIMUM
	DOMAIN_VCPU_GUEST        DomainVcpuFlags = C.VIR_DOMAIN_VCPU_GUEST
	DOMAIN_VCPU_HOTPLUGGABLE DomainVcpuFlags = C.VIR_DOMAIN_VCPU_HOTPLUGGABLE
)

// DomainGetHostnameFlags choose who knows the name in [Domain.GetHostname].
type DomainGetHostnameFlags uint

const (
	DOMAIN_GET_HOSTNAME_LEASE DomainGetHostnameFlags = C.VIR_DOMAIN_GET_HOSTNAME_LEASE
	DOMAIN_GET_HOSTNAME_AGENT DomainGetHostnameFlags = C.VIR_DOMAIN_GET_HOSTNAME_AGENT
)

// DomainSaveImageXMLFlags are those of [Domain.ManagedSaveGetXMLDesc].
type DomainSaveImageXMLFlags uint

const (
	DOMAIN_SAVE_IMAGE_XML_SECURE DomainSaveImageXMLFlags = C.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE
)

// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

// ErrorNumber is the code of an [Error], and an error itself so that errors.Is finds it there.
type ErrorNumber int

const (
	ERR_OK                        ErrorNumber = C.VIR_ERR_OK
	ERR_INTERNAL_ERROR            ErrorNumber = C.VIR_ERR_INTERNAL_ERROR
	ERR_NO_MEMORY                 ErrorNumber = C.VIR_ERR_NO_MEMORY
	ERR_NO_SUPPORT                ErrorNumber = C.VIR_ERR_NO_SUPPORT
	ERR_UNKNOWN_HOST              ErrorNumber = C.VIR_ERR_UNKNOWN_HOST
	ERR_NO_CONNECT                ErrorNumber = C.VIR_ERR_NO_CONNECT
	ERR_INVALID_CONN              ErrorNumber = C.VIR_ERR_INVALID_CONN
	ERR_INVALID_DOMAIN            ErrorNumber = C.VIR_ERR_INVALID_DOMAIN
	ERR_INVALID_ARG               ErrorNumber = C.VIR_ERR_INVALID_ARG
	ERR_OPERATION_FAILED          ErrorNumber = C.VIR_ERR_OPERATION_FAILED
	ERR_GET_FAILED                ErrorNumber = C.VIR_ERR_GET_FAILED
	ERR_POST_FAILED               ErrorNumber = C.VIR_ERR_POST_FAILED
	ERR_HTTP_ERROR                ErrorNumber = C.VIR_ERR_HTTP_ERROR
	ERR_SEXPR_SERIAL              ErrorNumber = C.VIR_ERR_SEXPR_SERIAL
	ERR_NO_XEN                    ErrorNumber = C.VIR_ERR_NO_XEN
	ERR_XEN_CALL                  ErrorNumber = C.VIR_ERR_XEN_CALL
	ERR_OS_TYPE                   ErrorNumber = C.VIR_ERR_OS_TYPE
	ERR_NO_KERNEL                 ErrorNumber = C.VIR_ERR_NO_KERNEL
	ERR_NO_ROOT                   ErrorNumber = C.VIR_ERR_NO_ROOT
	ERR_NO_SOURCE                 ErrorNumber = C.VIR_ERR_NO_SOURCE
	ERR_NO_TARGET                 ErrorNumber = C.VIR_ERR_NO_TARGET
	ERR_NO_NAME                   ErrorNumber = C.VIR_ERR_NO_NAME
	ERR_NO_OS                     ErrorNumber = C.VIR_ERR_NO_OS
	ERR_NO_DEVICE                 ErrorNumber = C.VIR_ERR_NO_DEVICE
	ERR_NO_XENSTORE               ErrorNumber = C.VIR_ERR_NO_XENSTORE
	ERR_DRIVER_FULL               ErrorNumber = C.VIR_ERR_DRIVER_FULL
	ERR_CALL_FAILED               ErrorNumber = C.VIR_ERR_CALL_FAILED
	ERR_XML_ERROR                 ErrorNumber = C.VIR_ERR_XML_ERROR
	ERR_DOM_EXIST                 ErrorNumber = C.VIR_ERR_DOM_EXIST
	ERR_OPERATION_DENIED          ErrorNumber = C.VIR_ERR_OPERATION_DENIED
	ERR_OPEN_FAILED               ErrorNumber = C.VIR_ERR_OPEN_FAILED
	ERR_READ_FAILED               ErrorNumber = C.VIR_ERR_READ_FAILED
	ERR_PARSE_FAILED              ErrorNumber = C.VIR_ERR_PARSE_FAILED
	ERR_CONF_SYNTAX               ErrorNumber = C.VIR_ERR_CONF_SYNTAX
	ERR_WRITE_FAILED              ErrorNumber = C.VIR_ERR_WRITE_FAILED
	ERR_XML_DETAIL                ErrorNumber = C.VIR_ERR_XML_DETAIL
	ERR_INVALID_NETWORK           ErrorNumber = C.VIR_ERR_INVALID_NETWORK
	ERR_NETWORK_EXIST             ErrorNumber = C.VIR_ERR_NETWORK_EXIST
	ERR_SYSTEM_ERROR              ErrorNumber = C.VIR_ERR_SYSTEM_ERROR
	ERR_RPC                       ErrorNumber = C.VIR_ERR_RPC
	ERR_GNUTLS_ERROR              ErrorNumber = C.VIR_ERR_GNUTLS_ERROR
	WAR_NO_NETWORK                ErrorNumber = C.VIR_WAR_NO_NETWORK
	ERR_NO_DOMAIN                 ErrorNumber = C.VIR_ERR_NO_DOMAIN
	ERR_NO_NETWORK                ErrorNumber = C.VIR_ERR_NO_NETWORK
	ERR_INVALID_MAC               ErrorNumber = C.VIR_ERR_INVALID_MAC
	ERR_AUTH_FAILED               ErrorNumber = C.VIR_ERR_AUTH_FAILED
	ERR_INVALID_STORAGE_POOL      ErrorNumber = C.VIR_ERR_INVALID_STORAGE_POOL
	ERR_INVALID_STORAGE_VOL       ErrorNumber = C.VIR_ERR_INVALID_STORAGE_VOL
	WAR_NO_STORAGE                ErrorNumber = C.VIR_WAR_NO_STORAGE
	ERR_NO_STORAGE_POOL           ErrorNumber = C.VIR_ERR_NO_STORAGE_POOL
	ERR_NO_STORAGE_VOL            ErrorNumber = C.VIR_ERR_NO_STORAGE_VOL
	WAR_NO_NODE                   ErrorNumber = C.VIR_WAR_NO_NODE
	ERR_INVALID_NODE_DEVICE       ErrorNumber = C.VIR_ERR_INVALID_NODE_DEVICE
	ERR_NO_NODE_DEVICE            ErrorNumber = C.VIR_ERR_NO_NODE_DEVICE
	ERR_NO_SECURITY_MODEL         ErrorNumber = C.VIR_ERR_NO_SECURITY_MODEL
	ERR_OPERATION_INVALID         ErrorNumber = C.VIR_ERR_OPERATION_INVALID
	WAR_NO_INTERFACE              ErrorNumber = C.VIR_WAR_NO_INTERFACE
	ERR_NO_INTERFACE              ErrorNumber = C.VIR_ERR_NO_INTERFACE
	ERR_INVALID_INTERFACE         ErrorNumber = C.VIR_ERR_INVALID_INTERFACE
	ERR_MULTIPLE_INTERFACES       ErrorNumber = C.VIR_ERR_MULTIPLE_INTERFACES
	WAR_NO_NWFILTER               ErrorNumber = C.VIR_WAR_NO_NWFILTER
	ERR_INVALID_NWFILTER          ErrorNumber = C.VIR_ERR_INVALID_NWFILTER
	ERR_NO_NWFILTER               ErrorNumber = C.VIR_ERR_NO_NWFILTER
	ERR_BUILD_FIREWALL            ErrorNumber = C.VIR_ERR_BUILD_FIREWALL
	WAR_NO_SECRET                 ErrorNumber = C.VIR_WAR_NO_SECRET
	ERR_INVALID_SECRET            ErrorNumber = C.VIR_ERR_INVALID_SECRET
	ERR_NO_SECRET                 ErrorNumber = C.VIR_ERR_NO_SECRET
	ERR_CONFIG_UNSUPPORTED        ErrorNumber = C.VIR_ERR_CONFIG_UNSUPPORTED
	ERR_OPERATION_TIMEOUT         ErrorNumber = C.VIR_ERR_OPERATION_TIMEOUT
	ERR_MIGRATE_PERSIST_FAILED    ErrorNumber = C.VIR_ERR_MIGRATE_PERSIST_FAILED
	ERR_HOOK_SCRIPT_FAILED        ErrorNumber = C.VIR_ERR_HOOK_SCRIPT_FAILED
	ERR_INVALID_DOMAIN_SNAPSHOT   ErrorNumber = C.VIR_ERR_INVALID_DOMAIN_SNAPSHOT
	ERR_NO_DOMAIN_SNAPSHOT        ErrorNumber = C.VIR_ERR_NO_DOMAIN_SNAPSHOT
	ERR_INVALID_STREAM            ErrorNumber = C.VIR_ERR_INVALID_STREAM
	ERR_ARGUMENT_UNSUPPORTED      ErrorNumber = C.VIR_ERR_ARGUMENT_UNSUPPORTED
	ERR_STORAGE_PROBE_FAILED      ErrorNumber = C.VIR_ERR_STORAGE_PROBE_FAILED
	ERR_STORAGE_POOL_BUILT        ErrorNumber = C.VIR_ERR_STORAGE_POOL_BUILT
	ERR_SNAPSHOT_REVERT_RISKY     ErrorNumber = C.VIR_ERR_SNAPSHOT_REVERT_RISKY
	ERR_OPERATION_ABORTED         ErrorNumber = C.VIR_ERR_OPERATION_ABORTED
	ERR_AUTH_CANCELLED            ErrorNumber = C.VIR_ERR_AUTH_CANCELLED
	ERR_NO_DOMAIN_METADATA        ErrorNumber = C.VIR_ERR_NO_DOMAIN_METADATA
	ERR_MIGRATE_UNSAFE            ErrorNumber = C.VIR_ERR_MIGRATE_UNSAFE
	ERR_OVERFLOW                  ErrorNumber = C.VIR_ERR_OVERFLOW
	ERR_BLOCK_COPY_ACTIVE         ErrorNumber = C.VIR_ERR_BLOCK_COPY_ACTIVE
	ERR_OPERATION_UNSUPPORTED     ErrorNumber = C.VIR_ERR_OPERATION_UNSUPPORTED
	ERR_SSH                       ErrorNumber = C.VIR_ERR_SSH
	ERR_AGENT_UNRESPONSIVE        ErrorNumber = C.VIR_ERR_AGENT_UNRESPONSIVE
	ERR_RESOURCE_BUSY             ErrorNumber = C.VIR_ERR_RESOURCE_BUSY
	ERR_ACCESS_DENIED             ErrorNumber = C.VIR_ERR_ACCESS_DENIED
	ERR_DBUS_SERVICE              ErrorNumber = C.VIR_ERR_DBUS_SERVICE
	ERR_STORAGE_VOL_EXIST         ErrorNumber = C.VIR_ERR_STORAGE_VOL_EXIST
	ERR_CPU_INCOMPATIBLE          ErrorNumber = C.VIR_ERR_CPU_INCOMPATIBLE
	ERR_XML_INVALID_SCHEMA        ErrorNumber = C.VIR_ERR_XML_INVALID_SCHEMA
	ERR_MIGRATE_FINISH_OK         ErrorNumber = C.VIR_ERR_MIGRATE_FINISH_OK
	ERR_AUTH_UNAVAILABLE          ErrorNumber = C.VIR_ERR_AUTH_UNAVAILABLE
	ERR_NO_SERVER                 ErrorNumber = C.VIR_ERR_NO_SERVER
	ERR_NO_CLIENT                 ErrorNumber = C.VIR_ERR_NO_CLIENT
	ERR_AGENT_UNSYNCED            ErrorNumber = C.VIR_ERR_AGENT_UNSYNCED
	ERR_LIBSSH                    ErrorNumber = C.VIR_ERR_LIBSSH
	ERR_DEVICE_MISSING            ErrorNumber = C.VIR_ERR_DEVICE_MISSING
	ERR_INVALID_NWFILTER_BINDING  ErrorNumber = C.VIR_ERR_INVALID_NWFILTER_BINDING
	ERR_NO_NWFILTER_BINDING       ErrorNumber = C.VIR_ERR_NO_NWFILTER_BINDING
	ERR_INVALID_DOMAIN_CHECKPOINT ErrorNumber = C.VIR_ERR_INVALID_DOMAIN_CHECKPOINT
	ERR_NO_DOMAIN_CHECKPOINT      ErrorNumber = C.VIR_ERR_NO_DOMAIN_CHECKPOINT
	ERR_NO_DOMAIN_BACKUP          ErrorNumber = C.VIR_ERR_NO_DOMAIN_BACKUP
	ERR_INVALID_NETWORK_PORT      ErrorNumber = C.VIR_ERR_INVALID_NETWORK_PORT
	ERR_NETWORK_PORT_EXIST        ErrorNumber = C.VIR_ERR_NETWORK_PORT_EXIST
	ERR_NO_NETWORK_PORT           ErrorNumber = C.VIR_ERR_NO_NETWORK_PORT
	ERR_NO_HOSTNAME               ErrorNumber = C.VIR_ERR_NO_HOSTNAME
	ERR_CHECKPOINT_INCONSISTENT   ErrorNumber = C.VIR_ERR_CHECKPOINT_INCONSISTENT
	ERR_MULTIPLE_DOMAINS          ErrorNumber = C.VIR_ERR_MULTIPLE_DOMAINS
	ERR_NO_NETWORK_METADATA       ErrorNumber = 111 // since libvirt 9.7
	ERR_AGENT_COMMAND_TIMEOUT     ErrorNumber = 112 // since libvirt 11.2
	ERR_AGENT_COMMAND_FAILED      ErrorNumber = 113 // since libvirt 11.2
)

// ErrorDomain is the part of libvirt that an [Error] comes from.
type ErrorDomain int

const (
	FROM_NONE              ErrorDomain = C.VIR_FROM_NONE
	FROM_XEN               ErrorDomain = C.VIR_FROM_XEN
	FROM_XEND              ErrorDomain = C.VIR_FROM_XEND
	FROM_XENSTORE          ErrorDomain = C.VIR_FROM_XENSTORE
	FROM_SEXPR             ErrorDomain = C.VIR_FROM_SEXPR
	FROM_XML               ErrorDomain = C.VIR_FROM_XML
	FROM_DOM               ErrorDomain = C.VIR_FROM_DOM
	FROM_RPC               ErrorDomain = C.VIR_FROM_RPC
	FROM_PROXY             ErrorDomain = C.VIR_FROM_PROXY
	FROM_CONF              ErrorDomain = C.VIR_FROM_CONF
	FROM_QEMU              ErrorDomain = C.VIR_FROM_QEMU
	FROM_NET               ErrorDomain = C.VIR_FROM_NET
	FROM_TEST              ErrorDomain = C.VIR_FROM_TEST
	FROM_REMOTE            ErrorDomain = C.VIR_FROM_REMOTE
	FROM_OPENVZ            ErrorDomain = C.VIR_FROM_OPENVZ
	FROM_XENXM             ErrorDomain = C.VIR_FROM_XENXM
	FROM_STATS_LINUX       ErrorDomain = C.VIR_FROM_STATS_LINUX
	FROM_LXC               ErrorDomain = C.VIR_FROM_LXC
	FROM_STORAGE           ErrorDomain = C.VIR_FROM_STORAGE
	FROM_NETWORK           ErrorDomain = C.VIR_FROM_NETWORK
	FROM_DOMAIN            ErrorDomain = C.VIR_FROM_DOMAIN
	FROM_UML               ErrorDomain = C.VIR_FROM_UML
	FROM_NODEDEV           ErrorDomain = C.VIR_FROM_NODEDEV
	FROM_XEN_INOTIFY       ErrorDomain = C.VIR_FROM_XEN_INOTIFY
	FROM_SECURITY          ErrorDomain = C.VIR_FROM_SECURITY
	FROM_VBOX              ErrorDomain = C.VIR_FROM_VBOX
	FROM_INTERFACE         ErrorDomain = C.VIR_FROM_INTERFACE
	FROM_ONE               ErrorDomain = C.VIR_FROM_ONE
	FROM_ESX               ErrorDomain = C.VIR_FROM_ESX
	FROM_PHYP              ErrorDomain = C.VIR_FROM_PHYP
	FROM_SECRET            ErrorDomain = C.VIR_FROM_SECRET
	FROM_CPU               ErrorDomain = C.VIR_FROM_CPU
	FROM_XENAPI            ErrorDomain = C.VIR_FROM_XENAPI
	FROM_NWFILTER          ErrorDomain = C.VIR_FROM_NWFILTER
	FROM_HOOK              ErrorDomain = C.VIR_FROM_HOOK
	FROM_DOMAIN_SNAPSHOT   ErrorDomain = C.VIR_FROM_DOMAIN_SNAPSHOT
	FROM_AUDIT             ErrorDomain = C.VIR_FROM_AUDIT
	FROM_SYSINFO           ErrorDomain = C.VIR_FROM_SYSINFO
	FROM_STREAMS           ErrorDomain = C.VIR_FROM_STREAMS
	FROM_VMWARE            ErrorDomain = C.VIR_FROM_VMWARE
	FROM_EVENT             ErrorDomain = C.VIR_FROM_EVENT
	FROM_LIBXL             ErrorDomain = C.VIR_FROM_LIBXL
	FROM_LOCKING           ErrorDomain = C.VIR_FROM_LOCKING
	FROM_HYPERV            ErrorDomain = C.VIR_FROM_HYPERV
	FROM_CAPABILITIES      ErrorDomain = C.VIR_FROM_CAPABILITIES
	FROM_URI               ErrorDomain = C.VIR_FROM_URI
	FROM_AUTH              ErrorDomain = C.VIR_FROM_AUTH
	FROM_DBUS              ErrorDomain = C.VIR_FROM_DBUS
	FROM_PARALLELS         ErrorDomain = C.VIR_FROM_PARALLELS
	FROM_DEVICE            ErrorDomain = C.VIR_FROM_DEVICE
	FROM_SSH               ErrorDomain = C.VIR_FROM_SSH
	FROM_LOCKSPACE         ErrorDomain = C.VIR_FROM_LOCKSPACE
	FROM_INITCTL           ErrorDomain = C.VIR_FROM_INITCTL
	FROM_IDENTITY          ErrorDomain = C.VIR_FROM_IDENTITY
	FROM_CGROUP            ErrorDomain = C.VIR_FROM_CGROUP
	FROM_ACCESS            ErrorDomain = C.VIR_FROM_ACCESS
	FROM_SYSTEMD           ErrorDomain = C.VIR_FROM_SYSTEMD
	FROM_BHYVE             ErrorDomain = C.VIR_FROM_BHYVE
	FROM_CRYPTO            ErrorDomain = C.VIR_FROM_CRYPTO
	FROM_FIREWALL          ErrorDomain = C.VIR_FROM_FIREWALL
	FROM_POLKIT            ErrorDomain = C.VIR_FROM_POLKIT
	FROM_THREAD            ErrorDomain = C.VIR_FROM_THREAD
	FROM_ADMIN             ErrorDomain = C.VIR_FROM_ADMIN
	FROM_LOGGING           ErrorDomain = C.VIR_FROM_LOGGING
	FROM_XENXL             ErrorDomain = C.VIR_FROM_XENXL
	FROM_PERF              ErrorDomain = C.VIR_FROM_PERF
	FROM_LIBSSH            ErrorDomain = C.VIR_FROM_LIBSSH
	FROM_RESCTRL           ErrorDomain = C.VIR_FROM_RESCTRL
	FROM_FIREWALLD         ErrorDomain = C.VIR_FROM_FIREWALLD
	FROM_DOMAIN_CHECKPOINT ErrorDomain = C.VIR_FROM_DOMAIN_CHECKPOINT
	FROM_TPM               ErrorDomain = C.VIR_FROM_TPM
	FROM_BPF               ErrorDomain = C.VIR_FROM_BPF
	FROM_CH                ErrorDomain = C.VIR_FROM_CH
)

// ErrorLevel is how bad an [Error] is.
type ErrorLevel int

const (
	ERR_NONE    ErrorLevel = C.VIR_ERR_NONE
	ERR_WARNING ErrorLevel = C.VIR_ERR_WARNING
	ERR_ERROR   ErrorLevel = C.VIR_ERR_ERROR
)

// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

// ConnectCredentialType says what a credential is: libvirt asks for those that [ConnectAuth] lists.
type ConnectCredentialType int

const (
	CRED_USERNAME     ConnectCredentialType = C.VIR_CRED_USERNAME
	CRED_AUTHNAME     ConnectCredentialType = C.VIR_CRED_AUTHNAME
	CRED_LANGUAGE     ConnectCredentialType = C.VIR_CRED_LANGUAGE
	CRED_CNONCE       ConnectCredentialType = C.VIR_CRED_CNONCE
	CRED_PASSPHRASE   ConnectCredentialType = C.VIR_CRED_PASSPHRASE
	CRED_ECHOPROMPT   ConnectCredentialType = C.VIR_CRED_ECHOPROMPT
	CRED_NOECHOPROMPT ConnectCredentialType = C.VIR_CRED_NOECHOPROMPT
	CRED_REALM        ConnectCredentialType = C.VIR_CRED_REALM
	CRED_EXTERNAL     ConnectCredentialType = C.VIR_CRED_EXTERNAL
)

// ConnectFlags are those of [NewConnectWithAuth].
type ConnectFlags uint

const (
	CONNECT_RO         ConnectFlags = C.VIR_CONNECT_RO
	CONNECT_NO_ALIASES ConnectFlags = C.VIR_CONNECT_NO_ALIASES
)

// ConnectCloseReason says why a connection ended.
type ConnectCloseReason int

const (
	CONNECT_CLOSE_REASON_ERROR     ConnectCloseReason = C.VIR_CONNECT_CLOSE_REASON_ERROR
	CONNECT_CLOSE_REASON_EOF       ConnectCloseReason = C.VIR_CONNECT_CLOSE_REASON_EOF
	CONNECT_CLOSE_REASON_KEEPALIVE ConnectCloseReason = C.VIR_CONNECT_CLOSE_REASON_KEEPALIVE
	CONNECT_CLOSE_REASON_CLIENT    ConnectCloseReason = C.VIR_CONNECT_CLOSE_REASON_CLIENT
)

// ConnectListAllDomainsFlags filter [Connect.ListAllDomains]; flags of one group are alternatives.
type ConnectListAllDomainsFlags uint

const (
	CONNECT_LIST_DOMAINS_ACTIVE         ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_ACTIVE
	CONNECT_LIST_DOMAINS_INACTIVE       ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_INACTIVE
	CONNECT_LIST_DOMAINS_PERSISTENT     ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_PERSISTENT
	CONNECT_LIST_DOMAINS_TRANSIENT      ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_TRANSIENT
	CONNECT_LIST_DOMAINS_RUNNING        ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_RUNNING
	CONNECT_LIST_DOMAINS_PAUSED         ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_PAUSED
	CONNECT_LIST_DOMAINS_SHUTOFF        ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_SHUTOFF
	CONNECT_LIST_DOMAINS_OTHER          ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_OTHER
	CONNECT_LIST_DOMAINS_MANAGEDSAVE    ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE
	CONNECT_LIST_DOMAINS_NO_MANAGEDSAVE ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_NO_MANAGEDSAVE
	CONNECT_LIST_DOMAINS_AUTOSTART      ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_AUTOSTART
	CONNECT_LIST_DOMAINS_NO_AUTOSTART   ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART
	CONNECT_LIST_DOMAINS_HAS_SNAPSHOT   ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT
	CONNECT_LIST_DOMAINS_NO_SNAPSHOT    ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT
	CONNECT_LIST_DOMAINS_HAS_CHECKPOINT ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_HAS_CHECKPOINT
	CONNECT_LIST_DOMAINS_NO_CHECKPOINT  ConnectListAllDomainsFlags = C.VIR_CONNECT_LIST_DOMAINS_NO_CHECKPOINT
)

// ConnectGetDomainCapabilitiesFlags are those of [Connect.GetDomainCapabilities]; none is known to libvirt 9.
type ConnectGetDomainCapabilitiesFlags uint32

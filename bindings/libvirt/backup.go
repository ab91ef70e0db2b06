// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

// BackupBegin starts a backup job as backupXML describes, and makes the
// checkpoint of checkpointXML at the same moment; the empty string makes none.
// A pull backup lasts until [Domain.AbortJob].
func (d *Domain) BackupBegin(backupXML string, checkpointXML string, flags DomainBackupBeginFlags) error {
	var a arena
	defer a.free()
	var e C.callError
	return check(C.go_virDomainBackupBegin(&e, d.ptr, a.str(backupXML), a.optional(checkpointXML), C.uint(flags)), &e)
}

// BackupGetXMLDesc is the XML of the running backup job with what libvirt
// filled in, or [ERR_NO_DOMAIN_BACKUP].
func (d *Domain) BackupGetXMLDesc(flags uint32) (string, error) {
	var e C.callError
	return takeString(C.go_virDomainBackupGetXMLDesc(&e, d.ptr, C.uint(flags)), &e)
}

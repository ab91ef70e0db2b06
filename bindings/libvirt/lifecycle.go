// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

// Create starts the domain.
func (d *Domain) Create() error {
	var e C.callError
	return check(C.go_virDomainCreate(&e, d.ptr), &e)
}

// CreateWithFlags starts the domain, for example paused.
func (d *Domain) CreateWithFlags(flags DomainCreateFlags) error {
	var e C.callError
	return check(C.go_virDomainCreateWithFlags(&e, d.ptr, C.uint(flags)), &e)
}

// Destroy ends the domain as pulling the plug does.
func (d *Domain) Destroy() error {
	var e C.callError
	return check(C.go_virDomainDestroy(&e, d.ptr), &e)
}

// DestroyFlags is [Domain.Destroy] with flags.
func (d *Domain) DestroyFlags(flags DomainDestroyFlags) error {
	var e C.callError
	return check(C.go_virDomainDestroyFlags(&e, d.ptr, C.uint(flags)), &e)
}

// Shutdown asks the guest to shut down and does not wait for it.
func (d *Domain) Shutdown() error {
	var e C.callError
	return check(C.go_virDomainShutdown(&e, d.ptr), &e)
}

// ShutdownFlags is [Domain.Shutdown] in the way that flags choose.
func (d *Domain) ShutdownFlags(flags DomainShutdownFlags) error {
	var e C.callError
	return check(C.go_virDomainShutdownFlags(&e, d.ptr, C.uint(flags)), &e)
}

// Suspend pauses the domain.
func (d *Domain) Suspend() error {
	var e C.callError
	return check(C.go_virDomainSuspend(&e, d.ptr), &e)
}

// Resume lets a paused domain run.
func (d *Domain) Resume() error {
	var e C.callError
	return check(C.go_virDomainResume(&e, d.ptr), &e)
}

// Reset does what the reset button does.
func (d *Domain) Reset(flags uint32) error {
	var e C.callError
	return check(C.go_virDomainReset(&e, d.ptr, C.uint(flags)), &e)
}

// Undefine makes the domain transient if it runs, else takes it away.
func (d *Domain) Undefine() error {
	var e C.callError
	return check(C.go_virDomainUndefine(&e, d.ptr), &e)
}

// UndefineFlags is [Domain.Undefine] that also removes what flags name, such
// as the metadata of checkpoints and the NVRAM file.
func (d *Domain) UndefineFlags(flags DomainUndefineFlagsValues) error {
	var e C.callError
	return check(C.go_virDomainUndefineFlags(&e, d.ptr, C.uint(flags)), &e)
}

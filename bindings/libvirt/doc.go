// SPDX-License-Identifier: Apache-2.0

// Package libvirt is libvirt for Go.
//
// It has names and signatures of the Go package that the libvirt project
// publishes under this import path, as many as backups and recovery need, so
// that a program builds with either. It is a new implementation on top of
// libvirt's C API; what a call does is described there,
// https://libvirt.org/html/index.html.
//
//	conn, err := libvirt.NewConnectWithAuthDefault("qemu:///system", 0)
//	if err != nil { ... }
//	defer conn.Close()
//	dom, err := conn.LookupDomainByName("vm1")
//	if err != nil { ... }
//	defer dom.Free()
//
// # The library
//
// libvirt.so.0 is not linked but loaded by the first call, so that a program
// starts where it is not installed. The call is then an error that says so.
// One that the installed version does not have is [ERR_NO_SUPPORT].
//
// # Lifetime
//
// Nothing is freed by the garbage collector. Whoever gets a Connect, Domain,
// DomainCheckpoint, StoragePool, StorageVol or Stream gives it back with Close
// or Free, once, and once more for each Ref. Elements of a slice are each
// freed. Using one after its last Free crashes.
//
// # Concurrency and time
//
// All but Stream may be used from many goroutines. A call blocks its thread
// until libvirt answers: as long as a guest agent takes, or as long as
// keep-alive takes to see that the other end is gone.
package libvirt

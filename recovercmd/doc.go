// SPDX-License-Identifier: Apache-2.0

// Package recovercmd has the commands of instant recovery: boot starts a virtual
// machine from its backup, promote makes it a normal one while it runs, discard
// takes it away, resume brings it back after a failure, recoveries lists them;
// map serves the disks of a backup alone.
//
// A machine that was booted reads from an overlay, a qcow2 image whose backing
// image is an NBD export of the backup, and writes to the overlay only:
//
//	guest - QEMU - overlay (qcow2) - Unix socket - nbdkit with our plugin - backup set
//
// What the guest wrote is in the overlay and nowhere else. Nothing else has to
// live: when nbdkit is gone, the guest waits or is stopped, and goes on when
// another nbdkit listens on the same socket. So no process of ours has to watch
// it: all that is known of a recovery is in a folder, its [State].
package recovercmd

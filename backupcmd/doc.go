// SPDX-License-Identifier: Apache-2.0

// Package backupcmd saves the disks of libvirt domains into backup sets:
// "virtnb backup", and the program called as virtnbdbackup.
//
//	status := backupcmd.Main(ctx, "virtnbdbackup", version, os.Args[1:], os.Stdout, os.Stderr)
//
// A run goes through these steps, each in the file of its name:
//
//	target.go      lock the folder, see what it has
//	journal.go     note what is about to be made
//	takeback.go    take back what a run that failed or died made
//	level.go       decide what is saved, and under which names
//	chain.go       compare the set's checkpoints with the domain's
//	job.go         begin the libvirt job and the checkpoint (offline.go: qemu-nbd)
//	disk.go        copy the extents of each disk into its saveset
//	sidefiles.go   save the domain's configuration and what belongs to it
//	commit.go      make it count: rename, then the list of checkpoints
//
// A new checkpoint counts when DOMAIN.cpt lists it, which is the last thing to
// happen. Until then everything a run makes is in its journal, and is taken
// back by the run itself if it fails or by the next one if it died: the job is
// ended, the checkpoint deleted, by which libvirt merges its bitmap into that of
// its parent, and the files are removed. So no failure breaks a chain.
package backupcmd

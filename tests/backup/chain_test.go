// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"testing"

	"virtnb/tests/testbed"
)

// Twenty incrementals of two disks, with random changes between them. Whatever a
// guest does to a disk comes back as it was at each point: also what it
// overwrote with zeroes or discarded since the last backup, where later versions
// of virtnbdbackup bring back the data that was there before.
func TestBackupRandomChain(t *testing.T) {
	t.Parallel()
	const sizeA, sizeB = 8<<20 + 3*512, 4 << 20
	b := newBackups(t, testbed.GuestOptions{Disks: []testbed.Disk{
		{Target: "vda", Size: sizeA},
		{Target: "sda", Size: sizeB, Cluster: 4096},
	}})
	program := ours(t)
	for i := range 21 {
		level, count := "inc", 6
		if i == 0 {
			level, count = "full", 40
		}
		b.change(t, "vda", sizeA, count)
		if i%5 != 3 { // else there is nothing new on the disk
			b.change(t, "sda", sizeB, count)
		}
		args := []string{"-l", level}
		if i%3 == 1 {
			args = append(args, "-z")
		}
		b.make(t, checkpoint(i), program, args...)
	}
	b.wantCheckpoints(t, 21)
	b.check(t)
}

// What became zero since the last backup is in the incremental. A restore by
// virtnbdrestore, which lays incrementals over the full, has it as well.
func TestBackupZeroedRanges(t *testing.T) {
	t.Parallel()
	b := newBackups(t, testbed.GuestOptions{Disks: []testbed.Disk{{Target: "vda", Size: 4 << 20}}})
	program := ours(t)
	b.write(t, "vda", "write -P 0x42 0 2M")
	b.make(t, checkpoint(0), program, "-l", "full")
	b.write(t, "vda", "write -z 64k 64k", "write -z -u 256k 64k", "discard 512k 128k", "write -P 0 1M 512")
	b.make(t, checkpoint(1), program, "-l", "inc")
	b.write(t, "vda", "discard 0 2M")
	b.make(t, checkpoint(2), program, "-l", "inc", "-z")
	b.check(t)
	b.checkRestores(t, "vda")
}

// virtnbdrestore brings back every point of a chain of ours, of both disks.
func TestBackupRestoredByPeer(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	b := newBackups(t, testbed.GuestOptions{Disks: []testbed.Disk{
		{Target: "vda", Size: size},
		{Target: "sda", Size: size, Cluster: 4096},
	}})
	program := ours(t)
	for i, args := range [][]string{{"-l", "full", "-z"}, {"-l", "inc"}, {"-l", "inc", "-z", "9"}} {
		b.change(t, "vda", size, 10)
		b.change(t, "sda", size, 10)
		b.make(t, checkpoint(i), program, args...)
	}
	b.check(t)
	b.checkRestores(t, "vda")
	b.checkRestores(t, "sda")
}

// Backups of virtnbdbackup and ours go on with each other's chain, and either
// kind of restore point is read by us and restored by virtnbdrestore.
func TestBackupMixedChains(t *testing.T) {
	for name, first := range map[string]int{"ours first": 0, "theirs first": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const size = 4 << 20
			b := newBackups(t, testbed.GuestOptions{Disks: []testbed.Disk{
				{Target: "vda", Size: size},
				{Target: "vdb", Size: size, Cluster: 4096},
			}})
			programs := [][]string{ours(t), theirs}
			levels := [][]string{{"-l", "full"}, {"-l", "inc"}, {"-l", "inc", "-z"}, {"-l", "inc", "-z"}, {"-l", "inc"}}
			for i, args := range levels {
				b.change(t, "vda", size, 8)
				b.change(t, "vdb", size, 8)
				b.make(t, checkpoint(i), programs[(first+i)%2], args...)
			}
			b.wantCheckpoints(t, len(levels))
			b.check(t)
			b.checkRestores(t, "vda")
		})
	}
}

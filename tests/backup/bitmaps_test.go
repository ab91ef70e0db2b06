// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"virtnb/tests/testbed"
)

// Bitmaps that are lost, broken or nobody's. Whatever became of them, the next
// incremental has all that a restore needs, and the one after it is small again.

// crash ends the guest's QEMU as a power cut does, which leaves bitmaps that
// are in its images marked as in use.
func (b *backups) crash(t testing.TB) {
	t.Helper()
	pid, err := os.ReadFile(filepath.Join(b.daemon.Root(), "run/qemu", b.Name+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := b.daemon.Inside(t.Context(), "kill", "-KILL", strings.TrimSpace(string(pid))).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		state, err := b.State()
		if err == nil && state == "shut off" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the guest is %s, %v", state, err)
		}
	}
}

// again ends the guest, by which QEMU writes its bitmaps into the images, and
// starts it.
func (b *backups) again(t testing.TB) {
	t.Helper()
	b.virsh(t, "destroy", b.Name, "--graceful")
	b.startAgain(t)
}

func (b *backups) startAgain(t testing.TB) {
	t.Helper()
	if err := b.StartAgain(); err != nil {
		t.Fatal(err)
	}
}

func (b *backups) virsh(t testing.TB, args ...string) {
	t.Helper()
	if _, err := b.daemon.Virsh(args...); err != nil {
		t.Fatal(err)
	}
}

// wantWholeOnce makes two incrementals, the nth checkpoint and the next. Disks
// are whole in the first one, if so wanted, and not in the second.
func (b *backups) wantWholeOnce(t testing.TB, n int, whole bool) (out string) {
	t.Helper()
	b.changeAll(t)
	out = b.make(t, checkpoint(n), ours(t), "-l", "inc")
	if got := strings.Contains(out, "saved whole"); got != whole {
		t.Errorf("disks are saved whole: %v, want %v\n%s", got, whole, out)
	}
	b.changeAll(t)
	if next := b.make(t, checkpoint(n+1), ours(t), "-l", "inc"); strings.Contains(next, "saved whole") {
		t.Errorf("and again:\n%s", next)
	}
	b.check(t)
	return out
}

func TestBackupBrokenBitmaps(t *testing.T) {
	t.Parallel()
	b := newBackups(t, twoDisks())
	b.changeAll(t)
	b.make(t, checkpoint(0), ours(t), "-l", "full")

	// A crash that the images know nothing of the bitmaps at, and one that leaves
	// them marked as in use.
	b.crash(t)
	b.startAgain(t)
	b.wantWholeOnce(t, 1, true)
	b.again(t)
	b.changeAll(t)
	b.crash(t)
	b.makeNew(t, ours(t), "-l", "inc")
	b.startAgain(t)
	b.wantWholeOnce(t, 3, true)

	// One of one disk.
	b.virsh(t, "qemu-monitor-command", b.Name, `{"execute":"block-dirty-bitmap-remove","arguments":{"node":"libvirt-2-format","name":"virtnbdbackup.4"}}`)
	out := b.wantWholeOnce(t, 5, true)
	if n := strings.Count(out, "saved whole"); n != 1 {
		t.Errorf("%d disks are saved whole, want 1\n%s", n, out)
	}

	// Libvirt forgot the checkpoint, and the folder has it.
	b.virsh(t, "checkpoint-delete", b.Name, checkpoint(6), "--metadata")
	wantOutput(t, b.wantWholeOnce(t, 7, false), "Redefine missing checkpoint: [virtnbdbackup.6]")

	// Bitmaps have the next checkpoint's name and belong to none.
	b.virsh(t, "checkpoint-create-as", b.Name, checkpoint(9))
	b.virsh(t, "checkpoint-delete", b.Name, checkpoint(9), "--metadata")
	wantOutput(t, b.wantWholeOnce(t, 9, false), "Removing bitmaps [virtnbdbackup.9]")

	// A checkpoint that counts nowhere and cannot be merged.
	b.virsh(t, "checkpoint-create-as", b.Name, checkpoint(77))
	b.virsh(t, "qemu-monitor-command", b.Name, `{"execute":"block-dirty-bitmap-remove","arguments":{"node":"libvirt-1-format","name":"virtnbdbackup.77"}}`)
	b.wantWholeOnce(t, 11, true)
	b.checkRestores(t, "sda")
}

// A run dies, and then the guest crashes, with bitmaps in its images: neither the
// next backup, while it is off, nor the ones after it are kept from being made.
func TestBackupDiesAndGuestCrashes(t *testing.T) {
	t.Parallel()
	program := crashing(t)
	b := newBackups(t, twoDisks())
	b.changeAll(t)
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	die := func() {
		t.Helper()
		b.changeAll(t)
		p := b.start(t, program, "VIRTNB_CRASH_AT=begun", "-l", "inc")
		if err := p.end(t); exitStatus(err) != -1 {
			t.Fatalf("not killed: %v\n%s", err, &p.out)
		}
	}
	die()
	b.again(t)
	b.crash(t)
	b.makeNew(t, ours(t), "-l", "inc")
	b.startAgain(t)
	b.wantWholeOnce(t, 1, true)
	die()
	b.again(t)
	b.crash(t)
	b.startAgain(t)
	b.wantWholeOnce(t, 3, true)
	// The host's power goes, and all comes back but the run.
	die()
	b.virsh(t, "destroy", b.Name, "--graceful")
	nextSecond()
	if out := b.makeNew(t, ours(t), "-l", "inc"); strings.Contains(out, "saved whole") {
		t.Errorf("a bitmap that was closed is not used:\n%s", out)
	}
	b.startAgain(t)
	b.wantWholeOnce(t, 5, false)
	b.wantCheckpointsEnd(t, 6)
}

// wantCheckpointsEnd fails the test where the last of the domain's checkpoints
// is not the nth.
func (b *backups) wantCheckpointsEnd(t testing.TB, n int) {
	t.Helper()
	got, err := b.Checkpoints()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 || got[len(got)-1] != checkpoint(n) {
		t.Errorf("checkpoints %q, want %s to be the last", got, checkpoint(n))
	}
}

// Images of an old kind cannot note changes: those disks are saved whole, the
// others go on.
func TestBackupOldImages(t *testing.T) {
	t.Parallel()
	b := newBackups(t, testbed.GuestOptions{Disks: []testbed.Disk{
		{Target: "vda", Size: smallDisk},
		{Target: "vdb", Size: smallDisk, Options: "compat=0.10"},
	}})
	for i, level := range []string{"full", "inc", "inc"} {
		b.changeAll(t)
		out := b.make(t, checkpoint(i), ours(t), "-l", level)
		wantOutput(t, out, "Disk [vdb] is saved whole each time")
		if strings.Contains(out, "Disk [vda] is saved whole") {
			t.Errorf("%s", out)
		}
	}
	b.wantCheckpoints(t, 3)
	b.check(t)
	b.checkRestores(t, "vdb")
}

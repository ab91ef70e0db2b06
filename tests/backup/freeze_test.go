// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"virtnb/format"
	"virtnb/overlay"
	"virtnb/tests/testbed"
)

// Freezing as a real guest with a real agent sees it. A file system that is
// frozen has all on its disk that was written to it, so a file that the guest
// wrote, and did not sync, tells from the backup whether it was.

// newFrozen is a booted guest with a file system on each of two disks, which
// writes to them when it has to and not from time to time.
func newFrozen(t *testing.T) *backups {
	t.Helper()
	b := newBackups(t, testbed.GuestOptions{Start: testbed.Booted, Disks: []testbed.Disk{
		{Target: "vda", Size: 16 << 20},
		{Target: "vdb", Size: 16 << 20},
	}})
	b.guest(t, `echo 0 >/proc/sys/vm/dirty_writeback_centisecs
for disk in vda vdb; do
	mke2fs /dev/$disk >/dev/null && mkdir -p /mnt/$disk && mount -t ext4 /dev/$disk /mnt/$disk || exit
done`)
	return b
}

// guest runs a command in the guest.
func (b *backups) guest(t testing.TB, command string) string {
	t.Helper()
	out, err := b.Exec(command)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// writeUnsynced writes a text to a new file of each file system: one that is
// written anew is synced by ext4 itself.
func (b *backups) writeUnsynced(t testing.TB, text string) {
	t.Helper()
	b.guest(t, "for disk in vda vdb; do echo '"+text+"' >\"/mnt/$disk/"+text+"\" || exit; done")
}

// wantText fails the test where the disk at the point has the text, or has not.
func (b *backups) wantText(t testing.TB, target, point, text string, want bool) {
	t.Helper()
	set, err := format.CheckSet(b.set)
	if err != nil {
		t.Fatal(err)
	}
	found, err := set.Find(target, point)
	if err != nil {
		t.Fatal(err)
	}
	files, err := found.Files()
	if err != nil {
		t.Fatal(err)
	}
	img, err := overlay.Open(files, overlay.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	content := make([]byte, img.Size())
	if _, err := img.ReadAt(content, 0); notEOF(err) != nil {
		t.Fatal(err)
	}
	if got := bytes.Contains(content, []byte(text)); got != want {
		t.Errorf("%s at %s: text %q is there: %v, want %v", target, point, text, got, want)
	}
}

// wantFreezes fails the test where the guest's agent was not asked for just
// these since the last time, or has its file systems frozen.
func (b *backups) wantFreezes(t testing.TB, want ...string) {
	t.Helper()
	if status := b.freezeStatus(t); !strings.Contains(status, "thawed") {
		_, err := b.daemon.Virsh("domfsthaw", b.Name)
		t.Fatalf("the guest is left as %s, %v", status, err)
	}
	got, err := b.Freezes()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the agent was asked for %q, want %q", got, want)
	}
	b.guest(t, "rm -f /run/hook; : >/run/freezes")
}

func (b *backups) freezeStatus(t testing.TB) string {
	t.Helper()
	status, err := b.daemon.Virsh("qemu-agent-command", b.Name, `{"execute":"guest-fsfreeze-status"}`)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func TestBackupFreezes(t *testing.T) {
	t.Parallel()
	b := newFrozen(t)
	program := ours(t)

	// All file systems, unless told otherwise.
	b.writeUnsynced(t, "text of the full")
	out, err := b.run(program, "-l", "full")
	if err != nil {
		t.Fatal(err)
	}
	wantOutput(t, out, "Freezed", "Thawed", "Saving guest information to")
	if info, err := os.ReadFile(filepath.Join(b.set, "osinfo."+checkpoint(0))); err != nil || !bytes.Contains(info, []byte(`"os.kernel-release": "`)) {
		t.Errorf("guest information: %s, %v", info, err)
	}
	b.wantFreezes(t, "freeze", "thaw")
	b.wantText(t, "vda", checkpoint(0), "text of the full", true)
	b.wantText(t, "vdb", checkpoint(0), "text of the full", true)

	// Only those that -F names.
	b.writeUnsynced(t, "text of the first inc")
	if _, err := b.run(program, "-l", "inc", "-F", "/mnt/vdb"); err != nil {
		t.Fatal(err)
	}
	b.wantFreezes(t, "freeze", "thaw")
	b.wantText(t, "vda", checkpoint(1), "text of the first inc", false)
	b.wantText(t, "vdb", checkpoint(1), "text of the first inc", true)

	// A job that does not begin leaves the guest as it was.
	if out, err := b.run(program, "-l", "inc", "-f", "/nonexistent/socket"); err == nil {
		t.Errorf("a socket that cannot be made is no error:\n%s", out)
	}
	if got, err := b.Freezes(); err != nil || len(got) > 0 {
		b.wantFreezes(t, "freeze", "thaw")
	}

	// A guest that cannot be frozen is backed up all the same, with a warning.
	b.guest(t, "echo '[ $1 = thaw ]' >/run/hook")
	out, err = b.run(program, "-l", "inc")
	if err != nil {
		t.Fatal(err)
	}
	wantOutput(t, out, "WARNING")
	b.guest(t, "rm /run/hook; : >/run/freezes")
	b.wantCheckpoints(t, 3)
}

// A guest whose agent does not answer in time is backed up without it, and is
// not left frozen by an answer that comes a little later.
func TestBackupFreezeTakesTooLong(t *testing.T) {
	t.Parallel()
	b := newFrozen(t)
	b.guest(t, "echo '[ $1 = thaw ] || sleep 9' >/run/hook")
	out, err := b.run(ours(t), "-l", "full", "--freeze-timeout", "6")
	if err != nil {
		t.Fatal(err)
	}
	wantOutput(t, out, "WARNING", "Guest agent is not responding")
	b.wantCheckpoints(t, 1)
	for deadline := time.Now().Add(patience); !strings.Contains(b.freezeStatus(t), "thawed"); {
		if time.Now().After(deadline) {
			t.Fatal("the guest is left frozen")
		}
		time.Sleep(200 * time.Millisecond)
	}
}

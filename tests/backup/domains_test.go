// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"virtnb/tests/testbed"
)

// Domains that are started for their backup, defined anew, renamed, or have more
// than disks.

// wantState fails the test where the guest is not in the state.
func (b *backups) wantState(t testing.TB, want string) {
	t.Helper()
	if got, err := b.State(); err != nil || got != want {
		t.Errorf("the guest is %q, want %q, %v", got, want, err)
	}
}

// wantFailure makes a backup that must fail, and says so.
func (b *backups) wantFailure(t testing.TB, text string, args ...string) {
	t.Helper()
	out, err := b.run(ours(t), args...)
	if err == nil || !strings.Contains(out, text) {
		t.Errorf("%q: %v, want an error with %q\n%s", args, err, text, out)
	}
}

// A domain that is off is started for its backup, and off afterwards: the chain
// goes on. One that has a saved state is left alone.
func TestBackupStartsDomain(t *testing.T) {
	t.Parallel()
	b := newBackups(t, twoDisks())
	b.changeAll(t)
	b.virsh(t, "destroy", b.Name, "--graceful")
	out := b.make(t, checkpoint(0), ours(t), "-l", "full", "-S")
	wantOutput(t, out, "Starting domain in paused state")
	b.wantState(t, "shut off")
	b.startAgain(t)
	b.changeAll(t)
	b.virsh(t, "destroy", b.Name, "--graceful")
	out = b.make(t, checkpoint(1), ours(t), "-l", "inc", "-S")
	if strings.Contains(out, "saved whole") {
		t.Errorf("QEMU did not save its bitmaps:\n%s", out)
	}
	b.wantState(t, "shut off")
	b.startAgain(t)
	b.wantCheckpoints(t, 2)
	b.virsh(t, "managedsave", b.Name)
	b.wantFailure(t, "saved state", "-l", "inc", "-S")
	if info, err := b.daemon.Virsh("dominfo", b.Name); err != nil || !regexp.MustCompile(`Managed save: +yes`).MatchString(info) {
		t.Errorf("the saved state is gone: %s, %v", info, err)
	}
	b.check(t)
}

// A domain that runs is suspended for the start of the job only.
func TestBackupPauses(t *testing.T) {
	t.Parallel()
	b := newBackups(t, testbed.GuestOptions{Disks: []testbed.Disk{{Target: "vda", Size: smallDisk}}})
	b.virsh(t, "resume", b.Name)
	wantOutput(t, b.make(t, checkpoint(0), ours(t), "-l", "full", "--pause"), "Suspending domain")
	b.wantState(t, "running")
	b.wantFailure(t, "Failed to start backup", "-l", "inc", "--pause", "-f", "/nonexistent/socket")
	b.wantState(t, "running")
	b.virsh(t, "suspend", b.Name)
	b.make(t, checkpoint(1), ours(t), "-l", "inc", "--pause")
	b.wantState(t, "paused")
}

// Somebody else's checkpoint refuses all but copies.
func TestBackupForeignCheckpoint(t *testing.T) {
	t.Parallel()
	b := newBackups(t, twoDisks())
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	b.virsh(t, "checkpoint-create-as", b.Name, "mine")
	for _, level := range []string{"inc", "diff", "auto"} {
		b.wantFailure(t, "Foreign checkpoint found: [mine]", "-l", level)
	}
	other := b.into("other")
	other.wantFailure(t, "Foreign checkpoint found: [mine]", "-l", "full")
	other.make(t, "copy", ours(t), "-l", "copy")
	b.virsh(t, "checkpoint-delete", b.Name, "mine")
	b.changeAll(t)
	b.make(t, checkpoint(1), ours(t), "-l", "inc")
	b.check(t)
}

// A domain that is defined anew is told of its checkpoints. One that is another
// by its UUID has its disks saved whole, once.
func TestBackupDefinedAnew(t *testing.T) {
	t.Parallel()
	b := newBackups(t, twoDisks())
	b.changeAll(t)
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	b.changeAll(t)
	b.make(t, checkpoint(1), ours(t), "-l", "inc")
	xml, err := b.daemon.Virsh("dumpxml", "--inactive", b.Name)
	if err != nil {
		t.Fatal(err)
	}
	b.defineAnew(t, xml)
	wantOutput(t, b.wantWholeOnce(t, 2, false), "Redefine missing checkpoint: [virtnbdbackup.1]")
	b.wantCheckpoints(t, 4)
	b.defineAnew(t, regexp.MustCompile(`<uuid>.*</uuid>`).ReplaceAllString(xml, ""))
	b.wantWholeOnce(t, 4, true)
	b.checkRestores(t, "vda")

	// A name that is new says so, and the old one goes on. What a run left that
	// died is taken back by either.
	p := b.start(t, crashing(t), "VIRTNB_CRASH_AT=begun", "-l", "inc")
	if err := p.end(t); exitStatus(err) != -1 {
		t.Fatalf("not killed: %v\n%s", err, &p.out)
	}
	b.virsh(t, "destroy", b.Name, "--graceful")
	b.virsh(t, "domrename", b.Name, b.Name+"x")
	renamed := *b
	renamed.Guest = &testbed.Guest{Name: b.Name + "x"}
	renamed.wantFailure(t, "No existing checkpoints found, execute full backup first. The folder has the chain of domain "+b.Name, "-l", "inc")
	b.virsh(t, "domrename", b.Name+"x", b.Name)
	b.startAgain(t)
	b.wantWholeOnce(t, 6, false)

	// And so is what a run left of a domain that is no more.
	c := b.into("other")
	journal := `{"version":1,"domain":"gone","uuid":"11111111-1111-1111-1111-111111111111","data":["vdz.full.data"]}`
	for name, content := range map[string]string{".virtnb.journal": journal, "vdz.full.data.partial": "rest"} {
		if err := errors.Join(os.MkdirAll(c.set, 0o700), os.WriteFile(filepath.Join(c.set, name), []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	c.make(t, "copy", ours(t), "-l", "copy")
	if left, _ := filepath.Glob(filepath.Join(c.set, "*.partial")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
	c.check(t)
}

// defineAnew ends the guest and defines it by the XML, without its checkpoints.
func (b *backups) defineAnew(t testing.TB, xml string) {
	t.Helper()
	path := filepath.Join(b.copies, "domain.xml")
	if err := os.WriteFile(path, []byte(xml), 0o600); err != nil {
		t.Fatal(err)
	}
	b.virsh(t, "destroy", b.Name, "--graceful")
	b.virsh(t, "undefine", b.Name, "--checkpoints-metadata")
	b.virsh(t, "define", path)
	b.startAgain(t)
}

// The folder for checkpoints is the chain's, whatever else is backed up with it.
func TestBackupCheckpointFolder(t *testing.T) {
	t.Parallel()
	b := newBackups(t, twoDisks())
	folder := filepath.Join(b.copies, "kept")
	b.make(t, checkpoint(0), ours(t), "-l", "full", "-C", folder)
	for _, level := range []string{"copy", "diff"} {
		c := b
		if level == "copy" {
			c = b.into(level)
		}
		if out, err := c.run(ours(t), "-l", level, "-C", folder); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	b.changeAll(t)
	if out := b.make(t, checkpoint(1), ours(t), "-l", "inc", "-C", folder); strings.Contains(out, "saved whole") {
		t.Errorf("the chain's checkpoint is not known any more:\n%s", out)
	}
	b.check(t)
	if _, err := os.Stat(filepath.Join(b.set, "checkpoints")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the set has a folder for checkpoints, too: %v", err)
	}
}

// A snapshot in the middle of a chain puts images over the ones with bitmaps, and
// is merged into them again.
func TestBackupSnapshot(t *testing.T) {
	t.Parallel()
	b := newBackups(t, testbed.GuestOptions{Disks: []testbed.Disk{{Target: "vda", Size: smallDisk}}})
	b.changeAll(t)
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	b.changeAll(t)
	b.virsh(t, "snapshot-create-as", b.Name, "s1", "--disk-only", "--no-metadata", "--diskspec", "vda,file="+filepath.Join(b.copies, "over.qcow2"))
	out, err := b.run(ours(t), "-l", "inc")
	if err != nil || strings.Contains(out, "saved whole") {
		t.Fatalf("%v\n%s", err, out)
	}
	b.write(t, "vda", "write -P 7 1M 64k")
	b.virsh(t, "blockcommit", b.Name, "vda", "--active", "--pivot", "--wait")
	b.changeAll(t)
	out = b.make(t, checkpoint(2), ours(t), "-l", "inc")
	if strings.Contains(out, "saved whole") {
		t.Errorf("%s", out)
	}
	b.check(t)
}

// What a domain has beside disks: its TPM's state, whether it starts by itself.
// Where no disk can be saved, its configuration is.
func TestBackupBesideDisks(t *testing.T) {
	t.Parallel()
	b := newBackups(t, testbed.GuestOptions{
		Start: testbed.Off, Kernel: true,
		Devices: "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>",
		Disks:   []testbed.Disk{{Target: "vda", Size: smallDisk}},
	})
	b.virsh(t, "autostart", b.Name)
	uuid, err := b.daemon.Virsh("domuuid", b.Name)
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join("/var/lib/libvirt/swtpm", strings.TrimSpace(uuid))
	out := b.make(t, "copy", ours(t), "-l", "copy")
	wantOutput(t, out, "WARNING", "Failed to save the TPM state in ["+state+"]")
	if err := os.MkdirAll(filepath.Join(state, "tpm2"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(state); err != nil {
			t.Error(err)
		}
		_ = os.Remove(filepath.Dir(state)) // where it was not there before
	})
	if err := os.WriteFile(filepath.Join(state, "tpm2/tpm2-00.permall"), []byte("secrets"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := b.into("with state")
	c.make(t, "copy", ours(t), "-l", "copy")
	archive, err := os.ReadFile(filepath.Join(c.set, "swtpm.tar.copy"))
	if err != nil {
		t.Fatal(err)
	}
	members := tar.NewReader(bytes.NewReader(archive))
	head, err := members.Next()
	if err != nil || head.Name != "tpm2/tpm2-00.permall" {
		t.Fatalf("%v, %v", head, err)
	}
	if content, err := io.ReadAll(members); err != nil || string(content) != "secrets" {
		t.Errorf("%q, %v", content, err)
	}
	if content, err := os.ReadFile(filepath.Join(c.set, "autostart.copy")); err != nil || string(content) != "True" {
		t.Errorf("%q, %v", content, err)
	}

	before := filesOf(t, c.set)
	b.virsh(t, "desc", b.Name, "--config", "another description")
	c.wantFailure(t, "Unable to detect disks suitable for backup.", "-i", "vdz")
	wantKept(t, before, filesOf(t, c.set))
	none := b.into("no disk")
	none.wantFailure(t, "Unable to detect disks suitable for backup.", "-i", "vdz")
	for _, name := range []string{"vmconfig.copy.xml", "vmlinuz"} {
		if _, err := os.Stat(filepath.Join(none.set, name)); err != nil {
			t.Error(err)
		}
	}
}

// Disks that are no files: a volume of a pool, a block device, an image in the
// network. The first is like a file; the others are in fulls and copies, if asked
// for.
func TestBackupOtherSources(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	daemon := testbed.New(t, testbed.Options{})
	server := startNBD(t, dir)
	volume := filepath.Join(dir, "pool", "v.qcow2")
	if err := errors.Join(os.Mkdir(filepath.Dir(volume), 0o700), qemuImg("create", "-qf", "qcow2", volume, "4M")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"pool-define-as", "p", "dir", "--target", filepath.Dir(volume)}, {"pool-start", "p"}} {
		if _, err := daemon.Virsh(args...); err != nil {
			t.Fatal(err)
		}
	}
	b := guestOf(t, daemon, testbed.GuestOptions{Disks: []testbed.Disk{
		{Target: "vda", Source: volume, Whole: `<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/><source pool='p' volume='v.qcow2'/><target dev='vda' bus='virtio'/></disk>`},
		{Target: "vdb", Format: "raw", Whole: `<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='x'><host transport='unix' socket='` + server + `'/></source><target dev='vdb' bus='virtio'/></disk>`},
	}})
	b.targets = []string{"vda"}
	b.write(t, "vda", "write -P 5 1M 1M")
	b.write(t, "vdb", "write -P 6 1M 1M")

	// A disk that cannot be saved makes the run fail, and the others are saved.
	b.note(t, checkpoint(0))
	b.wantFailure(t, "Unable to detect disk volume type for disk [vdb]", "-l", "full")
	b.write(t, "vda", "write -P 7 2M 64k")
	b.make(t, checkpoint(1), ours(t), "-l", "inc", "-x", "vdb")
	b.check(t)
	c := b.into("raw")
	c.make(t, "copy", ours(t), "-l", "copy", "-r")
	if err := testbed.SameImages(filepath.Join(c.set, "vdb.copy.data"), "raw", filepath.Join(dir, "nbd.raw"), "raw"); err != nil {
		t.Error(err)
	}
	if got := c.dataFiles(t); !slices.Equal(got, []string{"vda.copy.data", "vdb.copy.data"}) {
		t.Errorf("%q", got)
	}

	// A run that died is taken back from the volume while the domain is off, too.
	p := b.start(t, crashing(t), "VIRTNB_CRASH_AT=begun", "-l", "inc", "-x", "vdb")
	if err := p.end(t); exitStatus(err) != -1 {
		t.Fatalf("not killed: %v\n%s", err, &p.out)
	}
	b.virsh(t, "destroy", b.Name, "--graceful")
	if _, err := b.run(ours(t), "-l", "inc", "-x", "vdb"); err != nil {
		t.Fatal(err)
	}
	b.startAgain(t)
	out := b.make(t, checkpoint(2), ours(t), "-l", "inc", "-x", "vdb")
	if strings.Contains(out, "Removing bitmaps") || strings.Contains(out, "saved whole") {
		t.Errorf("the bitmap was not merged:\n%s", out)
	}
}

// startNBD serves a raw image of smallDisk's size as export x, and returns the
// path of the socket.
func startNBD(t testing.TB, dir string) string {
	t.Helper()
	image, socket := filepath.Join(dir, "nbd.raw"), filepath.Join(dir, "nbd")
	if err := qemuImg("create", "-qf", "raw", image, "4M"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("qemu-nbd", "--persistent", "--shared=4", "--export-name=x", "--format=raw", "--socket="+socket, image)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return socket
		}
		if time.Now().After(deadline) {
			t.Fatal("qemu-nbd does not listen")
		}
	}
}

func qemuImg(args ...string) error {
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("qemu-img %q: %w: %s", args, err, out)
	}
	return nil
}

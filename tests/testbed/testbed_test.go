// SPDX-License-Identifier: Apache-2.0

package testbed_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"virtnb/tests/testbed"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, d *testbed.Daemon, opts testbed.GuestOptions) *testbed.Guest {
	t.Helper()
	g, err := d.Guest(opts)
	must(t, err)
	return g
}

// disk is the content of a guest's disk.
func disk(t *testing.T, g *testbed.Guest, target string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	must(t, g.ReadDisk(target, path))
	content, err := os.ReadFile(path)
	must(t, err)
	return content
}

func fill(b []byte, value byte) {
	for i := range b {
		b[i] = value
	}
}

// A guest without an operating system takes writes from the host, which are on
// its disks, and those that cannot be done fail.
func TestHostWrites(t *testing.T) {
	d := testbed.New(t, testbed.Options{})
	g := start(t, d, testbed.GuestOptions{UEFI: true, Disks: []testbed.Disk{
		{Target: "vda", Size: 8 << 20, Cluster: 4096},
		{Target: "sda", Size: 4 << 20},
		{Target: "hda", Size: 1 << 20, Format: "raw"},
	}})
	want := make([]byte, 8<<20)
	must(t, g.HostWrite("vda", "write -P 0xa5 1M 1M", "write -P 0x5a 4M 64k"))
	fill(want[1<<20:2<<20], 0xa5)
	fill(want[4<<20:][:64<<10], 0x5a)
	if !bytes.Equal(disk(t, g, "vda"), want) {
		t.Error("vda differs from what was written")
	}
	must(t, g.HostZero("vda", 1<<20, 512))
	must(t, g.HostDiscard("vda", 4<<20, 32<<10))
	fill(want[1<<20:][:512], 0)
	fill(want[4<<20:][:32<<10], 0)
	if !bytes.Equal(disk(t, g, "vda"), want) {
		t.Error("vda differs from what was written, zeroed and discarded")
	}
	for _, target := range []string{"sda", "hda"} {
		must(t, g.HostWrite(target, "write -P 7 512 512"))
		if got := disk(t, g, target); got[511] != 0 || got[512] != 7 || got[1023] != 7 || got[1024] != 0 {
			t.Errorf("%s differs from what was written", target)
		}
	}
	for _, command := range []string{"write -P 1 8M 512", "write -P 1 nonsense 512", "nonsense"} {
		if err := g.HostWrite("vda", command); err == nil {
			t.Errorf("%s: no error", command)
		}
	}
	if err := g.HostWrite("vdz", "write 0 512"); err == nil {
		t.Error("write to a disk that is not there: no error")
	}
}

// The guests outlive libvirtd, and nothing outlives the testbed.
func TestRestartAndStop(t *testing.T) {
	d := testbed.New(t, testbed.Options{})
	g := start(t, d, testbed.GuestOptions{Name: "vm1", Disks: []testbed.Disk{{Target: "vda", Size: 1 << 20}}})
	must(t, d.Restart())
	must(t, d.Kill())
	if _, err := g.State(); err == nil {
		t.Error("libvirtd answers after Kill")
	}
	must(t, d.Restart())
	if state, err := g.State(); err != nil || state != "paused" {
		t.Errorf("state %q, %v after a restart of libvirtd", state, err)
	}
	must(t, g.HostWrite("vda", "write -P 1 0 512"))
	must(t, g.Destroy())
	must(t, g.StartAgain())
	if disk(t, g, "vda")[0] != 1 {
		t.Error("a write is lost by starting again")
	}
	must(t, d.Stop())
	if left := processesWith(t, d.Root()); left != nil {
		t.Errorf("still there: %q", left)
	}
	if _, err := os.Stat(d.Root()); !os.IsNotExist(err) {
		t.Errorf("still there: %s, %v", d.Root(), err)
	}
}

// processesWith lists the command lines that contain the text.
func processesWith(t *testing.T, text string) []string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	var found []string
	for _, path := range paths {
		line, _ := os.ReadFile(path)
		if strings.Contains(string(line), text) {
			found = append(found, string(line))
		}
	}
	return found
}

// Mounts of others end when they end them, though a testbed is up.
func TestForeignMounts(t *testing.T) {
	d := testbed.New(t, testbed.Options{})
	out, err := d.Inside(t.Context(), "cat", "/proc/self/mountinfo").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !bytes.Contains(out, []byte(" /var/lib/libvirt ")) {
		t.Errorf("not in the namespace:\n%s", out)
	}
	if bytes.Contains(out, []byte(" - fuse")) {
		t.Errorf("a FUSE mount is kept busy:\n%s", out)
	}
}

// A guest with Linux runs commands, and its file systems can be frozen.
func TestBootedGuest(t *testing.T) {
	d := testbed.New(t, testbed.Options{})
	g := start(t, d, testbed.GuestOptions{Start: testbed.Booted, Disks: []testbed.Disk{
		{Target: "vda", Size: 64 << 20},
		{Target: "sda", Size: 16 << 20},
	}})
	out, err := g.Exec("mke2fs /dev/vda >/dev/null && mount -t ext4 /dev/vda /mnt && echo hello > /mnt/file && sync && cat /mnt/file && cat /sys/block/sda/size")
	must(t, err)
	if want := "hello\n32768\n"; out != want {
		t.Errorf("the guest says %q, want %q", out, want)
	}
	if _, err := g.Exec("echo wrong >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "wrong") {
		t.Errorf("error %v of a command that fails", err)
	}
	for _, c := range []struct{ command, status string }{{"domfsfreeze", "frozen"}, {"domfsthaw", "thawed"}} {
		_, err = d.Virsh(c.command, g.Name)
		must(t, err)
		status, err := d.Virsh("qemu-agent-command", g.Name, `{"execute":"guest-fsfreeze-status"}`)
		if err != nil || !strings.Contains(status, c.status) {
			t.Errorf("after %s: %s, %v", c.command, status, err)
		}
	}
	freezes, err := g.Freezes()
	if want := []string{"freeze", "thaw"}; err != nil || !slices.Equal(freezes, want) {
		t.Errorf("freezes %q, %v, want %q", freezes, err, want)
	}
	_, err = g.Exec("echo '[ $1 = thaw ]' > /run/hook")
	must(t, err)
	if _, err := d.Virsh("domfsfreeze", g.Name); err == nil {
		t.Error("frozen though the hook failed")
	}
	if !bytes.Contains(disk(t, g, "vda"), []byte("hello\n")) {
		t.Error("the file is not on the disk")
	}
	if state, err := g.State(); err != nil || state != "running" {
		t.Errorf("state %q, %v after reading the disk", state, err)
	}
}

// virtnbdbackup and virtnbdrestore work here: a full, an incremental, restored.
func TestPeer(t *testing.T) {
	d := testbed.New(t, testbed.Options{})
	g := start(t, d, testbed.GuestOptions{Disks: []testbed.Disk{{Target: "vda", Size: 4 << 20}}})
	set, restored := filepath.Join(t.TempDir(), "set"), filepath.Join(t.TempDir(), "restored")
	for i, level := range []string{"full", "inc"} {
		must(t, g.HostWrite("vda", []string{"write -P 1 0 2M", "write -P 2 1M 64k"}[i]))
		_, err := d.PeerBackup("-d", g.Name, "-l", level, "-o", set)
		must(t, err)
	}
	names, err := g.Checkpoints()
	must(t, err)
	if want := []string{"virtnbdbackup.0", "virtnbdbackup.1"}; !slices.Equal(names, want) {
		t.Errorf("checkpoints %q, want %q", names, want)
	}
	_, err = d.PeerRestore(set, restored)
	must(t, err)
	image := filepath.Join(restored, filepath.Base(g.Image("vda")))
	if err := testbed.SameImages(image, "qcow2", g.Image("vda"), "qcow2"); err != nil {
		t.Error(err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package recover

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"virtnb/tests/testbed"
)

// Where libvirt runs QEMU as another user, that one gets at the socket and the
// overlays, and nobody else does.
func TestQEMUIsAnotherUser(t *testing.T) {
	t.Parallel()
	daemon := testbed.New(t, testbed.Options{QemuUser: "libvirt-qemu"})
	if err := os.Chmod(filepath.Dir(t.TempDir()), 0o711); err != nil { // QEMU has to get through
		t.Fatal(err)
	}
	s := newSiteAt(t, daemon, testbed.GuestOptions{Disks: []testbed.Disk{{Target: "vda", Size: smallDisk}}})
	fill(t, s.guest, "vda", 3)
	want := s.read(s.guest, "vda")
	s.backUp("-l", "full")
	r := s.boot("--paused")
	for path, mode := range map[string]os.FileMode{filepath.Dir(r.Socket): 0o710, r.Socket: 0o660, filepath.Dir(r.Disks[0].Overlay): 0o711} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want mode %o", path, info.Mode(), err, mode)
		}
	}
	s.wantSame("vda", s.read(r.Guest, "vda"), want)
	r.write(7)
	contents := r.contents()
	r.killServer()
	s.run("promote", r.Name)
	r.wantPromoted(contents, "")
}

// An ordinary user boots in a session of libvirt's, which starts for that.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	const nobody = 65534
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"virtnb", "virtnb-plugin.so", "nbdkit-virtnb-plugin.so"} { // users may not get at ours
		if out, err := exec.Command("cp", filepath.Join(filepath.Dir(program(t)), name), dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	set := filepath.Join(dir, "set")
	if out, err := exec.Command("cp", "-r", "../vectors/03-chain", set).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	home, run := filepath.Join(dir, "home"), filepath.Join(dir, "run")
	for _, path := range []string{home, run} {
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chown(path, nobody, nobody)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { endSession(t, filepath.Join(run, "libvirt")) })
	as := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Env = home, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + run}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		return string(out)
	}
	virtnb := filepath.Join(dir, "virtnb")
	as(virtnb, "boot", set, "--name", "mine", "--paused")
	if out := as("virsh", "-c", "qemu:///session", "list", "--name"); !strings.Contains(out, "mine") {
		t.Errorf("the session has no such machine: %s", out)
	}
	as(virtnb, "promote", "mine")
	if out := as(virtnb, "recoveries"); !strings.Contains(out, "nothing") {
		t.Errorf("recoveries: %s", out)
	}
	as("virsh", "-c", "qemu:///session", "destroy", "mine")
	as("virsh", "-c", "qemu:///session", "undefine", "mine")
	as(virtnb, "boot", set, "--name", "other", "--paused", "--until", "virtnbdbackup.1")
	as(virtnb, "discard", "other")
}

// endSession ends the daemons of a session, which would wait for clients.
func endSession(t *testing.T, run string) {
	for _, name := range []string{"libvirtd", "virtlogd"} {
		text, err := os.ReadFile(filepath.Join(run, name+".pid"))
		if err != nil {
			continue
		}
		pid := strings.TrimSpace(string(text))
		if out, err := exec.Command("kill", pid).CombinedOutput(); err != nil {
			t.Errorf("end %s: %v: %s", name, err, out)
		}
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if stat, err := os.ReadFile("/proc/" + pid + "/stat"); err != nil || strings.Contains(string(stat), ") Z ") {
				break
			}
		}
	}
}

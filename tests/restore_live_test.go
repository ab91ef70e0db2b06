// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"virtnb/internal/host/hosttest"
	"virtnb/tests/testbed"
)

// Restores of backups of guests of a real libvirt, which is to define the
// restored domains, and to start them.

// restoreAll restores all disks at every restore point, and compares them with
// the copies.
func (b *backups) restoreAll(t *testing.T) {
	t.Helper()
	for _, p := range b.points {
		out := t.TempDir()
		mustRestore(t, "-i", b.set, "-o", out, "-u", p.name, "-r")
		for target, want := range p.disks {
			image := filepath.Join(out, filepath.Base(b.Image(target)))
			info, _ := infoOf(t, image)
			if err := testbed.SameImages(image, info.Format, want, "raw"); err != nil {
				t.Errorf("%s at %s: %v", target, p.name, err)
			}
			was, _ := infoOf(t, b.Image(target))
			if info.Format != was.Format || info.ClusterSize != was.ClusterSize {
				t.Errorf("%s at %s: restored %+v, the original is %+v", target, p.name, info, was)
			}
		}
	}
}

func TestRestoreOfOwnBackups(t *testing.T) {
	b := newBackups(t, testbed.GuestOptions{UEFI: true, Disks: []testbed.Disk{
		{Target: "vda", Size: smallDisk},
		{Target: "sda", Size: smallDisk, Cluster: 4096, Options: "lazy_refcounts=on"},
	}})
	change := func() {
		b.change(t, "vda", smallDisk, 6)
		b.change(t, "sda", smallDisk, 6)
	}
	change()
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	change()
	b.make(t, checkpoint(1), ours(t), "-l", "inc", "-z")
	change()
	if _, err := b.daemon.Virsh("autostart", b.Name); err != nil {
		t.Fatal(err)
	}
	b.make(t, checkpoint(2), theirs, "-l", "inc")
	b.restoreAll(t)

	out := t.TempDir()
	name := "back_" + b.Name
	args := []string{"-i", b.set, "-o", out, "-D", "-N", name, "-U", b.daemon.URI()}
	r := mustRestore(t, args...)
	wantText(t, r.log, "Successfully defined domain ["+name+"]", "Setting autostart configuration.")
	xml := b.virsh(t, "dumpxml", name)
	for _, path := range []string{filepath.Base(b.Image("vda")), filepath.Base(b.Image("sda")), filepath.Base(b.NVRAM())} {
		wantText(t, xml, filepath.Join(out, path))
	}
	if strings.Contains(xml, b.Image("vda")) || strings.Contains(xml, b.NVRAM()) {
		t.Errorf("the restored domain has files of the original:\n%s", xml)
	}
	wantText(t, b.virsh(t, "dominfo", name), "Autostart:      enable")
	b.virsh(t, "start", "--paused", name) // the original runs on
	b.virsh(t, "destroy", name)
	mustFail(t, "a domain "+name+" is defined already", "-i", b.set, "-o", filepath.Join(out, "again"), "-D", "-N", name, "-U", b.daemon.URI())
	if _, err := os.Stat(filepath.Join(out, "again")); err == nil {
		t.Error("disks were restored for a domain that cannot be defined")
	}
}

func (b *backups) virsh(t testing.TB, args ...string) string {
	t.Helper()
	out, err := b.daemon.Virsh(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// inGuest runs a shell command in any booted domain, and returns what it prints.
func (b *backups) inGuest(t testing.TB, name, command string) string {
	t.Helper()
	ask := func(question string) (answer map[string]any) {
		t.Helper()
		var all struct{ Return map[string]any }
		if err := json.Unmarshal([]byte(b.virsh(t, "qemu-agent-command", name, question)), &all); err != nil {
			t.Fatal(err)
		}
		return all.Return
	}
	quoted, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	started := ask(`{"execute":"guest-exec","arguments":{"path":"/bin/sh","arg":["-c",` + string(quoted) + `],"capture-output":true}}`)
	var status map[string]any
	eventually(t, func() error {
		status = ask(fmt.Sprintf(`{"execute":"guest-exec-status","arguments":{"pid":%v}}`, started["pid"]))
		if status["exited"] != true {
			return errors.New("the command does not end")
		}
		return nil
	})
	out, _ := status["out-data"].(string)
	text, err := base64.StdEncoding.DecodeString(out)
	if err != nil || status["exitcode"] != 0.0 {
		t.Fatalf("%s: %v, %v\n%s", command, status, err, text)
	}
	return string(text)
}

// boot starts a domain and waits for its agent.
func (b *backups) boot(t testing.TB, name string) {
	t.Helper()
	b.virsh(t, "start", name)
	eventually(t, func() error {
		_, err := b.daemon.Virsh("qemu-agent-command", name, `{"execute":"guest-ping"}`)
		return err
	})
}

func TestRestoredGuestBoots(t *testing.T) {
	b := newBackups(t, testbed.GuestOptions{Start: testbed.Booted, Disks: []testbed.Disk{{Target: "vda", Size: 16 << 20}}})
	b.guest(t, "mke2fs /dev/vda >/dev/null && mkdir -p /mnt && mount -t ext4 /dev/vda /mnt && echo first >/mnt/file && sync")
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	b.guest(t, "echo second >/mnt/file && sync")
	b.make(t, checkpoint(1), ours(t), "-l", "inc")
	b.guest(t, "echo third >/mnt/file && sync")
	if err := b.Destroy(); err != nil {
		t.Fatal(err)
	}

	out := t.TempDir()
	const name = "restored"
	mustRestore(t, "-i", b.set, "-o", out, "-D", "-N", name, "-U", b.daemon.URI())
	look := func(want string) {
		t.Helper()
		b.boot(t, name)
		if got := b.inGuest(t, name, "mkdir -p /mnt && mount -t ext4 /dev/vda /mnt && cat /mnt/file"); got != want+"\n" {
			t.Errorf("the file is %q, want %q", got, want)
		}
	}
	look("second")
	image := filepath.Join(out, filepath.Base(b.Image("vda")))
	mustFail(t, "is in use; is the domain off?", "-i", b.set, "--in-place", image, "-u", checkpoint(0))
	b.virsh(t, "destroy", name)
	mustRestore(t, "-i", b.set, "--in-place", image, "-u", checkpoint(0))
	look("first")
	b.virsh(t, "destroy", name)
}

func TestRestoreToAnotherHost(t *testing.T) {
	s := restoreSet(t)
	daemon := testbed.New(t, testbed.Options{})
	ssh := hosttest.Start(t)
	uri := ssh.LibvirtURI(filepath.Join(daemon.Root(), "run/libvirt-sock"))
	for _, f := range []string{"qcow2", "raw"} {
		out := filepath.Join(t.TempDir(), "new")
		name := "far-" + f
		r := mustRestore(t, "-i", s.dir, "-o", out, "-U", uri, "-D", "-N", name, "--format", f)
		wantText(t, r.log, "Connecting remote system [127.0.0.1] via ssh, username: ["+ssh.User+"]")
		for _, d := range s.disks {
			wantSame(t, d.name, contentOf(t, filepath.Join(out, d.name+"."+f), f), d.now)
		}
		xml, err := daemon.Virsh("dumpxml", name)
		if err != nil {
			t.Fatal(err)
		}
		wantText(t, xml, out+"/vda."+f)
		if names := namesIn(t, out); len(names) != 3 {
			t.Errorf("there are %q", names)
		}
		mustFail(t, "Target file already exists", "-i", s.dir, "-o", out, "-U", uri, "--format", f)
		if f == "qcow2" {
			image := filepath.Join(out, "vda.qcow2")
			mustRestore(t, "-i", s.dir, "--in-place", image, "-d", "vda", "-u", s.names[0], "-U", uri)
			wantSame(t, "vda", contentOf(t, image, f), s.disks[0].points[0])
		}
	}
	mustFail(t, "has to be absolute", "-i", s.dir, "-o", "relative", "-U", uri)
}

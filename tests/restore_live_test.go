// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"virtnb/internal/host/hosttest"
	"virtnb/internal/qemu/qemutest"
	"virtnb/tests/testbed"
)

// Restores of backups of guests of a real libvirt, which is to define the
// restored domains, and to start them.

// live is a guest, the folder of its backups, and copies of its disks as they
// were when each was made.
type live struct {
	*testbed.Guest
	daemon *testbed.Daemon
	set    string
	copies map[string]map[string]string // by restore point and target
	rand   *rand.Rand
}

const liveDisk = 8 << 20

func newLive(t *testing.T, opts testbed.GuestOptions) *live {
	t.Helper()
	daemon := testbed.New(t, testbed.Options{})
	guest, err := daemon.Guest(opts)
	if err != nil {
		t.Fatal(err)
	}
	return &live{Guest: guest, daemon: daemon, set: filepath.Join(t.TempDir(), "set"), copies: map[string]map[string]string{}, rand: rand.New(rand.NewPCG(7, 8))}
}

// backup makes a backup of the disks with a program, and copies the disks.
func (l *live) backup(t *testing.T, n int, targets []string, program string, args ...string) {
	t.Helper()
	copies := map[string]string{}
	for _, target := range targets {
		copies[target] = filepath.Join(t.TempDir(), target)
		if err := l.ReadDisk(target, copies[target]); err != nil {
			t.Fatal(err)
		}
	}
	l.copies[fmt.Sprint("virtnbdbackup.", n)] = copies
	if program == "virtnb" {
		var err error
		if program, err = built("virtnb"); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"backup"}, args...)
	}
	if out, err := l.daemon.Client(program, append(args, "-d", l.Name, "-o", l.set)...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// change overwrites some ranges of a disk with data and zeroes.
func (l *live) change(t *testing.T, target string) {
	t.Helper()
	var commands []string
	for i := range 8 {
		start := l.rand.Int64N(liveDisk/4096) * 4096
		length := min(4096*(1+l.rand.Int64N(64)), liveDisk-start)
		pattern := 0
		if i%3 > 0 {
			pattern = 1 + l.rand.IntN(255)
		}
		commands = append(commands, fmt.Sprintf("write -P %d %d %d", pattern, start, length))
	}
	if err := l.HostWrite(target, commands...); err != nil {
		t.Fatal(err)
	}
}

// restoreAll restores all disks at every restore point, and compares them with
// the copies.
func (l *live) restoreAll(t *testing.T) {
	t.Helper()
	for point, copies := range l.copies {
		out := t.TempDir()
		mustRestore(t, "-i", l.set, "-o", out, "-u", point)
		for target, want := range copies {
			image := filepath.Join(out, filepath.Base(l.Image(target)))
			info, _ := infoOf(t, image)
			if err := testbed.SameImages(image, info.Format, want, "raw"); err != nil {
				t.Errorf("%s at %s: %v", target, point, err)
			}
			was, _ := infoOf(t, l.Image(target))
			delete(was.Specific.Data, "bitmaps")
			if info.Format != was.Format || info.ClusterSize != was.ClusterSize || fmt.Sprint(info.Specific) != fmt.Sprint(was.Specific) {
				t.Errorf("%s at %s: restored %+v, the original is %+v", target, point, info, was)
			}
		}
	}
}

func TestRestoreOfOwnBackups(t *testing.T) {
	targets := []string{"vda", "sda"}
	b := newLive(t, testbed.GuestOptions{UEFI: true, Disks: []testbed.Disk{
		{Target: "vda", Size: liveDisk},
		{Target: "sda", Size: liveDisk, Cluster: 4096, Options: "lazy_refcounts=on"},
	}})
	for n, args := range [][]string{{"virtnb", "-l", "full"}, {"virtnb", "-l", "inc", "-z"}, {"virtnbdbackup", "-l", "inc"}} {
		b.change(t, "vda")
		b.change(t, "sda")
		if n == 2 {
			b.virsh(t, "autostart", b.Name)
		}
		b.backup(t, n, targets, args[0], args[1:]...)
	}
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

func (b *live) virsh(t testing.TB, args ...string) string {
	t.Helper()
	out, err := b.daemon.Virsh(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// inGuest runs a shell command in any booted domain, and returns what it prints.
func (b *live) inGuest(t testing.TB, name, command string) string {
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
func (b *live) boot(t testing.TB, name string) {
	t.Helper()
	b.virsh(t, "start", name)
	eventually(t, func() error {
		_, err := b.daemon.Virsh("qemu-agent-command", name, `{"execute":"guest-ping"}`)
		return err
	})
}

func TestRestoredGuestBoots(t *testing.T) {
	b := newLive(t, testbed.GuestOptions{Start: testbed.Booted, Disks: []testbed.Disk{{Target: "vda", Size: liveDisk}}})
	for n, command := range []string{
		"mke2fs /dev/vda >/dev/null && mkdir -p /mnt && mount -t ext4 /dev/vda /mnt && echo first >/mnt/file && sync",
		"echo second >/mnt/file && sync",
	} {
		if _, err := b.Exec(command); err != nil {
			t.Fatal(err)
		}
		b.backup(t, n, nil, "virtnb", "-l", "auto")
	}
	if err := b.Destroy(); err != nil {
		t.Fatal(err)
	}

	out := t.TempDir()
	const name = "restored"
	mustRestore(t, "-i", b.set, "-o", out, "-D", "-N", name, "-U", b.daemon.URI())
	b.boot(t, name)
	if got := b.inGuest(t, name, "mkdir -p /mnt && mount -t ext4 /dev/vda /mnt && cat /mnt/file"); got != "second\n" {
		t.Errorf("the file is %q", got)
	}
	image := filepath.Join(out, filepath.Base(b.Image("vda")))
	mustFail(t, "is in use; is the domain off?", "-i", b.set, "--in-place", image, "-u", "virtnbdbackup.0")
	b.virsh(t, "destroy", name)
	mustRestore(t, "-i", b.set, "--in-place", image, "-u", "virtnbdbackup.0")
	flat := filepath.Join(t.TempDir(), "flat")
	run(t, "qemu-img", "convert", "-O", "raw", image, flat)
	if got := run(t, "debugfs", "-R", "cat /file", flat); got != "first\n" {
		t.Errorf("the file is %q after it was brought back", got)
	}
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

// With --tls the data goes to a port of the other host, and both ends are
// verified.
func TestRestoreToAnotherHostOverTLS(t *testing.T) {
	s := restoreSet(t)
	ssh := hosttest.Start(t)
	certs := qemutest.NewCertificates(t, "127.0.0.1")
	dir := t.TempDir()
	for _, from := range []string{certs.ServerDir, certs.ClientDir} {
		for _, name := range namesIn(t, from) {
			writeFile(t, filepath.Join(dir, name), readFile(t, filepath.Join(from, name)))
		}
	}
	args := []string{"-i", s.dir, "-U", ssh.LibvirtURI(""), "-P", fmt.Sprint(freePort(t)), "--tls"}
	out := t.TempDir()
	r := mustRestore(t, append(args, "-o", out, "--tls-cert", dir)...)
	wantText(t, r.log, "Starting remote NBD server on socket: [127.0.0.1:")
	for _, d := range s.disks {
		wantSame(t, d.name, contentOf(t, filepath.Join(out, d.name+".qcow2"), "qcow2"), d.now)
	}
	other := qemutest.NewCertificates(t, "elsewhere")
	for _, name := range namesIn(t, other.ServerDir) {
		writeFile(t, filepath.Join(dir, name), readFile(t, filepath.Join(other.ServerDir, name)))
	}
	out = t.TempDir()
	mustFail(t, "", append(args, "-o", out, "--tls-cert", dir, "-d", "vda")...)
	if names := namesIn(t, out); len(names) != 0 {
		t.Errorf("there are %q", names)
	}
}

// freePort is a TCP port that nobody listens at, nor at the next one.
func freePort(t testing.TB) int {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		next, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
		l.Close()
		if err == nil {
			next.Close()
			return port
		}
	}
}

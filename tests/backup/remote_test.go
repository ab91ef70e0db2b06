// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"virtnb/internal/host/hosttest"
	"virtnb/internal/qemu/qemutest"
	"virtnb/tests/testbed"
)

// Backups of guests of another machine. That is the inside of a testbed, with
// a host name of its own: a real sshd runs there, and libvirtd has its socket
// where it is on every machine.

// farName is the name of the other machine. It has to be one that is known.
const farName = "localhost"

// farHost is the other machine.
type farHost struct {
	*testbed.Daemon
	ssh   *hosttest.Server
	certs qemutest.Certificates // the server's are those of QEMU there
}

func newFarHost(t *testing.T) *farHost {
	t.Helper()
	f := &farHost{certs: qemutest.NewCertificates(t, farName, "127.0.0.1", "::1")}
	f.Daemon = testbed.New(t, testbed.Options{QemuConfig: fmt.Sprintf("backup_tls_x509_cert_dir = %q\nbackup_tls_x509_verify = 1\n", f.certs.ServerDir)})
	if err := f.SetHostname(farName); err != nil {
		t.Fatal(err)
	}
	f.ssh = hosttest.StartApart(t, f.command)
	return f
}

// command is one that is run there.
func (f *farHost) command(name string, args ...string) *exec.Cmd {
	return f.Inside(context.Background(), name, args...)
}

// guest starts a guest there, whose backups go through SSH.
func (f *farHost) guest(t *testing.T, opts testbed.GuestOptions) *backups {
	t.Helper()
	b := guestOf(t, f.Daemon, opts)
	b.uri, b.env = f.ssh.LibvirtURI(""), f.ssh.Env()
	return b
}

// runFar runs a program with the URI and the environment of b.
func (b *backups) runFar(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, append(slices.Clip(args), "-U", b.uri)...)
	cmd.Env = append(os.Environ(), b.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return string(out), err
}

// refused runs a backup that must fail, with these words in what it says.
func (b *backups) refused(t *testing.T, args []string, words ...string) {
	t.Helper()
	out, err := b.run(ours(t), args...)
	if exitStatus(errors.Unwrap(err)) != 1 {
		t.Errorf("%q: %v, want exit status 1\n%s", args, err, out)
		return
	}
	wantOutput(t, out, words...)
}

// through is b with another URI.
func (b *backups) through(uri string) *backups {
	other := *b
	other.uri = uri
	return &other
}

// freePort is a TCP port that nobody has, as the one after it.
func freePort(t testing.TB) string {
	t.Helper()
	for {
		first, err := net.Listen("tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		port := first.Addr().(*net.TCPAddr).Port
		second, err := net.Listen("tcp", fmt.Sprint(":", port+1))
		_ = first.Close()
		if err == nil {
			_ = second.Close()
			return strconv.Itoa(port)
		}
	}
}

// wantSameFile compares a file of the set with one of the other machine.
func (b *backups) wantSameFile(t *testing.T, name, original string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(b.set, name))
	if err != nil {
		t.Error(err)
		return
	}
	want, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not %s", name, original)
	}
}

// Everything of a guest of another machine comes through SSH.
func TestBackupRemote(t *testing.T) {
	t.Parallel()
	f := newFarHost(t)
	b := f.guest(t, testbed.GuestOptions{UEFI: true, Kernel: true, Disks: []testbed.Disk{
		{Target: "vda", Size: bigDisk},
		{Target: "vdb", Size: smallDisk},
	}})
	b.fillBig(t)
	b.changeBoth(t)
	out := b.make(t, checkpoint(0), ours(t), "-l", "full", "-z")
	wantOutput(t, out, "Connecting remote system [127.0.0.1] via ssh, username: [root]", "Remote: NDB Endpoint socket: [root@127.0.0.1:/")
	b.wantBootFiles(t, checkpoint(0))

	steps := []struct {
		name string
		run  func(*testing.T, int)
	}{
		{"connection lost", func(t *testing.T, n int) { f.loseConnection(t, b, n) }},
		{"port", func(t *testing.T, n int) { b.nextOver(t, n, "-I", "127.0.0.1", "-P", freePort(t)) }},
		{"port of IPv6", func(t *testing.T, n int) { b.nextOver(t, n, "-I", address6(t), "-P", freePort(t)) }},
		{"killed", func(t *testing.T, n int) { b.killed(t, n) }},
		{"start and kill", func(t *testing.T, n int) { b.startAndKill(t, n) }},
		{"TLS", func(t *testing.T, n int) {
			b.nextOver(t, n, "--tls", "--tls-cert", f.certs.ClientDir, "-P", freePort(t))
		}},
		{"two at once", func(t *testing.T, n int) { f.twoAtOnce(t, b, n) }},
		{"virtnbdbackup", func(t *testing.T, n int) {
			b.changeBoth(t)
			near := *b
			near.uri = ""
			b.note(t, checkpoint(n))
			if out, err := near.run(theirs, "-l", "inc"); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}},
	}
	for i, step := range steps {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, 1+i) }) {
			return
		}
	}
	t.Run("TLS refused", func(t *testing.T) { f.refuseTLS(t, b) })
	b.check(t)
	t.Run("off", func(t *testing.T) { f.off(t, b) })
	b.check(t)
}

// wantBootFiles compares the boot files in the set with the guest's.
func (b *backups) wantBootFiles(t *testing.T, point string) {
	t.Helper()
	xml, err := b.XML()
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"loader", "nvram", "kernel", "initrd"} {
		_, rest, _ := strings.Cut(xml, "<"+role)
		_, rest, _ = strings.Cut(rest, ">")
		path, _, _ := strings.Cut(rest, "<")
		b.wantSameFile(t, filepath.Base(path)+"."+point, path)
	}
	for _, target := range b.targets {
		info, err := os.ReadFile(filepath.Join(b.set, target+"."+point+".qcow.json"))
		if err != nil || !strings.Contains(string(info), b.Image(target)) {
			t.Errorf("%v: %s", err, info)
		}
	}
}

// nextOver makes the nth checkpoint in some way.
func (b *backups) nextOver(t *testing.T, n int, args ...string) {
	t.Helper()
	b.changeBoth(t)
	out := b.make(t, checkpoint(n), ours(t), append([]string{"-l", "inc"}, args...)...)
	wantOutput(t, out, "Remote: NDB Endpoint socket: [")
	secure := slices.Contains(args, "--tls")
	if said := strings.Contains(out, "unencrypted"); said == secure {
		t.Errorf("a word about encryption: %v\n%s", said, out)
	}
	b.wantCheckpoints(t, n+1)
}

// address6 is an address of IPv6, where the machine has that.
func address6(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Logf("this machine has no IPv6: %v", err)
		return "127.0.0.1"
	}
	l.Close()
	return "::1"
}

// killed has a run die, whose job goes on there until the next run ends it.
func (b *backups) killed(t *testing.T, n int) {
	b.fillBig(t)
	p := b.startHeld(t, "-l", "inc")
	p.signal(t, syscall.SIGKILL)
	if err := p.end(t); exitStatus(err) != -1 {
		t.Errorf("%v, want a death\n%s", err, &p.out)
	}
	if out, err := b.daemon.Virsh("domjobinfo", b.Name); err != nil || !strings.Contains(out, "Backup") {
		t.Errorf("no backup job is left: %s, %v", out, err)
	}
	b.wantNext(t, n)
}

// startAndKill has a run leave its job behind, at a port, and another one end it.
func (b *backups) startAndKill(t *testing.T, n int) {
	b.changeBoth(t)
	if out, err := b.run(ours(t), "-l", "inc", "-s", "-I", address6(t), "-P", freePort(t)); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b.refused(t, []string{"-l", "inc"}, "Detected an active backup operation")
	if out, err := b.run(ours(t), "-l", "inc", "-k"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b.wantCheckpoints(t, n)
	b.wantNext(t, n)
}

// loseConnection has the SSH connections break while data comes through them.
func (f *farHost) loseConnection(t *testing.T, b *backups, n int) {
	before := filesOf(t, b.set)
	scratch := filepath.Join(t.TempDir(), "scratch", "folder")
	b.fillBig(t)
	p := b.startHeld(t, "-l", "inc", "--scratchdir", scratch)
	if files, err := os.ReadDir(scratch); err != nil || len(files) != 2 {
		t.Errorf("scratch files %v, %v, want two", files, err)
	}
	f.ssh.Cut()
	p.signal(t, syscall.SIGCONT)
	if err := p.end(t); exitStatus(err) != 1 {
		t.Errorf("%v, want exit status 1\n%s", err, &p.out)
	}
	wantOutput(t, p.out.String(), "the connection was lost", "Nothing of this backup was kept")
	b.wantCheckpoints(t, n)
	b.wantNoJob(t)
	b.wantNothingNew(t, before)
	if files, err := os.ReadDir(scratch); err != nil || len(files) > 0 {
		t.Errorf("scratch files %v are left (%v)", files, err)
	}
	b.wantNext(t, n)
}

// twoAtOnce backs two guests up at the same time, over ports.
func (f *farHost) twoAtOnce(t *testing.T, b *backups, n int) {
	other := f.guest(t, testbed.GuestOptions{Disks: []testbed.Disk{{Target: "vda", Size: smallDisk}}})
	other.changeAll(t)
	port := freePort(t)
	b.fillBig(t)
	b.note(t, checkpoint(n))
	p := b.startHeld(t, "-l", "inc", "-I", "127.0.0.1", "-P", port)
	other.refused(t, []string{"-l", "full", "-I", "127.0.0.1", "-P", port}, "--nbd-port")
	other.wantCheckpoints(t, 0)
	other.make(t, checkpoint(0), ours(t), "-l", "full", "-I", "127.0.0.1", "-P", freePort(t))
	other.check(t)
	p.signal(t, syscall.SIGCONT)
	if err := p.end(t); err != nil {
		t.Errorf("%v\n%s", err, &p.out)
	}
}

// refuseTLS tries servers and clients that have no right to the data.
func (f *farHost) refuseTLS(t *testing.T, b *backups) {
	before := filesOf(t, b.set)
	known, err := b.Checkpoints()
	if err != nil {
		t.Fatal(err)
	}
	empty, onlyCA := t.TempDir(), t.TempDir()
	copyFiles(t, f.certs.ClientDir, onlyCA, "ca-cert.pem")
	for dir, word := range map[string]string{
		qemutest.NewCertificates(t, farName).ClientDir: "certificate", // of another authority
		empty:  "ca-cert.pem",
		onlyCA: "client-cert.pem",
	} {
		b.refused(t, []string{"-l", "inc", "--tls", "--tls-cert", dir, "-P", freePort(t)}, word)
	}
	// The certificate has other addresses.
	b.refused(t, []string{"-l", "inc", "--tls", "--tls-cert", f.certs.ClientDir, "-I", "127.0.0.2", "-P", freePort(t)}, "certificate")
	b.wantCheckpoints(t, len(known))
	b.wantNoJob(t)
	b.wantNothingNew(t, before)
}

func copyFiles(t testing.TB, from, to string, names ...string) {
	t.Helper()
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// off saves guests that are off: the disks are served by qemu-nbd there.
func (f *farHost) off(t *testing.T, b *backups) {
	b.changeBoth(t)
	for target := range slices.Values(b.targets) {
		if err := b.HostFlush(target); err != nil {
			t.Fatal(err)
		}
	}
	b.note(t, "?")
	changed := b.points[len(b.points)-1]
	b.points = b.points[:len(b.points)-1]
	// QEMU writes the bitmaps into the images when it is told to end.
	if _, err := f.Virsh("destroy", "--graceful", b.Name); err != nil {
		t.Fatal(err)
	}
	both := t.TempDir() // the folder has one name on both machines
	copyFiles(t, f.certs.ServerDir, both, "ca-cert.pem", "server-cert.pem", "server-key.pem")
	copyFiles(t, f.certs.ClientDir, both, "client-cert.pem", "client-key.pem")
	for _, args := range [][]string{{}, {"-I", "127.0.0.1", "-P", freePort(t), "-w", "1"}, {"--tls", "--tls-cert", both, "-P", freePort(t)}} {
		nextSecond()
		before := b.pointNames(t)
		if out, err := b.run(ours(t), append(args, "-l", "diff")...); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		for _, name := range b.pointNames(t) {
			if !slices.Contains(before, name) {
				b.points = append(b.points, livePoint{name, changed.disks})
			}
		}
	}
	f.loseServer(t, b)
	f.saveTPM(t)
}

// loseServer has the SSH connections break while a disk is served there: then
// the server ends, and nothing is in the way of the next one.
func (f *farHost) loseServer(t *testing.T, b *backups) {
	c := b.into("offcopy")
	p := c.startHeld(t, "-l", "copy", "-i", "vda")
	if !f.running(t, "qemu-nbd") {
		t.Error("no qemu-nbd runs there")
	}
	f.ssh.Cut()
	p.signal(t, syscall.SIGCONT)
	if err := p.end(t); exitStatus(err) != 1 {
		t.Errorf("%v, want exit status 1\n%s", err, &p.out)
	}
	wantOutput(t, p.out.String(), "connection was lost")
	for end := time.Now().Add(patience); f.running(t, "qemu-nbd"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("qemu-nbd runs there still")
		}
	}
	if left, err := os.ReadDir(c.set); err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool { return strings.Contains(e.Name(), "vda") }) {
		t.Errorf("%v is left (%v)", left, err)
	}
}

// running says whether a program of this name runs there.
func (f *farHost) running(t *testing.T, name string) bool {
	t.Helper()
	out, err := f.Inside(t.Context(), "sh", "-c", "cat /proc/[0-9]*/comm 2>/dev/null || true").Output()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Contains(strings.Split(string(out), "\n"), name)
}

// saveTPM saves a guest that has a TPM.
func (f *farHost) saveTPM(t *testing.T) {
	b := f.guest(t, testbed.GuestOptions{
		Start:   testbed.Off,
		Disks:   []testbed.Disk{{Target: "vda", Size: smallDisk}},
		Devices: "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>",
	})
	uuid, err := f.Virsh("domuuid", b.Name)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(f.Root(), "lib/swtpm", strings.TrimSpace(uuid), "tpm2")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tpm2-00.permall"), []byte("sealed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := b.run(ours(t)); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file, err := os.Open(filepath.Join(b.set, "swtpm.tar.copy"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	archive := tar.NewReader(file)
	head, err := archive.Next()
	if err != nil || head.Name != "tpm2/tpm2-00.permall" {
		t.Fatalf("%v in the archive, and %v", head, err)
	}
	if content, err := io.ReadAll(archive); err != nil || string(content) != "sealed" {
		t.Errorf("the state of the TPM is %q (%v)", content, err)
	}
}

// Who the other machine is, and who may log in there.
func TestBackupRemoteLogin(t *testing.T) {
	t.Parallel()
	f := newFarHost(t)
	b := f.guest(t, testbed.GuestOptions{Disks: []testbed.Disk{{Target: "vda", Size: smallDisk}}})
	print := []string{"-l", "full", "-p"}
	works := func(b *backups, args ...string) {
		t.Helper()
		out, err := b.run(ours(t), slices.Concat(print, args)...)
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		wantOutput(t, out, "Estimated checkpoint backup size")
	}
	works(b)

	strict := hosttest.StartApart(t, f.command, "AllowStreamLocalForwarding no")
	other := b.through(strict.LibvirtURI(""))
	other.env = strict.Env()
	other.refused(t, []string{"-l", "full"}, "AllowStreamLocalForwarding", "--nbd-ip")
	b.wantCheckpoints(t, 0)
	b.wantNoJob(t)

	f.ssh.TrustHostKeys()
	b.refused(t, print, "is not known", "ssh-keyscan", "--ssh-accept-new-keys")
	works(b, "--ssh-accept-new-keys")
	works(b)
	f.ssh.NewHostKeys()
	for _, args := range [][]string{nil, {"--ssh-accept-new-keys"}} {
		b.refused(t, slices.Concat(print, args), "is not the one in", "ssh-keygen -R")
	}
	f.ssh.TrustHostKeys("ed25519", "ecdsa")

	wrong := filepath.Join(t.TempDir(), "wrong")
	hosttest.WriteKey(t, wrong, "")
	b.refused(t, slices.Concat(print, []string{"--ssh-private-key", wrong}), "login refused", wrong)
	right := filepath.Join(t.TempDir(), "right")
	f.ssh.Authorize(hosttest.WriteKey(t, right, ""))
	key := filepath.Join(f.ssh.Home, ".ssh/id_ed25519")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	b.refused(t, print, "login refused")
	works(b, "--ssh-private-key", right)

	// What the options and the configuration of ssh say is for both connections.
	port := strconv.Itoa(f.ssh.Port)
	command := strings.SplitN(b.uri, "command=", 2)[1]
	short := b.through("qemu+ssh://127.0.0.1/system?command=" + command)
	works(short, "--ssh-port", port, "--ssh-user", f.ssh.User, "--ssh-private-key", right)
	config := fmt.Sprintf("Host kvm\nHostName 127.0.0.1\nPort %s\nUser %s\nIdentityFile %s\nUserKnownHostsFile %s\n", port, f.ssh.User, right, f.ssh.KnownHosts())
	if err := os.WriteFile(filepath.Join(f.ssh.Home, ".ssh/config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	alias := b.through("qemu+ssh://kvm/system?command=" + command)
	works(alias)

	// An alias of libvirt, whose configuration is inside.
	config = fmt.Sprintf("uri_aliases = [ \"far=%s\" ]\n", alias.uri)
	if err := os.WriteFile(filepath.Join(f.Root(), "etc/libvirt.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	program := ours(t)
	cmd := f.Inside(t.Context(), program[0], slices.Concat(program[1:], []string{"-d", b.Name, "-o", b.set, "-l", "full", "-U", "far"})...)
	cmd.Env = append(os.Environ(), b.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	wantOutput(t, string(out), "Remote: NDB Endpoint socket: [root@kvm:/")
}

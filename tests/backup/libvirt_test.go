// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"virtnb/internal/qemu/qemutest"
	"virtnb/tests/testbed"
)

// Backups through a libvirtd that listens for TCP and TLS, and that wants a
// user and a password.

// netHost is a machine whose libvirtd listens in the network.
type netHost struct {
	*testbed.Daemon
	certs            qemutest.Certificates
	tcpPort, tlsPort string
	pki              string // the folder for clients of libvirt
}

// A password with signs that mean something in URIs, XML, JSON and shells.
const (
	saslUser     = "bird"
	saslPassword = `t0p<se"cret>&'%\$`
)

// saslSetup makes the user and lets libvirtd find it. DIGEST-MD5 is all that
// libvirt takes over plain TCP without Kerberos.
const saslSetup = `
mkdir "$root/sasl"
cat >"$root/sasl/libvirt.conf" <<END
mech_list: digest-md5
sasldb_path: $root/sasl/db
END
saslpasswd2 -p -f "$root/sasl/db" -a libvirt bird <"$root/password"
export SASL_CONF_PATH="$root/sasl"
`

func newNetHost(t *testing.T) *netHost {
	t.Helper()
	n := &netHost{certs: qemutest.NewCertificates(t, farName, "127.0.0.1"), tcpPort: freePort(t), tlsPort: freePort(t), pki: t.TempDir()}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(saslPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`listen_tcp = 1
listen_tls = 1
listen_addr = "127.0.0.1"
tcp_port = "%s"
tls_port = "%s"
auth_tcp = "sasl"
auth_tls = "none"
ca_file = "%[3]s/ca-cert.pem"
cert_file = "%[3]s/server-cert.pem"
key_file = "%[3]s/server-key.pem"
`, n.tcpPort, n.tlsPort, n.certs.ServerDir)
	n.Daemon = testbed.New(t, testbed.Options{
		Config:     config,
		QemuConfig: fmt.Sprintf("backup_tls_x509_cert_dir = %q\nbackup_tls_x509_verify = 1\n", n.certs.ServerDir),
		Args:       []string{"--listen"},
		Setup:      strings.ReplaceAll(saslSetup, "$root/password", password),
	})
	for from, to := range map[string]string{"ca-cert.pem": "cacert.pem", "client-cert.pem": "clientcert.pem", "client-key.pem": "clientkey.pem"} {
		content, err := os.ReadFile(filepath.Join(n.certs.ClientDir, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(n.pki, to), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (n *netHost) tcp() string { return fmt.Sprintf("qemu+tcp://127.0.0.1:%s/system", n.tcpPort) }

func (n *netHost) tls() string {
	return fmt.Sprintf("qemu+tls://127.0.0.1:%s/system?pkipath=%s", n.tlsPort, n.pki)
}

func TestBackupLibvirtd(t *testing.T) {
	t.Parallel()
	n := newNetHost(t)
	b := guestOf(t, n.Daemon, testbed.GuestOptions{UEFI: true, Disks: []testbed.Disk{{Target: "vda", Size: smallDisk}}})
	b.uri = n.tcp()
	b.changeAll(t)
	for _, step := range []struct {
		name string
		run  func(*testing.T, *backups)
	}{
		{"password", n.password},
		{"same machine", n.near},
		{"another machine", n.far},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, b) }) {
			return
		}
	}
	b.check(t)
}

// password logs in to libvirt, and looks for the password wherever it is not to
// be.
func (n *netHost) password(t *testing.T, b *backups) {
	works := []string{"--user", saslUser, "--password", saslPassword, "-v", "--json"}
	out := b.make(t, checkpoint(0), ours(t), append(works, "-l", "full")...)
	wantHidden(t, "the output", out)
	b.refused(t, []string{"-l", "inc"}, "give a user and a password", "authfile=")
	for _, wrong := range [][]string{{saslUser, saslPassword + "x"}, {"nobody", saslPassword}} {
		args := []string{"-l", "inc", "-v", "--json", "--user", wrong[0], "--password", wrong[1]}
		b.refused(t, args, fmt.Sprintf("user \"%s\" or the password is wrong", wrong[0]), `"status":1`)
		out, _ := b.run(ours(t), args...)
		wantHidden(t, "the output", out)
	}

	file := filepath.Join(t.TempDir(), "auth.conf")
	content := fmt.Sprintf("[credentials-one]\nauthname=%s\npassword=%s\n\n[auth-libvirt-127.0.0.1]\ncredentials=one\n", saslUser, saslPassword)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	b.changeAll(t)
	b.uri += "?authfile=" + file
	out = b.make(t, checkpoint(1), ours(t), "-l", "inc", "-v")
	wantHidden(t, "the output", out)

	logs, err := filepath.Glob(filepath.Join(b.set, "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("logs %q, %v", logs, err)
	}
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		wantHidden(t, log, string(text))
	}
}

// wantHidden fails the test where a text has the password.
func wantHidden(t *testing.T, what, text string) {
	t.Helper()
	if strings.Contains(text, "t0p") || strings.Contains(text, "cret>") {
		t.Errorf("the password is in %s:\n%s", what, text)
	}
}

// near: a libvirtd of this machine, though reached through the network, is used
// as such.
func (n *netHost) near(t *testing.T, b *backups) {
	b.uri = n.tls()
	b.changeAll(t)
	out := b.make(t, checkpoint(2), ours(t), "-l", "inc")
	wantOutput(t, out, "Local NDB Endpoint socket")
	b.wantSameFile(t, filepath.Base(b.NVRAM())+"."+checkpoint(2), b.NVRAM())
}

// far: disks of another machine come through a port, its files do not come.
func (n *netHost) far(t *testing.T, b *backups) {
	if err := n.SetHostname(farName); err != nil {
		t.Fatal(err)
	}
	for i, args := range [][]string{
		{"-P", freePort(t)},
		{"-P", freePort(t), "--tls", "--tls-cert", n.certs.ClientDir},
	} {
		b.changeAll(t)
		out := b.make(t, checkpoint(3+i), ours(t), slices.Concat(args, []string{"-l", "inc"})...)
		wantOutput(t, out, "Connecting remote system [127.0.0.1]", "Remote: NDB Endpoint socket: [localhost:", "through SSH only")
	}
	// Without a certificate of the authority, nobody gets to libvirt.
	other := t.TempDir()
	copyFiles(t, n.pki, other, "cacert.pem")
	b.through(strings.Replace(n.tls(), n.pki, other, 1)).refused(t, []string{"-l", "inc"}, "Cant connect libvirt daemon")
	if _, err := n.Virsh("destroy", "--graceful", b.Name); err != nil {
		t.Fatal(err)
	}
	b.refused(t, []string{"-l", "diff"}, "use a URI with qemu+ssh")
}

// Where no option says so, the variable says which libvirt is meant.
func TestBackupDefaultURI(t *testing.T) {
	t.Parallel()
	program := ours(t)
	args := slices.Concat(program[1:], []string{"-d", "test", "-o", filepath.Join(t.TempDir(), "set"), "-p"})
	for _, more := range [][]string{nil, {"--connect", "test:///default"}, {"-U", "test:///default"}} {
		cmd := exec.Command(program[0], slices.Concat(args, more)...)
		uri := "test:///default"
		if more != nil {
			uri = "qemu:///system?socket=/nosuch"
		}
		cmd.Env = append(os.Environ(), "LIBVIRT_DEFAULT_URI="+uri)
		out, err := cmd.CombinedOutput()
		if strings.Contains(string(out), "Cant connect") || !strings.Contains(string(out), "Libvirt library version") {
			t.Errorf("%q: %v\n%s", more, err, out)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"virtnb/internal/qemu/qemutest"
)

// tcpNBD serves an image as export "disk" on a port of all addresses.
func tcpNBD(t *testing.T, image string, args ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	must(t, err)
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	must(t, l.Close())
	process(t, "qemu-nbd", append([]string{"-r", "-t", "-e", "8", "-p", port, "-x", "disk", "-f", "qcow2", image}, args...)...)
	return port
}

// TestTLS: a server is used if it can show who it is, and a client is let in if
// it can.
func TestTLS(t *testing.T) {
	certs := qemutest.NewCertificates(t, "localhost", "127.0.0.1")
	image := qcow2(t, 1<<20, "", "")
	port := tcpNBD(t, image, "--object", "tls-creds-x509,id=tls,endpoint=server,verify-peer=yes,dir="+certs.ServerDir, "--tls-creds", "tls")
	to := func(host, dir string) Options {
		return Options{Host: host, Port: port, Export: "disk", Wait: patience, TLS: &TLS{Dir: dir, VerifyPeer: true}}
	}
	for _, host := range []string{"localhost", "127.0.0.1"} {
		c, err := Connect(t.Context(), to(host, certs.ClientDir))
		must(t, err)
		must(t, c.Close())
	}
	onlyCA := t.TempDir()
	ca, err := os.ReadFile(filepath.Join(certs.ClientDir, caFile))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(onlyCA, caFile), ca, 0o600))
	other := qemutest.NewCertificates(t, "localhost").ClientDir
	for what, c := range map[string]struct {
		o    Options
		want string
	}{
		"another authority":     {to("localhost", other), "one of the authority in " + other},
		"another name":          {to("127.0.0.2", certs.ClientDir), "for the name or address"},
		"no client certificate": {to("localhost", onlyCA), clientFile + " and client-key.pem in " + onlyCA},
	} {
		if _, err := Connect(t.Context(), c.o); !contains(err, c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	port = tcpNBD(t, image)
	if _, err := Connect(t.Context(), to("localhost", certs.ClientDir)); !contains(err, "does it have that?") {
		t.Errorf("a server without TLS: %v", err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package libnbd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestTls: a server is trusted only where its certificate comes from our CA
// and is that of the host we wanted.
func TestTls(t *testing.T) {
	trusted, other := certificates(t), certificates(t)
	port := servePort(t, append([]string{"--tls=require", "--tls-certificates=" + trusted}, pattern...)...)
	dial := func(certificates, host string) (*Libnbd, error) {
		h := handle(t)
		must(t, h.SetTls(TLS_REQUIRE))
		must(t, h.SetTlsCertificates(certificates))
		must(t, h.SetTlsVerifyPeer(true))
		return h, h.ConnectTcp(host, port)
	}
	h, err := dial(trusted, "127.0.0.1")
	must(t, err)
	wantPattern(t, h)
	if !get[bool](t)(h.GetTlsNegotiated()) {
		t.Error("no TLS")
	}
	if _, err := dial(other, "127.0.0.1"); err == nil {
		t.Error("connected to a server with the certificate of another CA")
	}
	if _, err := dial(trusted, "localhost"); err == nil {
		t.Error("connected to a server with the certificate of another host")
	}
	if err := handle(t).ConnectTcp("127.0.0.1", port); err == nil {
		t.Error("connected in the clear to a server that wants TLS")
	}
}

// certificates makes a folder with a CA, and a certificate of it for the host
// 127.0.0.1, under the names that libnbd and nbdkit look for.
func certificates(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey := newKey(t)
	write(t, dir, "ca-cert.pem", "CERTIFICATE", sign(t, ca, ca, caKey, caKey))
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	key := newKey(t)
	write(t, dir, "server-cert.pem", "CERTIFICATE", sign(t, server, ca, key, caKey))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	write(t, dir, "server-key.pem", "PRIVATE KEY", der)
	return dir
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func sign(t *testing.T, cert, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), parentKey)
	must(t, err)
	return der
}

func write(t *testing.T, dir, name, kind string, der []byte) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

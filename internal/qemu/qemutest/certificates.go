// SPDX-License-Identifier: Apache-2.0

// Package qemutest makes what tests of QEMU's programs need.
package qemutest

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

// Certificates are the folders that QEMU and libnbd take for TLS: a ca-cert.pem
// and the certificate and key of a server or a client.
type Certificates struct {
	ServerDir, ClientDir string
}

// NewCertificates makes an authority, a server that has these names and
// addresses, and a client, valid for a day.
func NewCertificates(t testing.TB, names ...string) Certificates {
	t.Helper()
	c := Certificates{ServerDir: t.TempDir(), ClientDir: t.TempDir()}
	ca := newAuthority(t)
	for _, dir := range []string{c.ServerDir, c.ClientDir} {
		writePEM(t, filepath.Join(dir, "ca-cert.pem"), "CERTIFICATE", ca.certificate.Raw)
	}
	ca.issue(t, filepath.Join(c.ServerDir, "server"), names[0], x509.ExtKeyUsageServerAuth, names)
	ca.issue(t, filepath.Join(c.ClientDir, "client"), "client", x509.ExtKeyUsageClientAuth, nil)
	return c
}

type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	template := template("authority")
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	certificate, err := x509.ParseCertificate(der)
	check(t, err)
	return &authority{certificate, key}
}

// issue writes PATH-cert.pem and PATH-key.pem.
func (a *authority) issue(t testing.TB, path, name string, usage x509.ExtKeyUsage, names []string) {
	t.Helper()
	template := template(name)
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	template.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	check(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	writePEM(t, path+"-cert.pem", "CERTIFICATE", der)
	writePEM(t, path+"-key.pem", "PRIVATE KEY", private)
}

func template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

func writePEM(t testing.TB, name, kind string, der []byte) {
	t.Helper()
	check(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

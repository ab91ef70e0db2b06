// SPDX-License-Identifier: Apache-2.0

package nbd

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

// TestTLS: only a server with a certificate of our CA, for the host that was
// meant, is talked to, and never in the clear.
func TestTLS(t *testing.T) {
	trusted, other := certificates(t), certificates(t)
	secure := serveTCP(t, "--tls=require", "--tls-certificates="+trusted)
	clear := serveTCP(t, "--tls=off")
	for name, tc := range map[string]struct {
		host, port string
		tls        *TLS
		err        string // "" for none
	}{
		"verified":         {"127.0.0.1", secure, &TLS{Dir: trusted, VerifyPeer: true}, ""},
		"not verified":     {"127.0.0.1", secure, &TLS{Dir: other}, ""},
		"of another CA":    {"127.0.0.1", secure, &TLS{Dir: other, VerifyPeer: true}, "certificate verification"},
		"of another host":  {"localhost", secure, &TLS{Dir: trusted, VerifyPeer: true}, "certificate verification"},
		"wanted by server": {"127.0.0.1", secure, nil, "it may want TLS"},
		"wanted by us":     {"127.0.0.1", clear, &TLS{Dir: trusted, VerifyPeer: true}, "may not offer it"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Connect(t.Context(), Options{Host: tc.host, Port: tc.port, TLS: tc.tls, Connections: 2, Wait: patience})
			if tc.err != "" {
				if err == nil {
					c.Close()
					t.Fatal("connected")
				}
				if !contains(err, net.JoinHostPort(tc.host, tc.port), tc.err) {
					t.Errorf("error is %v", err)
				}
				return
			}
			must(t, err)
			defer c.Close()
			p := make([]byte, 1<<20)
			must(t, c.ReadAt(t.Context(), p, 1<<20))
			if p[5] != 0x10 {
				t.Errorf("read %x", p[:8])
			}
		})
	}
}

// TestTLSCancelled: a context ends a read over TLS too.
func TestTLSCancelled(t *testing.T) {
	dir := certificates(t)
	port := serveTCP(t, "--tls=require", "--tls-certificates="+dir, "--filter=delay", "delay-read=3600")
	c, err := Connect(t.Context(), Options{Host: "127.0.0.1", Port: port, TLS: &TLS{Dir: dir, VerifyPeer: true}, Wait: patience})
	must(t, err)
	defer c.Close()
	cancelled(t, c)
}

// serveTCP runs nbdkit with a pattern of 4 MiB on a free port, which it
// returns.
func serveTCP(t *testing.T, args ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	filters := args[:0:0]
	params := []string{"pattern", "4M"}
	for _, a := range args {
		if a[0] == '-' {
			filters = append(filters, a)
		} else {
			params = append(params, a)
		}
	}
	process(t, "nbdkit", append(append([]string{"-f", "-i", "127.0.0.1", "-p", port}, filters...), params...)...)
	return port
}

// certificates makes a folder with a CA and with a certificate of it for
// 127.0.0.1, by the names that NBD programs look for.
func certificates(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey := certify(t, dir, "ca", ca, ca, nil)
	certify(t, dir, "server", &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, caKey)
	return dir
}

// certify writes NAME-cert.pem and NAME-key.pem, signed with parentKey or, if
// that is nil, with the new key, which it returns.
func certify(t *testing.T, dir, name string, cert, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	if parentKey == nil {
		parentKey = key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), parentKey)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	for file, block := range map[string]*pem.Block{"-cert.pem": {Type: "CERTIFICATE", Bytes: der}, "-key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		must(t, os.WriteFile(filepath.Join(dir, name+file), pem.EncodeToMemory(block), 0o600))
	}
	return key
}

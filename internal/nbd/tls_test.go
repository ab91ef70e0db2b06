// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"virtnb/internal/qemu/qemutest"
)

// TestTLS: only a server with a certificate of our CA, for the host that was
// meant, is talked to, and never in the clear.
func TestTLS(t *testing.T) {
	trusted, other := qemutest.NewCertificates(t, "127.0.0.1"), qemutest.NewCertificates(t, "127.0.0.1")
	secure := serveTCP(t, "--tls=require", "--tls-certificates="+trusted.ServerDir)
	mutual := serveTCP(t, "--tls=require", "--tls-certificates="+trusted.ServerDir, "--tls-verify-peer")
	clear := serveTCP(t, "--tls=off")
	onlyCA := t.TempDir()
	ca, err := os.ReadFile(filepath.Join(trusted.ClientDir, caFile))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(onlyCA, caFile), ca, 0o600))
	for name, tc := range map[string]struct {
		host, port string
		tls        *TLS
		err        string // "" for none
	}{
		"verified":         {"127.0.0.1", secure, &TLS{Dir: trusted.ClientDir, VerifyPeer: true}, ""},
		"not verified":     {"127.0.0.1", secure, &TLS{Dir: other.ClientDir}, ""},
		"of another CA":    {"127.0.0.1", secure, &TLS{Dir: other.ClientDir, VerifyPeer: true}, "one of the authority in " + other.ClientDir},
		"both verified":    {"127.0.0.1", mutual, &TLS{Dir: trusted.ClientDir, VerifyPeer: true}, ""},
		"nothing to show":  {"127.0.0.1", mutual, &TLS{Dir: onlyCA, VerifyPeer: true}, "needs client-cert.pem and client-key.pem in " + onlyCA},
		"of another host":  {"localhost", secure, &TLS{Dir: trusted.ClientDir, VerifyPeer: true}, "certificate verification"},
		"wanted by server": {"127.0.0.1", secure, nil, "it may want TLS"},
		"wanted by us":     {"127.0.0.1", clear, &TLS{Dir: trusted.ClientDir, VerifyPeer: true}, "may not offer it"},
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
	certificates := qemutest.NewCertificates(t, "127.0.0.1")
	port := serveTCP(t, "--tls=require", "--tls-certificates="+certificates.ServerDir, "--filter=delay", "delay-read=3600")
	c, err := Connect(t.Context(), Options{Host: "127.0.0.1", Port: port, TLS: &TLS{Dir: certificates.ClientDir, VerifyPeer: true}, Wait: patience})
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

// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"libvirt.org/go/libvirt"

	"virtnb/internal/host"
	"virtnb/internal/hostargs"
)

func TestSameName(t *testing.T) {
	for _, c := range []struct {
		here, there string
		same        bool
	}{
		{"kvm1", "kvm1", true},
		{"kvm1", "kvm1.example.org", true},
		{"kvm1.example.org", "kvm1.example.org", true},
		{"kvm1", "kvm10", false},
		{"kvm1", "kvm2.example.org", false},
		{"kvm1.example.org", "kvm1.example.com", false},
	} {
		if got := sameName(c.here, c.there); got != c.same {
			t.Errorf("%s and %s: %v", c.here, c.there, got)
		}
	}
}

func TestIsHere(t *testing.T) {
	here := []string{"127.0.0.1", "127.1.2.3", "::1", "localhost"}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		ip, _, err := net.ParseCIDR(a.String())
		if err != nil {
			t.Fatal(err)
		}
		here = append(here, ip.String())
	}
	for _, name := range here {
		if !isHere(t.Context(), name) {
			t.Errorf("%s is not here", name)
		}
	}
	for _, name := range []string{"192.0.2.1", "2001:db8::1", "", "nosuch.invalid"} {
		if isHere(t.Context(), name) {
			t.Errorf("%s is here", name)
		}
	}
}

// The daemon refuses a flag that it does not know.
func TestBeginFlags(t *testing.T) {
	for version, want := range map[uint32]libvirt.DomainBackupBeginFlags{
		9_000_000:  0,
		11_009_000: 0,
		11_010_000: libvirt.DOMAIN_BACKUP_BEGIN_PRESERVE_SHUTDOWN_DOMAIN,
		12_000_000: libvirt.DOMAIN_BACKUP_BEGIN_PRESERVE_SHUTDOWN_DOMAIN,
	} {
		if got := beginFlags(version); got != want {
			t.Errorf("%d: %d, want %d", version, got, want)
		}
	}
}

func TestOverTCP(t *testing.T) {
	for _, c := range []struct {
		name     string
		far, ssh bool
		host     hostargs.Host
		want     bool
	}{
		{"this machine", false, false, hostargs.Host{NBDIP: "192.0.2.1", TLS: true}, false},
		{"ssh", true, true, hostargs.Host{}, false},
		{"ssh and an address", true, true, hostargs.Host{NBDIP: "192.0.2.1"}, true},
		{"ssh and TLS", true, true, hostargs.Host{TLS: true}, true},
		{"no ssh", true, false, hostargs.Host{}, true},
	} {
		r := &run{far: c.far, ssh: c.ssh, o: Options{Host: c.host}}
		if got := r.overTCP(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// What a job on another machine leaves is removed there, if that can be
// reached, and nothing here.
func TestLeftovers(t *testing.T) {
	for _, c := range []struct {
		name        string
		remote, ssh bool
		removed     bool
	}{
		{"this machine", false, false, true},
		{"another one through SSH", true, true, true},
		{"another one", true, false, false},
	} {
		path := filepath.Join(t.TempDir(), "backup.X.vda")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r := &run{host: host.Local{}, far: c.remote, ssh: c.ssh}
		j := &journal{Remote: c.remote, Scratch: []string{path}, Socket: "192.0.2.1:10809"}
		for range 2 { // what is gone is no error
			if err := r.removeLeftovers(j); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if _, err := os.Stat(path); (err != nil) != c.removed {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

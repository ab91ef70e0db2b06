// SPDX-License-Identifier: Apache-2.0

package virt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"libvirt.org/go/libvirt"
)

// connect is Connect for a test, which closes the connection at its end.
func connect(t *testing.T, o Options) *Connection {
	t.Helper()
	c, err := Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// wantError checks that err has all these words, and no password.
func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("there is no error, want %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "topsecret") {
		t.Errorf("%q has the password", err)
	}
}

func TestConnect(t *testing.T) {
	c := connect(t, Options{URI: "test:///default"})
	if err := c.Err(); err != nil {
		t.Error(err)
	}
	ctx, cancel := c.Context(t.Context())
	if ctx.Err() != nil {
		t.Error(ctx.Err())
	}
	cancel()
	if !errors.Is(context.Cause(ctx), context.Canceled) {
		t.Error(context.Cause(ctx))
	}
	if _, remote := c.Remote(); remote {
		t.Error("the test driver is remote")
	}
	if got := c.URI().String(); got != "test:///default" {
		t.Errorf("the URI is %s", got)
	}
}

func TestDomain(t *testing.T) {
	c := connect(t, Options{URI: "test:///default"})
	dom, err := c.Domain("test")
	if err != nil {
		t.Fatal(err)
	}
	defer dom.Free()
	state, err := StateOf(dom)
	if err != nil || state.Off() || !state.Running() || state.String() != "running" {
		t.Errorf("the state is %s (%v)", state, err)
	}
}

func TestDomainIsNotThere(t *testing.T) {
	c := connect(t, Options{URI: "test:///default"})
	_, err := c.Domain("nosuch")
	if !errors.Is(err, libvirt.ERR_NO_DOMAIN) {
		t.Errorf("%v is not ERR_NO_DOMAIN", err)
	}
	wantError(t, err, `"nosuch"`, "test:///default", "there are: test")

	for i := range namesShown + 5 {
		dom, err := c.DomainDefineXML(fmt.Sprintf("<domain type='test'><name>vm%02d</name><memory>1024</memory><os><type>hvm</type></os></domain>", i))
		if err != nil {
			t.Fatal(err)
		}
		defer dom.Free()
	}
	_, err = c.Domain("nosuch")
	wantError(t, err, "test, vm00, vm01", "and 6 more")
}

func TestNoDomains(t *testing.T) {
	wantError(t, &noDomain{"vm1", "qemu:///system", nil, libvirt.ERR_NO_DOMAIN}, "there is none at all")
}

func TestStates(t *testing.T) {
	for state, want := range map[libvirt.DomainState]string{
		libvirt.DOMAIN_PAUSED: "paused", libvirt.DOMAIN_SHUTOFF: "shut off", libvirt.DOMAIN_CRASHED: "crashed",
		libvirt.DOMAIN_SHUTDOWN: "in shutdown", libvirt.DOMAIN_NOSTATE: "no state",
		libvirt.DOMAIN_BLOCKED: "idle", libvirt.DOMAIN_PMSUSPENDED: "pmsuspended",
	} {
		if got := (State{State: state}).String(); got != want {
			t.Errorf("%d is %s", state, got)
		}
	}
	if !(State{State: libvirt.DOMAIN_SHUTOFF}).Off() || (State{State: libvirt.DOMAIN_PAUSED}).Running() || (State{State: libvirt.DOMAIN_PAUSED}).Off() {
		t.Error("off, paused and running are not told apart")
	}
}

// authURI is that of a test driver that wants the password topsecret of bird.
func authURI(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "node.xml")
	if err := os.WriteFile(file, []byte("<node><auth><user password='topsecret'>bird</user></auth></node>"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "test://" + file
}

func TestPassword(t *testing.T) {
	uri := authURI(t)
	connect(t, Options{URI: uri, User: "bird", Password: "topsecret"})
	_, err := Connect(t.Context(), Options{URI: uri, User: "bird", Password: "topsecret1"})
	wantError(t, err, uri, `user "bird" or the password is wrong`)
	if !errors.Is(err, libvirt.ERR_AUTH_FAILED) {
		t.Errorf("%v is not ERR_AUTH_FAILED", err)
	}
	_, err = Connect(t.Context(), Options{URI: uri})
	wantError(t, err, "give a user and a password", "authfile=")
}

func TestUnknownDriver(t *testing.T) {
	_, err := Connect(t.Context(), Options{URI: "kvm:///system"})
	wantError(t, err, `no driver "kvm"`, "qemu:///system")
}

func TestDaemonIsNotRunning(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "sock")
	uri := "qemu:///system?socket=" + socket
	_, err := Connect(t.Context(), Options{URI: uri})
	wantError(t, err, uri, "No such file", "systemctl start libvirtd", "--uri")
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("SIGTERM"))
	_, err := Connect(ctx, Options{URI: "test:///default"})
	wantError(t, err, "SIGTERM")
}

// TestHints: what cannot be had here, by libvirt's messages.
func TestHints(t *testing.T) {
	failed := func(code libvirt.ErrorNumber, message string) error {
		return libvirt.Error{Code: code, Message: message, Level: libvirt.ERR_ERROR}
	}
	for _, c := range []struct {
		uri  string
		err  error
		want string
	}{
		{"qemu:///system", failed(libvirt.ERR_SYSTEM_ERROR, "Failed to connect socket to '/var/run/libvirt/libvirt-sock': Permission denied"), "usermod -aG libvirt"},
		{"qemu:///system", failed(libvirt.ERR_SYSTEM_ERROR, "Failed to connect socket to '/var/run/libvirt/libvirt-sock': Connection refused"), "systemctl start libvirtd"},
		{"qemu:///session", failed(libvirt.ERR_SYSTEM_ERROR, "Failed to connect socket to '/run/user/1000/libvirt/libvirt-sock': No such file or directory"), "libvirt-daemon installed"},
		{"qemu:///system", failed(libvirt.ERR_AUTH_UNAVAILABLE, "authentication unavailable: no polkit agent available to authenticate action 'org.libvirt.unix.manage'"), "usermod -aG libvirt"},
		{"qemu+ssh://me@host:2222/system", failed(libvirt.ERR_SYSTEM_ERROR, "Cannot recv data: Host key verification failed.: Connection reset by peer"), "accept it once with: ssh -p 2222 me@host"},
		{"qemu+ssh://host/system", failed(libvirt.ERR_SYSTEM_ERROR, "Cannot recv data: Permission denied (publickey).: Connection reset by peer"), "ssh host virsh list"},
		{"qemu+tcp://host/system", failed(libvirt.ERR_SYSTEM_ERROR, "unable to connect to server at 'host:16509': Connection refused"), "does libvirtd on host listen for tcp"},
		{"qemu+tcp://host/system", failed(libvirt.ERR_AUTH_FAILED, "authentication failed"), "authfile="},
	} {
		u, err := ParseURI(c.uri)
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, explain(c.err, u, Options{}), c.want, message(c.err))
	}
}

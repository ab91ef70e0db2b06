// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestConnection(t *testing.T) {
	conn := openTest(t)
	for _, is := range []struct {
		name string
		ask  func() (bool, error)
		want bool
	}{
		{"alive", conn.IsAlive, true},
		{"secure", conn.IsSecure, true},
		{"encrypted", conn.IsEncrypted, false},
	} {
		if got := must(is.ask())(t); got != is.want {
			t.Errorf("%s is %v", is.name, got)
		}
	}
	if uri := must(conn.GetURI())(t); uri != "test:///default" {
		t.Errorf("the URI is %s", uri)
	}
	if typ := must(conn.GetType())(t); typ != "TEST" {
		t.Errorf("the type is %s", typ)
	}
	if host := must(conn.GetHostname())(t); host == "" {
		t.Error("the host has no name")
	}
	if caps := must(conn.GetCapabilities())(t); !strings.Contains(caps, "<capabilities>") {
		t.Errorf("the capabilities are %s", caps)
	}
	if own, other := must(GetVersion())(t), must(conn.GetLibVersion())(t); own < 9_000_000 || own != other {
		t.Errorf("the library is %d, the connection says %d", own, other)
	}
	must(conn.GetVersion())(t)
	if n := must(conn.GetFreeMemory())(t); n == 0 {
		t.Error("no memory is free")
	}
}

func TestConnectionRef(t *testing.T) {
	conn := openTest(t)
	ok(t, conn.Ref())
	if n := must(conn.Close())(t); n != 1 {
		t.Errorf("%d references are left, want 1", n)
	}
	must(conn.GetURI())(t)

	dom := must(conn.LookupDomainByName("test"))(t)
	defer free(t, dom)
	same := must(dom.DomainGetConnect())(t)
	if uri := must(same.GetURI())(t); uri != "test:///default" {
		t.Errorf("the URI is %s", uri)
	}
	if n := must(same.Close())(t); n == 0 {
		t.Error("the connection is gone")
	}
}

func TestReadOnlyConnection(t *testing.T) {
	for name, open := range map[string]func() (*Connect, error){
		"NewConnectReadOnly": func() (*Connect, error) { return NewConnectReadOnly("test:///default") },
		"CONNECT_RO":         func() (*Connect, error) { return NewConnectWithAuthDefault("test:///default", CONNECT_RO) },
	} {
		conn := must(open())(t)
		dom := must(conn.LookupDomainByName("test"))(t)
		err := dom.Destroy()
		if wantCode(t, err, ERR_OPERATION_DENIED); t.Failed() {
			t.Error(name)
		}
		free(t, dom)
		conn.Close()
	}
}

func TestConnectFails(t *testing.T) {
	_, err := NewConnect("test:///nosuch/node.xml")
	var e Error
	if !errors.As(err, &e) || e.Code == ERR_OK || e.Message == "" {
		t.Errorf("the error is %v", err)
	}
}

// TestErrorOfLookup: the parts of an error, and that it is a value.
func TestErrorOfLookup(t *testing.T) {
	conn := openTest(t)
	_, err := conn.LookupDomainByName("nosuch")
	e, isError := err.(Error)
	if !isError {
		t.Fatalf("the error is a %T", err)
	}
	if e.Code != ERR_NO_DOMAIN || e.Domain != FROM_TEST || e.Level != ERR_ERROR || e.Message != "Domain not found" {
		t.Errorf("the error is %#v", e)
	}
	if !strings.Contains(err.Error(), e.Message) {
		t.Errorf("%q does not have the message", err)
	}
	if !errors.Is(fmt.Errorf("wrapped: %w", err), ERR_NO_DOMAIN) || errors.Is(err, ERR_NO_CONNECT) {
		t.Error("errors.Is does not go by the code")
	}
}

// TestErrorsOfThreads: the error of one call is not that of another, which
// went wrong in another way at the same time.
func TestErrorsOfThreads(t *testing.T) {
	conn := openTest(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := fmt.Sprintf("nosuch%d", i)
			for range 200 {
				_, err := conn.LookupStoragePoolByName(name)
				if err == nil || !strings.Contains(err.Error(), "'"+name+"'") {
					t.Errorf("the error of %s is %v", name, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestKeepAliveOfLocalDriver: it has none.
func TestKeepAliveOfLocalDriver(t *testing.T) {
	conn := openTest(t)
	wantCode(t, conn.SetKeepAlive(5, 3), ERR_NO_SUPPORT)
}

// authConfig is a configuration of the test driver that wants a password.
const authConfig = `<node>
  <auth><user password="secret">astrochicken</user><user>bigbird</user></auth>
  <domain type='test'><name>guarded</name><memory>1024</memory><os><type>hvm</type></os></domain>
</node>`

func authURI(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "node.xml")
	ok(t, os.WriteFile(file, []byte(authConfig), 0o600))
	return "test://" + file
}

// answers is a callback that gives these, and counts how often it was asked.
func answers(user, password string, asked *int) ConnectAuthCallback {
	return func(creds []*ConnectCredential) {
		*asked++
		for _, c := range creds {
			switch c.Type {
			case CRED_AUTHNAME:
				c.Result, c.ResultLen = user, len(user)
			case CRED_PASSPHRASE:
				c.Result = password
			}
		}
	}
}

func TestAuth(t *testing.T) {
	uri := authURI(t)
	before := handles.Load()
	types := []ConnectCredentialType{CRED_AUTHNAME, CRED_PASSPHRASE}
	for _, c := range []struct {
		user, password string
		allowed        bool
	}{
		{"astrochicken", "secret", true},
		{"bigbird", "", true},
		{"astrochicken", "wrong", false},
		{"nobody", "secret", false},
	} {
		asked := 0
		conn, err := NewConnectWithAuth(uri, &ConnectAuth{CredType: types, Callback: answers(c.user, c.password, &asked)}, 0)
		if (err == nil) != c.allowed {
			t.Errorf("%s with %q: %v", c.user, c.password, err)
		}
		if err != nil {
			wantCode(t, err, ERR_AUTH_FAILED)
		} else {
			conn.Close()
		}
		if asked == 0 {
			t.Errorf("%s was not asked", c.user)
		}
	}
	if n := handles.Load(); n != before {
		t.Errorf("there are %d callbacks, before there were %d", n, before)
	}
}

func TestAuthWithoutCallback(t *testing.T) {
	uri := authURI(t)
	if _, err := NewConnect(uri); err == nil {
		t.Error("no password was needed")
	}
	if _, err := NewConnectWithAuth(uri, &ConnectAuth{CredType: []ConnectCredentialType{CRED_AUTHNAME, CRED_PASSPHRASE}}, 0); err == nil {
		t.Error("no password was given")
	}
	if _, err := NewConnectWithAuth(uri, &ConnectAuth{}, 0); err == nil {
		t.Error("nothing can be asked for")
	}
}

// TestOpenAndClose: whatever a connection and its domain take, they give back.
func TestOpenAndClose(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 500
	}
	before := handles.Load()
	memory := residentSize(t)
	for range n {
		conn, err := NewConnectWithAuth("test:///default", &ConnectAuth{}, 0)
		ok(t, err)
		dom, err := conn.LookupDomainByName("test")
		ok(t, err)
		ok(t, dom.Free())
		if left, err := conn.Close(); left != 0 || err != nil {
			t.Fatalf("%d references are left (%v)", left, err)
		}
	}
	if n := handles.Load(); n != before {
		t.Errorf("there are %d callbacks, before there were %d", n, before)
	}
	if grown := residentSize(t) - memory; grown > 64<<20 {
		t.Errorf("the process grew by %d MiB", grown>>20)
	}
}

// residentSize is the memory of the process in bytes.
func residentSize(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	ok(t, err)
	var size, resident int
	_, err = fmt.Sscan(string(data), &size, &resident)
	ok(t, err)
	return resident * os.Getpagesize()
}

// SPDX-License-Identifier: Apache-2.0

package virt

import (
	"os"
	"strings"
	"testing"
)

func TestRemote(t *testing.T) {
	for _, c := range []struct {
		uri    string
		remote Remote
		is     bool
	}{
		{uri: "qemu:///system"},
		{uri: "qemu:///session"},
		{uri: "qemu:///system?socket=/run/libvirt/libvirt-sock"},
		{uri: "qemu+unix:///system"},
		{uri: "qemu:///embed?root=/tmp/x"},
		{uri: "test:///default"},
		{uri: "an-alias"},
		{"qemu+ssh://host/system", Remote{Transport: "ssh", Host: "host"}, true},
		{"qemu+ssh:///system", Remote{Transport: "ssh", Host: "localhost"}, true},
		{"qemu+ssh://me@host:2222/system?keyfile=/k", Remote{"ssh", "host", "me", 2222, "/k"}, true},
		{"qemu+libssh2://me@host/system", Remote{Transport: "libssh2", Host: "host", User: "me"}, true},
		{"qemu+libssh://host/system", Remote{Transport: "libssh", Host: "host"}, true},
		{"qemu+tls://host/system", Remote{Transport: "tls", Host: "host"}, true},
		{"qemu://host/system", Remote{Transport: "tls", Host: "host"}, true},
		{"qemu+tcp://[::1]:16509/system", Remote{Transport: "tcp", Host: "::1", Port: 16509}, true},
	} {
		u, err := ParseURI(c.uri)
		if err != nil {
			t.Errorf("%s: %v", c.uri, err)
			continue
		}
		remote, is := u.Remote()
		if is != c.is || remote != c.remote {
			t.Errorf("%s: %+v, %v", c.uri, remote, is)
		}
		if u.String() != c.uri {
			t.Errorf("%s has become %s", c.uri, u)
		}
	}
}

func TestBadURI(t *testing.T) {
	for uri, want := range map[string]string{
		"kvm:///system":                        `no driver "kvm"`,
		"nosuch+ssh://host/system":             `no driver "nosuch"`,
		"qemu+ssh://me:topsecret@ho st/":       "invalid character",
		"nosuch+ssh://me:topsecret@host/":      `no driver "nosuch"`,
		"qemu+tcp://me:topsecret@host:port/sy": "invalid port",
	} {
		_, err := ParseURI(uri)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", uri, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "topsecret") {
			t.Errorf("the password is in %v", err)
		}
	}
}

func TestDefaultURI(t *testing.T) {
	t.Setenv("LIBVIRT_DEFAULT_URI", "test:///default")
	for given, want := range map[string]string{"": "test:///default", "qemu:///system": "qemu:///system"} {
		u, err := Options{URI: given}.uri()
		if err != nil || u.String() != want {
			t.Errorf("%q gives %s (%v)", given, u, err)
		}
	}
	t.Setenv("LIBVIRT_DEFAULT_URI", "")
	want := "qemu:///session"
	if os.Geteuid() == 0 {
		want = "qemu:///system"
	}
	if got := DefaultURI(); got != want {
		t.Errorf("the default is %s", got)
	}
}

func TestLogin(t *testing.T) {
	for uri, want := range map[string]string{
		"qemu+ssh://host/system":             "qemu+ssh://me@host:2222/system",
		"qemu+ssh:///system":                 "qemu+ssh://me@localhost:2222/system",
		"qemu+ssh://[::1]/system":            "qemu+ssh://me@[::1]:2222/system",
		"qemu+ssh://root@host:22/system?a=b": "qemu+ssh://root@host:22/system?a=b",
		"qemu+tcp://host/system":             "qemu+tcp://host/system",
		"qemu:///system":                     "qemu:///system",
		"an-alias":                           "an-alias",
	} {
		u, err := Options{URI: uri, SSHUser: "me", SSHPort: 2222}.uri()
		if err != nil || u.String() != want {
			t.Errorf("%s has become %s (%v)", uri, u, err)
		}
	}
}

func TestKeyFile(t *testing.T) {
	for uri, want := range map[string]string{
		"qemu+ssh://host/system":                "qemu+ssh://host/system?keyfile=%2Fk+1",
		"qemu+ssh://host/system?no_tty=1":       "qemu+ssh://host/system?keyfile=%2Fk+1&no_tty=1",
		"qemu+libssh2://host/system":            "qemu+libssh2://host/system?keyfile=%2Fk+1",
		"qemu+ssh://host/system?keyfile=/other": "qemu+ssh://host/system?keyfile=/other",
		"qemu+tls://host/system":                "qemu+tls://host/system",
		"qemu:///system":                        "qemu:///system",
	} {
		u, err := Options{URI: uri, KeyFile: "/k 1"}.uri()
		if err != nil || u.String() != want {
			t.Errorf("%s has become %s (%v)", uri, u, err)
		}
	}
}

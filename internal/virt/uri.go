// SPDX-License-Identifier: Apache-2.0

package virt

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"libvirt.org/go/libvirt"
)

// drivers are those of libvirt. An unknown one would be tried on the local
// daemon, with an error about its socket.
var drivers = []string{"bhyve", "ch", "esx", "gsx", "hyperv", "lxc", "openvz", "qemu", "test", "vbox", "vmwarefusion", "vmwareplayer", "vmwarews", "vpx", "vz", "xen"}

// DefaultURI is the hypervisor that is meant where nobody names one:
// $LIBVIRT_DEFAULT_URI, else that of the system for root and that of the
// session for others.
func DefaultURI() string {
	if uri := os.Getenv("LIBVIRT_DEFAULT_URI"); uri != "" {
		return uri
	}
	if os.Geteuid() == 0 {
		return "qemu:///system"
	}
	return "qemu:///session"
}

// URI is a hypervisor's: DRIVER[+TRANSPORT]://[USER@][HOST][:PORT]/PATH?QUERY,
// or an alias from libvirt's configuration.
type URI struct {
	text string
	url  *url.URL
}

// ParseURI checks that text can be a URI of libvirt.
func ParseURI(text string) (URI, error) {
	u, err := url.Parse(text)
	if err != nil {
		return URI{}, fmt.Errorf("libvirt URI: %w", withoutURL(err))
	}
	driver, _, _ := strings.Cut(u.Scheme, "+")
	if u.Scheme != "" && !slices.Contains(drivers, driver) {
		return URI{}, fmt.Errorf("libvirt URI %s: there is no driver %q; the usual ones are qemu:///system and qemu+ssh://HOST/system", u.Redacted(), driver)
	}
	return URI{text, u}, nil
}

// withoutURL is the reason of an error of [url.Parse] alone: what it failed on
// may hold a password.
func withoutURL(err error) error {
	if e, ok := err.(*url.Error); ok {
		return e.Err
	}
	return err
}

// uri is the URI to connect to.
func (o Options) uri() (URI, error) {
	text := o.URI
	if text == "" {
		text = DefaultURI()
	}
	u, err := ParseURI(text)
	if err != nil {
		return u, err
	}
	if remote, _ := u.Remote(); !remote.SSH() {
		return u, nil
	}
	return u.withLogin(o), nil
}

// withLogin adds what the URI does not say of how to log in by ssh.
func (u URI) withLogin(o Options) URI {
	with := *u.url
	if query := with.Query(); o.KeyFile != "" && !query.Has("keyfile") {
		query.Set("keyfile", o.KeyFile)
		with.RawQuery = query.Encode()
	}
	if o.SSHUser != "" && with.User.Username() == "" {
		with.User = url.User(o.SSHUser)
	}
	if o.SSHPort != 0 && with.Port() == "" {
		with.Host = net.JoinHostPort(cmp.Or(with.Hostname(), "localhost"), strconv.Itoa(o.SSHPort))
	}
	if with == *u.url {
		return u
	}
	return URI{with.String(), &with}
}

// resolved is the URI that an alias stands for; others stay as they are.
func (u URI) resolved(conn *libvirt.Connect) URI {
	if u.url.Scheme != "" {
		return u
	}
	text, err := conn.GetURI()
	if err != nil {
		return u
	}
	if behind, err := ParseURI(text); err == nil {
		return behind
	}
	return u
}

// String is the URI for libvirt.
func (u URI) String() string { return u.text }

// Redacted is the URI for people and logs, without a password.
func (u URI) Redacted() string { return u.url.Redacted() }

// Remote is how to reach the machine of the hypervisor.
type Remote struct {
	Transport string // ssh, libssh, libssh2, tls, tcp, ext; never empty
	Host      string // a name or an address, without brackets
	User      string // may be empty
	Port      int    // 0 is the transport's usual one
	KeyFile   string // of ssh, may be empty
}

// SSH says whether the transport is one of ssh's.
func (r Remote) SSH() bool {
	return r.Transport == "ssh" || r.Transport == "libssh" || r.Transport == "libssh2"
}

// Remote says whether the hypervisor is on another machine, or is reached as
// if it were: through ssh, tls or tcp. Files named in its XML are there.
func (u URI) Remote() (Remote, bool) {
	_, transport, _ := strings.Cut(u.url.Scheme, "+")
	host := u.url.Hostname()
	if transport == "unix" || host == "" && transport == "" {
		return Remote{}, false
	}
	if transport == "" {
		transport = "tls" // libvirt's choice for a host
	}
	if host == "" {
		host = "localhost"
	}
	port, _ := strconv.Atoi(u.url.Port()) // url.Parse checked it
	return Remote{transport, host, u.url.User.Username(), port, u.url.Query().Get("keyfile")}, true
}

// URI is the URI that the connection was made with.
func (c *Connection) URI() URI { return c.uri }

// Remote is that of the connection's URI.
func (c *Connection) Remote() (Remote, bool) { return c.uri.Remote() }

// SPDX-License-Identifier: Apache-2.0

// Package hostargs holds the options that say where libvirt is and how to get
// there, which all commands that talk to it have in common.
package hostargs

import (
	"fmt"
	"net/url"
	"os"

	"virtnb/internal/argparse"
	"virtnb/internal/host"
)

// Host says how to reach libvirt and the disks that it manages.
type Host struct {
	URI            string // of libvirt
	User, Password string // for libvirt, by SASL, if both are given
	SSHUser        string // "": that of the URI, or of the configuration of ssh, or who calls
	SSHPort        int
	SSHPrivateKey  string // a file; "": agent and configuration of ssh
	SSHAcceptNew   bool   // accept the key of a host that was never seen before
	NBDPort        int    // of the NBD server on a remote host; several disks that are off take those after it
	NBDIP          string // that it listens on, and we connect to; "": the name of the host as libvirt tells it
	TLS            bool   // for NBD
	TLSCert        string // the folder of certificates, here and there
}

// DefaultSSHPort is that of sshd. An option that says so leaves the port to the
// URI and to the configuration of ssh.
const DefaultSSHPort = 22

// Default is a local libvirt, or the one that LIBVIRT_DEFAULT_URI names.
func Default() Host {
	uri := os.Getenv("LIBVIRT_DEFAULT_URI")
	switch {
	case uri != "":
	case os.Geteuid() == 0:
		uri = "qemu:///system"
	default:
		uri = "qemu:///session"
	}
	return Host{URI: uri, SSHPort: DefaultSSHPort, NBDPort: 10809, TLSCert: "/etc/pki/qemu/"}
}

// Options are those that virtnbdbackup and virtnbdrestore have. The help shows
// the values of h as the defaults.
func (h *Host) Options() []argparse.Option {
	return []argparse.Option{
		{Names: []string{"-U", "--uri"}, Into: &h.URI, Help: fmt.Sprintf("libvirt connection URI, also from the variable LIBVIRT_DEFAULT_URI (default: %s)", h.URI)},
		{Names: []string{"--user"}, Into: &h.User, Help: "user to authenticate against libvirtd"},
		{Names: []string{"--ssh-user"}, Into: &h.SSHUser, Value: "USER", Help: "user to authenticate against the remote sshd (default: that of the URI, or who calls)"},
		{Names: []string{"--ssh-port"}, Into: &h.SSHPort, Value: "PORT", Help: fmt.Sprintf("port of the remote sshd (default: %d)", h.SSHPort)},
		{Names: []string{"--ssh-private-key"}, Into: &h.SSHPrivateKey, Value: "FILE", Help: "private key for the remote sshd (default: what the agent and the configuration of ssh offer)"},
		{Names: []string{"--password"}, Into: &h.Password, Help: "password to authenticate against libvirtd; other users of this machine can see it, an authfile in the URI they cannot"},
		{Names: []string{"-P", "--nbd-port"}, Into: &h.NBDPort, Value: "PORT", Help: fmt.Sprintf("port of the NBD service on the remote host; must be another one for each backup at the same time (default: %d)", h.NBDPort)},
		{Names: []string{"-I", "--nbd-ip"}, Into: &h.NBDIP, Value: "IP", Help: "address to bind the remote NBD service to, instead of sending its data through SSH (with --tls, or without SSH, default: hostname returned by libvirtd)"},
		{Names: []string{"--tls"}, Into: &h.TLS, Help: "use TLS for the NBD connection, and verify the server"},
		{Names: []string{"--tls-cert"}, Into: &h.TLSCert, Value: "DIR", Help: fmt.Sprintf("certificates for TLS: those of the client here, and on the remote host those of the server for domains that are off and for restore (default: %s)", h.TLSCert)},
	}
}

// OwnOptions are those that virtnb adds to them.
func (h *Host) OwnOptions() []argparse.Option {
	return []argparse.Option{
		{Names: []string{"--connect"}, Exact: true, Into: &h.URI, Value: "URI", Help: "another name for --uri"},
		{Names: []string{"--ssh-accept-new-keys"}, Exact: true, Into: &h.SSHAcceptNew, Help: "accept the key of an SSH server that was never seen before, and remember it; a key that has changed is refused all the same"},
	}
}

// SSH says how to reach the host of a libvirt URI, as the options have it and
// else as the URI does; remote is false for a URI that does not go through SSH.
func (h Host) SSH(uri string) (o host.SSHOptions, remote bool, err error) {
	o, remote, err = host.FromURI(uri)
	if h.SSHUser != "" {
		o.User = h.SSHUser
	}
	if h.SSHPort != DefaultSSHPort {
		o.Port = h.SSHPort
	}
	if h.SSHPrivateKey != "" {
		o.KeyFile = h.SSHPrivateKey
	}
	o.AcceptNewKeys = o.AcceptNewKeys || h.SSHAcceptNew
	return o, remote, err
}

// Check fails for what cannot be.
func (h Host) Check() error {
	if h.SSHPort < 1 || h.SSHPort > 65535 {
		return fmt.Errorf("SSH port %d: must be 1 to 65535", h.SSHPort)
	}
	if h.NBDPort < 1 || h.NBDPort > 65535 {
		return fmt.Errorf("NBD port %d: must be 1 to 65535", h.NBDPort)
	}
	return nil
}

// Secrets are the passwords among the values, for nobody to see.
func (h Host) Secrets() (list []string) {
	if h.Password != "" {
		list = append(list, h.Password)
	}
	if u, err := url.Parse(h.URI); err == nil {
		if password, given := u.User.Password(); given && password != "" {
			list = append(list, password)
		}
	}
	return list
}

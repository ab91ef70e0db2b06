// SPDX-License-Identifier: Apache-2.0

package virt

import (
	"errors"
	"fmt"
	"strings"

	"libvirt.org/go/libvirt"
)

// failure is an error of libvirt with what was tried and what to do next. It
// has libvirt's message and no code, which errors.Is still finds.
type failure struct {
	what string
	err  error
	hint string
}

func (f *failure) Error() string {
	text := f.what + ": " + message(f.err)
	if f.hint != "" {
		text += "; " + f.hint
	}
	return text
}

func (f *failure) Unwrap() error { return f.err }

// message is libvirt's own words in err, or err's.
func message(err error) string {
	var e libvirt.Error
	if errors.As(err, &e) {
		return strings.TrimSpace(e.Message)
	}
	return err.Error()
}

// Failed is err with what was tried, in libvirt's words: "start domain vm1".
// It is nil for nil.
func Failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return &failure{what: what, err: err}
}

// explain says what to do about a connection that could not be made.
func explain(err error, uri URI, o Options) error {
	return &failure{"connect to libvirt at " + uri.Redacted(), err, connectHint(err, uri, o)}
}

// connectHint goes by libvirt's codes and, where one code stands for many
// things, by its messages: they are in English where no translation is
// installed.
func connectHint(err error, uri URI, o Options) string {
	text := message(err)
	remote, isRemote := uri.Remote()
	switch {
	case !errors.As(err, new(libvirt.Error)):
		return "" // the context ended
	case isAuth(err):
		return authHint(text, o)
	case remote.SSH():
		return sshHint(text, remote)
	case isRemote:
		return fmt.Sprintf("does libvirtd on %s listen for %s, and does no firewall stand between?", remote.Host, remote.Transport)
	case strings.Contains(text, "Permission denied"):
		return groupHint
	case strings.Contains(text, "Failed to connect socket"):
		return daemonHint(uri)
	}
	return ""
}

const groupHint = "run this as root, or let your user use libvirt: usermod -aG libvirt USER, and log in again; qemu:///session needs neither"

func isAuth(err error) bool {
	return errors.Is(err, libvirt.ERR_AUTH_FAILED) || errors.Is(err, libvirt.ERR_AUTH_CANCELLED) ||
		errors.Is(err, libvirt.ERR_AUTH_UNAVAILABLE) || errors.Is(err, libvirt.ERR_ACCESS_DENIED)
}

func authHint(text string, o Options) string {
	switch {
	case strings.Contains(text, "polkit") || strings.Contains(text, "org.libvirt"):
		return groupHint
	case o.User == "" && o.Password == "":
		return "give a user and a password, or an authentication file with ?authfile=FILE in the URI"
	}
	return fmt.Sprintf("user %q or the password is wrong", o.User)
}

// sshHint is about the ssh program, whose own message is within libvirt's.
func sshHint(text string, remote Remote) string {
	target := remote.Host
	if remote.User != "" {
		target = remote.User + "@" + target
	}
	if remote.Port != 0 {
		target = fmt.Sprintf("-p %d %s", remote.Port, target)
	}
	if strings.Contains(strings.ToLower(text), "host key") {
		return fmt.Sprintf("the host's key is not known or has changed: compare it and accept it once with: ssh %s", target)
	}
	return fmt.Sprintf("see whether this works without a password: ssh %s virsh list", target)
}

func daemonHint(uri URI) string {
	if strings.HasPrefix(uri.url.Path, "/session") {
		return "is libvirt-daemon installed? it starts the session's daemon by itself"
	}
	return "start the daemon: systemctl start libvirtd (or virtqemud), or choose another with --uri"
}

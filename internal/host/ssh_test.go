// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"virtnb/internal/host"
	"virtnb/internal/host/hosttest"
)

// refused connects and wants an error that says all of these.
func refused(t *testing.T, o host.SSHOptions, words ...string) {
	t.Helper()
	h, err := host.Connect(t.Context(), o)
	if err == nil {
		h.Close()
		t.Fatal("connected")
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
}

func accepted(t *testing.T, o host.SSHOptions) {
	t.Helper()
	h, err := host.Connect(t.Context(), o)
	check(t, err)
	defer h.Close()
	out, err := h.Run(t.Context(), []string{"echo", "here"})
	check(t, err)
	if string(out) != "here\n" {
		t.Errorf("got %q", out)
	}
}

func TestUnknownHostKeyRefused(t *testing.T) {
	s := hosttest.Start(t)
	check(t, os.Remove(s.KnownHosts()))
	refused(t, s.Options(), "is not known", "ssh-keyscan -p "+strconv.Itoa(s.Port), s.KnownHosts(), "SHA256:", "--"+host.AcceptNewKeysFlag)
	if _, err := os.Stat(s.KnownHosts()); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the key was added")
	}
}

func TestChangedHostKeyRefused(t *testing.T) {
	s := hosttest.Start(t)
	accepted(t, s.Options())
	before, err := os.ReadFile(s.KnownHosts())
	check(t, err)
	s.NewHostKeys()
	o := s.Options()
	for _, accept := range []bool{false, true} {
		o.AcceptNewKeys = accept
		refused(t, o, "is not the one in "+s.KnownHosts()+":1", "ssh-keygen -R '[127.0.0.1]:"+strconv.Itoa(s.Port))
	}
	wantFile(t, s.KnownHosts(), string(before))
}

// TestChangedKindOfHostKeyRefused: the one that is known is gone, and there is
// one of another kind.
func TestChangedKindOfHostKeyRefused(t *testing.T) {
	s := hosttest.Start(t, "HostKeyAlgorithms ecdsa-sha2-nistp256")
	s.TrustHostKeys("ed25519")
	o := s.Options()
	o.AcceptNewKeys = true
	refused(t, o, "is not the one in")
}

func TestNewHostKeyAccepted(t *testing.T) {
	for name, config := range map[string]string{"plain": "HashKnownHosts no\n", "hashed": "HashKnownHosts yes\n"} {
		t.Run(name, func(t *testing.T) {
			s := hosttest.Start(t)
			check(t, os.WriteFile(filepath.Join(s.Home, ".ssh/config"), []byte(config), 0o600))
			check(t, os.WriteFile(s.KnownHosts(), []byte("# no end of line"), 0o600))
			o := s.Options()
			o.AcceptNewKeys = true
			accepted(t, o)
			accepted(t, s.Options())
			text, err := os.ReadFile(s.KnownHosts())
			check(t, err)
			if hidden := !bytes.Contains(text, []byte("127.0.0.1")); hidden != (name == "hashed") {
				t.Errorf("known_hosts: %s", text)
			}
			if bytes.Count(text, []byte("\n")) != 2 {
				t.Errorf("known_hosts: %s", text)
			}
			s.NewHostKeys()
			refused(t, o, "is not the one in")
		})
	}
}

func TestKnownKindOfHostKeyIsAskedFor(t *testing.T) {
	s := hosttest.Start(t)
	for _, kind := range []string{"ed25519", "ecdsa"} {
		s.TrustHostKeys(kind)
		accepted(t, s.Options())
	}
}

func TestDamagedKnownHosts(t *testing.T) {
	s := hosttest.Start(t)
	check(t, os.WriteFile(s.KnownHosts(), []byte("host ssh-ed25519 !!!\n"), 0o600))
	refused(t, s.Options(), s.KnownHosts(), "line 1")
}

func TestWrongKeyRefused(t *testing.T) {
	s := hosttest.Start(t)
	o := s.Options()
	o.KeyFile = filepath.Join(t.TempDir(), "other")
	hosttest.WriteKey(t, o.KeyFile, "")
	refused(t, o, "login refused", o.KeyFile, "ssh-copy-id")
	o.KeyFile += ".missing"
	refused(t, o, o.KeyFile, "no such file")
	check(t, os.WriteFile(o.KeyFile, []byte("no key"), 0o600))
	refused(t, o, o.KeyFile, "no key found")
	check(t, os.Remove(filepath.Join(s.Home, ".ssh/id_ed25519")))
	refused(t, s.Options(), "login refused", "no agent (SSH_AUTH_SOCK is not set)")
}

func TestKeyFile(t *testing.T) {
	s := hosttest.Start(t)
	o := s.Options()
	o.KeyFile = filepath.Join(t.TempDir(), "key")
	check(t, os.Rename(filepath.Join(s.Home, ".ssh/id_ed25519"), o.KeyFile))
	accepted(t, o)
}

// startAgent runs a real ssh-agent until the end of the test.
func startAgent(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "virtnb-agent")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	cmd := exec.Command("ssh-agent", "-D", "-a", socket)
	check(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	waitFor(t, "the agent", func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	t.Setenv("SSH_AUTH_SOCK", socket)
}

func addToAgent(t *testing.T, key, passphrase string) {
	t.Helper()
	ask := filepath.Join(t.TempDir(), "askpass")
	check(t, os.WriteFile(ask, []byte("#!/bin/sh\necho '"+passphrase+"'\n"), 0o700))
	cmd := exec.Command("ssh-add", key)
	cmd.Env = append(os.Environ(), "SSH_ASKPASS="+ask, "SSH_ASKPASS_REQUIRE=force", "DISPLAY=none")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %v: %s", err, out)
	}
}

func TestAgent(t *testing.T) {
	s := hosttest.Start(t)
	startAgent(t)
	key := filepath.Join(t.TempDir(), "key")
	check(t, os.Rename(filepath.Join(s.Home, ".ssh/id_ed25519"), key))
	refused(t, s.Options(), "login refused", "0 keys of the agent")
	addToAgent(t, key, "")
	accepted(t, s.Options())
	check(t, os.WriteFile(filepath.Join(s.Home, ".ssh/config"), []byte("IdentitiesOnly yes\n"), 0o600))
	refused(t, s.Options(), "login refused")
}

func TestEncryptedKey(t *testing.T) {
	s := hosttest.Start(t)
	o := s.Options()
	o.KeyFile = filepath.Join(s.Home, ".ssh/id_ed25519")
	s.Authorize(hosttest.WriteKey(t, o.KeyFile, "secret"))
	refused(t, o, "protected by a passphrase", "ssh-add")
	refused(t, s.Options(), "login refused", "protected by a passphrase")
	startAgent(t)
	refused(t, o, "protected by a passphrase", "ssh-add")
	addToAgent(t, o.KeyFile, "secret")
	accepted(t, o)
	check(t, os.WriteFile(filepath.Join(s.Home, ".ssh/config"), []byte("IdentitiesOnly yes\n"), 0o600))
	accepted(t, s.Options())
}

func TestSSHConfig(t *testing.T) {
	s := hosttest.Start(t)
	port := strconv.Itoa(s.Port)
	key := filepath.Join(s.Home, "other key")
	check(t, os.Rename(filepath.Join(s.Home, ".ssh/id_ed25519"), key))
	known := filepath.Join(s.Home, "known")
	check(t, os.Rename(s.KnownHosts(), known))
	config := func(text string) {
		t.Helper()
		check(t, os.WriteFile(filepath.Join(s.Home, ".ssh/config"), []byte(text), 0o600))
	}
	all := "Host kvm\n  HostName 127.0.0.1\n  Port " + port + "\n  User " + s.User + "\n  IdentityFile \"~/other key\"\n  UserKnownHostsFile %d/known\n"
	config(all)
	accepted(t, host.SSHOptions{Host: "kvm"})
	refused(t, host.SSHOptions{Host: "kvm", Port: 1}, "connection refused")
	refused(t, host.SSHOptions{Host: "kvm", User: "nobody"}, "nobody@kvm", "login refused")

	config(all + "Host front\n  HostName 127.0.0.1\n  Port " + port + "\n  IdentityFile \"~/other key\"\n  UserKnownHostsFile %d/known\n  ProxyJump " + s.User + "@kvm:" + port + "\n")
	waitFor(t, "connections to end", func() bool { return s.Connections() == 0 })
	h, err := host.Connect(t.Context(), host.SSHOptions{Host: "front"})
	check(t, err)
	if n := s.Connections(); n != 2 {
		t.Errorf("%d connections with one jump", n)
	}
	_, err = h.Run(t.Context(), []string{"true"})
	check(t, err)
	check(t, h.Close())

	config(all + "  ProxyCommand nc %h %p\n")
	refused(t, host.SSHOptions{Host: "kvm"}, "ProxyCommand", "not supported")
	config("Match exec true\n  Port 1\n")
	refused(t, host.SSHOptions{Host: "kvm.invalid"}, ".ssh/config was not used")
	alias, err := os.ReadFile(known)
	check(t, err)
	check(t, os.WriteFile(known, bytes.ReplaceAll(alias, []byte("[127.0.0.1]:"+port), []byte("name-of-it")), 0o600))
	config(all + "  HostKeyAlias name-of-it\n")
	accepted(t, host.SSHOptions{Host: "kvm"})
}

func TestFromURI(t *testing.T) {
	for uri, want := range map[string]host.SSHOptions{
		"qemu+ssh://kvm1/system":                                             {Host: "kvm1"},
		"qemu+ssh://bob@kvm1:2222/session":                                   {Host: "kvm1", Port: 2222, User: "bob"},
		"qemu+ssh:///system":                                                 {Host: "localhost"},
		"qemu+libssh2://[fe80::1]:22/system?keyfile=/k&known_hosts=/h":       {Host: "fe80::1", Port: 22, KeyFile: "/k", KnownHosts: []string{"/h"}},
		"qemu+libssh://kvm1/system?no_verify=1&sshauth=agent&command=/x/ssh": {Host: "kvm1", AcceptNewKeys: true},
	} {
		got, remote, err := host.FromURI(uri)
		check(t, err)
		if !remote || got.Host != want.Host || got.Port != want.Port || got.User != want.User || got.KeyFile != want.KeyFile ||
			got.AcceptNewKeys != want.AcceptNewKeys || strings.Join(got.KnownHosts, " ") != strings.Join(want.KnownHosts, " ") {
			t.Errorf("%s: %v %+v", uri, remote, got)
		}
	}
	for _, uri := range []string{"", "qemu:///system", "qemu+tls://kvm1/system", "qemu+unix:///system", "test:///default"} {
		if _, remote, err := host.FromURI(uri); remote || err != nil {
			t.Errorf("%q: %v, %v", uri, remote, err)
		}
	}
	for _, uri := range []string{"qemu+ssh://kvm1:99999/system", "qemu+ssh://kvm1:x/system", "%zz"} {
		if _, _, err := host.FromURI(uri); err == nil {
			t.Errorf("%q is no error", uri)
		}
	}
}

func TestUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // answers nothing
	check(t, err)
	defer listener.Close()
	t.Setenv("HOME", t.TempDir())
	silent := host.SSHOptions{Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	time.AfterFunc(100*time.Millisecond, func() { cancel(cause) })
	if _, err := host.Connect(ctx, silent); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	refused(t, host.SSHOptions{Host: "no-such-host.invalid"}, "no-such-host.invalid")
	refused(t, host.SSHOptions{Host: "-oProxyCommand=x"}, "is not a host")
	refused(t, host.SSHOptions{}, "is not a host")
}

// TestCutEndsProcess: what runs on the other machine ends with the connection,
// and what is to be removed there is.
func TestCutEndsProcess(t *testing.T) {
	s := hosttest.Start(t)
	h := s.Connect()
	dir := t.TempDir()
	pidFile, file := filepath.Join(dir, "pid"), filepath.Join(dir, "file")
	check(t, os.WriteFile(file, nil, 0o600))
	p, err := h.Start(t.Context(), host.Command{Argv: sleeper(pidFile), Remove: []string{file}})
	check(t, err)
	waitFor(t, "the program to start", func() bool { return readPID(pidFile) > 0 })
	s.Cut()
	if err := p.Wait(); err == nil || !strings.Contains(err.Error(), "connection was lost") {
		t.Errorf("got %v", err)
	}
	waitGone(t, readPID(pidFile))
	waitFor(t, "the file to be removed", func() bool { _, err := os.Stat(file); return err != nil })
	check(t, h.Close())
	waitFor(t, "sshd to end", func() bool { return s.Connections() == 0 })
}

// TestPing tells a lost connection from one that is there.
func TestPing(t *testing.T) {
	s := hosttest.Start(t)
	h := s.Connect()
	check(t, h.Ping(t.Context()))
	s.Cut()
	if err := h.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "the connection was lost") {
		t.Errorf("got %v", err)
	}
}

// TestCloseEndsProcess: so does Close.
func TestCloseEndsProcess(t *testing.T) {
	s := hosttest.Start(t)
	h := s.Connect()
	pidFile := filepath.Join(t.TempDir(), "pid")
	p, err := h.Start(t.Context(), host.Command{Argv: sleeper(pidFile)})
	check(t, err)
	waitFor(t, "the program to start", func() bool { return readPID(pidFile) > 0 })
	check(t, h.Close())
	<-p.Done()
	waitGone(t, readPID(pidFile))
	for what, err := range map[string]error{
		"run":  second(h.Run(t.Context(), []string{"true"})),
		"stat": second(h.Stat("/")),
		"dial": second(h.Dial(t.Context(), "tcp", "127.0.0.1:1")),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
	check(t, h.Close())
}

// cutter cuts the connection when it has been read once.
type cutter struct {
	s    *hosttest.Server
	zero io.Reader
	n    int
}

func (c *cutter) Read(p []byte) (int, error) {
	if c.n++; c.n == 20 {
		c.s.Cut()
	}
	return c.zero.Read(p)
}

func (c *cutter) Write(p []byte) (int, error) { return c.Read(p) }

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestCutEndsCopy: a copy in either direction ends with an error.
func TestCutEndsCopy(t *testing.T) {
	s := hosttest.Start(t)
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	check(t, os.WriteFile(name, []byte("old"), 0o600))
	_, err := host.Store(t.Context(), s.Connect(), name, 0o600, &cutter{s: s, zero: io.LimitReader(zeroes{}, 1<<30)})
	if err == nil {
		t.Error("stored over a connection that was cut")
	}
	wantFile(t, name, "old")

	big := filepath.Join(dir, "big")
	check(t, os.WriteFile(big, nil, 0o600))
	check(t, os.Truncate(big, 1<<30))
	n, err := host.Fetch(t.Context(), s.Connect(), big, &cutter{s: s, zero: zeroes{}})
	if err == nil || n == 1<<30 {
		t.Errorf("fetched %d bytes over a connection that was cut: %v", n, err)
	}
}

func TestForwardingNotAllowed(t *testing.T) {
	s := hosttest.Start(t, "DisableForwarding yes")
	_, err := s.Connect().Dial(t.Context(), "unix", "/x")
	if err == nil || !strings.Contains(err.Error(), "AllowStreamLocalForwarding") {
		t.Errorf("got %v", err)
	}
}

func TestNoSFTP(t *testing.T) {
	s := hosttest.Start(t, "Subsystem sftp /bin/false")
	_, err := s.Connect().Stat("/")
	if err == nil || !strings.Contains(err.Error(), "SFTP") {
		t.Errorf("got %v", err)
	}
}

// TestLibvirtURI runs what libvirt's client runs for such a URI.
func TestLibvirtURI(t *testing.T) {
	s := hosttest.Start(t)
	uri, err := url.Parse(s.LibvirtURI("/run/other"))
	check(t, err)
	if uri.Query().Get("socket") != "/run/other" {
		t.Errorf("%s", uri)
	}
	o, remote, err := host.FromURI(uri.String())
	check(t, err)
	if !remote {
		t.Errorf("%s is not remote", uri)
	}
	accepted(t, o)
	out, err := exec.Command(uri.Query().Get("command"), "-p", uri.Port(), "-l", uri.User.Username(), "-T", "-e", "none", "--", uri.Hostname(), "echo here").CombinedOutput()
	if err != nil || string(out) != "here\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// SPDX-License-Identifier: Apache-2.0

// Package hosttest runs a real SSH server for tests: sshd, with keys, a
// configuration and a port of its own, whose connections a test can cut.
package hosttest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"virtnb/internal/host"
)

// Server is an SSH server on loopback. The user of the test may log in.
type Server struct {
	Port int
	User string
	// Home is the home folder that HOME names during the test. Its .ssh has
	// the private key id_ed25519 that may log in, known_hosts with the server's
	// keys, and config for the ssh program.
	Home string

	t        testing.TB
	dir      string
	command  Command
	listener net.Listener
	work     sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns map[*net.TCPConn]*exec.Cmd
}

// Command makes the command that runs a program.
type Command func(name string, args ...string) *exec.Cmd

// Start starts a server; config are more lines for its sshd_config.
// Subsystem is SFTP unless they say otherwise. Until the
// end of the test HOME is a folder of its own and there is no SSH agent.
func Start(t testing.TB, config ...string) *Server {
	t.Helper()
	s := StartApart(t, exec.Command, config...)
	for _, variable := range s.Env() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	return s
}

// Env is the environment of programs that use the server.
func (s *Server) Env() []string { return []string{"HOME=" + s.Home, "SSH_AUTH_SOCK="} }

// StartApart is Start for tests that run at the same time as others: it leaves
// the environment to the programs that use the server, see Env. The server is
// run with command, which may lead to another place than that of the test.
func StartApart(t testing.TB, command Command, config ...string) *Server {
	t.Helper()
	me, err := user.Current()
	check(t, err)
	dir := t.TempDir()
	s := &Server{User: me.Username, Home: filepath.Join(dir, "home"), t: t, dir: dir, command: command, conns: make(map[*net.TCPConn]*exec.Cmd)}
	check(t, os.MkdirAll(filepath.Join(s.Home, ".ssh"), 0o700))
	if os.Getuid() == 0 { // sshd locks itself into this folder before a login
		check(t, os.MkdirAll("/run/sshd", 0o755))
	}
	s.listener, err = net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	s.Port = s.listener.Addr().(*net.TCPAddr).Port
	s.writeFiles(config)
	s.work.Go(s.accept)
	t.Cleanup(s.stop)
	return s
}

func (s *Server) writeFiles(config []string) {
	if !strings.Contains(strings.Join(config, "\n"), "Subsystem") {
		config = append(config, "Subsystem sftp internal-sftp")
	}
	s.NewHostKeys()
	s.TrustHostKeys("ed25519", "ecdsa")
	key := filepath.Join(s.Home, ".ssh/id_ed25519")
	s.write(filepath.Join(s.dir, "authorized_keys"), WriteKey(s.t, key, ""))
	s.write(filepath.Join(s.dir, "sshd_config"), strings.Join(append(config,
		"HostKey "+s.hostKey("ed25519"), "HostKey "+s.hostKey("ecdsa"),
		"AuthorizedKeysFile "+filepath.Join(s.dir, "authorized_keys"),
		"StrictModes no", "UsePAM no", "PermitRootLogin yes",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"LogLevel VERBOSE", ""), "\n"))
	s.write(filepath.Join(s.Home, ".ssh/config"), fmt.Sprintf("IdentityFile %s\nUserKnownHostsFile %s\n", key, s.KnownHosts()))
	s.write(s.client(), fmt.Sprintf("#!/bin/sh\nexec ssh -F '%s/.ssh/config' -o BatchMode=yes \"$@\"\n", s.Home))
	check(s.t, os.Chmod(s.client(), 0o755))
}

// KnownHosts is the file with the keys of the server.
func (s *Server) KnownHosts() string { return filepath.Join(s.Home, ".ssh/known_hosts") }

func (s *Server) hostKey(kind string) string { return filepath.Join(s.dir, "host_"+kind) }

// client is the ssh program with what it needs to reach the server.
func (s *Server) client() string { return filepath.Join(s.dir, "ssh") }

// Options reach the server.
func (s *Server) Options() host.SSHOptions {
	return host.SSHOptions{Host: "127.0.0.1", Port: s.Port}
}

// LibvirtURI is a URI for the libvirtd that listens on its usual socket, or on
// socket when that is not empty, through this server. libvirt's client runs
// the ssh program for it.
func (s *Server) LibvirtURI(socket string) string {
	uri := fmt.Sprintf("qemu+ssh://%s@127.0.0.1:%d/system?command=%s", s.User, s.Port, s.client())
	if socket != "" {
		uri += "&socket=" + socket
	}
	return uri
}

// Connect connects to the server until the end of the test.
func (s *Server) Connect() *host.SSH {
	s.t.Helper()
	h, err := host.Connect(s.t.Context(), s.Options())
	check(s.t, err)
	s.t.Cleanup(func() { h.Close() })
	return h
}

// NewHostKeys gives the server new keys; known_hosts stays as it is.
func (s *Server) NewHostKeys() {
	s.t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	check(s.t, err)
	writePrivate(s.t, s.hostKey("ed25519"), ed, "")
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(s.t, err)
	writePrivate(s.t, s.hostKey("ecdsa"), ec, "")
}

// TrustHostKeys makes known_hosts hold the server's keys of these kinds,
// "ed25519" and "ecdsa", and nothing else.
func (s *Server) TrustHostKeys(kinds ...string) {
	s.t.Helper()
	var lines strings.Builder
	for _, kind := range kinds {
		data, err := os.ReadFile(s.hostKey(kind))
		check(s.t, err)
		signer, err := ssh.ParsePrivateKey(data)
		check(s.t, err)
		address := knownhosts.Normalize(net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
		fmt.Fprintln(&lines, knownhosts.Line([]string{address}, signer.PublicKey()))
	}
	s.write(s.KnownHosts(), lines.String())
}

// WriteKey makes a new private key in a file, encrypted when there is a
// passphrase, and gives back its line for authorized_keys.
func WriteKey(t testing.TB, name, passphrase string) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	return writePrivate(t, name, key, passphrase)
}

// Authorize adds a line to authorized_keys.
func (s *Server) Authorize(line string) {
	s.t.Helper()
	name := filepath.Join(s.dir, "authorized_keys")
	old, err := os.ReadFile(name)
	check(s.t, err)
	s.write(name, string(old)+line)
}

func writePrivate(t testing.TB, name string, key crypto.Signer, passphrase string) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	check(t, err)
	check(t, os.WriteFile(name, pem.EncodeToMemory(block), 0o600))
	public, err := ssh.NewPublicKey(key.Public())
	check(t, err)
	return string(ssh.MarshalAuthorizedKey(public))
}

func (s *Server) write(name, text string) {
	s.t.Helper()
	check(s.t, os.WriteFile(name, []byte(text), 0o600))
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.work.Go(func() { s.serve(conn.(*net.TCPConn)) })
	}
}

// serve runs sshd for one connection, as inetd does.
func (s *Server) serve(conn *net.TCPConn) {
	defer conn.Close()
	file, err := conn.File()
	if err != nil {
		s.t.Error(err)
		return
	}
	cmd := s.command("/usr/sbin/sshd", "-i", "-f", filepath.Join(s.dir, "sshd_config"), "-E", s.log())
	cmd.Stdin, cmd.Stdout = file, file
	s.mu.Lock()
	err = cmd.Start()
	if err == nil {
		s.conns[conn] = cmd
	}
	s.mu.Unlock()
	file.Close()
	if err != nil {
		s.t.Errorf("sshd (package openssh-server): %v", err)
		return
	}
	cmd.Wait() // how it ended is in the log
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

func (s *Server) log() string { return filepath.Join(s.dir, "sshd.log") }

// Cut breaks all connections, for both sides at once. New ones are accepted.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.CloseRead() // also that of sshd, which has the same socket
		conn.CloseWrite()
	}
}

// Connections is how many there are.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *Server) stop() {
	s.listener.Close()
	s.Cut()
	timer := time.AfterFunc(30*time.Second, s.killAll)
	s.work.Wait()
	timer.Stop()
	if s.t.Failed() {
		text, _ := os.ReadFile(s.log())
		s.t.Logf("log of sshd:\n%s", text)
	}
}

func (s *Server) killAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cmd := range s.conns {
		s.t.Errorf("sshd %d did not end", cmd.Process.Pid)
		cmd.Process.Kill()
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

const (
	// connectTimeout bounds the connection and the login to one host.
	connectTimeout = 30 * time.Second
	// keepAlive is the time between two questions to the server, and
	// maxSilent how many may stay unanswered, which ends the connection:
	// nothing else notices a cable that was pulled.
	keepAlive = 15 * time.Second
	maxSilent = 4
	// keepAliveRequest is what the ssh program asks.
	keepAliveRequest = "keepalive@openssh.com"
)

// SSH is a machine reached over SSH, with its files over SFTP.
type SSH struct {
	settings *settings

	mu      sync.Mutex    // guards what follows
	clients []*ssh.Client // connections, the last one is that for new sessions
	closers []func()      // in reverse order at Close
	closed  bool
	sftp    *sftp.Client // nil before the first use of a file
}

var _ Host = (*SSH)(nil)

// Connect connects and logs in. ctx is for that only; the connection lasts
// until Close.
func Connect(ctx context.Context, o SSHOptions) (*SSH, error) {
	s, err := resolve(o)
	if err != nil {
		return nil, err
	}
	h := &SSH{settings: s}
	if _, err := h.connect(ctx); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// String is user@host.
func (h *SSH) String() string { return h.settings.String() }

// connect makes one more connection, through the jump hosts where there are
// some.
func (h *SSH) connect(ctx context.Context) (*ssh.Client, error) {
	hops := make([]*settings, 0, len(h.settings.jumps)+1)
	for _, jump := range h.settings.jumps {
		s, err := resolve(jump)
		if err != nil {
			return nil, err
		}
		hops = append(hops, s)
	}
	dial := (&net.Dialer{Timeout: connectTimeout}).DialContext
	var client *ssh.Client
	for _, hop := range append(hops, h.settings) {
		next, err := hop.login(ctx, dial)
		if err != nil {
			return nil, fmt.Errorf("ssh %s: %w", hop, err)
		}
		if err := h.keep(next); err != nil {
			return nil, err
		}
		client, dial = next, next.DialContext
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients = append(h.clients, client)
	return client, nil
}

// keep has a connection closed by Close and watched until then.
func (h *SSH) keep(client *ssh.Client) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		client.Close()
		return fmt.Errorf("ssh %s: %w", h, net.ErrClosed)
	}
	stop := make(chan struct{})
	go watchConnection(client, keepAlive, stop)
	h.closers = append(h.closers, func() { close(stop); client.Close() })
	return nil
}

// login connects to one host and logs in there.
func (s *settings) login(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error)) (*ssh.Client, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("no answer within %v", connectTimeout))
	defer cancel()
	keys, err := openHostKeys(s)
	if err != nil {
		return nil, err
	}
	ids, err := s.openIdentities()
	if err != nil {
		return nil, err
	}
	defer ids.close()
	conn, err := dial(ctx, "tcp", s.address)
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, s.noted())
	}
	// A connection through another one has no deadlines: closing it ends all.
	unhook := context.AfterFunc(ctx, func() { conn.Close() })
	c, channels, requests, err := ssh.NewClientConn(conn, s.address, &ssh.ClientConfig{
		User:              s.user,
		Auth:              []ssh.AuthMethod{ids.method()},
		HostKeyCallback:   keys.check,
		HostKeyAlgorithms: keys.algorithms(),
	})
	if !unhook() || err != nil {
		conn.Close()
		return nil, s.loginError(ctx, err, ids)
	}
	return ssh.NewClient(c, channels, requests), nil
}

// loginError says what the one who starts the command can do.
func (s *settings) loginError(ctx context.Context, err error, ids *identities) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if strings.Contains(err.Error(), "unable to authenticate") {
		return ids.refused(s.notes)
	}
	return fmt.Errorf("%s%s", strings.TrimPrefix(err.Error(), "ssh: handshake failed: "), s.noted())
}

func (s *settings) noted() string {
	if len(s.notes) == 0 {
		return ""
	}
	return " (" + strings.Join(s.notes, "; ") + ")"
}

// watchConnection closes a connection whose server does not answer any more.
func watchConnection(client ssh.Conn, interval time.Duration, stop <-chan struct{}) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	answers := make(chan struct{}, 1)
	for silent := 0; silent < maxSilent; silent++ {
		if silent == 0 {
			go func() {
				client.SendRequest(keepAliveRequest, true, nil)
				answers <- struct{}{}
			}()
		}
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		select {
		case <-answers:
			silent = -1
		default:
		}
	}
	client.Close()
}

// session opens a channel for a program. A server allows some of them in one
// connection (10 by default), so there is another connection after these.
func (h *SSH) session(ctx context.Context) (*ssh.Session, error) {
	h.mu.Lock()
	if h.closed || len(h.clients) == 0 {
		h.mu.Unlock()
		return nil, net.ErrClosed
	}
	client := h.clients[len(h.clients)-1]
	h.mu.Unlock()
	session, err := client.NewSession()
	if _, refused := errors.AsType[*ssh.OpenChannelError](err); refused {
		if client, err = h.connect(ctx); err == nil {
			session, err = client.NewSession()
		}
	}
	return session, err
}

// Run is documented at Host.
func (h *SSH) Run(ctx context.Context, argv []string) ([]byte, error) {
	return run(ctx, h, argv)
}

// Start is documented at Host. The login shell of the user reads the command
// line, in which everything is quoted.
func (h *SSH) Start(ctx context.Context, c Command) (*Process, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	session, err := h.session(ctx)
	if err != nil {
		return nil, fmt.Errorf("ssh %s: %w", h, err)
	}
	stderr := new(tail)
	session.Stdout, session.Stderr = c.Stdout, stderr
	stdin, err := session.StdinPipe()
	if err == nil {
		err = session.Start("exec /bin/sh -c " + Quote(lifeline(c)) + " sh " + quoteAll(c.Argv))
	}
	if err != nil {
		session.Close()
		return nil, fmt.Errorf("ssh %s: %s: %w", h, c.Argv[0], err)
	}
	g := &program{command: c, host: h.String(), lifeline: stdin, stderr: stderr}
	g.wait = func() (int, error) {
		defer session.Close()
		return sessionStatus(session.Wait())
	}
	g.kill = func() { session.Close() }
	return g.watch(ctx), nil
}

// sessionStatus takes the status out of an error of ssh.Session.Wait.
func sessionStatus(err error) (int, error) {
	if err == nil {
		return 0, nil
	}
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		return exit.ExitStatus(), nil
	}
	if _, ok := errors.AsType[*ssh.ExitMissingError](err); ok {
		return -1, errors.New("the SSH connection was lost")
	}
	return -1, err
}

// Dial is documented at Host.
func (h *SSH) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	h.mu.Lock()
	if h.closed || len(h.clients) == 0 {
		h.mu.Unlock()
		return nil, fmt.Errorf("ssh %s: %w", h, net.ErrClosed)
	}
	client := h.clients[0]
	h.mu.Unlock()
	conn, err := client.DialContext(ctx, network, address)
	if _, refused := errors.AsType[*ssh.OpenChannelError](err); refused { // its reason does not tell these apart
		err = fmt.Errorf("%w (nobody listens, the user may not open it, or sshd_config there does not allow it: AllowStreamLocalForwarding, AllowTcpForwarding)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("ssh %s: connect to %s there: %w", h, address, err)
	}
	return conn, nil
}

// Ping fails where the connection is lost, or the server does not answer before
// ctx ends: what breaks over SSH often does not tell why.
func (h *SSH) Ping(ctx context.Context) error {
	h.mu.Lock()
	clients := slices.Clone(h.clients)
	h.mu.Unlock()
	for _, client := range clients {
		answer := make(chan error, 1)
		go func() {
			_, _, err := client.SendRequest(keepAliveRequest, true, nil)
			answer <- err
		}()
		select {
		case err := <-answer:
			if err != nil {
				return fmt.Errorf("ssh %s: the connection was lost: %w", h, err)
			}
		case <-ctx.Done():
			return fmt.Errorf("ssh %s: the server does not answer: %w", h, context.Cause(ctx))
		}
	}
	return nil
}

// Close is documented at Host.
func (h *SSH) Close() error {
	h.mu.Lock()
	closers, files := h.closers, h.sftp
	h.closers, h.sftp, h.closed = nil, nil, true
	h.mu.Unlock()
	if files != nil {
		files.Close()
	}
	for i := len(closers) - 1; i >= 0; i-- {
		closers[i]()
	}
	return nil
}

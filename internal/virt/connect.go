// SPDX-License-Identifier: Apache-2.0

// Package virt is what every command that talks to libvirt needs: which URI,
// who is asked for a password, what an error means and what to do about it,
// and calls that end when their context does.
//
//	conn, err := virt.Connect(ctx, virt.Options{URI: uri})
//	if err != nil { ... }
//	defer conn.Close()
//	ctx, cancel := conn.Context(ctx) // ends when the connection is lost
//	defer cancel()
//	dom, err := conn.Domain("vm1")
//	if err != nil { ... }
//	defer dom.Free()
package virt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"libvirt.org/go/libvirt"
)

// Keep-alive of connections to other machines: a question every five seconds,
// and the connection is lost after three without an answer.
const (
	keepAliveInterval = 5 // seconds
	keepAliveCount    = 3
)

// ErrLost is in the error of a connection that ended without having been
// closed.
var ErrLost = errors.New("libvirt connection lost")

// Options say how to connect.
type Options struct {
	// URI is the hypervisor's; where it is empty [DefaultURI] is.
	URI string
	// User and Password are for SASL. Without them the URI's authfile= and
	// libvirt's own auth.conf count.
	User, Password string
	// KeyFile, SSHUser and SSHPort are for a connection through ssh, unless
	// the URI names them: the private key (keyfile=), who logs in, and where.
	KeyFile string
	SSHUser string
	SSHPort int
}

// Connection is an open connection. Its methods and those of the Connect in it
// may be used from many goroutines. Close it.
type Connection struct {
	*libvirt.Connect
	uri    URI
	lost   chan struct{} // closed when the connection is lost
	reason libvirt.ConnectCloseReason
	close  sync.Once
}

// startEventLoop runs libvirt's event loop for the rest of the process.
// libvirt wants it before the first connection.
var startEventLoop = sync.OnceValue(func() error {
	if err := libvirt.EventRegisterDefaultImpl(); err != nil {
		return fmt.Errorf("libvirt: %s", message(err))
	}
	go func() {
		for {
			if libvirt.EventRunDefaultImpl() != nil {
				time.Sleep(100 * time.Millisecond) // do not spin on what stays broken
			}
		}
	}()
	return nil
})

// Connect connects to the hypervisor that o names. It returns when ctx ends,
// even where libvirt still waits. Its errors say what to do.
func Connect(ctx context.Context, o Options) (*Connection, error) {
	uri, err := o.uri()
	if err != nil {
		return nil, err
	}
	if err := startEventLoop(); err != nil {
		return nil, err
	}
	conn, err := open(ctx, uri, o)
	if err != nil {
		return nil, explain(err, uri, o)
	}
	c := &Connection{Connect: conn, uri: uri.resolved(conn), lost: make(chan struct{})}
	if err := c.watch(); err != nil {
		_, _ = conn.Close() // the first error is the one that tells
		return nil, explain(err, uri, o)
	}
	return c, nil
}

// open waits for libvirt as long as ctx lasts. A connection that comes later
// is closed.
func open(ctx context.Context, uri URI, o Options) (*libvirt.Connect, error) {
	type result struct {
		conn *libvirt.Connect
		err  error
	}
	opened := make(chan result)
	go func() {
		conn, err := libvirt.NewConnectWithAuth(uri.String(), o.auth(), 0)
		select {
		case opened <- result{conn, err}:
		case <-ctx.Done():
			if err == nil {
				_, _ = conn.Close() // nobody is there to hear of it
			}
		}
	}()
	select {
	case r := <-opened:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// auth answers libvirt's questions with the user and the password. What is
// not there is answered with nothing, which the other end refuses.
func (o Options) auth() *libvirt.ConnectAuth {
	return &libvirt.ConnectAuth{
		CredType: []libvirt.ConnectCredentialType{libvirt.CRED_AUTHNAME, libvirt.CRED_PASSPHRASE},
		Callback: func(creds []*libvirt.ConnectCredential) {
			for _, c := range creds {
				switch c.Type {
				case libvirt.CRED_AUTHNAME:
					c.Result = o.User
				case libvirt.CRED_PASSPHRASE:
					c.Result = o.Password
				}
				c.ResultLen = len(c.Result)
			}
		},
	}
}

// watch lets a lost connection be noticed. A driver in this process cannot be
// lost, and says that it does not support this.
func (c *Connection) watch() error {
	err := c.RegisterCloseCallback(func(_ *libvirt.Connect, reason libvirt.ConnectCloseReason) {
		c.close.Do(func() {
			c.reason = reason
			close(c.lost)
		})
	})
	if _, remote := c.Remote(); err == nil && remote {
		err = c.SetKeepAlive(keepAliveInterval, keepAliveCount)
	}
	if errors.Is(err, libvirt.ERR_NO_SUPPORT) {
		return nil
	}
	return err
}

// Lost is closed when the connection is lost.
func (c *Connection) Lost() <-chan struct{} {
	return c.lost
}

// Err is nil, or after [Connection.Lost] an error with [ErrLost] that says why.
func (c *Connection) Err() error {
	select {
	case <-c.lost:
		return fmt.Errorf("%w: %s: %s", ErrLost, c.uri.Redacted(), closeReason(c.reason))
	default:
		return nil
	}
}

func closeReason(r libvirt.ConnectCloseReason) string {
	switch r {
	case libvirt.CONNECT_CLOSE_REASON_EOF:
		return "the other end closed it; was libvirtd restarted?"
	case libvirt.CONNECT_CLOSE_REASON_KEEPALIVE:
		return "the other end does not answer any more"
	case libvirt.CONNECT_CLOSE_REASON_CLIENT:
		return "it was closed here"
	}
	return "an I/O error"
}

// Context is a context that ends with ctx, and with the cause
// [Connection.Err] when the connection is lost.
func (c *Connection) Context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-c.lost:
			cancel(c.Err())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// Close ends the connection. Domains that were not freed and events that were
// not deregistered keep libvirt's side of it open.
func (c *Connection) Close() error {
	_ = c.UnregisterCloseCallback() // there may be none
	_, err := c.Connect.Close()
	return err
}

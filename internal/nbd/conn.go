// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"libguestfs.org/libnbd"
)

const (
	// depth is how many requests a connection has in flight: as many as QEMU
	// takes from a client at a time.
	depth = 16

	// pollTime is how long, in ms, a connection waits for the server before it
	// looks whether it shall end.
	pollTime = 100

	// retryTime is the pause between two attempts to connect.
	retryTime = 100 * time.Millisecond

	// attempts is how often a server may fail before it is asked for the export.
	attempts = 3
)

// conn is a connection. One goroutine uses it, so nothing waits for libnbd's
// lock.
type conn struct {
	h      *libnbd.Libnbd
	queue  *queue
	server string // for messages
	flying map[*request]struct{}
}

// serve does requests of the queue until that is closed or the connection
// breaks, and returns why.
func (c *conn) serve() error {
	err := c.loop()
	if len(c.flying) == 0 {
		_ = c.h.AioDisconnect(nil) // says goodbye, if the connection lets it
	}
	c.h.Close()
	for r := range c.flying {
		r.done(err)
	}
	return err
}

func (c *conn) loop() error {
	for {
		for len(c.flying) < depth {
			r, err := c.queue.take(len(c.flying) == 0)
			if err != nil {
				return err
			}
			if r == nil {
				break
			}
			c.start(r)
		}
		if len(c.flying) == 0 {
			continue // it was refused
		}
		if _, err := c.h.Poll(pollTime); err != nil {
			return fmt.Errorf("%s: connection lost: %w", c.server, c.lost(err))
		}
		if err := c.queue.closed(); err != nil {
			return err
		}
	}
}

// lost is what an error of Poll means: for a connection that the server has
// ended, libnbd only says that there is nothing to wait for.
func (c *conn) lost(err error) error {
	if closed, closedErr := c.h.AioIsClosed(); closedErr == nil && closed {
		return errors.New("the server hung up")
	}
	return err
}

// start issues r.
func (c *conn) start(r *request) {
	c.flying[r] = struct{}{}
	err := r.issue(c.h, func(errno *int) int {
		switch code := syscall.Errno(*errno); code {
		case syscall.ENOTCONN: // Poll tells why
		case 0:
			c.end(r, nil)
		default:
			c.end(r, c.failed(r, code))
		}
		return 1
	})
	if err != nil {
		c.end(r, c.failed(r, err))
	}
}

func (c *conn) end(r *request, err error) {
	if _, ok := c.flying[r]; ok {
		delete(c.flying, r)
		r.done(err)
	}
}

func (c *conn) failed(r *request, err error) error {
	return fmt.Errorf("%s: %s of %d bytes at offset %d: %w", c.server, r.what, r.n, r.off, err)
}

// dial connects until ctx ends: again and again while nobody listens, and a few
// times where something else went wrong before the server was asked for the
// export, as it does where a server goes while another one comes.
func dial(ctx context.Context, o *Options) (*libnbd.Libnbd, error) {
	for left := attempts; ; {
		h, asked, err := dialOnce(ctx, o)
		if err == nil {
			return h, nil
		}
		if !absent(err) {
			left--
		}
		if asked || left == 0 {
			return nil, fmt.Errorf("%s: %w%s", o.server(), err, o.hint(err))
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w (%w)", o.server(), err, context.Cause(ctx))
		case <-time.After(retryTime):
		}
	}
}

// dialOnce connects. asked says that the server was there and was asked for the
// export.
func dialOnce(ctx context.Context, o *Options) (_ *libnbd.Libnbd, asked bool, err error) {
	h, err := libnbd.Create()
	if err != nil {
		return nil, true, err
	}
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	if err := errors.Join(o.apply(h), h.SetOptMode(true)); err != nil {
		return nil, true, err
	}
	if err := o.dial(h); err != nil {
		return nil, false, err
	}
	var refused error
	for {
		if ready, err := h.AioIsReady(); err != nil || ready {
			keepAlive(h)
			return h, asked, err
		}
		if negotiating, _ := h.AioIsNegotiating(); negotiating && !asked {
			asked = true
			if err := h.AioOptGo(&libnbd.AioOptGoOptargs{CompletionCallbackSet: true, CompletionCallback: func(errno *int) int {
				refused = o.refusal(syscall.Errno(*errno))
				return 1
			}}); err != nil {
				return nil, asked, err
			}
			continue // a fast server has answered meanwhile, and says no more
		}
		if refused != nil {
			return nil, asked, refused
		}
		if closed, _ := h.AioIsClosed(); closed {
			return nil, true, o.hungUp()
		}
		if _, err := h.Poll(pollTime); err != nil {
			return nil, asked, err
		}
		if ctx.Err() != nil {
			return nil, true, fmt.Errorf("connecting: %w", context.Cause(ctx))
		}
	}
}

// refusal is the error of a server that was asked for the export.
func (o *Options) refusal(errno syscall.Errno) error {
	switch {
	case errno == 0:
		return nil
	case errno == syscall.ENOENT:
		return errors.New("the server has no such export")
	case errno == syscall.ENOTSUP && o.TLS == nil:
		return errors.New("the server refuses the export in the clear: it may want TLS")
	}
	return fmt.Errorf("the server refuses the export: %w", errno)
}

// hungUp is the error of a connection that ended in the handshake.
func (o *Options) hungUp() error {
	if o.TLS != nil {
		return errors.New("no agreement on TLS: the server may not offer it")
	}
	return errors.New("the server ended the connection in the handshake")
}

// absent says whether err is that of a server that does not listen.
func absent(err error) bool {
	var e *libnbd.LibnbdError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Errno {
	case syscall.ENOENT, syscall.ECONNREFUSED, syscall.EAGAIN, syscall.ECONNRESET:
		return true
	}
	return false
}

// keepAlive lets the kernel find out that the server's machine is gone, within
// some two minutes. It is nothing to a Unix socket.
func keepAlive(h *libnbd.Libnbd) {
	fd, err := h.AioGetFd()
	if err != nil {
		return
	}
	for _, o := range [][3]int{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 10},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 6},
	} {
		if unix.SetsockoptInt(fd, o[0], o[1], o[2]) != nil {
			return
		}
	}
}

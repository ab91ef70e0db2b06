// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// Forwarder is a unix socket on this machine whose connections are carried to
// an address on another: a program that can only connect to a socket, such as
// libnbd, reaches a server there through SSH.
type Forwarder struct {
	host             Host
	network, address string
	listener         *net.UnixListener
	ctx              context.Context
	cancel           context.CancelCauseFunc
	work             sync.WaitGroup

	mu  sync.Mutex // guards err
	err error
}

// Forward listens at path on this machine and connects each connection to
// network and address on h, as Host.Dial does. It ends with Close, or when ctx
// is done.
func Forward(ctx context.Context, h Host, network, address, path string) (*Forwarder, error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	f := &Forwarder{host: h, network: network, address: address, listener: listener}
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	context.AfterFunc(f.ctx, func() { listener.Close() })
	f.work.Go(f.accept)
	return f, nil
}

func (f *Forwarder) accept() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.work.Go(func() { f.carry(conn) })
	}
}

// carry connects one connection, until both sides are at their end, or one
// fails.
func (f *Forwarder) carry(near net.Conn) {
	defer near.Close()
	far, err := f.host.Dial(f.ctx, f.network, f.address)
	if err != nil {
		f.fail(err)
		return
	}
	defer far.Close()
	unhook := context.AfterFunc(f.ctx, func() { near.Close(); far.Close() })
	defer unhook()
	var both sync.WaitGroup
	both.Go(func() { f.fail(pump(far, near)) })
	both.Go(func() { f.fail(pump(near, far)) })
	both.Wait()
}

// pump copies until the end of from, which becomes the end of to.
func pump(to, from net.Conn) error {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); err == nil && ok {
		if half.CloseWrite() == nil {
			return nil
		}
	}
	to.Close()
	from.Close()
	return err
}

// fail keeps the first error, but not those of an end that was asked for.
func (f *Forwarder) fail(err error) {
	if err == nil || f.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

// Err is why a connection failed at this or the other end, the first of them,
// or nil: the program at the socket only sees it closed.
func (f *Forwarder) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Close ends all connections and removes the socket. It gives back Err.
func (f *Forwarder) Close() error {
	f.cancel(net.ErrClosed)
	f.listener.Close()
	f.work.Wait()
	return f.Err()
}

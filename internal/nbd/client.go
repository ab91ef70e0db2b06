// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"libguestfs.org/libnbd"
)

// ErrClosed is the error of a client after Close.
var ErrClosed = errors.New("the NBD client is closed")

// Client is a disk on a server. Its methods may be called concurrently.
type Client struct {
	server   string // the export, for messages
	size     int64
	blocks   [3]int64 // by libnbd.Size
	readOnly bool
	contexts []string // that the server has

	queue *queue
	end   context.CancelFunc // of connecting
	conns sync.WaitGroup
	open  atomic.Int32 // connections
}

// Connect connects, as o says. ctx bounds only that, but for the time in which a
// host's name is looked up.
func Connect(ctx context.Context, o Options) (*Client, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if o.Wait == 0 {
		o.Wait = defaultWait
	}
	first, cancel := context.WithTimeoutCause(ctx, o.Wait, fmt.Errorf("gave up after %v", o.Wait))
	defer cancel()
	h, err := dial(first, &o)
	if err != nil {
		return nil, err
	}
	c := &Client{server: o.server(), queue: newQueue()}
	if err := c.learn(h, &o); err != nil {
		h.Close()
		return nil, err
	}
	multi, _ := h.CanMultiConn()
	c.serve(h)
	var others context.Context
	others, c.end = context.WithCancel(context.Background())
	for i := 1; multi && i < o.Connections; i++ {
		c.conns.Go(func() { c.join(others, &o) })
	}
	return c, nil
}

// learn asks h about the disk.
func (c *Client) learn(h *libnbd.Libnbd, o *Options) error {
	size, err := h.GetSize()
	if err != nil {
		return fmt.Errorf("%s: %w", c.server, err)
	}
	c.size = int64(size)
	for i := range c.blocks {
		n, err := h.GetBlockSize(libnbd.Size(i))
		if err != nil {
			return fmt.Errorf("%s: %w", c.server, err)
		}
		c.blocks[i] = int64(n)
	}
	if c.readOnly, err = h.IsReadOnly(); err != nil {
		return fmt.Errorf("%s: %w", c.server, err)
	}
	for _, name := range o.Contexts {
		if has, err := h.CanMetaContext(name); err == nil && has {
			c.contexts = append(c.contexts, name)
		} else if name != Allocation {
			return &ContextError{Server: c.server, Context: name}
		}
	}
	return nil
}

// serve starts the goroutine of a connection.
func (c *Client) serve(h *libnbd.Libnbd) {
	c.open.Add(1)
	conn := &conn{h: h, queue: c.queue, server: c.server, flying: map[*request]struct{}{}}
	c.conns.Go(func() { c.fail(conn.serve()) })
}

// join adds a connection, if that is possible.
func (c *Client) join(ctx context.Context, o *Options) {
	h, _, err := dialOnce(ctx, o)
	if err != nil {
		return
	}
	if size, err := h.GetSize(); err != nil || int64(size) != c.size {
		h.Close()
		return
	}
	c.serve(h)
}

// fail ends everything with err, if it is the first.
func (c *Client) fail(err error) {
	for _, r := range c.queue.close(err) {
		r.done(err)
	}
}

// Close ends the connections. What is in flight fails.
func (c *Client) Close() error {
	c.end()
	c.fail(ErrClosed)
	c.conns.Wait()
	return nil
}

// Size is that of the disk in bytes.
func (c *Client) Size() int64 { return c.size }

// ReadOnly says whether the disk cannot be written.
func (c *Client) ReadOnly() bool { return c.readOnly }

// Connections is how many there are at the moment.
func (c *Client) Connections() int { return int(c.open.Load()) }

// Has says whether the server has a meta context of those that it was asked
// for.
func (c *Client) Has(context string) bool { return slices.Contains(c.contexts, context) }

// Blocks are the server's limits on requests in bytes: what they must be a
// multiple of, what is good, and the most of a read or write. Where the server
// names none they are 1, 4096 and 32 MiB.
func (c *Client) Blocks() (minimum, preferred, maximum int64) {
	minimum, preferred, maximum = 1, 4096, 32<<20
	if c.blocks[libnbd.SIZE_MINIMUM] > 0 {
		minimum = c.blocks[libnbd.SIZE_MINIMUM]
	}
	if c.blocks[libnbd.SIZE_PREFERRED] > 0 {
		preferred = c.blocks[libnbd.SIZE_PREFERRED]
	}
	if c.blocks[libnbd.SIZE_MAXIMUM] > 0 {
		maximum = c.blocks[libnbd.SIZE_MAXIMUM]
	}
	return minimum, preferred, maximum
}

// do does a request and waits for it. If ctx ends, the client does.
func (c *Client) do(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	done := make(chan error, 1)
	r.done = func(err error) { done <- err }
	if err := c.queue.put(r); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		c.fail(context.Cause(ctx))
		return <-done
	}
}

// ReadAt fills p, at most 32 MiB, from disk offset off.
func (c *Client) ReadAt(ctx context.Context, p []byte, off int64) error {
	return c.transfer(ctx, "read", p, off, func(h *libnbd.Libnbd, buf libnbd.AioBuffer, done libnbd.CompletionCallback) error {
		_, err := h.AioPread(buf, uint64(off), &libnbd.AioPreadOptargs{CompletionCallbackSet: true, CompletionCallback: done})
		return err
	})
}

// WriteAt writes p, at most 32 MiB, to disk offset off.
func (c *Client) WriteAt(ctx context.Context, p []byte, off int64) error {
	return c.transfer(ctx, "write", p, off, func(h *libnbd.Libnbd, buf libnbd.AioBuffer, done libnbd.CompletionCallback) error {
		_, err := h.AioPwrite(buf, uint64(off), &libnbd.AioPwriteOptargs{CompletionCallbackSet: true, CompletionCallback: done})
		return err
	})
}

type transfer func(*libnbd.Libnbd, libnbd.AioBuffer, libnbd.CompletionCallback) error

// transfer does a request with the bytes p, which stay where they are until it
// has ended.
func (c *Client) transfer(ctx context.Context, what string, p []byte, off int64, issue transfer) error {
	if len(p) == 0 {
		return nil
	}
	var pin runtime.Pinner
	pin.Pin(&p[0])
	defer pin.Unpin()
	buf := libnbd.AioBuffer{P: unsafe.Pointer(&p[0]), Size: uint(len(p))}
	return c.do(ctx, &request{what: what, off: off, n: int64(len(p)),
		issue: func(h *libnbd.Libnbd, done libnbd.CompletionCallback) error { return issue(h, buf, done) }})
}

// Zero writes n zeroes, less than 4 GiB, at disk offset off; the server may
// make a hole of them.
func (c *Client) Zero(ctx context.Context, off, n int64) error {
	return c.do(ctx, &request{what: "zeroing", off: off, n: n,
		issue: func(h *libnbd.Libnbd, done libnbd.CompletionCallback) error {
			_, err := h.AioZero(uint64(n), uint64(off), &libnbd.AioZeroOptargs{CompletionCallbackSet: true, CompletionCallback: done})
			return err
		}})
}

// Flush returns when what was written is durable.
func (c *Client) Flush(ctx context.Context) error {
	return c.do(ctx, &request{what: "flush",
		issue: func(h *libnbd.Libnbd, done libnbd.CompletionCallback) error {
			_, err := h.AioFlush(&libnbd.AioFlushOptargs{CompletionCallbackSet: true, CompletionCallback: done})
			return err
		}})
}

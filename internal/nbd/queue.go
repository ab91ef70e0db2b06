// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"sync"

	"libguestfs.org/libnbd"
)

// request is a command for the server.
type request struct {
	what   string // for messages: "read"
	off, n int64  // bytes of the disk

	// issue gives it to a connection.
	issue func(*libnbd.Libnbd, libnbd.CompletionCallback) error

	// done is called once, when memory that the command uses is free again. It
	// runs in the goroutine of a connection, and must not block.
	done func(error)
}

// queue holds requests until a connection takes them. How many it may hold is
// bounded by those who make them.
type queue struct {
	mu    sync.Mutex // guards the rest
	more  sync.Cond  // something was put, or the queue closed
	items []*request
	err   error // why it is closed
}

func newQueue() *queue {
	q := &queue{}
	q.more.L = &q.mu
	return q
}

// put adds r, unless the queue is closed.
func (q *queue) put(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.items = append(q.items, r)
		q.more.Signal()
	}
	return q.err
}

// take takes the oldest request; where there is none it waits for one, or
// returns nil. The error is why the queue is closed.
func (q *queue) take(wait bool) (*request, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for wait && len(q.items) == 0 && q.err == nil {
		q.more.Wait()
	}
	if q.err != nil || len(q.items) == 0 {
		return nil, q.err
	}
	r := q.items[0]
	q.items[0] = nil
	q.items = q.items[1:]
	return r, nil
}

// close ends the queue and returns what nobody took. Only the first error
// counts.
func (q *queue) close(err error) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	left := q.items
	q.items = nil
	q.more.Broadcast()
	return left
}

// closed is why the queue is closed, or nil.
func (q *queue) closed() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"time"
)

// flow is a series of reads of equal length on one connection.
type flow struct {
	depth  int   // requests in flight
	length int64 // of each read, bytes
	next   func() (off int64, ok bool)
	took   *[]time.Duration                // if set, takes the latency of each read
	check  func(off int64, p []byte) error // if set, sees what was read
}

// exchange is a flow that is under way. One goroutine sends requests in
// batches and takes whatever replies have come: one system call for several of
// each where the server is fast enough.
type exchange struct {
	flow
	c        *client
	slots    []slot
	out      []byte // requests to send
	in       []byte // room for whole replies
	have     int    // bytes in it
	inflight int
	reads    int // done
}

// slot is one of the requests in flight.
type slot struct {
	off  int64
	sent time.Time
}

// receiveBuffer is how much a client takes at once, bytes, where a reply is not
// larger.
const receiveBuffer = 128 << 10

// run reads what f.next gives until it says no, and returns the number of
// reads.
func (c *client) run(f flow) (reads int, err error) {
	one := replySize + int(f.length)
	replies := max(1, min(f.depth, receiveBuffer/one))
	x := exchange{flow: f, c: c, slots: make([]slot, f.depth), in: make([]byte, replies*one)}
	for i := range x.slots {
		x.queue(i)
	}
	for x.inflight > 0 {
		if err := errors.Join(x.send(), x.receive()); err != nil {
			return x.reads, err
		}
	}
	return x.reads, nil
}

// queue makes the next request, if there is one.
func (x *exchange) queue(i int) {
	off, ok := x.next()
	if !ok {
		return
	}
	x.slots[i].off = off
	x.out = appendRequest(x.out, i, off, x.length)
	x.inflight++
}

func (x *exchange) send() error {
	if x.took != nil {
		now := time.Now()
		for at := 0; at < len(x.out); at += requestSize {
			x.slots[binary.BigEndian.Uint64(x.out[at+8:])].sent = now
		}
	}
	err := x.c.send(x.out)
	x.out = x.out[:0]
	return err
}

// receive takes the replies that have come, at least a part of one, and makes
// a request for each.
func (x *exchange) receive() error {
	n, err := x.c.Read(x.in[x.have:])
	if err != nil {
		return err
	}
	x.have += n
	one, done := replySize+int(x.length), 0
	for ; x.have-done >= one; done += one {
		if err := x.take(x.in[done : done+one]); err != nil {
			return err
		}
	}
	x.have = copy(x.in, x.in[done:x.have])
	_, err = parseReply(x.in[:x.have]) // one that says error is shorter
	return err
}

// take is done with one reply.
func (x *exchange) take(b []byte) error {
	i, err := parseReply(b)
	if err != nil {
		return err
	}
	if i >= len(x.slots) {
		return errBadReply
	}
	if x.took != nil {
		*x.took = append(*x.took, time.Since(x.slots[i].sent))
	}
	if x.check != nil {
		if err := x.check(x.slots[i].off, b[replySize:]); err != nil {
			return err
		}
	}
	x.reads++
	x.inflight--
	x.queue(i)
	return nil
}

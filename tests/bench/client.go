// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// client is one NBD connection: newstyle handshake, simple replies. It does as
// little as can be, so that what is measured is the server. The socket is a
// blocking one, past Go's poller, which would cost a system call and a switch
// of threads for each reply.
type client struct {
	fd   int
	size int64
}

// NBD protocol, from its specification.
const (
	nbdMagic      = 0x4e42444d41474943
	nbdOption     = 0x49484156454f5054
	nbdReplyMagic = 0x0003e889045565a9
	nbdRequest    = 0x25609513
	nbdReply      = 0x67446698

	optGo      = 7
	repAck     = 1
	repInfo    = 3
	repError   = 1 << 31
	clientFlag = 1 | 2 // fixed newstyle, no zeroes

	requestSize = 28
	replySize   = 16
)

// patience is how long a client waits for a reply.
const patience = 30 * time.Second

// dial connects to the default export behind a unix socket.
func dial(socket string) (*client, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &client{fd: fd}
	tv := unix.NsecToTimeval(int64(patience))
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
	}
	if err == nil {
		err = c.handshake()
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *client) close() { unix.Close(c.fd) }

func (c *client) handshake() error {
	var hello [18]byte
	if _, err := io.ReadFull(c, hello[:]); err != nil {
		return err
	}
	be := binary.BigEndian
	if be.Uint64(hello[:]) != nbdMagic || be.Uint64(hello[8:]) != nbdOption {
		return errors.New("not a newstyle NBD server")
	}
	b := be.AppendUint32(nil, clientFlag)
	b = be.AppendUint64(b, nbdOption)
	b = be.AppendUint32(b, optGo)
	b = be.AppendUint32(b, 6) // no name, no wishes
	b = append(b, make([]byte, 6)...)
	if err := c.send(b); err != nil {
		return err
	}
	for {
		if done, err := c.optionReply(); done || err != nil {
			return err
		}
	}
}

// optionReply takes one reply to the option GO.
func (c *client) optionReply() (done bool, err error) {
	var head [20]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return false, err
	}
	be := binary.BigEndian
	if be.Uint64(head[:]) != nbdReplyMagic || be.Uint32(head[16:]) > 1<<16 {
		return false, errors.New("bad reply to an option")
	}
	body := make([]byte, be.Uint32(head[16:]))
	if _, err := io.ReadFull(c, body); err != nil {
		return false, err
	}
	switch typ := be.Uint32(head[12:]); {
	case typ&repError != 0:
		return false, fmt.Errorf("server refuses the export: %s", strings.TrimSpace(string(body)))
	case typ == repInfo && len(body) >= 10 && be.Uint16(body) == 0:
		c.size = int64(be.Uint64(body[2:]))
	}
	return be.Uint32(head[12:]) == repAck, nil
}

// Read reads what is there, at least one byte.
func (c *client) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(c.fd, p)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, fmt.Errorf("no reply for %v", patience)
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.ErrUnexpectedEOF
		default:
			return n, nil
		}
	}
}

func (c *client) send(b []byte) error {
	for len(b) > 0 {
		n, err := unix.SendmsgN(c.fd, b, nil, nil, unix.MSG_NOSIGNAL)
		if err != nil && err != unix.EINTR {
			return err
		}
		b = b[max(n, 0):]
	}
	return nil
}

// appendRequest appends a read; slot comes back with the reply.
func appendRequest(b []byte, slot int, off, length int64) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, nbdRequest)
	b = be.AppendUint32(b, 0) // no flags, read
	b = be.AppendUint64(b, uint64(slot))
	b = be.AppendUint64(b, uint64(off))
	return be.AppendUint32(b, uint32(length))
}

var errBadReply = errors.New("bad reply to a read")

// parseReply reads the head of a reply, if it is there.
func parseReply(b []byte) (slot int, err error) {
	if len(b) < replySize {
		return 0, nil
	}
	be := binary.BigEndian
	switch {
	case be.Uint32(b) != nbdReply:
		return 0, errBadReply
	case be.Uint32(b[4:]) != 0:
		return 0, fmt.Errorf("server answers a read with error %d", be.Uint32(b[4:]))
	}
	return int(be.Uint64(b[8:])), nil
}

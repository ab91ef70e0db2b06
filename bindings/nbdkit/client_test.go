// SPDX-License-Identifier: Apache-2.0

package nbdkit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// client is as much of an NBD client (fixed newstyle, simple replies) as the
// tests need to send single requests and to see their errno; see proto.md of
// the NBD project. It is used by one goroutine.
type client struct {
	conn  net.Conn
	size  uint64
	flags uint16 // transmission flags, has...
}

const (
	hasFlush    = 1 << 2
	hasFUA      = 1 << 3
	hasTrim     = 1 << 5
	hasZero     = 1 << 6
	hasCache    = 1 << 10
	hasFastZero = 1 << 11
)

const (
	cmdRead = iota
	cmdWrite
	cmdDisconnect
	cmdFlush
	cmdTrim
	cmdCache
	cmdZero
)

const (
	flagFUA      = 1 << 0
	flagNoHole   = 1 << 1
	flagFastZero = 1 << 4
)

const optionMagic = 0x49484156454f5054 // "IHAVEOPT"

// dial connects to an export. The caller closes the client.
func dial(socket, export string) (*client, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	c := &client{conn: conn}
	if err := c.negotiate(export); err != nil {
		conn.Close()
		return nil, fmt.Errorf("export %q: %w", export, err)
	}
	return c, nil
}

// close says goodbye and returns when the server has closed the connection.
func (c *client) close() error {
	defer c.conn.Close()
	if err := c.send(cmdDisconnect, 0, 0, 0, nil); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, c.conn)
	return err
}

func (c *client) write(parts ...any) error {
	var buf bytes.Buffer
	for _, part := range parts {
		binary.Write(&buf, binary.BigEndian, part)
	}
	_, err := c.conn.Write(buf.Bytes())
	return err
}

func (c *client) read(into any) error {
	return binary.Read(c.conn, binary.BigEndian, into)
}

// negotiate asks to go on with the export.
func (c *client) negotiate(export string) error {
	var greeting struct {
		Magic, Style uint64
		Flags        uint16
	}
	if err := c.read(&greeting); err != nil {
		return err
	}
	if greeting.Style != optionMagic {
		return fmt.Errorf("the server greets with %#x", greeting.Style)
	}
	const optGo = 7
	err := c.write(uint32(3), // fixed newstyle, no zeroes
		uint64(optionMagic), uint32(optGo), uint32(4+len(export)+2),
		uint32(len(export)), []byte(export), uint16(0))
	for done := false; err == nil && !done; {
		done, err = c.optionReply()
	}
	return err
}

// optionReply reads one reply to an option and says whether it was the last.
func (c *client) optionReply() (done bool, err error) {
	var reply struct {
		Magic                uint64
		Option, Type, Length uint32
	}
	if err := c.read(&reply); err != nil {
		return false, err
	}
	data := make([]byte, reply.Length)
	if _, err := io.ReadFull(c.conn, data); err != nil {
		return false, err
	}
	const (
		ack   = 1
		info  = 3
		fails = 1 << 31
	)
	switch {
	case reply.Type&fails != 0:
		return false, fmt.Errorf("refused with %#x: %s", reply.Type, data)
	case reply.Type == info && binary.BigEndian.Uint16(data) == 0:
		c.size = binary.BigEndian.Uint64(data[2:])
		c.flags = binary.BigEndian.Uint16(data[10:])
	}
	return reply.Type == ack, nil
}

func (c *client) send(cmd, flags uint16, offset uint64, count uint32, data []byte) error {
	const magic, cookie = uint32(0x25609513), uint64(0)
	return c.write(magic, flags, cmd, cookie, offset, count, data)
}

// request does one request and returns the errno of the reply.
func (c *client) request(cmd, flags uint16, offset uint64, count uint32, data []byte) (syscall.Errno, error) {
	if err := c.send(cmd, flags, offset, count, data); err != nil {
		return 0, err
	}
	var reply struct {
		Magic, Errno uint32
		Cookie       uint64
	}
	if err := c.read(&reply); err != nil {
		return 0, err
	}
	if reply.Magic != 0x67446698 {
		return 0, fmt.Errorf("reply with magic %#x", reply.Magic)
	}
	return syscall.Errno(reply.Errno), nil
}

// pread reads count bytes at offset.
func (c *client) pread(offset uint64, count uint32) ([]byte, error) {
	errno, err := c.request(cmdRead, 0, offset, count, nil)
	if err != nil {
		return nil, err
	}
	if errno != 0 {
		return nil, errno
	}
	buf := make([]byte, count)
	_, err = io.ReadFull(c.conn, buf)
	return buf, err
}

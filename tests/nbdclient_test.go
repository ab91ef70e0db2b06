// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// nbdClient is as much of an NBD client as it takes to read at any offset and
// to see the errno: fixed newstyle, NBD_OPT_GO, simple replies; see proto.md of
// the NBD project. It is used by one goroutine.
type nbdClient struct {
	conn  io.ReadWriteCloser
	size  int64
	reads uint64 // requests so far
}

// nbdRefused means that the server does not serve the export.
type nbdRefused struct {
	reply   uint32
	message string
}

func (e *nbdRefused) Error() string { return fmt.Sprintf("refused with %#x: %s", e.reply, e.message) }

// Replies to an option.
const (
	nbdAck       = 1
	nbdInfo      = 3
	nbdIsError   = 1 << 31
	nbdNoExport  = nbdIsError | 6
	nbdMaxString = 4096
)

// dialNBD connects to an export on a Unix socket. The caller closes the client.
func dialNBD(socket, export string) (*nbdClient, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(nbdPatience))
	return newNBDClient(conn, export)
}

// newNBDClient connects to an export over conn, which it takes over.
func newNBDClient(conn io.ReadWriteCloser, export string) (*nbdClient, error) {
	c := &nbdClient{conn: conn}
	if err := c.negotiate(export); err != nil {
		conn.Close()
		return nil, fmt.Errorf("export %.99q: %w", export, err)
	}
	return c, nil
}

// close says goodbye and returns when the server has closed the connection.
func (c *nbdClient) close() error {
	defer c.conn.Close()
	if err := c.send(2, 0, 0); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, c.conn)
	if errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

func (c *nbdClient) write(parts ...any) error {
	var buf bytes.Buffer
	for _, part := range parts {
		binary.Write(&buf, binary.BigEndian, part)
	}
	_, err := c.conn.Write(buf.Bytes())
	return err
}

func (c *nbdClient) read(into any) error {
	return binary.Read(c.conn, binary.BigEndian, into)
}

// negotiate asks to go on with the export.
func (c *nbdClient) negotiate(export string) error {
	var greeting struct {
		Magic, Style uint64
		Flags        uint16
	}
	if err := c.read(&greeting); err != nil {
		return err
	}
	const optionMagic = 0x49484156454f5054 // "IHAVEOPT"
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
func (c *nbdClient) optionReply() (done bool, err error) {
	var reply struct {
		Magic                uint64
		Option, Type, Length uint32
	}
	if err := c.read(&reply); err != nil {
		return false, err
	}
	if reply.Length > 2*nbdMaxString {
		return false, fmt.Errorf("reply %#x of %d bytes", reply.Type, reply.Length)
	}
	data := make([]byte, reply.Length)
	if _, err := io.ReadFull(c.conn, data); err != nil {
		return false, err
	}
	switch {
	case reply.Type&nbdIsError != 0:
		return false, &nbdRefused{reply.Type, string(data)}
	case reply.Type == nbdInfo && binary.BigEndian.Uint16(data) == 0:
		c.size = int64(binary.BigEndian.Uint64(data[2:]))
	}
	return reply.Type == nbdAck, nil
}

// send sends a request: 0 reads, 2 disconnects.
func (c *nbdClient) send(cmd uint16, offset int64, count uint32) error {
	c.reads++
	return c.write(uint32(0x25609513), uint16(0), cmd, c.reads, offset, count)
}

// pread reads len(p) bytes at offset. An error that the server reports is a
// syscall.Errno, and the connection goes on.
func (c *nbdClient) pread(p []byte, offset int64) error {
	if err := c.send(0, offset, uint32(len(p))); err != nil {
		return err
	}
	var reply struct {
		Magic, Errno uint32
		Cookie       uint64
	}
	if err := c.read(&reply); err != nil {
		return err
	}
	switch {
	case reply.Magic != 0x67446698 || reply.Cookie != c.reads:
		return fmt.Errorf("reply with magic %#x to request %d, not %d", reply.Magic, reply.Cookie, c.reads)
	case reply.Errno != 0:
		return syscall.Errno(reply.Errno)
	}
	_, err := io.ReadFull(c.conn, p)
	return err
}

// preadAll reads the whole export, in requests of 1 MiB.
func (c *nbdClient) preadAll() ([]byte, error) {
	disk := make([]byte, c.size)
	for off := int64(0); off < c.size; off += 1 << 20 {
		if err := c.pread(disk[off:min(off+1<<20, c.size)], off); err != nil {
			return nil, err
		}
	}
	return disk, nil
}

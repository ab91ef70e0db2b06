// SPDX-License-Identifier: Apache-2.0

package nbdkit

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
)

func dialTest(t *testing.T, s *server, export string) *client {
	t.Helper()
	c, err := dial(s.socket, export)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.conn.Close() })
	return c
}

// must does one request that has to succeed.
func (c *client) must(t *testing.T, cmd, flags uint16, offset uint64, count uint32, data []byte) {
	t.Helper()
	errno, err := c.request(cmd, flags, offset, count, data)
	if err != nil {
		t.Fatal(err)
	}
	if errno != 0 {
		t.Errorf("command %d flags %#x at %d: %v", cmd, flags, offset, errno)
	}
}

// TestRequestErrors: one errno for each way to fail a read, in one connection,
// which stays good. Reads have no EOVERFLOW in NBD.
func TestRequestErrors(t *testing.T) {
	s := start(t, fullPlugin)
	c := dialTest(t, s, "errors")
	for i, want := range []struct {
		errno syscall.Errno
		log   string
	}{
		{0, ""},
		{syscall.ENOSPC, "error: by value\n"},
		{syscall.EPERM, "error: by pointer\n"},
		{syscall.EINVAL, "error: wrapped: by value\n"},
		{syscall.ENOMEM, "error: read disk: cannot allocate memory\n"},
		{syscall.EIO, "error: plain error\n"},
		{syscall.EIO, "error: <nil>\n"},
		{syscall.EIO, "error: panic in PRead: panic value\n"},
		{syscall.EIO, "error: panic in PRead: panic error: no space left on device\n"},
		{syscall.EIO, "error: panic in PRead: runtime error: invalid memory address or nil pointer dereference\n"},
		{syscall.ESHUTDOWN, "error: errno set before\n"},
		{syscall.EIO, "error: 100%s %n not a format\n"},
	} {
		_, err := c.pread(uint64(i)*4096, 512)
		errno, _ := err.(syscall.Errno)
		if (err != nil && errno == 0) || errno != want.errno {
			t.Errorf("read %d fails with %v, want %v", i, err, want.errno)
		}
		wantIn(t, s.log(), want.log)
	}
	if _, err := c.pread(0, 4096); err != nil {
		t.Errorf("read after the failures: %v", err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
	run(t, "nbdinfo", s.uri("holes"))
	wantIn(t, s.stop(), "debug: panic in PRead: panic value\ngoroutine ", "main.(*failing).PRead")
}

func TestPanicInClose(t *testing.T) {
	s := start(t, fullPlugin)
	if err := visit(s.socket, "panic-close", bytes.Repeat([]byte{2}, 4096)); err != nil {
		t.Error(err)
	}
	run(t, "nbdinfo", s.uri("holes"))
	wantIn(t, s.stop(), "error: panic in Close: no end today")
}

// TestWriteNative: flags reach a connection with CanFUA and CanFastZero.
func TestWriteNative(t *testing.T) {
	s := start(t, fullPlugin)
	c := dialTest(t, s, "ram")
	if want := uint16(hasFlush | hasFUA | hasTrim | hasZero | hasFastZero); c.flags&want != want {
		t.Errorf("transmission flags are %#x, want %#x in them", c.flags, want)
	}
	data := bytes.Repeat([]byte{0x5a, 0xa5}, 1000)
	c.must(t, cmdWrite, flagFUA, 100_001, 2000, data)
	if got, err := c.pread(100_001, 2000); err != nil || !bytes.Equal(got, data) {
		t.Errorf("what was written reads differently (%v)", err)
	}
	c.must(t, cmdZero, flagFastZero|flagFUA, 100_001, 1000, nil)
	c.must(t, cmdZero, flagNoHole, 101_001, 500, nil)
	c.must(t, cmdTrim, 0, 101_501, 500, nil)
	c.must(t, cmdFlush, 0, 0, 0, nil)
	if got, err := c.pread(100_001, 2000); err != nil || !bytes.Equal(got, make([]byte, 2000)) {
		t.Errorf("what was zeroed does not read as zeros (%v)", err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
	wantIn(t, s.stop(),
		"PWrite 2000 at 100001 flags=0x2\n", // FlagFUA
		"Zero 1000 at 100001 flags=0xb\n",   // FlagMayTrim | FlagFUA | FlagFastZero
		"Zero 500 at 101001 flags=0x0\n",
		"Trim 500 at 101501 flags=0x0\n",
		"Flush 0 at 0 flags=0x0\n")
}

// TestWriteEmulated: without CanFUA nbdkit flushes after the write, and
// without CanFastZero it offers none.
func TestWriteEmulated(t *testing.T) {
	s := start(t, fullPlugin)
	c := dialTest(t, s, "emulated")
	if c.flags&hasFUA == 0 || c.flags&(hasFastZero|hasCache) != 0 {
		t.Errorf("transmission flags are %#x", c.flags)
	}
	c.must(t, cmdWrite, flagFUA, 4096, 3, []byte("abc"))
	if err := c.close(); err != nil {
		t.Error(err)
	}
	log := s.stop()
	_, after, ok := strings.Cut(log, "full: PWrite 3 at 4096 flags=0x0\n")
	if !ok || !strings.Contains(after, "full: Flush 0 at 0 flags=0x0\n") {
		t.Errorf("no write without FUA and a flush after it:\n%s", log)
	}
}

// TestZeroFallsBack: ENOTSUP makes nbdkit write zeros, and fails a fast zero.
func TestZeroFallsBack(t *testing.T) {
	s := start(t, fullPlugin)
	c := dialTest(t, s, "ram")
	c.must(t, cmdWrite, 0, 0, 4, []byte("data"))
	if errno, err := c.request(cmdZero, flagFastZero, 0, 4, nil); err != nil || errno != syscall.ENOTSUP {
		t.Errorf("fast zero fails with errno %d (%v), want ENOTSUP", errno, err)
	}
	if got, err := c.pread(0, 4); err != nil || string(got) != "data" {
		t.Errorf("reads %q (%v) after the failed zero", got, err)
	}
	c.must(t, cmdZero, 0, 0, 4, nil)
	if got, err := c.pread(0, 4); err != nil || string(got) != "\x00\x00\x00\x00" {
		t.Errorf("reads %q (%v) after zero", got, err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
	wantIn(t, s.stop(), "full: Zero 4 at 0", "full: PWrite 4 at 0")
}

func TestCache(t *testing.T) {
	s := start(t, fullPlugin)
	c := dialTest(t, s, "holes")
	if c.flags&hasCache == 0 {
		t.Errorf("transmission flags are %#x", c.flags)
	}
	c.must(t, cmdCache, 0, 8192, 4096, nil)
	if err := c.close(); err != nil {
		t.Error(err)
	}
	wantIn(t, s.stop(), "full: Cache 4096 at 8192")
}

// TestQemuWrites: a client that the project uses agrees with the data.
func TestQemuWrites(t *testing.T) {
	s := start(t, fullPlugin)
	for _, export := range []string{"ram", "emulated"} {
		out := run(t, "qemu-io", "-f", "raw", s.uri(export),
			"-c", "write -P 0x5a 64k 192k",
			"-c", "write -z 128k 64k",
			"-c", "write -f -P 0x3c 192k 4k",
			"-c", "discard 1M 64k",
			"-c", "flush",
			"-c", "read -P 0x5a 64k 64k",
			"-c", "read -P 0 128k 64k",
			"-c", "read -P 0x3c 192k 4k",
			"-c", "read -P 0x5a 196k 60k")
		if strings.Contains(strings.ToLower(out), "fail") {
			t.Errorf("%s: qemu-io says:\n%s", export, out)
		}
	}
	wantIn(t, s.stop(), "full: Trim 65536 at 1048576")
}

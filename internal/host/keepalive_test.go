// SPDX-License-Identifier: Apache-2.0

package host

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

// fakeConn is a connection whose server answers as answer does.
type fakeConn struct {
	ssh.Conn
	answer func()
	asked  atomic.Int32
	closed atomic.Bool
}

func (c *fakeConn) SendRequest(name string, wantReply bool, _ []byte) (bool, []byte, error) {
	c.asked.Add(1)
	c.answer()
	return false, nil, nil
}

func (c *fakeConn) Close() error {
	c.closed.Store(true)
	return nil
}

func TestSilentConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop, never := make(chan struct{}), make(chan struct{})
		conn := &fakeConn{answer: func() { <-never }}
		start := time.Now()
		watchConnection(conn, keepAlive, stop)
		if !conn.closed.Load() || time.Since(start) != maxSilent*keepAlive || conn.asked.Load() != 1 {
			t.Errorf("closed %v after %v and %d questions", conn.closed.Load(), time.Since(start), conn.asked.Load())
		}
		close(never)
	})
}

// TestSlowConnectionIsKept: each answer comes late, but in time.
func TestSlowConnectionIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		conn := &fakeConn{answer: func() { time.Sleep((maxSilent - 1) * keepAlive / 2) }}
		go watchConnection(conn, keepAlive, stop)
		time.Sleep(time.Hour)
		close(stop)
		time.Sleep(time.Minute) // for the last answer
		if conn.closed.Load() || conn.asked.Load() < 100 {
			t.Errorf("closed %v after %d questions", conn.closed.Load(), conn.asked.Load())
		}
	})
}

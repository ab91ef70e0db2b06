// SPDX-License-Identifier: Apache-2.0

package nbdkit

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"
)

const (
	clients = 16  // at the same time
	rounds  = 300 // connections that each opens and closes
)

// numbered is a plugin in this process whose connections each read as bytes
// of a number of their own.
type numbered struct {
	Plugin
	opened, closed atomic.Int64
}

type number struct {
	Connection
	of    *numbered
	value byte
}

func (p *numbered) Open(readonly bool) (ConnectionInterface, error) {
	return &number{of: p, value: byte(p.opened.Add(1))}, nil
}

func (c *number) PRead(buf []byte, offset uint64, flags uint32) error {
	for i := range buf {
		buf[i] = c.value
	}
	return nil
}

func (c *number) Close() { c.of.closed.Add(1) }

// TestHandlesConcurrently calls the callbacks as nbdkit does, without nbdkit,
// so that the race detector sees them.
func TestHandlesConcurrently(t *testing.T) {
	p := &numbered{}
	plugin = p
	defer func() { plugin = nil }()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			buf := make([]byte, 512)
			for range rounds {
				h := nbdkitGoOpen(0)
				want := connection(h).(*number).value
				if rc := nbdkitGoPRead(h, unsafe.Pointer(&buf[0]), 512, 0, 0); rc != 0 {
					t.Errorf("read of handle %d answers %d", h, rc)
				}
				if !bytes.Equal(buf, bytes.Repeat([]byte{want}, len(buf))) {
					t.Errorf("handle %d reads %d, want %d", h, buf[0], want)
				}
				nbdkitGoClose(h)
			}
		})
	}
	wg.Wait()
	if opened, closed := p.opened.Load(), p.closed.Load(); opened != clients*rounds || closed != opened {
		t.Errorf("opened %d and closed %d, want %d", opened, closed, clients*rounds)
	}
}

// TestServerManyClients does the same through nbdkit.
func TestServerManyClients(t *testing.T) {
	for _, tc := range []struct {
		path, export string
		want         byte // at offset 4096
	}{
		{fullPlugin, "holes", 2},
		{minimalPlugin, "", 0x55},
	} {
		// Each has one request, and starting threads is most of the time.
		s := start(t, "-t", "2", tc.path)
		want := bytes.Repeat([]byte{tc.want}, 4096)
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				for round := range rounds {
					if err := visit(s.socket, tc.export, want); err != nil {
						t.Errorf("client %d, round %d: %v", i, round, err)
						return
					}
				}
			})
		}
		wg.Wait()
		wantIn(t, s.stop(), "["+strconv.Itoa(clients*rounds)+"]: debug:")
	}
}

// visit connects, reads want at offset 4096, and leaves.
func visit(socket, export string, want []byte) error {
	c, err := dial(socket, export)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	got, err := c.pread(4096, uint32(len(want)))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("read %d..., want %d...", got[0], want[0])
	}
	return c.close()
}

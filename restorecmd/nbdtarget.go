// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"fmt"

	"virtnb/internal/nbd"
)

// nbdConnections is how many connections a target is written over: more do not
// make qemu-nbd faster.
const nbdConnections = 4

// nbdTarget is the export of an NBD server that is there already. What it holds
// is not known, so zeroes are written, too.
type nbdTarget struct {
	client *nbd.Client
	block  int64
	size   int64 // of the disk that is written
}

// openNBD connects to an export that is to take a disk of size bytes.
func openNBD(ctx context.Context, o nbd.Options, size int64) (*nbdTarget, error) {
	o.Connections = nbdConnections
	c, err := nbd.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	minimum, _, _ := c.Blocks()
	t := &nbdTarget{client: c, block: max(defaultBlock, minimum), size: size}
	switch {
	case c.ReadOnly():
		err = fmt.Errorf("%s is read-only", o.URI)
	case c.Size() < size:
		err = fmt.Errorf("%s has %d bytes, fewer than the disk, which has %d", o.URI, c.Size(), size)
	case size%minimum != 0:
		err = fmt.Errorf("%s takes multiples of %d bytes only, which the disk's size of %d bytes is not", o.URI, minimum, size)
	case t.block > pieceSize:
		err = fmt.Errorf("%s has blocks of %d bytes, which is more than we can write at a time", o.URI, minimum)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return t, nil
}

func (t *nbdTarget) WriteAt(ctx context.Context, p []byte, off int64) error {
	return t.client.WriteAt(ctx, p, off)
}

func (t *nbdTarget) Zero(ctx context.Context, off, n int64) error { return t.client.Zero(ctx, off, n) }

func (t *nbdTarget) Block() int64 { return t.block }

func (t *nbdTarget) Fresh() bool { return false }

func (t *nbdTarget) Commit(ctx context.Context) error {
	if err := t.client.Flush(ctx); err != nil {
		return err
	}
	return t.client.Close()
}

func (t *nbdTarget) Abort() { t.client.Close() }

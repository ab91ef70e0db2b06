// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"errors"

	"virtnb/internal/host"
	"virtnb/internal/nbd"
	"virtnb/internal/qemu"
)

// qcowFile is a new image on a host, written by a qemu-nbd there.
type qcowFile struct {
	host     host.Host
	path     string // when it is complete
	dataFile string // of its external data, when it is complete; "": none
	format   string
	block    int64

	server  *qemu.Server
	forward *host.Forwarder // of a server on another host, or nil
	client  *nbd.Client
	done    bool
}

// qcowOptions say how to make a qcowFile.
type qcowOptions struct {
	create   qemu.CreateOptions // its data file has its final path
	compress bool
	socket   string // of the NBD server; "": one in a folder of its own
}

// createQcow makes an image. Neither it nor its partial name may exist.
func createQcow(ctx context.Context, h host.Host, path string, o qcowOptions) (_ *qcowFile, err error) {
	q := &qcowFile{host: h, path: path, dataFile: o.create.DataFile, format: o.create.Format, block: clusterSize(o.create)}
	create := o.create
	if q.dataFile != "" {
		create.DataFile += partialSuffix
	}
	if err := qemu.Create(ctx, h, path+partialSuffix, create); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			q.Abort()
		}
	}()
	q.server, err = qemu.ServeWritable(ctx, h, qemu.Export{
		Path: path + partialSuffix, Format: q.format, Name: exportName, Socket: o.socket,
		Compress: o.compress, Unsafe: true, Connections: nbdConnections,
	})
	if err != nil {
		return nil, err
	}
	return q, q.connect(ctx)
}

// exportName is the name of the export of our own servers.
const exportName = "restore"

// connect connects to the server, through SSH where it is on another host.
func (q *qcowFile) connect(ctx context.Context) (err error) {
	_, socket := q.server.Address()
	q.client, err = nbd.Connect(ctx, nbd.Options{Socket: socket, Export: exportName, Connections: nbdConnections})
	return err
}

// clusterSize is the unit of an image.
func clusterSize(o qemu.CreateOptions) int64 {
	if o.ClusterSize >= 512 && o.ClusterSize <= pieceSize {
		return o.ClusterSize
	}
	return 64 << 10
}

func (q *qcowFile) WriteAt(ctx context.Context, p []byte, off int64) error {
	return q.client.WriteAt(ctx, p, off)
}

func (q *qcowFile) Zero(context.Context, int64, int64) error { return nil }

func (q *qcowFile) Block() int64 { return q.block }

func (q *qcowFile) Fresh() bool { return true }

// Commit ends the server, which writes what it has in its caches, makes the
// files durable and gives them their names. The data file comes first: an image
// whose data is not there would be a broken one.
func (q *qcowFile) Commit(ctx context.Context) error {
	err := errors.Join(q.client.Close(), q.server.Stop())
	if err != nil {
		return err
	}
	if q.dataFile != "" {
		if err := qemu.SetDataFile(ctx, q.host, q.path+partialSuffix, q.format, q.dataFile, q.dataFile+partialSuffix); err != nil {
			return err
		}
		if err := settle(ctx, q.host, q.dataFile); err != nil {
			return err
		}
	}
	if err := settle(ctx, q.host, q.path); err != nil {
		return err
	}
	q.done = true
	return nil
}

func (q *qcowFile) Abort() {
	if q.done {
		return
	}
	if q.client != nil {
		_ = q.client.Close()
	}
	if q.server != nil {
		_ = q.server.Stop()
	}
	_ = q.host.Remove(q.path + partialSuffix)
	if q.dataFile != "" {
		_ = q.host.Remove(q.dataFile + partialSuffix)
	}
}

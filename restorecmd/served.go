// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"virtnb/internal/host"
	"virtnb/internal/nbd"
	"virtnb/internal/qemu"
)

// served is an image on a host that a qemu-nbd there serves to us.
type served struct {
	server  *qemu.Server
	forward *host.Forwarder // of a server on another host, or nil
	dir     string          // of the forwarder's socket
	client  *nbd.Client
}

// exportName is the name of the export of our own servers.
const exportName = "restore"

// serve starts a server for the image of e and connects to it: through SSH where
// it is on another host and listens at a socket.
func (r *run) serve(ctx context.Context, e qemu.Export, writable bool) (_ *served, err error) {
	e.Name, e.Connections = exportName, nbdConnections
	start := qemu.ServeReadOnly
	if writable {
		start = qemu.ServeWritable
	}
	s := &served{}
	if s.server, err = start(ctx, r.host, e); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.close()
		}
	}()
	o := r.nbdOptions(s.server)
	if r.far != "" && o.Socket != "" {
		if o.Socket, err = s.tunnel(ctx); err != nil {
			return nil, err
		}
	}
	s.client, err = nbd.Connect(ctx, o)
	return s, err
}

// tunnel makes a socket here that leads to the server.
func (s *served) tunnel(ctx context.Context) (socket string, err error) {
	if s.dir, err = os.MkdirTemp("", "virtnb"); err != nil {
		return "", err
	}
	socket = filepath.Join(s.dir, "nbd")
	s.forward, err = s.server.Forward(ctx, socket)
	return socket, err
}

// close ends the server, which writes what it has in its caches. Only without
// an error it is all in the image.
func (s *served) close() error {
	var errs []error
	if s.client != nil {
		errs = append(errs, s.client.Close())
	}
	if s.forward != nil {
		errs = append(errs, s.forward.Close())
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
	return errors.Join(append(errs, s.server.Stop())...)
}

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

// serve starts a server for the image and connects to it, through SSH where it
// is on another host.
func serve(ctx context.Context, h host.Host, e qemu.Export, writable bool) (_ *served, err error) {
	e.Name, e.Connections = exportName, nbdConnections
	start := qemu.ServeReadOnly
	if writable {
		start = qemu.ServeWritable
	}
	s := &served{}
	if s.server, err = start(ctx, h, e); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.close()
		}
	}()
	_, socket := s.server.Address()
	if _, local := h.(host.Local); !local {
		if s.dir, err = os.MkdirTemp("", "virtnb"); err != nil {
			return nil, err
		}
		socket = filepath.Join(s.dir, "nbd")
		if s.forward, err = s.server.Forward(ctx, socket); err != nil {
			return nil, err
		}
	}
	s.client, err = nbd.Connect(ctx, nbd.Options{
		Socket: socket, Export: exportName, Connections: nbdConnections, Contexts: []string{nbd.Allocation},
	})
	return s, err
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

// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"virtnb/internal/host"
	"virtnb/internal/nbd"
	"virtnb/internal/qemu"
)

// A URI of libvirt with qemu+ssh restores to that host: files are written
// through SFTP and the data goes to a qemu-nbd there, through the same SSH
// connection or, with --tls or --nbd-ip, to a port of its own. The backup set is
// read here.

// reach connects to the host of the targets.
func (r *run) reach(ctx context.Context) error {
	r.host = host.Local{}
	o, remote, err := r.o.Host.SSH(r.o.Host.URI)
	if err != nil || !remote {
		return err
	}
	r.log.Info(fmt.Sprintf("Connecting remote system [%s] via ssh, username: [%s]", o.Host, o.User))
	ssh, err := host.Connect(ctx, o)
	if err != nil {
		return peersError("Remote restore detected but ssh session setup failed: [%w]", err)
	}
	r.host, r.far = ssh, o.Host
	return nil
}

// overTCP says whether data goes to a port of the other host.
func (r *run) overTCP() bool { return r.far != "" && (r.o.Host.TLS || r.o.Host.NBDIP != "") }

// listen says where the server of a disk listens. Each disk has its own.
func (r *run) listen(p *plan, j *job) (e qemu.Export) {
	number := max(0, slices.Index(p.jobs, j))
	if !r.overTCP() {
		if e.Socket = r.o.SocketFile; e.Socket != "" && number > 0 {
			e.Socket += "." + j.disk
		}
		return e
	}
	e.Address, e.Port = r.o.Host.NBDIP, r.o.Host.NBDPort+number
	if r.o.Host.TLS {
		e.TLSDir = r.o.Host.TLSCert
	} else {
		r.log.Info("The data of the guest crosses the network unencrypted: use --tls, or leave --nbd-ip out to send it through SSH")
	}
	r.log.Info(fmt.Sprintf("Starting remote NBD server on socket: [%s:%d]", r.nbdHost(), e.Port))
	return e
}

// nbdHost is where we find the ports of the other host.
func (r *run) nbdHost() string {
	if r.o.Host.NBDIP != "" {
		return r.o.Host.NBDIP
	}
	return r.far
}

// nbdOptions connect to a server of listen.
func (r *run) nbdOptions(s *qemu.Server) nbd.Options {
	e := s.Export
	o := nbd.Options{Socket: e.Socket, Export: exportName, Connections: nbdConnections, Contexts: []string{nbd.Allocation}}
	if e.Port != 0 {
		o.Host, o.Port = r.nbdHost(), fmt.Sprint(e.Port)
	}
	if e.TLSDir != "" {
		o.TLS = &nbd.TLS{Dir: e.TLSDir, VerifyPeer: true}
	}
	return o
}

// checkRemote refuses what cannot be done on another host.
func (r *run) checkRemote() error {
	if r.far != "" && r.o.Output == stdout {
		return errors.New("the standard output is not on another host: leave -U out")
	}
	return nil
}

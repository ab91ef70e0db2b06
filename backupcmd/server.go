// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"virtnb/internal/domainxml"
	"virtnb/internal/host"
	"virtnb/internal/qemu"
)

// Where the NBD servers are that give the data. On this machine it is a unix
// socket. On another one it is a unix socket there as well, which we reach
// through SSH, so that the data of the guest crosses the network encrypted;
// with --tls or --nbd-ip, or without SSH, it is a TCP port, as virtnbdbackup
// has it always.

// endpoint is how to reach a server from here.
type endpoint struct {
	socket string // or:
	host   string
	port   int
	tls    bool
}

func (e endpoint) String() string {
	if e.socket != "" {
		return e.socket
	}
	return net.JoinHostPort(e.host, strconv.Itoa(e.port))
}

// server is the NBD server of a job.
type server struct {
	at      endpoint        // as the domain's host sees it
	reach   endpoint        // as we do
	through *host.Forwarder // from there to here, or nil
	closers []func() error
}

// probe connects to a server through SSH, where a refusal comes at once and has a
// reason. The client behind the forwarder would only see that it is not let in.
func (r *run) probe(ctx context.Context, s *server) error {
	if s.through == nil {
		return nil
	}
	conn, err := r.host.Dial(ctx, "unix", s.at.socket)
	if err != nil {
		return fmt.Errorf("%w; the user there must be able to open sockets of QEMU, as root is, or send the data through a port, with --tls or --nbd-ip", err)
	}
	return conn.Close()
}

// pingTime is how long a host may take to say that it is still there.
const pingTime = 10 * time.Second

// explain adds to the error of a client why the way to the server broke: the
// client only sees that it did.
func (r *run) explain(s *server, err error) error {
	if s.through == nil {
		return err
	}
	if ssh, ok := r.host.(*host.SSH); ok {
		ctx, cancel := context.WithTimeout(context.Background(), pingTime)
		defer cancel()
		if lost := ssh.Ping(ctx); lost != nil {
			return fmt.Errorf("%w (%w)", lost, err)
		}
	}
	if cause := s.through.Err(); cause != nil {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// job is the part of the job's description that says where the server is.
func (s *server) job() domainxml.BackupJob {
	if s.at.socket != "" {
		return domainxml.BackupJob{Socket: s.at.socket}
	}
	return domainxml.BackupJob{Host: s.at.host, Port: s.at.port, TLS: s.at.tls}
}

// identity tells the job from those of others, as domainxml.BackupServer does.
func (s *server) identity() string {
	if s.at.socket != "" {
		return s.at.socket
	}
	return s.at.host + ":" + strconv.Itoa(s.at.port)
}

func (s *server) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		_ = s.closers[i]()
	}
	s.closers = nil
}

// overTCP says whether data comes through a port of the domain's host.
func (r *run) overTCP() bool {
	h := r.o.Host
	return r.remote() && (h.TLS || h.NBDIP != "" || !r.overSSH())
}

// listen decides where the job's server is to be.
func (r *run) listen(ctx context.Context) error {
	r.server = &server{}
	switch {
	case !r.remote():
		socket, err := filepath.Abs(r.o.SocketFile)
		if err != nil {
			return err
		}
		if err := freeSocket(ctx, socket); err != nil {
			return err
		}
		r.server.at = endpoint{socket: socket}
		r.server.reach = r.server.at
		r.log.Info(fmt.Sprintf("Local NDB Endpoint socket: [%s]", socket))
	case r.overTCP():
		at, err := r.tcp(0)
		if err != nil {
			return err
		}
		if err := r.nbdOptions(at, r.disks[0]).Check(); err != nil {
			return err
		}
		r.server.at, r.server.reach = at, at
		r.log.Info(fmt.Sprintf("Remote: NDB Endpoint socket: [%s]", at))
	default:
		socket, err := r.farSocket()
		if err != nil {
			return err
		}
		r.server.at = endpoint{socket: socket}
		r.log.Info(fmt.Sprintf("Remote: NDB Endpoint socket: [%s:%s]", r.host, socket))
		if err := r.forward(ctx, r.server); err != nil {
			return err
		}
	}
	r.log.Info(fmt.Sprintf("Temporary scratch file target directory: [%s]", r.o.ScratchDir))
	return r.makeScratchDir()
}

// freeSocket refuses a path at which there is something else than a socket that
// nobody listens at any more, which QEMU replaces.
func freeSocket(ctx context.Context, path string) error {
	err := vacant(path)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		err = errors.New("somebody listens there")
	} else if st, statErr := os.Lstat(path); statErr == nil && st.Mode().Type() == fs.ModeSocket && errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path) // process numbers, which are in the default name, come again
	}
	return fmt.Errorf("socket of the NBD server: %s exists: %w; choose another with --socketfile, or remove it if nobody needs it", path, err)
}

// farSocket is a socket on the domain's host. The default name has the number
// of a process of this machine, which one of a third may have as well, and QEMU
// takes the place of a socket that is there.
func (r *run) farSocket() (string, error) {
	socket := r.o.SocketFile
	if socket == Default().SocketFile {
		socket += "." + rand.Text()[:8]
	}
	if !path.IsAbs(socket) {
		return "", fmt.Errorf("socket of the NBD server on %s: %q is not an absolute path", r.host, socket)
	}
	_, err := r.host.Stat(socket)
	if err == nil {
		err = fmt.Errorf("socket of the NBD server: %s exists on %s; use --socketfile, or remove it if nobody has it", socket, r.host)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return socket, err
}

// tcp is a port of the domain's host.
func (r *run) tcp(number int) (endpoint, error) {
	e := endpoint{host: r.o.Host.NBDIP, port: r.o.Host.NBDPort + number, tls: r.o.Host.TLS}
	if e.host == "" {
		var err error
		if e.host, err = r.conn.GetHostname(); err != nil {
			return e, err
		}
	}
	if !e.tls && number == 0 {
		r.log.Info("The data of the guest crosses the network unencrypted: use --tls, or leave --nbd-ip out to send it through SSH")
	}
	return e, nil
}

// forward makes a socket here that leads to the one there.
func (r *run) forward(ctx context.Context, s *server) error {
	dir, err := os.MkdirTemp("", "virtnb-")
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { return os.RemoveAll(dir) })
	s.reach = endpoint{socket: filepath.Join(dir, "nbd")}
	s.through, err = host.Forward(ctx, r.host, "unix", s.at.socket, s.reach.socket)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.through.Close)
	return nil
}

// scratchMode lets QEMU, which is another user, to its files, which are
// its own, and nobody see their names.
const scratchMode = 0o711

// makeScratchDir makes the folder for scratch files on the domain's host.
func (r *run) makeScratchDir() error {
	if r.remote() && !r.overSSH() {
		return nil
	}
	if err := r.host.Mkdir(r.o.ScratchDir, scratchMode); err != nil {
		return fmt.Errorf("folder for scratch files: %w", err)
	}
	return nil
}

// offlineServer is a qemu-nbd for one disk of a domain that is off.
type offlineServer struct {
	server
	process *qemu.Server
}

func (s *offlineServer) close() error {
	s.server.close()
	return s.process.Stop()
}

// serveOffline starts qemu-nbd for a disk. The caller closes it.
func (r *run) serveOffline(ctx context.Context, d disk, number int) (*offlineServer, error) {
	if r.remote() && !r.overSSH() {
		return nil, errors.New("the images of a domain that is off can be read on its host only: use a URI with qemu+ssh")
	}
	s := &offlineServer{}
	e := qemu.Export{Path: d.Path, Format: d.Format, Name: d.Target}
	if r.plan.parent != "" && !d.whole {
		e.Bitmap = r.plan.parent
	}
	var err error
	if r.overTCP() {
		if s.at, err = r.tcp(number); err != nil {
			return nil, err
		}
		s.reach = s.at
		e.Address, e.Port = s.at.host, s.at.port
		if s.at.tls {
			e.TLSDir = r.o.Host.TLSCert
		}
	} else if !r.remote() { // there, it gets a folder of its own
		s.at.socket = fmt.Sprintf("%s.%s", r.o.SocketFile, d.Target)
		s.reach = s.at
		e.Socket = s.at.socket
	}
	if s.process, err = qemu.ServeReadOnly(ctx, r.host, e); err != nil {
		return nil, fmt.Errorf("disk %s: %w", d.Target, err)
	}
	s.at.socket = s.process.Export.Socket
	r.log.Info(fmt.Sprintf("Offline backup, starting NDB server, socket: [%s]", s.at))
	if r.remote() && s.at.socket != "" {
		if err := r.forward(ctx, &s.server); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"virtnb/internal/host"
)

// Export says what to serve and where.
type Export struct {
	Path   string
	Format string // needed: a format that is guessed is one that the guest chose
	Name   string // of the NBD export
	// Bitmap is a bitmap of the image to offer as the meta context
	// qemu:dirty-bitmap:NAME.
	Bitmap string

	// Socket is the path of the unix socket to listen at. When it is empty and
	// Port is 0 there is one in a folder that only the user can enter.
	Socket string
	// Port, when it is not 0, is the TCP port to listen at; Address is that of
	// the interface, all when it is empty.
	Address string
	Port    int

	// TLSDir is the folder with the server's certificates (ca-cert.pem,
	// server-cert.pem, server-key.pem), which makes the server speak TLS only.
	TLSDir string
	// NoVerifyPeer lets clients in that have no certificate.
	NoVerifyPeer bool

	// Connections is how many there may be at once; 0 is 16.
	Connections int
	// Compress has ServeWritable write compressed clusters.
	Compress bool
	// Unsafe has ServeWritable leave it to the caller to make the files durable
	// after Stop: a flush does nothing, also not between what qemu-nbd writes. It
	// is for images that are thrown away unless they become complete.
	Unsafe bool
}

const (
	defaultConnections = 16
	// startTimeout bounds the start of a server: opening an image reads its
	// tables, which takes long on a slow disk.
	startTimeout = time.Minute
	// writableGrace is the time that a server gets to write what it has in its
	// caches; killing it would lose that.
	writableGrace = 10 * time.Minute
	pollInterval  = 20 * time.Millisecond
)

// Server is a qemu-nbd that is running.
type Server struct {
	Export  Export // with its Socket
	host    host.Host
	process *host.Process
}

// ServeReadOnly serves an image read-only until Stop, until ctx is done, or
// until this process or the connection to the host is gone. It fails when the
// image is open for writing elsewhere.
func ServeReadOnly(ctx context.Context, h host.Host, e Export) (*Server, error) {
	if e.Compress {
		return nil, errors.New("qemu-nbd: a read-only export has nothing to compress")
	}
	argv := []string{"--read-only", "--detect-zeroes=on"}
	if e.Bitmap != "" {
		argv = append(argv, "--bitmap="+e.Bitmap)
	}
	return serve(ctx, h, e, host.Command{Argv: append(argv, e.image()...)})
}

// ServeWritable serves an image for writing, with the space of discarded
// ranges given back, as ServeReadOnly does. Nobody else may have it open.
// What was written is durable after a flush over NBD, and after Stop without
// error.
func ServeWritable(ctx context.Context, h host.Host, e Export) (*Server, error) {
	if e.Bitmap != "" {
		return nil, errors.New("qemu-nbd: a bitmap is offered by a read-only export only")
	}
	argv := []string{"--discard=unmap"}
	if e.Unsafe {
		argv = append(argv, "--cache=unsafe")
	}
	return serve(ctx, h, e, host.Command{Argv: append(argv, e.image()...), Grace: writableGrace})
}

// image is the part of the command line that names the image.
func (e Export) image() []string {
	if !e.Compress {
		return []string{"--format=" + e.Format, "--", filename(e.Path)}
	}
	return []string{"--image-opts", "--", "driver=compress,file.driver=" + escape(e.Format) +
		",file.file.driver=file,file.file.filename=" + escape(e.Path)}
}

// listen is the part that says where to listen and for whom.
func (e Export) listen() []string {
	n := e.Connections
	if n == 0 {
		n = defaultConnections
	}
	argv := []string{"--persistent", "--shared=" + strconv.Itoa(n), "--export-name=" + e.Name}
	if e.Port == 0 {
		argv = append(argv, "--socket="+e.Socket)
	} else {
		argv = append(argv, "--port="+strconv.Itoa(e.Port))
		if e.Address != "" {
			argv = append(argv, "--bind="+e.Address)
		}
	}
	if e.TLSDir == "" {
		return argv
	}
	verify := "yes"
	if e.NoVerifyPeer {
		verify = "no"
	}
	return append(argv, "--object", "tls-creds-x509,id=tls0,endpoint=server,dir="+escape(e.TLSDir)+",verify-peer="+verify, "--tls-creds", "tls0")
}

func (e Export) check() error {
	switch {
	case e.Format == "":
		return fmt.Errorf("qemu-nbd: no format for %s", e.Path)
	case e.Port != 0 && e.Socket != "":
		return errors.New("qemu-nbd: a socket and a port")
	case e.Port == 0 && e.Socket != "" && !path.IsAbs(e.Socket):
		return fmt.Errorf("qemu-nbd: socket %q is not an absolute path", e.Socket)
	}
	return nil
}

// serve starts a server in a folder of its own, which holds the file that
// appears when it listens, and waits for that.
func serve(ctx context.Context, h host.Host, e Export, c host.Command) (*Server, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	dir, err := host.MkdirTemp(ctx, h)
	if err != nil {
		return nil, err
	}
	if e.Socket == "" && e.Port == 0 {
		e.Socket = path.Join(dir, "nbd")
	}
	pid := path.Join(dir, "pid")
	c.Argv = append(append([]string{"qemu-nbd", "--pid-file=" + pid}, e.listen()...), c.Argv...)
	c.Remove = []string{pid, dir}
	if e.Port == 0 {
		c.Remove = []string{e.Socket, pid, dir}
	}
	p, err := h.Start(ctx, c)
	if err != nil {
		h.Remove(dir)
		return nil, fmt.Errorf("serve %s: %w", e.Path, err)
	}
	if err := ready(ctx, h, p, pid); err != nil {
		p.Stop()
		return nil, fmt.Errorf("serve %s: %w", e.Path, err)
	}
	return &Server{Export: e, host: h, process: p}, nil
}

// ready waits for the file that qemu-nbd writes once it listens.
func ready(ctx context.Context, h host.Host, p *host.Process, pid string) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	timeout := time.After(startTimeout)
	for {
		info, err := h.Stat(pid)
		if err == nil && info.Size() > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-p.Done():
			if err := p.Wait(); err != nil {
				return err
			}
			return errors.Join(errors.New("qemu-nbd ended at once"), context.Cause(ctx))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timeout:
			return fmt.Errorf("qemu-nbd on %s does not listen after %v", h, startTimeout)
		case <-ticker.C:
		}
	}
}

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.process.Done() }

// Wait waits for the end of the server and gives its error.
func (s *Server) Wait() error { return s.process.Wait() }

// Stop ends the server, its connections and its socket. For a writable one the
// error counts: without it everything is in the image. It may be called again.
func (s *Server) Stop() error {
	if err := s.process.Stop(); err != nil {
		return fmt.Errorf("serve %s: %w", s.Export.Path, err)
	}
	return nil
}

// Address is where the server listens, as its own host sees it.
func (s *Server) Address() (network, address string) {
	if s.Export.Port == 0 {
		return "unix", s.Export.Socket
	}
	return "tcp", net.JoinHostPort(first(s.Export.Address, "localhost"), strconv.Itoa(s.Export.Port))
}

// Dial connects to the server, through SSH when it is on another machine. The
// NBD handshake is next.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	network, address := s.Address()
	return s.host.Dial(ctx, network, address)
}

// Forward gives the server a unix socket on this machine, see host.Forward.
func (s *Server) Forward(ctx context.Context, socket string) (*host.Forwarder, error) {
	network, address := s.Address()
	return host.Forward(ctx, s.host, network, address, socket)
}

// URI names the export for a client that connects directly: over TCP to the
// machine called name, or, on this machine, to the unix socket.
func (s *Server) URI(name string) string {
	e := s.Export
	u := url.URL{Scheme: "nbd", Path: "/" + e.Name}
	if e.TLSDir != "" {
		u.Scheme = "nbds"
	}
	if e.Port == 0 {
		u.Scheme += "+unix"
		u.RawQuery = "socket=" + strings.ReplaceAll(url.QueryEscape(e.Socket), "+", "%20")
		return u.String()
	}
	u.Host = net.JoinHostPort(name, strconv.Itoa(e.Port))
	return u.String()
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// SPDX-License-Identifier: Apache-2.0

// Package host is the machine where the files of a domain are: this one
// ([Local]) or one reached over SSH ([Connect]). What runs, reads and writes
// there is written once, against [Host].
//
//	var h host.Host = host.Local{}
//	if remote {
//		h, err = host.Connect(ctx, options)
//	}
//	defer h.Close()
//	out, err := h.Run(ctx, []string{"qemu-img", "info", "--output=json", path})
package host

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path"
	"strings"
	"time"
)

// Host is a machine. All methods may be called at the same time from several
// goroutines. Paths are those of that machine. An error about a file is
// fs.ErrNotExist or fs.ErrPermission (errors.Is) where it is one of these.
type Host interface {
	// String names the machine in messages: "localhost", "root@kvm1".
	String() string

	// Run runs a program to its end and gives back what it wrote to standard
	// output, at most 64 MiB. The arguments reach the program as they are. A
	// program that fails is a *CommandError, with its standard error. When
	// ctx is done the program is ended as Process.Stop does.
	Run(ctx context.Context, argv []string) (stdout []byte, err error)

	// Start starts a program that runs until it ends by itself, until
	// Process.Stop, until ctx is done, or until this process or the
	// connection is gone, whichever comes first.
	Start(ctx context.Context, c Command) (*Process, error)

	// Open opens a file for reading; its Stat has the size.
	Open(path string) (fs.File, error)
	// Stat follows symbolic links.
	Stat(path string) (fs.FileInfo, error)
	// ReadDir lists a folder, sorted by name.
	ReadDir(path string) ([]fs.DirEntry, error)
	// Create begins a file under a temporary name in the same folder; it
	// has its own name, in the place of what had it, after Upload.Commit.
	Create(path string, mode fs.FileMode) (*Upload, error)
	// Mkdir makes a folder and the folders above it; what exists stays as it
	// is.
	Mkdir(path string, mode fs.FileMode) error
	// Remove removes a file or an empty folder.
	Remove(path string) error

	// Dial connects from that machine: network "unix" with a path, or "tcp"
	// with HOST:PORT as that machine understands it. Over SSH the bytes go
	// through the connection, encrypted; deadlines are not supported there.
	Dial(ctx context.Context, network, address string) (net.Conn, error)

	// Close ends the connection and with it what Start started over it.
	// Local has nothing to close.
	Close() error
}

// Command is a program to start.
type Command struct {
	// Argv is the program, looked up in PATH, and its arguments. None may
	// hold a NUL byte.
	Argv []string
	// Stdout gets the standard output; nil drops it. Standard error is kept
	// for messages, its last 8 KiB.
	Stdout io.Writer
	// Remove lists files, and after them empty folders, that are removed on
	// the host when the program has ended, however it ended, even when the
	// connection or this process is gone by then.
	Remove []string
	// Grace is how long the program may take to end after SIGTERM before it
	// is killed, in whole seconds; 0 is 10 s.
	Grace time.Duration
}

// CommandError is the failure of a program.
type CommandError struct {
	Argv   []string
	Host   string // as Host.String; empty for this machine
	Status int    // exit status, -1 where there is none
	Stderr string // the end of standard error, trimmed
	Err    error  // why there is no status, or nil
}

func (e *CommandError) Error() string {
	var b strings.Builder
	b.WriteString(path.Base(e.Argv[0]))
	if e.Host != "" {
		fmt.Fprintf(&b, " on %s", e.Host)
	}
	switch {
	case e.Err != nil:
		fmt.Fprintf(&b, ": %v", e.Err)
	case e.Status == statusNotFound:
		b.WriteString(": not found, is it installed?")
	case e.Status == statusKilled:
		b.WriteString(": killed")
	default:
		fmt.Fprintf(&b, ": exit status %d", e.Status)
	}
	if e.Stderr != "" {
		fmt.Fprintf(&b, ": %s", e.Stderr)
	}
	return b.String()
}

func (e *CommandError) Unwrap() error { return e.Err }

// MkdirTemp makes a new folder on h that only the user there may enter, below
// /tmp, so that the path of a socket in it is short enough (108 bytes).
func MkdirTemp(ctx context.Context, h Host) (string, error) {
	out, err := h.Run(ctx, []string{"mktemp", "-d", "/tmp/virtnb-XXXXXXXXXX"})
	if err != nil {
		return "", fmt.Errorf("temporary folder: %w", err)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// Fetch copies the file at path on h to w and gives back how many bytes it
// copied. It ends early, with the cause, when ctx is done.
func Fetch(ctx context.Context, h Host, path string, w io.Writer) (int64, error) {
	f, err := h.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s on %s is not a file: %v", path, h, info.Mode().Type())
	}
	// A buffer of this size has many SFTP packets in flight; the wrappers keep
	// io.Copy from the smaller ones of its own ways.
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, &contextReader{ctx, f}, make([]byte, 1<<20))
	if err == nil && n < info.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, fmt.Errorf("copy %s from %s: %w", path, h, err)
	}
	return n, nil
}

// Store writes all of r to a file at path on h, under a temporary name until
// it is complete. It ends early, with the cause, when ctx is done.
func Store(ctx context.Context, h Host, path string, mode fs.FileMode, r io.Reader) (int64, error) {
	up, err := h.Create(path, mode)
	if err != nil {
		return 0, err
	}
	defer up.Close()
	n, err := io.Copy(up, &contextReader{ctx, r})
	if err == nil {
		err = up.Commit()
	}
	if err != nil {
		return n, fmt.Errorf("copy to %s on %s: %w", path, h, err)
	}
	return n, nil
}

// contextReader is r until ctx is done. It looks before each read: reads of
// files are short.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

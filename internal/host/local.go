// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Local is this machine.
type Local struct{}

var _ Host = Local{}

func (Local) String() string { return "localhost" }

// Run is documented at Host.
func (l Local) Run(ctx context.Context, argv []string) ([]byte, error) {
	return run(ctx, l, argv)
}

// Start is documented at Host. The program is in a process group of its own:
// signals of the terminal reach it through this process only.
func (Local) Start(ctx context.Context, c Command) (*Process, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	stderr := new(tail)
	cmd := exec.Command("/bin/sh", append([]string{"-c", lifeline(c), "sh"}, c.Argv...)...)
	cmd.Stdout, cmd.Stderr = c.Stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second // for what the program left running with its output
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	g := &program{command: c, lifeline: stdin, stderr: stderr}
	g.wait = func() (int, error) { return exitStatus(cmd.Wait()) }
	g.kill = func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return g.watch(ctx), nil
}

// exitStatus takes the status out of an error of os/exec.
func exitStatus(err error) (int, error) {
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return 0, nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return -1, err
}

// Open is documented at Host.
func (Local) Open(path string) (fs.File, error) { return os.Open(path) }

// Stat is documented at Host.
func (Local) Stat(path string) (fs.FileInfo, error) { return os.Stat(path) }

// ReadDir is documented at Host.
func (Local) ReadDir(path string) ([]fs.DirEntry, error) { return os.ReadDir(path) }

// Mkdir is documented at Host.
func (Local) Mkdir(path string, mode fs.FileMode) error { return os.MkdirAll(path, mode) }

// Remove is documented at Host.
func (Local) Remove(path string) error { return os.Remove(path) }

// Dial is documented at Host.
func (Local) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

// Close does nothing.
func (Local) Close() error { return nil }

// Create is documented at Host.
func (Local) Create(path string, mode fs.FileMode) (*Upload, error) {
	return newUpload(localFiles{}, path, mode)
}

// localFiles are the files of this machine, for Upload.
type localFiles struct{}

func (localFiles) createNew(path string, mode fs.FileMode) (uploadFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(mode); err != nil { // what the umask took
		f.Close()
		os.Remove(path)
		return nil, err
	}
	return f, nil
}

func (localFiles) sync(f uploadFile) error { return f.(*os.File).Sync() }

func (localFiles) remove(path string) error { return os.Remove(path) }

// rename takes the place of what is there, and outlives a power cut.
func (localFiles) rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

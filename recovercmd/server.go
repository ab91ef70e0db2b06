// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The server of a recovery is an nbdkit in the background, in a folder of its
// own, which lives until it is stopped. The folder's path is short, because that
// of a socket must have less than 108 bytes.
//
//	DIR/nbd   the socket
//	DIR/pid   the process id

const (
	maxSocket    = 107
	startTimeout = time.Minute
	stopTimeout  = 20 * time.Second
	pollInterval = 20 * time.Millisecond
	pluginFile   = "nbdkit-virtnb-plugin.so"
)

var errNoNbdkit = errors.New("nbdkit is not installed (Debian: apt-get install nbdkit)")

// server is an nbdkit in the background.
type server struct {
	socket string
	owner  Owner
	args   []string // behind the plugin
}

// server is that of a recovery: one for all disks, each an export of a fixed
// restore point.
func (s *State) server() server {
	return server{socket: s.Socket, owner: s.Owner, args: []string{"set=" + s.Set}}
}

func (v server) pidFile() string { return filepath.Join(filepath.Dir(v.socket), "pid") }

// newSocket chooses the path of a socket in a folder that is not there yet.
func newSocket() (string, error) {
	base, err := runtimeBase()
	return filepath.Join(base, "r"+rand.Text()[:10], "nbd"), err
}

// runtimeBase is the folder of the folders for sockets.
func runtimeBase() (string, error) {
	if os.Geteuid() == 0 {
		return ownFolder("/run/virtnb", 0o711)
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) && len(dir) < maxSocket-40 {
		return ownFolder(filepath.Join(dir, "virtnb"), folderMode)
	}
	return ownFolder(fmt.Sprintf("/tmp/virtnb-%d", os.Getuid()), folderMode)
}

// ownFolder makes a folder that nobody else can write to, or sees to it that
// what is there is one.
func ownFolder(path string, mode fs.FileMode) (string, error) {
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return "", fmt.Errorf("%s is not a folder that only you can write to: remove it", path)
	}
	return path, os.Chmod(path, mode)
}

// folder makes the server's folder again where it is gone, as after a start of
// the host, with the rights that QEMU needs.
func (v server) folder() error {
	dir := filepath.Dir(v.socket)
	if len(v.socket) > maxSocket {
		return fmt.Errorf("socket %s: the path has %d bytes, the limit is %d", v.socket, len(v.socket), maxSocket)
	}
	if _, err := runtimeBase(); err != nil {
		return err
	}
	if _, err := ownFolder(dir, folderMode); err != nil {
		return err
	}
	if !v.owner.Other {
		return nil
	}
	if err := os.Chown(dir, -1, v.owner.GID); err != nil {
		return fmt.Errorf("let QEMU reach the socket: %w", err)
	}
	return os.Chmod(dir, 0o710)
}

// start starts the server unless it runs, and returns when it listens. It says
// whether it had to.
func (v server) start(ctx context.Context) (started bool, err error) {
	if v.alive() {
		return false, v.share()
	}
	if err := errors.Join(v.folder(), v.end()); err != nil {
		return false, err
	}
	for _, path := range []string{v.socket, v.pidFile()} { // nbdkit leaves them
		if err := removeFile(path); err != nil {
			return false, err
		}
	}
	plugin, err := findPlugin()
	if err != nil {
		return false, err
	}
	if _, err := exec.LookPath("nbdkit"); err != nil {
		return false, errNoNbdkit
	}
	argv := append([]string{"nbdkit", "--unix", v.socket, "--pidfile", v.pidFile(), "--threads", "16", plugin}, v.args...)
	if err := runDaemon(ctx, argv); err != nil {
		return false, err
	}
	if err := v.waitReady(ctx); err != nil {
		return false, errors.Join(err, v.stop())
	}
	if err := v.share(); err != nil {
		return false, errors.Join(err, v.stop())
	}
	return true, nil
}

// share lets QEMU connect, where it is another user.
func (v server) share() error {
	if !v.owner.Other {
		return nil
	}
	return errors.Join(os.Chown(v.socket, -1, v.owner.GID), os.Chmod(v.socket, 0o660))
}

// runDaemon runs a program that goes to the background, out of reach of the
// terminal's signals, and returns when it has.
func runDaemon(ctx context.Context, argv []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	log, err := os.CreateTemp("", "virtnb")
	if err != nil {
		return err
	}
	defer log.Close()
	if err := os.Remove(log.Name()); err != nil {
		return err
	}
	cmd.Stderr = log // a pipe would stay open with the daemon
	err = cmd.Run()
	if err == nil {
		return nil
	}
	said, _ := io.ReadAll(io.NewSectionReader(log, 0, 1<<20))
	return errors.Join(fmt.Errorf("%s: %w: %s", argv[0], err, bytes.TrimSpace(said)), context.Cause(ctx))
}

func (v server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("nbdkit does not listen after %v", startTimeout))
	defer cancel()
	return poll(ctx, func() (bool, error) { return v.listens() && v.pid() > 0, nil })
}

// poll calls done until it says so, fails, or ctx ends.
func poll(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// listens says whether somebody accepts connections.
func (v server) listens() bool {
	c, err := net.DialTimeout("unix", v.socket, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func (v server) alive() bool { return v.listens() && v.running() > 0 }

// pid is the process id of the server, 0 if it does not run: another process
// that has its id by now does not name its socket.
func (v server) pid() int {
	text, err := os.ReadFile(v.pidFile())
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0
	}
	if !v.isServer(fmt.Sprintf("/proc/%d/cmdline", pid)) {
		return 0
	}
	return pid
}

// isServer says whether a command line in /proc is that of the server.
func (v server) isServer(path string) bool {
	line, err := os.ReadFile(path)
	program, _, _ := bytes.Cut(line, []byte{0})
	return err == nil && filepath.Base(string(program)) == "nbdkit" && bytes.Contains(line, []byte("\x00"+v.socket+"\x00"))
}

// running is the process id of the server, also of one that did not get to write
// it down; 0 if there is none.
func (v server) running() int {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is right
	for _, path := range lines {
		if v.isServer(path) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	return 0
}

// stop ends the server and removes its folder. One that does not run is as well.
func (v server) stop() error {
	if v.socket == "" {
		return nil
	}
	if err := v.end(); err != nil {
		return err
	}
	for _, path := range []string{v.socket, v.pidFile()} {
		if err := removeFile(path); err != nil {
			return err
		}
	}
	return removeFile(filepath.Dir(v.socket))
}

// end ends the server's process.
func (v server) end() error {
	for pid := v.running(); pid > 0; pid = v.running() {
		if err := v.kill(pid); err != nil {
			return err
		}
	}
	return nil
}

func (v server) kill(pid int) error {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end nbdkit %d: %w", pid, err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		err := poll(ctx, func() (bool, error) { return !v.isServer(fmt.Sprintf("/proc/%d/cmdline", pid)), nil })
		cancel()
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("nbdkit %d does not end", pid)
}

// findPlugin looks for our plugin beside the program, then has nbdkit look.
func findPlugin() (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(program), pluginFile)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	out, err := exec.Command("nbdkit", "--dump-config").Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errNoNbdkit
	}
	for line := range strings.Lines(string(out)) {
		dir, ok := strings.CutPrefix(strings.TrimSpace(line), "plugindir=")
		if !ok {
			continue
		}
		path := filepath.Join(dir, pluginFile)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is neither beside %s nor where nbdkit has its plugins: install it with make install", pluginFile, program)
}

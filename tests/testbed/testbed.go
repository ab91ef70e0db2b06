// SPDX-License-Identifier: Apache-2.0

// Package testbed gives tests, benchmarks and the demo a real libvirtd with
// real QEMU guests, on a machine without systemd, D-Bus or a running libvirt.
//
// [Start] brings up a libvirtd of its own, [Daemon.Guest] a guest of it:
//
//	d, err := testbed.Start(ctx, testbed.Options{})
//	defer d.Stop()
//	g, err := d.Guest(testbed.GuestOptions{Disks: []testbed.Disk{{Target: "vda", Size: 64 << 20}}})
//	err = g.HostWrite("vda", "write -P 0xa5 8M 256k")
//	err = g.ReadDisk("vda", "now.raw")
//
// A guest without an operating system starts in half a second, and can be
// written to all the same ([Guest.HostWrite]). One that is [Booted] has a Linux
// with a guest agent, which takes some seconds ([Guest.Exec]).
//
// All state is below one directory. libvirtd and the guests live in a mount and
// a process namespace, which the kernel clears when this process ends, however
// it ends, and in one where the host name can be another ([Daemon.SetHostname]).
// Several testbeds can be up at once. It needs root.
//
// A file system that is mounted after the start of a testbed is not seen by its
// libvirtd and guests: mount first.
package testbed

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long one step of another program may take on a slow machine.
const patience = 2 * time.Minute

//go:embed namespace.sh
var namespaceScript string

const libvirtdConf = `auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_ro_perms = "0777"
unix_sock_rw_perms = "0777"
`

// With stdio_handler "file" no virtlogd is needed.
const qemuConf = `remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
`

// Options say how libvirtd runs. The zero value is a usual one on a Unix socket.
type Options struct {
	Config     string   // more lines for libvirtd.conf
	QemuConfig string   // lines for qemu.conf, in place of ours where they say another thing
	QemuUser   string   // whom QEMU runs as, who gets the files that it opens; default root
	Args       []string // more arguments of libvirtd, such as --listen
	Setup      string   // bash, run before libvirtd in its mount namespace
}

// Daemon is a libvirtd. Its methods may be called from several goroutines.
type Daemon struct {
	root string
	cmd  *exec.Cmd // the first process of the namespace

	mu      sync.Mutex // guards what follows
	control io.WriteCloser
	answers *bufio.Reader
}

// New is Start for a test, which stops the daemon at its end and shows the log
// of libvirtd where it failed.
func New(t testing.TB, opts Options) *Daemon {
	t.Helper()
	d, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("libvirtd:\n%s", d.Log())
		}
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// Start returns when libvirtd answers. The context is for the start only.
func Start(ctx context.Context, opts Options) (*Daemon, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a testbed needs root: it mounts and starts libvirtd")
	}
	root, err := os.MkdirTemp("", "vtb") // short, for the sockets
	if err != nil {
		return nil, err
	}
	d := &Daemon{root: root}
	err = d.start(ctx, opts)
	if err != nil {
		err = fmt.Errorf("testbed: %w\n%s", err, d.Log())
		return nil, errors.Join(err, d.Stop())
	}
	return d, nil
}

func (d *Daemon) start(ctx context.Context, opts Options) error {
	if err := d.writeFiles(opts); err != nil {
		return err
	}
	if err := d.enter(opts.Args); err != nil {
		return err
	}
	if err := d.tell("start"); err != nil {
		return err
	}
	return d.wait(ctx)
}

// writeFiles makes the folders and configuration below the root.
func (d *Daemon) writeFiles(opts Options) error {
	if opts.QemuUser != "" { // who has to get at the images
		if err := os.Chmod(d.root, 0o711); err != nil {
			return err
		}
	}
	for _, dir := range []string{"etc", "lib", "run", "log", "cache", "img"} {
		if err := os.Mkdir(filepath.Join(d.root, dir), 0o755); err != nil {
			return err
		}
	}
	files := map[string]string{
		"namespace.sh":      namespaceScript,
		"setup.sh":          opts.Setup,
		"etc/libvirtd.conf": libvirtdConf + opts.Config,
		"etc/qemu.conf":     opts.QemuConfig + opts.owner() + qemuConf,
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(d.root, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// owner is whom QEMU runs as.
func (o Options) owner() string {
	if o.QemuUser == "" {
		return "user = \"root\"\ngroup = \"root\"\ndynamic_ownership = 0\n"
	}
	return fmt.Sprintf("user = %q\ngroup = %[1]q\ndynamic_ownership = 1\n", o.QemuUser)
}

// enter starts the namespace's first process and waits until it is ready.
func (d *Daemon) enter(args []string) error {
	log, err := os.Create(d.logPath())
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("bash", append([]string{filepath.Join(d.root, "namespace.sh"), d.root}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS, Setsid: true}
	cmd.Stderr = log
	control, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	d.cmd, d.control, d.answers = cmd, control, bufio.NewReader(answers)
	return d.answer()
}

func (d *Daemon) answer() error {
	if _, err := d.answers.ReadString('\n'); err != nil {
		return fmt.Errorf("the namespace has ended: %w", err)
	}
	return nil
}

// tell has the namespace's first process do something, see namespace.sh.
func (d *Daemon) tell(what string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.control == nil {
		return errors.New("the testbed is stopped")
	}
	if _, err := fmt.Fprintln(d.control, what); err != nil {
		return err
	}
	return d.answer()
}

// wait waits until libvirtd answers.
func (d *Daemon) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		out, err := exec.CommandContext(ctx, "virsh", "-q", "-c", d.URI(), "uri").CombinedOutput()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("libvirtd does not answer: %w: %s", err, out)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// URI names the libvirtd to its clients.
func (d *Daemon) URI() string {
	return "qemu:///system?socket=" + filepath.Join(d.root, "run/libvirt-sock")
}

// Root is the directory of all state: what libvirtd knows as /etc/libvirt,
// /var/lib/libvirt, /run/libvirt, /var/log/libvirt and /var/cache/libvirt is in
// its folders etc, lib, run, log and cache. Those who need the real names see
// [Daemon.Inside].
func (d *Daemon) Root() string { return d.root }

func (d *Daemon) logPath() string { return filepath.Join(d.root, "libvirtd.log") }

// Log is what libvirtd wrote so far.
func (d *Daemon) Log() string {
	log, err := os.ReadFile(d.logPath())
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// Inside is a command that sees the libvirt folders, and the processes, as
// libvirtd does. A signal to it reaches nsenter, which ends, and the kernel
// kills the program that it runs.
func (d *Daemon) Inside(ctx context.Context, name string, args ...string) *exec.Cmd {
	pid := strconv.Itoa(d.cmd.Process.Pid)
	return exec.CommandContext(ctx, "nsenter", append([]string{"--target", pid, "--mount", "--root", "--pid", "--uts", "--", "setpriv", "--pdeathsig", "KILL", name}, args...)...)
}

// SetHostname changes the name of the machine that libvirtd is on, for those
// inside only.
func (d *Daemon) SetHostname(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if out, err := d.Inside(ctx, "hostname", name).CombinedOutput(); err != nil {
		return fmt.Errorf("hostname %s: %w: %s", name, err, out)
	}
	return nil
}

// Kill ends libvirtd as a crash would. The guests run on.
func (d *Daemon) Kill() error { return d.tell("KILL") }

// Restart ends libvirtd, if it runs, and starts it again while the guests run.
func (d *Daemon) Restart() error {
	if err := d.tell("TERM"); err != nil {
		return err
	}
	return d.startAgain()
}

// restarts is how often libvirtd is started until it stays: libvirtd 9.0 can
// crash while it finds a guest whose backup job goes on, after which systemd
// would start it again.
const restarts = 3

func (d *Daemon) startAgain() (err error) {
	for range restarts {
		if err = d.tell("start"); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience/restarts)
		err = d.wait(ctx)
		cancel()
		if err == nil {
			return nil
		}
		if killErr := d.tell("KILL"); killErr != nil {
			return killErr
		}
	}
	return err
}

// Stop ends libvirtd and the guests and removes all state. A second stop does
// nothing.
func (d *Daemon) Stop() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.control != nil {
		_ = d.control.Close()
		_ = d.cmd.Wait() // until the last process of the namespace is gone
		d.control = nil
	}
	return os.RemoveAll(d.root)
}

// Virsh runs a command of virsh and returns what it printed.
func (d *Daemon) Virsh(args ...string) (string, error) {
	return output("virsh", append([]string{"-q", "-c", d.URI()}, args...)...)
}

// output runs a program to its end and returns its standard output. The error
// has all that it wrote.
func output(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(append(errOut.Bytes(), out.Bytes()...)))
	}
	return out.String(), nil
}

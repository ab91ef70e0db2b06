// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"math"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// readyEnv tells the process in the background the number of its pipe.
const readyEnv = "VIRTNB_MOUNT_READY_FD"

// readyFD is that number: the first one behind the standard three.
const readyFD = 3

// mountedText is what the pipe says if the mount is there. All else is an error.
const mountedText = "\x00mounted"

// startBackground starts the server, and returns when it mounted or failed.
// Until then the server has our stderr, where fusermount3 says what it has
// against a mount.
func (o Options) startBackground(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.CommandContext(ctx, program)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Args = o.args()
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), readyEnv+"="+strconv.Itoa(readyFD))
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// Whoever waits for the end of a pipe that we have open must not wait for the server.
	_ = unix.CloseRange(readyFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	return answer(r, cmd)
}

// answer waits for what the server has to say.
func answer(r io.Reader, cmd *exec.Cmd) error {
	text, err := io.ReadAll(r)
	if err == nil && string(text) == mountedText {
		return nil
	}
	ended := cmd.Wait()
	if len(text) > 0 {
		return errors.New(string(text))
	}
	return fmt.Errorf("the server ended before it mounted: %w", errors.Join(err, ended))
}

// readyPipe is the pipe of a server in the background, nil for other processes.
func readyPipe() *os.File {
	if os.Getenv(readyEnv) != strconv.Itoa(readyFD) {
		return nil
	}
	os.Unsetenv(readyEnv)
	unix.CloseOnExec(readyFD)
	return os.NewFile(readyFD, "ready")
}

// serveInBackground is serve for the process that startBackground started.
func (o Options) serveInBackground(ctx context.Context, ready *os.File) error {
	log := slog.New(slog.NewTextHandler(&systemLog{}, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	say := func(text string) {
		detachOutput()
		_, _ = ready.WriteString(text)
		ready.Close()
	}
	mounted := false
	err := o.serve(ctx, log, func() { say(mountedText); mounted = true })
	if err != nil && !mounted {
		say(err.Error())
	}
	return err
}

// detachOutput lets go of the terminal, or of whatever waits for the end of
// the first process's output.
func detachOutput() {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer null.Close()
	for fd := range 3 {
		_ = unix.Dup3(int(null.Fd()), fd, 0)
	}
}

// withoutTime leaves the time to the system log.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey && len(groups) == 0 {
		return slog.Attr{}
	}
	return a
}

// systemLog writes lines to the system log. The log is looked for when there
// is something to say: it may be started later than we are.
type systemLog struct {
	mu  sync.Mutex // guards log
	log *syslog.Writer
}

func (s *systemLog) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log == nil {
		var err error
		if s.log, err = syslog.New(syslog.LOG_DAEMON|syslog.LOG_NOTICE, "virtnb"); err != nil {
			return 0, err
		}
	}
	return s.log.Write(line)
}

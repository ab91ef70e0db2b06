// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a running nbdkit.
type server struct {
	name    string // of the column in the report
	socket  string
	cmd     *exec.Cmd
	stderr  bytes.Buffer
	exited  chan struct{}
	conns   []*client
	started time.Time
}

const (
	connections = 4
	startLimit  = 20 * time.Second
	connectPoll = 100 * time.Microsecond
)

// startServer starts nbdkit with a plugin and its parameters. The end of this
// program, however it comes, is the end of the server.
func startServer(ctx context.Context, name, dir string, args ...string) (*server, error) {
	s := &server{name: name, socket: filepath.Join(dir, name+".sock"), exited: make(chan struct{})}
	if err := os.Remove(s.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	s.cmd = exec.CommandContext(ctx, "nbdkit", append([]string{"-f", "-r", "--exit-with-parent", "-U", s.socket}, args...)...)
	s.cmd.Stderr = &s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is for us
	s.started = time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	return s, nil
}

// connect opens n connections, the first as soon as the server takes it.
func (s *server) connect(ctx context.Context, n int) error {
	for len(s.conns) < n {
		c, err := dial(s.socket)
		switch {
		case err == nil:
			s.conns = append(s.conns, c)
		case !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ECONNREFUSED) || time.Since(s.started) > startLimit:
			return s.failure(err)
		default:
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-s.exited:
				return s.failure(err)
			case <-time.After(connectPoll):
			}
		}
	}
	return nil
}

// failure adds what the server said.
func (s *server) failure(err error) error {
	said := ""
	select {
	case <-s.exited:
		said = ": " + strings.TrimSpace(s.stderr.String())
	default: // it still writes to the buffer
	}
	return fmt.Errorf("%s: %w%s", strings.Join(s.cmd.Args, " "), err, said)
}

func (s *server) stop() {
	for _, c := range s.conns {
		c.close()
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(startLimit):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
}

// cpu is the time that all threads of the server have run, as the scheduler
// counts it, in nanoseconds. Threads of a connection live as long as it does.
func (s *server) cpu() (total time.Duration) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.cmd.Process.Pid))
	for _, name := range tasks {
		b, _ := os.ReadFile(name)
		ns, _, _ := strings.Cut(string(b), " ")
		n, _ := strconv.ParseInt(ns, 10, 64)
		total += time.Duration(n)
	}
	return total
}

// memory reads a field of /proc/PID/status, in bytes.
func (s *server) memory(field string) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return float64(kib << 10)
		}
	}
	return 0
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a running nbdkit.
type server struct {
	*process
	name   string // of the column in the report
	socket string
	conns  []*client
}

const connections = 4

// startServer starts nbdkit with a plugin and its parameters. The end of this
// program, however it comes, is the end of the server.
func startServer(name, dir string, args ...string) (*server, error) {
	s := &server{name: name, socket: filepath.Join(dir, name+".sock")}
	if err := os.Remove(s.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var err error
	s.process, err = launch(nil, "nbdkit", append([]string{"-f", "-r", "--exit-with-parent", "-U", s.socket}, args...)...)
	return s, err
}

// connect opens n connections, the first as soon as the server takes it.
func (s *server) connect(ctx context.Context, n int) error {
	for len(s.conns) < n {
		var refused error // which waiting does not help
		err := s.await(ctx, func() error {
			c, err := dial(s.socket)
			switch {
			case err == nil:
				s.conns = append(s.conns, c)
			case !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ECONNREFUSED):
				refused = s.failure(err)
			default:
				return err
			}
			return nil
		})
		if err := errors.Join(err, refused); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) stop() {
	for _, c := range s.conns {
		c.close()
	}
	s.process.stop()
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
func (s *server) memory(field string) float64 { return processMemory(s.cmd.Process.Pid, field) }

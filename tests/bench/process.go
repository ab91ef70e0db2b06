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

// process is a program that serves something while it runs.
type process struct {
	cmd     *exec.Cmd
	stderr  bytes.Buffer
	exited  chan struct{}
	started time.Time

	// own and children are its time of the processors, and that of what it
	// started, in seconds, when it has exited.
	own, children float64
}

const (
	startLimit  = 20 * time.Second
	connectPoll = 100 * time.Microsecond
)

// launch starts a program, which gets SIGTERM when this one dies and no signal
// of the terminal.
func launch(env []string, program string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(program, args...), exited: make(chan struct{}), started: time.Now()}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM} // ^C is for us
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		if pid := p.cmd.Process.Pid; awaitEnd(pid) == nil {
			p.own, p.children, _ = processTime(pid)
		}
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// await asks ready until it says nil. The error is of ready, or the reason why
// waiting is over.
func (p *process) await(ctx context.Context, ready func() error) error {
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.exited:
			return p.failure(err)
		case <-time.After(connectPoll):
		}
		if time.Since(p.started) > startLimit {
			return p.failure(err)
		}
	}
}

// failure adds what the program said.
func (p *process) failure(err error) error {
	said := ""
	select {
	case <-p.exited:
		said = ": " + strings.TrimSpace(p.stderr.String())
	default: // it still writes to the buffer
	}
	return fmt.Errorf("%s: %w%s", strings.Join(p.cmd.Args, " "), err, said)
}

// pids are those of the program and of what it started.
func (p *process) pids() []int {
	pids := []int{p.cmd.Process.Pid}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[0]))
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, child := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(child); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// stop ends the program, and whatever else it started.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(startLimit):
	}
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
		<-p.exited
	}
}

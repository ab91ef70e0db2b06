// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A program is started under a small shell script, the lifeline, which reads
// its standard input and ends the program when that ends. The other end of it
// is held by this process, or by the SSH server for as long as the connection
// lasts: so a program never outlives who started it, whatever kills that one,
// and the files that the program needs are removed on its machine. Parent
// death signals are no way to do it, for they are those of a thread, and end
// at the connection.
//
// The script never sees the program's arguments as text: they are its
// positional parameters.

// Statuses of a shell.
const (
	statusNotFound   = 127
	statusKilled     = 128 + 9
	statusTerminated = 128 + 15
)

const (
	defaultGrace = 10 * time.Second
	// killDelay is the time beyond the grace after which this end stops
	// waiting for the script.
	killDelay = 20 * time.Second
	maxStdout = 64 << 20
	maxStderr = 8 << 10
)

// lifeline is the script, one line for shells that take no line ends in a
// word. It keeps standard input for the loop that waits for its end, and gives up
// the outputs, where its own word on the end of the program would kill it once
// nobody reads them.
func lifeline(c Command) string {
	grace := c.Grace
	if grace == 0 {
		grace = defaultGrace
	}
	var b strings.Builder
	fmt.Fprint(&b, `exec 3<&0 </dev/null; "$@" 3<&- & pid=$!; `)
	fmt.Fprintf(&b, `( while read -r line <&3; do :; done; kill -TERM $pid; i=%d; while [ $i -gt 0 ]; do sleep 1; i=$((i-1)); done; kill -KILL $pid ) >/dev/null 2>&1 & `, max(1, int(grace.Seconds())))
	fmt.Fprint(&b, `watch=$!; exec 3<&- >/dev/null 2>&1; wait $pid; status=$?; kill $watch; `)
	for _, name := range c.Remove {
		fmt.Fprintf(&b, `rm -f -- %[1]s || rmdir -- %[1]s; `, Quote(name))
	}
	fmt.Fprint(&b, `exit $status`)
	return b.String()
}

// check refuses what no system can start.
func (c Command) check() error {
	if len(c.Argv) == 0 {
		return errors.New("no program to run")
	}
	if i := slices.IndexFunc(c.Argv, func(a string) bool { return strings.ContainsRune(a, 0) }); i >= 0 {
		return fmt.Errorf("%s: argument %d has a NUL byte", c.Argv[0], i)
	}
	return nil
}

// Process is a program that was started.
type Process struct {
	lifeline io.Closer
	kill     func() // the last resort
	patience time.Duration
	stopping atomic.Bool
	done     chan struct{}
	err      error // valid when done is closed
}

// program is what a kind of Host knows of a program that it started.
type program struct {
	command  Command
	host     string
	lifeline io.Closer
	stderr   *tail
	wait     func() (status int, err error)
	kill     func()
}

// watch gives the Process of a program and waits for its end.
func (g *program) watch(ctx context.Context) *Process {
	p := &Process{lifeline: g.lifeline, kill: g.kill, patience: killDelay, done: make(chan struct{})}
	p.patience += max(g.command.Grace, defaultGrace)
	unhook := context.AfterFunc(ctx, p.end)
	go func() {
		status, err := g.wait()
		unhook()
		g.lifeline.Close()
		p.err = g.verdict(status, err, p.stopping.Load())
		if p.err != nil && ctx.Err() != nil {
			p.err = fmt.Errorf("%s: %w", g.command.Argv[0], context.Cause(ctx))
		}
		close(p.done)
	}()
	return p
}

// verdict is the error of a program that ended. SIGTERM is a good end for one
// that was asked to end.
func (g *program) verdict(status int, err error, stopping bool) error {
	if err == nil && (status == 0 || stopping && status == statusTerminated) {
		return nil
	}
	return &CommandError{Argv: g.command.Argv, Host: g.host, Status: status, Stderr: g.stderr.String(), Err: err}
}

// end asks the program to end, without waiting.
func (p *Process) end() {
	if p.stopping.Swap(true) {
		return
	}
	p.lifeline.Close()
	timer := time.AfterFunc(p.patience, p.kill)
	go func() {
		<-p.done
		timer.Stop()
	}()
}

// Done is closed when the program has ended and Command.Remove is removed.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the program. The error is a *CommandError when it
// failed, or when the connection was lost, after which the program ends by
// itself.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Stop ends the program with SIGTERM, after Command.Grace with SIGKILL, and
// waits for it. It is an error when the program was killed, ended with another
// status than 0, or had failed before. It may be called again.
func (p *Process) Stop() error {
	p.end()
	return p.Wait()
}

// run is Host.Run over a Host's Start.
func run(ctx context.Context, h Host, argv []string) ([]byte, error) {
	var out output
	p, err := h.Start(ctx, Command{Argv: argv, Stdout: &out})
	if err != nil {
		return nil, err
	}
	err = p.Wait()
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("%s: %w", argv[0], context.Cause(ctx))
	}
	if err != nil {
		return nil, err
	}
	return out.buf.Bytes(), nil
}

// output is a buffer that takes maxStdout bytes.
type output struct{ buf bytes.Buffer } // not embedded: its ReadFrom has no bound

func (o *output) Write(p []byte) (int, error) {
	if o.buf.Len()+len(p) > maxStdout {
		return 0, fmt.Errorf("more than %d bytes of output", maxStdout)
	}
	return o.buf.Write(p)
}

// tail keeps the last maxStderr bytes.
type tail struct {
	mu  sync.Mutex // guards buf
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - maxStderr; over > 0 {
		t.buf = slices.Delete(t.buf, 0, over)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(strings.ToValidUTF8(string(t.buf), "?"))
}

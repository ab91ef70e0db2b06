// SPDX-License-Identifier: Apache-2.0

package nbdkit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for another program before it fails.
const patience = 60 * time.Second

// The plugins below testdata, built once. They are built without the race
// detector, which cannot be loaded into another program's process;
// TestHandlesConcurrently is what go test -race looks at.
var fullPlugin, minimalPlugin string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "nbdkit-go")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	for name, path := range map[string]*string{"full": &fullPlugin, "minimal": &minimalPlugin} {
		*path = filepath.Join(dir, "nbdkit-"+name+"-plugin.so")
		build := exec.Command("go", "build", "-buildmode=c-shared", "-o", *path, "./testdata/"+name)
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n%s", build, err, out)
			return 1
		}
	}
	return m.Run()
}

// server is an nbdkit that serves a plugin on a socket until the test ends.
type server struct {
	t       *testing.T
	socket  string
	logPath string
	cmd     *exec.Cmd
	exited  chan error
	stopped bool
}

// start runs nbdkit -f and returns when it accepts clients.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{
		t:       t,
		socket:  filepath.Join(dir, "s"),
		logPath: filepath.Join(dir, "log"),
		exited:  make(chan error, 1),
	}
	log, err := os.Create(s.logPath)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	// nbdkit writes its pid when it is ready. In a pipe, that wakes us, and
	// so does its early end.
	ready, pidfile, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	s.cmd = exec.Command("nbdkit", append([]string{"-f", "-v", "-U", s.socket, "-P", "/dev/fd/3"}, args...)...)
	s.cmd.Stderr = log
	s.cmd.ExtraFiles = []*os.File{pidfile}
	err = s.cmd.Start()
	pidfile.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() { s.exited <- s.cmd.Wait() }()
	t.Cleanup(func() { s.stop() })
	ready.SetReadDeadline(time.Now().Add(patience))
	if _, err := bufio.NewReader(ready).ReadString('\n'); err != nil {
		t.Fatalf("%s is not ready: %v\n%s", s.cmd, err, s.log())
	}
	return s
}

// log is what nbdkit wrote to standard error so far.
func (s *server) log() string {
	log, err := os.ReadFile(s.logPath)
	if err != nil {
		s.t.Error(err)
	}
	return string(log)
}

// stop ends the server, which must have no clients any more, and returns its
// whole log.
func (s *server) stop() string {
	s.t.Helper()
	if s.stopped {
		return s.log()
	}
	s.stopped = true
	s.cmd.Process.Signal(syscall.SIGTERM)
	var err error
	select {
	case err = <-s.exited:
	case <-time.After(patience):
		s.cmd.Process.Kill()
		s.t.Errorf("%s does not end\n%s", s.cmd, s.log())
		err = <-s.exited
	}
	log := s.log()
	// nbdkit 1.32.5 may abort so if it is told to end while it serves.
	if err != nil && !strings.Contains(log, "raw_send_socket: Assertion") {
		s.t.Errorf("%s: %v\n%s", s.cmd, err, log)
	}
	return log
}

// uri names an export of the server to a client program.
func (s *server) uri(export string) string {
	return "nbd+unix:///" + url.PathEscape(export) + "?socket=" + s.socket
}

// run runs a program to its successful end and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := output(t, exec.Command(name, args...))
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return out
}

// runFails is run for a program that is to exit with a failure.
func runFails(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := output(t, exec.Command(name, args...))
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !exit.Exited() {
		t.Fatalf("%s %q: %v, want an exit with a failure\n%s", name, args, err, out)
	}
	return out
}

// output is cmd.CombinedOutput with a deadline.
func output(t *testing.T, cmd *exec.Cmd) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { cmd.Process.Kill() })()
	err := cmd.Wait()
	return out.String(), err
}

// wantIn fails the test where one of the texts is missing in got.
func wantIn(t *testing.T, got string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(got, text) {
			t.Errorf("no %q in:\n%s", text, got)
		}
	}
}

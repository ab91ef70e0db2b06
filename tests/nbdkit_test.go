// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The plugin in the real nbdkit. What a user can type is tested by the scripts
// in scripts/; here is how nbdkit is run, and what needs a program to test it.

// nbdPatience is how long a test waits for another program before it fails.
const nbdPatience = 60 * time.Second

// built is the path of a file that "make build" makes.
func built(name string) (string, error) {
	path, err := filepath.Abs(filepath.Join("..", "bin", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return "", fmt.Errorf("run make build first: %w", err)
	}
	return path, nil
}

// plugin is the path of the plugin.
func plugin(t testing.TB) string {
	t.Helper()
	path, err := built("nbdkit-virtnb-plugin.so")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// nbdkit is a server in the foreground with a socket of its own.
type nbdkit struct {
	socket  string
	logPath string
	cmd     *exec.Cmd
	exited  chan error
}

// startNbdkit runs nbdkit in dir, with these arguments and its socket and log
// there, and returns when it accepts clients. The caller stops it.
func startNbdkit(dir string, args ...string) (*nbdkit, error) {
	s := &nbdkit{
		socket:  filepath.Join(dir, "sock"),
		logPath: filepath.Join(dir, "log"),
		exited:  make(chan error, 1),
	}
	log, err := os.Create(s.logPath)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// nbdkit writes its pid when it is ready. In a pipe, that wakes us, and so
	// does its early end.
	ready, pidfile, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	s.cmd = nbdkitCommand(append([]string{"-f", "--exit-with-parent", "-U", s.socket, "-P", "/dev/fd/3"}, args...)...)
	s.cmd.Dir = dir
	s.cmd.Stderr = log
	s.cmd.ExtraFiles = []*os.File{pidfile}
	err = s.cmd.Start()
	pidfile.Close()
	if err != nil {
		return nil, err
	}
	go func() { s.exited <- s.cmd.Wait() }()
	ready.SetReadDeadline(time.Now().Add(nbdPatience))
	if _, err := bufio.NewReader(ready).ReadString('\n'); err != nil {
		s.stop()
		return nil, fmt.Errorf("%s is not ready: %w\n%s", s.cmd, err, s.log())
	}
	return s, nil
}

// nbdkitCommand is nbdkit as from a shell that sets nothing for Go.
func nbdkitCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("nbdkit", args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GO") })
	return cmd
}

// stop ends the server, which must have no clients any more: nbdkit 1.32.5 may
// abort where it is told to end while it sends. A second stop does nothing.
func (s *nbdkit) stop() error {
	if s.exited == nil {
		return nil
	}
	defer func() {
		s.exited = nil
		_ = os.Remove(s.socket) // which nbdkit leaves
	}()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.exited:
		return err
	case <-time.After(nbdPatience):
		_ = s.cmd.Process.Kill()
		<-s.exited
		return errors.New("nbdkit did not end on SIGTERM")
	}
}

// log is what the server wrote to standard error so far.
func (s *nbdkit) log() string {
	log, err := os.ReadFile(s.logPath)
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// uri names an export of the server to a client program.
func (s *nbdkit) uri(export string) string {
	return "nbd+unix:///" + url.PathEscape(export) + "?socket=" + s.socket
}

// serve is startNbdkit with the plugin and these parameters until the test
// ends. Parameters that begin with "-" are for nbdkit.
func serve(t testing.TB, params ...string) *nbdkit {
	t.Helper()
	dir, err := os.MkdirTemp("", "vn") // a short name, for the socket
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, p := range params {
		if strings.HasPrefix(p, "-") {
			args = append(args, p)
		}
	}
	args = append(args, plugin(t))
	for _, p := range params {
		if !strings.HasPrefix(p, "-") {
			args = append(args, p)
		}
	}
	s, err := startNbdkit(dir, args...)
	if err != nil {
		os.RemoveAll(dir)
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("%s: %v\n%s", s.cmd, err, s.log())
		}
		os.RemoveAll(dir)
	})
	return s
}

// run runs a program to its successful end and returns what it printed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	if err := runTo(t, &out, &errOut, name, args...); err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, &out, &errOut)
	}
	return out.String()
}

// runTo runs a program with a deadline.
func runTo(t testing.TB, out, errOut io.Writer, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(t.Context(), nbdPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = out, errOut
	return cmd.Run()
}

// atOnce runs f n times at once and returns the errors of all.
func atOnce(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// copyOf is what nbdcopy reads of an export.
func copyOf(t testing.TB, s *nbdkit, export string) []byte {
	t.Helper()
	return []byte(run(t, "nbdcopy", s.uri(export), "-"))
}

// wantSame fails the test where two images differ, and says where.
func wantSame(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if err := same(got, want); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func same(got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d bytes, want %d", len(got), len(want))
	}
	at := 0
	for got[at] == want[at] {
		at++
	}
	return fmt.Errorf("byte %d is %#x, want %#x", at, got[at], want[at])
}

// wantLog fails the test where the server's log lacks one of the texts.
func wantLog(t testing.TB, s *nbdkit, texts ...string) {
	t.Helper()
	log := s.log()
	for _, text := range texts {
		if !strings.Contains(log, text) {
			t.Errorf("no %q in the log:\n%s", text, log)
		}
	}
}

func sha256Of(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

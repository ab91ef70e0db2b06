// SPDX-License-Identifier: Apache-2.0

package libnbd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for another program before it fails.
const patience = 60 * time.Second

// serve runs nbdkit on a Unix socket until the test ends, and returns the
// socket when it accepts clients.
func serve(t *testing.T, args ...string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	nbdkit(t, append([]string{"-U", socket}, args...)...)
	return socket
}

// nbdkit runs it until the test ends.
func nbdkit(t *testing.T, args ...string) {
	t.Helper()
	// nbdkit writes its pid when it is ready. In a pipe, that wakes us, and
	// so does its early end.
	ready, pidfile, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	cmd := exec.Command("nbdkit", append([]string{"-f", "-P", "/dev/fd/3"}, args...)...)
	var log bytes.Buffer
	cmd.Stderr = &log
	cmd.ExtraFiles = []*os.File{pidfile}
	err = cmd.Start()
	pidfile.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		killer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer killer.Stop()
		cmd.Wait() // nbdkit 1.32 may abort if a client was there: no matter
		if t.Failed() {
			t.Logf("%s:\n%s", cmd, &log)
		}
	})
	ready.SetReadDeadline(time.Now().Add(patience))
	if _, err := bufio.NewReader(ready).ReadString('\n'); err != nil {
		t.Fatalf("%s is not ready: %v", cmd, err)
	}
}

// handle makes a handle that is closed when the test ends.
func handle(t *testing.T) *Libnbd {
	t.Helper()
	h, err := Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// connected is a handle of the server on socket, with base:allocation.
func connected(t *testing.T, socket string) *Libnbd {
	t.Helper()
	h := handle(t)
	must(t, h.AddMetaContext(CONTEXT_BASE_ALLOCATION))
	must(t, h.ConnectUnix(socket))
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get is a result that may not fail.
func get[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// wantPattern checks that h reads as nbdkit's pattern plugin.
func wantPattern(t *testing.T, h *Libnbd) {
	t.Helper()
	buf := make([]byte, 4096)
	must(t, h.Pread(buf, 8192, nil))
	for i := 0; i < len(buf); i += 8 {
		if got := binary.BigEndian.Uint64(buf[i:]); got != uint64(8192+i) {
			t.Fatalf("word at offset %d is %d", 8192+i, got)
		}
	}
}

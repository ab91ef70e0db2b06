// SPDX-License-Identifier: Apache-2.0

package nbdkit

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const guardMessage = "is written in Go, which does not survive the fork"

// TestBackgroundRefused: the parent has succeeded already when the background
// process finds out. It says why, which only -v or syslog shows there, and
// ends, so that no client hangs.
func TestBackgroundRefused(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("nbdkit", "-v", "-U", socket, fullPlugin)
	cmd.Stderr = w
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	// The pipe ends when the last process that has it does.
	r.SetReadDeadline(time.Now().Add(patience))
	log, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("the server goes on: %v", err)
	}
	wantIn(t, string(log), "plugin full "+guardMessage)
	if strings.Contains(string(log), "full: AfterFork") {
		t.Error("Go was called after the fork")
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("unix", socket); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a client gets %v, want a refusal", err)
		if err == nil {
			c.Close()
		}
	}
}

// TestRunRefused: the same for --run, where the server is the forked process
// even with -f. The command ends when its input does, and nbdkit with it.
func TestRunRefused(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	socket := filepath.Join(t.TempDir(), "s")
	cmd := exec.CommandContext(ctx, "nbdkit", "-f", "-U", socket, fullPlugin, "--run", "cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stderr).ReadString('\n')
	if err != nil {
		t.Error(err)
	}
	wantIn(t, line, "plugin full "+guardMessage)
	stdin.Close()
	cmd.Wait() // success or not, whichever process ended first
	if err := ctx.Err(); err != nil {
		t.Errorf("nbdkit does not end: %v", err)
	}
}

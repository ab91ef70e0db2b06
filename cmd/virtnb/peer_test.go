// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// writerEnv makes the test program a peer that writes until it cannot.
const writerEnv = "VIRTNB_TEST_WRITER"

const writerStatus = 7

func TestMain(m *testing.M) {
	if os.Getenv(writerEnv) == "" {
		os.Exit(m.Run())
	}
	peers = []peer{{"backup", "virtnbdbackup", "", func(_ context.Context, _, _ string, _ []string, out, _ *os.File) int {
		for {
			if _, err := io.WriteString(out, "a line\n"); errors.Is(err, syscall.EPIPE) {
				return writerStatus // it could clean up
			} else if err != nil {
				return exitFailure
			}
		}
	}}}
	os.Exit(run(context.Background(), []string{"virtnb", "backup"}, os.Stdout, os.Stderr))
}

func TestPeerOutlivesItsReader(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 7)); err != nil {
		t.Error(err)
	}
	out.Close()
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != writerStatus {
		t.Error(err)
	}
}

// fakePeer is in the place of all peers for a test. It notes its calls, and
// ends with a status.
func fakePeer(t *testing.T, status int) (calls *[]string) {
	t.Helper()
	calls = new([]string)
	real := peers
	peers = []peer{{"backup", "virtnbdbackup", "save disks", func(_ context.Context, prog, v string, args []string, out, errOut *os.File) int {
		if v != version || out != os.Stdout || errOut != os.Stderr {
			t.Errorf("%s: version %q, %v, %v", prog, v, out, errOut)
		}
		*calls = append([]string{prog}, args...)
		return status
	}}}
	t.Cleanup(func() { peers = real })
	return calls
}

func TestPeerGetsItsArguments(t *testing.T) {
	for _, args := range [][]string{
		{}, {"--help"}, {"-h"}, {"-V"}, {"--version"}, {"help"}, {"-d", "vm", "extra", "-nz", "3", "--", "-x"}, {"", "a b"}, {"/a", "/b"},
	} {
		for prog, line := range map[string][]string{
			"virtnb backup": append([]string{"virtnb", "backup"}, args...),
			"virtnbdbackup": append([]string{"/usr/bin/virtnbdbackup"}, args...),
		} {
			for _, status := range []int{0, 1, 2} {
				calls := fakePeer(t, status)
				var errOut strings.Builder
				if got := run(t.Context(), line, io.Discard, &errOut); got != status || errOut.Len() > 0 {
					t.Errorf("%q: %d\n%s", line, got, &errOut)
				}
				if want := append([]string{prog}, args...); !slices.Equal(*calls, want) {
					t.Errorf("%q: called %q", line, *calls)
				}
			}
		}
	}
}

func TestPeerInHelp(t *testing.T) {
	calls := fakePeer(t, 1)
	var out strings.Builder
	if status := run(t.Context(), []string{"virtnb", "--help"}, &out, io.Discard); status != 0 || *calls != nil || !regexp.MustCompile(`\n   backup +save disks\n`).MatchString(out.String()) {
		t.Errorf("%d, %q\n%s", status, *calls, &out)
	}
}

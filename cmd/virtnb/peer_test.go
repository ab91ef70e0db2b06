// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

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
	if status := run(t.Context(), []string{"virtnb", "--help"}, &out, io.Discard); status != 0 || *calls != nil || !strings.Contains(out.String(), "\n   backup  save disks\n") {
		t.Errorf("%d, %q\n%s", status, *calls, &out)
	}
}

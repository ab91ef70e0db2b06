// SPDX-License-Identifier: Apache-2.0

package nbdkit

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
)

// The functions of nbdkit are in the server only, so a test in this process
// can reach what does not call them. The rest is tested through nbdkit.

func TestErrnoOf(t *testing.T) {
	_, notFound := os.Open("/dev/null/none")
	for _, tc := range []struct {
		name string
		err  error
		want syscall.Errno
	}{
		{"value", PluginError{"full", syscall.ENOSPC}, syscall.ENOSPC},
		{"pointer", &PluginError{"full", syscall.ENOSPC}, syscall.ENOSPC},
		{"wrapped value", fmt.Errorf("disk: %w", PluginError{"full", syscall.ENOSPC}), syscall.ENOSPC},
		{"wrapped pointer", fmt.Errorf("disk: %w", &PluginError{"full", syscall.ENOSPC}), syscall.ENOSPC},
		{"joined", errors.Join(errors.New("disk"), PluginError{"full", syscall.ENOSPC}), syscall.ENOSPC},
		{"without errno", PluginError{Errmsg: "broken"}, 0},
		{"nil pointer", (*PluginError)(nil), 0},
		{"errno", syscall.EPERM, syscall.EPERM},
		{"path error", notFound, syscall.ENOTDIR},
		{"plugin's choice first", errors.Join(syscall.EPERM, PluginError{"full", syscall.ENOSPC}), syscall.ENOSPC},
		{"other", errors.New("broken"), 0},
	} {
		if got := errnoOf(tc.err); got != tc.want {
			t.Errorf("%s: errno %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestPluginErrorText(t *testing.T) {
	for _, tc := range []struct {
		err         PluginError
		text, whole string
	}{
		{PluginError{"disk full", syscall.ENOSPC}, "disk full", "disk full: no space left on device"},
		{PluginError{"", syscall.ENOSPC}, "no space left on device", "no space left on device"},
		{PluginError{"disk full", 0}, "disk full", "disk full"},
		{PluginError{}, "", ""},
	} {
		if got := tc.err.Error(); got != tc.text {
			t.Errorf("%#v: Error is %q, want %q", tc.err, got, tc.text)
		}
		if got := tc.err.String(); got != tc.whole {
			t.Errorf("%#v: String is %q, want %q", tc.err, got, tc.whole)
		}
	}
}

// TestExtentAddedTooLate: the list is gone when Extents has returned.
func TestExtentAddedTooLate(t *testing.T) {
	extents := extentList{}
	if err := extents.add(0, 1, 0); err == nil {
		t.Error("extent was added after the end")
	}
	exports := exportList{}
	if err := exports.add("name", ""); err == nil {
		t.Error("export was added after the end")
	}
}

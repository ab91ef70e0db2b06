// SPDX-License-Identifier: Apache-2.0

//go:build crashtest

package backupcmd

import (
	"os"
	"syscall"
	"time"
)

// What tests say in the environment of a program that was built with the tag
// crashtest.
const (
	crashEnv    = "VIRTNB_CRASH_AT"  // the place where it kills itself
	stopEnv     = "VIRTNB_STOP_AT"   // the place where it waits
	stopFileEnv = "VIRTNB_STOP_FILE" // a file that it makes then, and whose removal it waits for
)

func crashPoint(name string) {
	if os.Getenv(crashEnv) == name {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	if os.Getenv(stopEnv) != name {
		return
	}
	path := os.Getenv(stopFileEnv)
	_ = os.WriteFile(path, nil, 0o600)
	for _, err := os.Stat(path); err == nil; _, err = os.Stat(path) {
		time.Sleep(10 * time.Millisecond)
	}
}

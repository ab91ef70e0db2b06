// SPDX-License-Identifier: Apache-2.0

//go:build crashtest

package backupcmd

import (
	"os"
	"syscall"
)

// crashEnv names the place at which a program that was built for tests, with
// the tag crashtest, kills itself.
const crashEnv = "VIRTNB_CRASH_AT"

func crashPoint(name string) {
	if os.Getenv(crashEnv) == name {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

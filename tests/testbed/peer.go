// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"os/exec"
)

// The programs that virtnb replaces, of Debian's package virtnbdbackup.

// PeerBackup runs virtnbdbackup against the daemon and returns all that it
// printed.
func (d *Daemon) PeerBackup(args ...string) (string, error) { return d.client("virtnbdbackup", args) }

// PeerRestore runs virtnbdrestore against the daemon and returns all that it
// printed. Of a chain that it finds broken it only prints an ERROR.
func (d *Daemon) PeerRestore(args ...string) (string, error) { return d.client("virtnbdrestore", args) }

func (d *Daemon) client(name string, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, append([]string{"-U", d.URI()}, args...)...)
	cmd.Dir = d.root // virtnbdrestore leaves a log
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return string(out), err
}

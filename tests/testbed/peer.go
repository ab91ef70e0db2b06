// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The programs that virtnb replaces, of Debian's package virtnbdbackup. Their
// paths are given: virtnb may be installed under their names, too.
const (
	PeerBackupProgram  = "/usr/bin/virtnbdbackup"
	PeerRestoreProgram = "/usr/bin/virtnbdrestore"
)

// PeerBackup runs virtnbdbackup against the daemon and returns all that it
// printed.
func (d *Daemon) PeerBackup(args ...string) (string, error) {
	return d.Client(PeerBackupProgram, args...)
}

// PeerRestore has virtnbdrestore restore the backup set to a new folder, where
// the images have the names that they had, and returns all that it printed. It
// restores one disk a run, which the arguments -d TARGET choose where there are
// more: virtnbdrestore 1.9.15 starts its server for the second disk on the
// socket that the first one's removes when it ends, and may lose that race.
func (d *Daemon) PeerRestore(set, folder string, args ...string) (string, error) {
	socket := filepath.Join(d.root, filepath.Base(folder)+".nbd")
	out, err := d.Client(PeerRestoreProgram, append([]string{"-a", "restore", "-i", set, "-o", folder, "-f", socket}, args...)...)
	if err != nil {
		return out, err
	}
	if strings.Contains(out, " ERROR ") { // its exit status is 0 all the same
		return out, fmt.Errorf("virtnbdrestore: %s", out)
	}
	return out, waitUnlocked(folder)
}

// Client runs a program with -U URI after its arguments, and returns all that
// it printed.
func (d *Daemon) Client(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, append(slices.Clip(args), "-U", d.URI())...)
	cmd.Env = append(os.Environ(), "HOME="+d.root) // virtnbdrestore leaves a log there
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return string(out), err
}

// waitUnlocked waits until no QEMU writes to the folder's files. virtnbdrestore
// leaves its server to end alone, which writes the last of an image then.
func waitUnlocked(folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			_, err := output("qemu-img", "info", file)
			if err == nil {
				break
			}
			if !strings.Contains(err.Error(), "lock") || time.Now().After(end) {
				return err
			}
		}
	}
	return nil
}

// SameImages compares the sizes and bytes of two images, of which the formats are
// those of qemu-img. They may be in use.
func SameImages(a, formatA, b, formatB string) error {
	out, err := output("qemu-img", "compare", "-U", "-f", formatA, "-F", formatB, a, b)
	if err == nil && strings.Contains(out, "size mismatch") {
		err = fmt.Errorf("%s and %s: %s", a, b, out)
	}
	return err
}

// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// A kernel and an initial RAM disk for guests are made once for a machine, in
// a folder of the user's cache whose name changes with the scripts.

//go:embed image.sh
var imageScript string

//go:embed init.sh
var initScript string

// guestImage returns the folder with vmlinuz and initrd.gz, which it makes where
// it is not there. Several processes may ask at once: one makes it, the others
// wait.
func guestImage() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil { // without HOME
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, "virtnb-testbed")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close() // which unlocks
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock of %s: %w", cache, err)
	}
	sum := sha256.Sum256([]byte(imageScript + "\x00" + initScript))
	dir := filepath.Join(cache, fmt.Sprintf("guest-%x", sum[:6]))
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	return dir, makeGuestImage(cache, dir)
}

// makeGuestImage makes dir as a whole or not at all.
func makeGuestImage(cache, dir string) (err error) {
	work, err := os.MkdirTemp(cache, "making")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("guest image: %w", err), os.RemoveAll(work))
		}
	}()
	for name, content := range map[string]string{"image.sh": imageScript, "init": initScript} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(content), 0o755); err != nil {
			return err
		}
	}
	if _, err := output("env", "--chdir="+work, "bash", "image.sh", filepath.Join(work, "init")); err != nil {
		return err
	}
	return os.Rename(work, dir)
}

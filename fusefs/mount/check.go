// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// fsType is what /proc/self/mountinfo says of our mounts.
const fsType = "fuse.virtnb"

const device = "/dev/fuse"

// prepare finds what would be in the way of the mount, and says what to do
// about it. A mount whose server died is taken away.
func (o Options) prepare() error {
	if err := checkSystem(o.AllowOther); err != nil {
		return err
	}
	if err := o.clearStale(); err != nil {
		return err
	}
	if err := checkMountpoint(o.Mountpoint); err != nil {
		return err
	}
	return o.checkPlaces()
}

// checkSystem looks for what FUSE needs.
func checkSystem(allowOther bool) error {
	if _, err := os.Stat(device); err != nil {
		return fmt.Errorf("%s: %w; load the kernel's module with \"modprobe fuse\", or give the container that device", device, bare(err))
	}
	if os.Geteuid() == 0 {
		return nil
	}
	if unix.Access(device, unix.R_OK|unix.W_OK) != nil {
		return fmt.Errorf("%s: no permission; for others than root to mount it needs the mode that it commonly has: \"chmod 666 %[1]s\"", device)
	}
	if _, err := fusermount(); err != nil {
		return fmt.Errorf("fusermount3 is not there, and only root can mount without it; install the package fuse3")
	}
	if allowOther && !userAllowOther("/etc/fuse.conf") {
		return fmt.Errorf("option allow_other is for root, until root writes the line user_allow_other into /etc/fuse.conf")
	}
	return nil
}

// userAllowOther says whether the configuration of FUSE lets users give others
// access. Where it cannot be read, fusermount3 decides.
func userAllowOther(path string) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return slices.ContainsFunc(strings.Split(string(text), "\n"), func(line string) bool {
		return strings.TrimSpace(line) == "user_allow_other"
	})
}

// fusermount is the program that mounts for ordinary users.
func fusermount() (string, error) {
	for _, name := range []string{"fusermount3", "/bin/fusermount3", "fusermount", "/bin/fusermount"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// maxStale bounds how many dead mounts are taken from one place.
const maxStale = 100

// clearStale takes mounts of ours away whose server was killed.
func (o Options) clearStale() error {
	for range maxStale {
		if !isDead(o.Mountpoint) {
			return nil
		}
		m, _ := mountAt(o.Mountpoint)
		if m.fsType != fsType {
			return fmt.Errorf("%s: the server of a mount there (%s) died; unmount it with \"fusermount3 -u %[1]s\"", o.Mountpoint, m.fsType)
		}
		if err := detach(o.Mountpoint); err != nil {
			return fmt.Errorf("%s: a mount of %s is left there whose server died, and it cannot be unmounted: %w", o.Mountpoint, m.source, err)
		}
		fmt.Fprintf(o.Stderr, "virtnb: %s: unmounted what was left of a mount of %s whose server died\n", o.Mountpoint, m.source)
	}
	return fmt.Errorf("%s: more than %d dead mounts", o.Mountpoint, maxStale)
}

// isDead says whether a FUSE mount is there without a server. Only the kernel's
// memory of attributes can let stat succeed then.
func isDead(path string) bool {
	_, statErr := os.Stat(path)
	var st unix.Statfs_t
	return errors.Is(statErr, syscall.ENOTCONN) || errors.Is(unix.Statfs(path, &st), syscall.ENOTCONN)
}

// detach unmounts a place, also one in use: its users keep what they have
// open.
func detach(mountpoint string) error {
	err := unix.Unmount(mountpoint, unix.MNT_DETACH)
	if err == nil {
		return nil
	}
	program, missing := fusermount()
	if missing != nil {
		return err
	}
	out, err := exec.Command(program, "-u", "-z", "--", mountpoint).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func checkMountpoint(path string) error {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("mount point %s does not exist; make it with \"mkdir -p %[1]s\"", path)
	case err != nil:
		return fmt.Errorf("mount point %s: %w", path, bare(err))
	case !st.IsDir():
		return fmt.Errorf("mount point %s is not a folder", path)
	}
	if m, found := mountAt(path); found && m.fsType == fsType {
		return fmt.Errorf("%s is mounted on %s already; unmount it with \"fusermount3 -u %[2]s\"", m.source, path)
	}
	if os.Geteuid() != 0 && unix.Access(path, unix.W_OK) != nil {
		return fmt.Errorf("mount point %s: who is not root can mount only on folders that they may write to", path)
	}
	return nil
}

// checkPlaces refuses what would make the server wait for itself: what it
// reads and writes must not be covered by the mount, nor the mount be in it.
func (o Options) checkPlaces() error {
	set := resolve(o.Set)
	if within(o.Mountpoint, set) {
		return fmt.Errorf("mount point %s must not be in %s, which is to be mounted", o.Mountpoint, set)
	}
	if within(set, o.Mountpoint) {
		return fmt.Errorf("mount point %s would cover %s", o.Mountpoint, set)
	}
	if o.Writable == "" {
		return nil
	}
	if err := checkWritable(o.Writable); err != nil {
		return err
	}
	dir := resolve(o.Writable)
	switch {
	case within(dir, o.Mountpoint):
		return fmt.Errorf("mount point %s would cover %s, the folder for changes", o.Mountpoint, dir)
	case within(dir, set):
		return fmt.Errorf("the folder for changes, %s, must not be in %s: the backup is not changed", dir, set)
	}
	return nil
}

// checkWritable looks at the folder for changes; the server makes it where it
// is missing.
func checkWritable(dir string) error {
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("folder for changes %s: %w", dir, bare(err))
	case !st.IsDir():
		return fmt.Errorf("folder for changes %s is not a folder", dir)
	case unix.Access(dir, unix.W_OK|unix.X_OK) != nil:
		return fmt.Errorf("folder for changes %s: no permission to write there", dir)
	}
	return nil
}

func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// bare takes the operation and the path off an error of package os.
func bare(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// mountInfo is a line of /proc/self/mountinfo.
type mountInfo struct{ path, fsType, source string }

// mountAt returns the mount on a folder, the uppermost one.
func mountAt(path string) (found mountInfo, ok bool) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return found, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if m, valid := parseMountInfo(lines.Text()); valid && m.path == path {
			found, ok = m, true
		}
	}
	return found, ok
}

// parseMountInfo reads "36 35 98:0 / /mnt rw shared:1 - TYPE SOURCE rw".
func parseMountInfo(line string) (m mountInfo, ok bool) {
	front, back, ok := strings.Cut(line, " - ")
	f, b := strings.Fields(front), strings.Fields(back)
	if !ok || len(f) < 5 || len(b) < 2 {
		return m, false
	}
	plain := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	return mountInfo{plain.Replace(f[4]), b[0], plain.Replace(b[1])}, true
}

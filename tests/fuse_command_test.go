// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The command "virtnb mount": where its server is, and how it ends.

// mountPlace is a set and a mount point for the command.
type mountPlace struct {
	program, set, at string
	disk             []byte
}

// newMountPlace makes both where everybody may go.
func newMountPlace(t *testing.T) *mountPlace {
	t.Helper()
	dir, err := os.MkdirTemp("", "vn")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &mountPlace{set: filepath.Join(dir, "a set"), at: filepath.Join(dir, "mnt"), disk: noiseDisk(256<<10, 1)}
	if p.program, err = built("virtnb"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(p.set, 0o755), os.Mkdir(p.at, 0o755)); err != nil {
		t.Fatal(err)
	}
	addPoint(t, p.set, 0, false, nil, p.disk)
	t.Cleanup(func() { // before the folder goes
		for p.mounted(t) {
			_ = unix.Unmount(p.at, unix.MNT_DETACH)
		}
		p.wantEnd(t)
	})
	return p
}

func (p *mountPlace) disks() string { return filepath.Join(p.at, "virtnbdbackup.0", "vda.raw") }

// mounted says whether anything is mounted at the place.
func (p *mountPlace) mounted(t *testing.T) bool {
	t.Helper()
	return strings.Contains(string(readFile(t, "/proc/self/mounts")), " "+p.at+" ")
}

// servers are the processes that name the mount point on their command lines.
func (p *mountPlace) servers(t *testing.T) (pids []int) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		text, err := os.ReadFile(path)
		if err != nil || !slices.Contains(strings.Split(string(text), "\x00"), p.at) {
			continue // also a process that ended meanwhile
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// server is the one process that serves.
func (p *mountPlace) server(t *testing.T) int {
	t.Helper()
	pids := p.servers(t)
	if len(pids) != 1 {
		t.Fatalf("processes that serve: %v", pids)
	}
	return pids[0]
}

// wantEnd waits until nothing is mounted and nothing runs.
func (p *mountPlace) wantEnd(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		if pids := p.servers(t); len(pids) > 0 || p.mounted(t) {
			return fmt.Errorf("mounted: %v, processes %v", p.mounted(t), pids)
		}
		return nil
	})
}

func (p *mountPlace) wantServed(t *testing.T) {
	t.Helper()
	wantSame(t, p.at, readFile(t, p.disks()), p.disk)
}

// mount runs the command to its end, in the background.
func (p *mountPlace) mount(t *testing.T, args ...string) {
	t.Helper()
	run(t, p.program, append(append([]string{"mount"}, args...), p.set, p.at)...)
}

// fails runs the command, which must fail with status 1, one line of text and
// no mount, and returns the line.
func (p *mountPlace) fails(t *testing.T, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	err := runTo(t, &out, &errOut, p.program, append([]string{"mount"}, args...)...)
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("mount %q: %v, want status 1", args, err)
	}
	if strings.Count(errOut.String(), "\n") != 1 || out.Len() > 0 {
		t.Errorf("mount %q says %q and %q", args, &errOut, &out)
	}
	return errOut.String()
}

// When the command returns, the mount can be used; umount ends the server.
func TestMountInBackground(t *testing.T) {
	p := newMountPlace(t)
	for _, unmount := range [][]string{{"umount"}, {"fusermount3", "-u"}} {
		p.mount(t)
		p.wantServed(t)
		p.server(t)
		run(t, unmount[0], append(unmount[1:], p.at)...)
		p.wantEnd(t)
	}
}

func TestMountEndsOnSignals(t *testing.T) {
	p := newMountPlace(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p.mount(t)
		p.wantServed(t)
		if err := syscall.Kill(p.server(t), sig); err != nil {
			t.Fatal(err)
		}
		p.wantEnd(t)
	}
}

func TestMountInForeground(t *testing.T) {
	p := newMountPlace(t)
	for name, end := range map[string]func(*exec.Cmd) error{
		"umount":  func(*exec.Cmd) error { return unmountAt(p.at) },
		"SIGTERM": func(c *exec.Cmd) error { return c.Process.Signal(syscall.SIGTERM) },
		"SIGINT":  func(c *exec.Cmd) error { return c.Process.Signal(syscall.SIGINT) },
	} {
		cmd := exec.Command(p.program, "mount", "-f", p.set, p.at)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { _, err := os.Stat(p.disks()); return err })
		p.wantServed(t)
		if p.server(t) != cmd.Process.Pid {
			t.Errorf("another process serves")
		}
		if err := errors.Join(end(cmd), cmd.Wait()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		p.wantEnd(t)
	}
}

// A file that is open when the server is told to end.
func TestMountEndsWhileFilesAreOpen(t *testing.T) {
	p := newMountPlace(t)
	p.mount(t)
	f := openFile(t, p.disks())
	if err := syscall.Kill(p.server(t), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if p.mounted(t) {
			return errors.New("still mounted")
		}
		return nil
	})
	readsOldOrFails(t, f, p.disk)
	f.Close()
	p.wantEnd(t)
}

// readsOldOrFails reads a file that may have lost its server.
func readsOldOrFails(t *testing.T, f *os.File, want []byte) {
	t.Helper()
	buf := make([]byte, len(want))
	if _, err := f.ReadAt(buf, 0); err == nil {
		wantSame(t, f.Name(), buf, want)
	}
}

func TestMountFailures(t *testing.T) {
	p := newMountPlace(t)
	none := filepath.Join(p.set, "none")
	file := savesetPath(p.set, 0)
	for what, c := range map[string]struct {
		args []string
		text string
	}{
		"no set":         {[]string{none, p.at}, none},
		"no set here":    {[]string{"-f", none, p.at}, none},
		"empty folder":   {[]string{p.at, filepath.Dir(p.set)}, p.at},
		"no mount point": {[]string{p.set, none}, none},
		"a file":         {[]string{p.set, file}, file},
		"option":         {[]string{"-o", "nonsense", p.set, p.at}, "nonsense"},
	} {
		if text := p.fails(t, c.args...); !strings.Contains(text, c.text) {
			t.Errorf("%s: %q does not name %s", what, text, c.text)
		}
		p.wantEnd(t)
	}
	p.mount(t)
	if text := p.fails(t, p.set, p.at); !strings.Contains(text, p.at) {
		t.Errorf("a second mount: %q", text)
	}
	p.wantServed(t)
}

// What a killed server leaves is no obstacle.
func TestMountAfterKill(t *testing.T) {
	p := newMountPlace(t)
	p.mount(t)
	f := openFile(t, p.disks())
	pid := p.server(t)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if _, err := os.ReadDir(p.at); !errors.Is(err, syscall.ENOTCONN) {
			return fmt.Errorf("after the kill: %v", err)
		}
		return nil
	})
	readsOldOrFails(t, f, p.disk)
	var said bytes.Buffer
	if err := runTo(t, nil, &said, p.program, "mount", p.set, p.at); err != nil || !strings.Contains(said.String(), "whose server died") {
		t.Errorf("mounting again: %v, %s", err, &said)
	}
	p.wantServed(t)
	if n := strings.Count(string(readFile(t, "/proc/self/mounts")), " "+p.at+" "); n != 1 {
		t.Errorf("%d mounts", n)
	}
}

// alone runs a shell script with mounts of its own, which end with it: it can
// put things where the system's programs look for them. It has the variables
// program, set, at, disk and want, and the folder tmp.
func (p *mountPlace) alone(t *testing.T, script string) {
	t.Helper()
	tmp := filepath.Dir(p.set)
	want := filepath.Join(tmp, "want")
	program := filepath.Join(tmp, "virtnb") // where everybody may go
	run(t, "cp", p.program, program)
	if err := errors.Join(os.WriteFile(want, p.disk, 0o644), os.Chmod(savesetPath(p.set, 0), 0o644)); err != nil {
		t.Fatal(err)
	}
	variables := []string{"program=" + program, "set=" + p.set, "at=" + p.at, "disk=" + p.disks(), "want=" + want, "tmp=" + tmp}
	run(t, "env", append(variables, "unshare", "--mount", "--propagation=private", "sh", "-exc", script)...)
	p.wantEnd(t)
}

// nobody has no rights; the device has the mode that it has on most systems.
const nobodyDevice = `
mkdir "$tmp/dev"
mount -t tmpfs tmpfs "$tmp/dev"
mknod -m 666 "$tmp/dev/fuse" c 10 229
mount --bind "$tmp/dev/fuse" /dev/fuse
chown 65534:65534 "$at"
nobody="setpriv --reuid=65534 --regid=65534 --clear-groups"
`

const nobodyScript = nobodyDevice + `
$nobody "$program" mount "$set" "$at"
$nobody cmp "$disk" "$want"
test "$($nobody stat -c '%u %a' "$disk")" = "65534 444"
if cat "$disk"; then exit 1; fi
$nobody fusermount3 -u "$at"
if $nobody cat "$disk"; then exit 1; fi
$nobody "$program" mount -f "$set" "$at" &
until $nobody test -e "$disk"; do kill -0 $!; done
$nobody cmp "$disk" "$want"
kill $!
wait $!
$nobody "$program" mount -f "$set" "$at" &
until $nobody test -e "$disk"; do kill -0 $!; done
kill -9 $!
if wait $!; then exit 1; fi
$nobody "$program" mount "$set" "$at" 2>&1 | grep "whose server died"
$nobody cmp "$disk" "$want"
$nobody fusermount3 -u "$at"
umount "$tmp/dev"
`

func TestMountAsOrdinaryUser(t *testing.T) { newMountPlace(t).alone(t, nobodyScript) }

// A line of fstab, through mount(8). Where there is no helper of our name in
// /sbin, it runs that of FUSE, which runs the program.
func TestMountByFstab(t *testing.T) {
	for name, place := range map[string]string{
		"program": "mount -t tmpfs tmpfs /usr/local/sbin\nln -s \"$program\" /usr/local/sbin/virtnb\n",
		"helper": "mkdir \"$tmp/sbin\"\nmount -t tmpfs tmpfs \"$tmp/sbin\"\nmkdir \"$tmp/sbin/upper\" \"$tmp/sbin/work\"\n" +
			"mount -t overlay -o lowerdir=/usr/sbin,upperdir=\"$tmp/sbin/upper\",workdir=\"$tmp/sbin/work\" overlay /usr/sbin\n" +
			"ln -s \"$program\" /usr/sbin/mount.fuse.virtnb\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := newMountPlace(t)
			line := fmt.Sprintf("%s %s fuse.virtnb noauto,nosuid,allow_other,cache=32M,_netdev,x-systemd.automount 0 0\n",
				strings.ReplaceAll(p.set, " ", `\040`), p.at)
			if err := os.WriteFile(filepath.Join(filepath.Dir(p.set), "fstab"), []byte(line), 0o644); err != nil {
				t.Fatal(err)
			}
			p.alone(t, place+fstabScript)
		})
	}
}

const fstabScript = `
mount -T "$tmp/fstab" "$at"
cmp "$disk" "$want"
setpriv --reuid=65534 --regid=65534 --clear-groups cmp "$disk" "$want"
umount "$at"
if cat "$disk"; then exit 1; fi
`

// Many mounts leave nothing.
func TestMountManyTimes(t *testing.T) {
	p := newMountPlace(t)
	for range 200 {
		p.mount(t)
		if _, err := os.Stat(p.disks()); err != nil {
			t.Fatal(err)
		}
		if err := unmountAt(p.at); err != nil {
			t.Fatal(err)
		}
	}
	p.wantEnd(t)
}

// Paths as they are typed, from the folder that one is in.
func TestMountRelativePaths(t *testing.T) {
	p := newMountPlace(t)
	t.Chdir(filepath.Dir(p.set))
	run(t, p.program, "mount", filepath.Base(p.set), "mnt/../mnt/")
	p.wantServed(t)
}

// Changes through the command: kept over remounts, however close, and given by
// the flag, the option, and as an ordinary user.
func TestMountWritable(t *testing.T) {
	p := newMountPlace(t)
	changes := filepath.Join(filepath.Dir(p.set), "changes")
	kept(t, p.set)
	for n := range 6 {
		p.mount(t, [][]string{{"--writable", changes}, {"-o", "rw,writable=" + changes}}[n%2]...)
		p.wantServed(t)
		write(t, p.disks(), p.disk, int64(n*20_000), fmt.Sprintf("round %d", n))
		p.wantServed(t)
		if n%3 == 2 {
			if err := syscall.Kill(p.server(t), syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() error {
				if p.mounted(t) {
					return errors.New("still mounted")
				}
				return nil
			})
		} else {
			run(t, "umount", p.at)
		}
	}
	p.wantEnd(t)
	if st := statOf(t, changes); st.Mode&0o777 != 0o700 {
		t.Errorf("the folder for changes has mode %o", st.Mode)
	}
	p.fails(t, "-o", "ro,writable="+changes, p.set, p.at)
	p.fails(t, "--writable", filepath.Join(p.set, "changes"), p.set, p.at)
	p.alone(t, writableNobodyScript)
}

const writableNobodyScript = nobodyDevice + `
mkdir -m 777 "$tmp/own"
$nobody "$program" mount --writable "$tmp/own/changes" "$set" "$at"
test "$($nobody stat -c '%u %a' "$disk")" = "65534 644"
printf 'by nobody' | $nobody dd of="$disk" conv=notrunc,fsync bs=9 seek=100 2>/dev/null
$nobody fusermount3 -u "$at"
$nobody "$program" mount --writable "$tmp/own/changes" "$set" "$at"
test "$($nobody dd if="$disk" bs=9 skip=100 count=1 2>/dev/null)" = "by nobody"
$nobody fusermount3 -u "$at"
umount "$tmp/dev"
`

// The memory of a server is bounded by --cache, whatever is read.
func TestMountMemoryIsBounded(t *testing.T) {
	p := newMountPlace(t)
	p.disk = noiseDisk(160<<20, 1)
	wantNil(t, os.Remove(savesetPath(p.set, 0)))
	builder{level: 1}.mustBuild(t, savesetPath(p.set, 0), p.disk)
	const bound = 128 << 10 // KiB; the disk has 160 MiB
	p.mount(t, "--cache", "4M")
	err := atOnce(4, func(i int) error {
		f, err := os.Open(p.disks())
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(io.Discard, io.NewSectionReader(f, int64(i)*40<<20, 40<<20))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(readFile(t, fmt.Sprintf("/proc/%d/status", p.server(t))))) {
		if peak, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(peak), " kB"))
			if err != nil || kib > bound {
				t.Errorf("the server took %s of memory, %v", strings.TrimSpace(peak), err)
			}
			t.Log(line)
			return
		}
	}
	t.Error("the kernel does not tell how much memory the server took")
}

// For root, the kernel reads further ahead than it does for FUSE by itself.
func TestMountRaisesReadahead(t *testing.T) {
	p := newMountPlace(t)
	p.mount(t)
	dev := statOf(t, p.at).Dev
	path := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(dev), unix.Minor(dev))
	if kib, err := strconv.Atoi(strings.TrimSpace(string(readFile(t, path)))); err != nil || kib <= 128 {
		t.Errorf("readahead of %d KiB, %v", kib, err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// File systems on images that can be written to: the kernel plays journals
// back, checkers repair, and other programs that write to disks do so.

// dirtyDisk is an image file of a file system that went down with a file in its
// journal only.
func dirtyDisk(t *testing.T, kind string, content []byte) string {
	t.Helper()
	image, at := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	sparseFile(t, image, partitionedSize)
	run(t, "mkfs."+kind, "-q", image)
	run(t, "mount", "-t", kind, "-o", "loop", image, at)
	defer func() { wantNil(t, unmountAt(at)) }()
	path := filepath.Join(at, "journaled")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	run(t, "xfs_io", "-x", "-c", "shutdown -f", at) // of ext4 as well
	return image
}

// mountImage mounts an image file until the function that it returns is called.
func mountImage(t *testing.T, kind, image, options string) (at string, unmount func()) {
	t.Helper()
	at = t.TempDir()
	run(t, "mount", "-t", kind, "-o", options, image, at)
	mounted := true
	unmount = func() {
		if mounted {
			mounted = false
			if err := unmountAt(at); err != nil {
				t.Errorf("unmounting %s: %v", image, err)
				_ = unix.Unmount(at, unix.MNT_DETACH)
			}
		}
	}
	t.Cleanup(unmount)
	return at, unmount
}

func TestFuseJournalIsPlayedBack(t *testing.T) {
	for kind, c := range map[string]struct {
		dirty func(t *testing.T, image string) bool
		check []string
		plain string // options that leave the journal alone
	}{
		"ext4": {needsRecovery, []string{"e2fsck", "-fn"}, "ro,noload"},
		"xfs":  {hasDirtyLog, []string{"xfs_repair", "-n"}, "ro,norecovery,nouuid"},
	} {
		t.Run(kind, func(t *testing.T) {
			content := noiseDisk(100_001, 3)
			dir, changes := t.TempDir(), t.TempDir()
			saveImages(t, dir, dirtyDisk(t, kind, content))
			kept(t, dir)
			m := mountWritable(t, dir, changes)
			if !c.dirty(t, m.fuseDisk(0)) {
				t.Fatal("the journal is empty before it is played back")
			}
			_, unmount := mountImage(t, kind, m.fuseDisk(0), "loop,"+c.plain)
			unmount()
			at, unmount := mountImage(t, kind, m.fuseDisk(0), "loop,rw")
			wantSame(t, "from the journal", readFile(t, filepath.Join(at, "journaled")), content)
			if err := os.WriteFile(filepath.Join(at, "new"), content, 0o600); err != nil {
				t.Fatal(err)
			}
			unmount()
			for range 2 { // and at the next mount of the set
				if c.dirty(t, m.fuseDisk(0)) {
					t.Error("the journal is not empty after it was played back")
				}
				run(t, c.check[0], append(c.check[1:], m.fuseDisk(0))...)
				at, unmount := mountImage(t, kind, m.fuseDisk(0), "loop,ro")
				wantSame(t, "the new file", readFile(t, filepath.Join(at, "new")), content)
				unmount()
				wantNil(t, m.stop())
				m = mountWritable(t, dir, changes)
			}
			if !c.dirty(t, mountFuse(t, dir).fuseDisk(0)) {
				t.Error("the journal of the backup was played back")
			}
		})
	}
}

func needsRecovery(t *testing.T, image string) bool {
	return strings.Contains(run(t, "dumpe2fs", "-h", image), "needs_recovery")
}

func hasDirtyLog(t *testing.T, image string) bool {
	out, _ := exec.Command("xfs_repair", "-n", image).CombinedOutput() // fails because of it
	return strings.Contains(string(out), "valuable metadata changes in a log")
}

// e2fsck repairs an image, in the partition that it lies in.
func TestFuseFileSystemIsRepaired(t *testing.T) {
	dir, changes, files := t.TempDir(), t.TempDir(), sampleFiles(t, 1)
	d := partitionedDisks["gpt"]
	image := d.make(t, files)
	offset := d.offset(t, image, d.ext4)
	run(t, "debugfs", "-w", "-R", "clri /d1", fmt.Sprintf("%s?offset=%d", image, offset))
	saveImages(t, dir, image)
	kept(t, dir)
	m := mountWritable(t, dir, changes)
	part := filepath.Join(filepath.Dir(m.fuseDisk(0)), fmt.Sprintf("vda.p%d.raw", d.ext4))
	const corrected, uncorrected = 1, 4 // exit statuses, as e2fsck(8) says
	wantStatus(t, uncorrected, "e2fsck", "-fn", part)
	wantStatus(t, corrected, "e2fsck", "-fy", part)
	wantStatus(t, 0, "e2fsck", "-fn", part)
	wantStatus(t, 0, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", m.fuseDisk(0), offset))
	wantNil(t, m.stop())
	m = mountWritable(t, dir, changes)
	part = filepath.Join(filepath.Dir(m.fuseDisk(0)), filepath.Base(part))
	wantStatus(t, 0, "e2fsck", "-fn", part)
	at, _ := mountImage(t, "ext4", part, "loop,ro")
	wantFiles(t, filepath.Join(at, "d0"), filepath.Join(files, "d0"))
}

func wantStatus(t *testing.T, want int, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	status := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		status, err = exit.ExitCode(), nil
	}
	if err != nil || status != want {
		t.Errorf("%s %q: status %d, %v; want %d\n%s", name, args, status, err, want, out)
	}
}

// A loop device over a disk that can be written to has its partitions, and the
// file systems in them, as a disk would.
func TestFuseLoopDeviceIsWritable(t *testing.T) {
	dir, changes, files := t.TempDir(), t.TempDir(), sampleFiles(t, 1)
	d := partitionedDisks["mbr"]
	saveImages(t, dir, d.make(t, files))
	m := mountWritable(t, dir, changes)
	device := strings.TrimSpace(run(t, "losetup", "-f", "--show", m.fuseDisk(0)))
	more := noiseDisk(300_000, 4)
	wantFileSystem(t, "xfs", device, d.offset(t, m.fuseDisk(0), d.xfs), files)
	at, unmount := mountImage(t, "ext4", device, fmt.Sprintf("loop,rw,offset=%d", d.offset(t, m.fuseDisk(0), d.ext4)))
	wantNil(t, os.WriteFile(filepath.Join(at, "more"), more, 0o600))
	unmount()
	run(t, "losetup", "-d", device)
	part := filepath.Join(filepath.Dir(m.fuseDisk(0)), fmt.Sprintf("vda.p%d.raw", d.ext4))
	at, _ = mountImage(t, "ext4", part, "loop,ro")
	wantSame(t, "what was written", readFile(t, filepath.Join(at, "more")), more)
	wantFiles(t, at, files)
}

// fio checks what it wrote, by several jobs, in every way of writing.
func TestFuseFioVerifies(t *testing.T) {
	dir, _ := writableChain(t)
	m := mountWritable(t, dir, t.TempDir())
	run(t, "fio", "--name=a", "--filename="+m.fuseDisk(1), "--rw=randrw", "--bsrange=512-64k", "--bs_unaligned=1",
		"--size=6m", "--io_size=4m", "--verify=crc32c", "--do_verify=1", "--verify_state_save=0", "--ioengine=psync", "--fsync=50", "--output-format=terse")
	run(t, "fio", "--name=b", "--filename="+m.fuseDisk(2), "--rw=randwrite", "--bs=4k", "--direct=1", "--iodepth=8",
		"--size=2m", "--offset=1m", "--verify=crc32c", "--do_verify=1", "--verify_state_save=0", "--ioengine=libaio", "--output-format=terse")
	run(t, "fio", "--name=c", "--filename="+m.fuseDisk(0), "--rw=write", "--bs=128k", "--size=2m", "--offset=1m",
		"--verify=crc32c", "--do_verify=1", "--verify_state_save=0", "--ioengine=mmap", "--output-format=terse")
}

// fio and rsync on a mount that is read only.
func TestFuseFioAndRsyncRead(t *testing.T) {
	m, model := gridMount(t)
	run(t, "fio", "--readonly", "--name=a", "--filename="+m.fuseDisk(1), "--rw=randread", "--bs=4k", "--direct=1", "--size=48m",
		"--io_size=8m", "--ioengine=libaio", "--iodepth=8", "--numjobs=4", "--output-format=terse")
	to := t.TempDir()
	run(t, "rsync", "-aS", filepath.Dir(m.fuseDisk(1))+"/", to)
	copied := filepath.Join(to, "vda.raw")
	wantSame(t, "copied by rsync", readFile(t, copied), model.disk)
	if got := statOf(t, copied); got.Blocks*512 > model.allocated()+slack || got.Mtim != statOf(t, m.fuseDisk(1)).Mtim {
		t.Errorf("rsync made a file of %d bytes of data, want %d", got.Blocks*512, model.allocated())
	}
	if out := run(t, "rsync", "-aSni", filepath.Dir(m.fuseDisk(1))+"/", to); out != "" {
		t.Errorf("rsync would copy again: %s", out)
	}
}

// qemu-img writes a disk over an image, as it would over a block device.
func TestFuseQemuImgWrites(t *testing.T) {
	dir, disks := writableChain(t)
	m := mountWritable(t, dir, t.TempDir())
	source := filepath.Join(t.TempDir(), "source")
	wantNil(t, os.WriteFile(source, disks[2], 0o600))
	run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source, m.fuseDisk(0))
	wantImage(t, m, 0, disks[2])
	run(t, "qemu-io", "-f", "raw", "-c", "write -z -u 1M 1M", "-c", "discard 3M 1M", "-c", "write -P 7 5M 64k", "-c", "flush", m.fuseDisk(0))
	want := disks[2]
	clear(want[1<<20 : 2<<20])
	clear(want[3<<20 : 4<<20])
	for i := range 64 << 10 {
		want[5<<20+i] = 7
	}
	wantImage(t, m, 0, want)
	if hole, err := unix.Seek(int(openFile(t, m.fuseDisk(0)).Fd()), 3<<20, unix.SEEK_HOLE); hole != 3<<20 || err != nil {
		t.Errorf("after a discard at 3 MiB the first hole is at %d, %v", hole, err)
	}
}

// Programs that restore single files without being root, as an ordinary user
// who may read the set: debugfs of file systems as they are in the backup.
func TestFuseDebugfsAsOrdinaryUser(t *testing.T) {
	files := sampleFiles(t, 1)
	d := partitionedDisks["gpt"]
	p := newMountPlace(t)
	wantNil(t, os.RemoveAll(savesetPath(p.set, 0)))
	saveImages(t, p.set, d.make(t, files))
	wantNil(t, os.Chmod(savesetPath(p.set, 0), 0o644))
	want := filepath.Join(filepath.Dir(p.set), "files")
	run(t, "cp", "-r", files, want)
	run(t, "chmod", "-R", "a+rX", want)
	p.alone(t, fmt.Sprintf("part=$(dirname \"$disk\")/vda.p%d.raw\n", d.ext4)+debugfsScript)
}

const debugfsScript = nobodyDevice + `
$nobody "$program" mount "$set" "$at"
mkdir -m 777 "$tmp/restored"
cd "$tmp/restored"
$nobody debugfs -R 'ls -l /d0' "$part" | grep file4
$nobody debugfs -R 'dump -p /d0/file4 file4' "$part"
cmp file4 "$tmp/files/d0/file4"
$nobody debugfs -R "rdump /d1 $tmp/restored" "$part"
diff -r d1 "$tmp/files/d1"
$nobody fusermount3 -u "$at"
umount "$tmp/dev"
`

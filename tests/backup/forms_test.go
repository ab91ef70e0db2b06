// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"virtnb/tests/testbed"
)

// Called as virtnbdbackup, the program is that.
func TestBackupByThePeersName(t *testing.T) {
	t.Parallel()
	b := newBackups(t, twoDisks())
	name := filepath.Join(t.TempDir(), "virtnbdbackup")
	if err := os.Symlink(ours(t)[0], name); err != nil {
		t.Fatal(err)
	}
	for i, level := range []string{"full", "inc"} {
		b.changeAll(t)
		b.make(t, checkpoint(i), []string{name}, "-l", level)
	}
	b.wantCheckpoints(t, 2)
	b.check(t)
}

// A backup to the standard output is an archive of the files that it would have
// made. The folder that it runs in has what the next one needs.
func TestBackupArchive(t *testing.T) {
	t.Parallel()
	b := newBackups(t, twoDisks())
	work := filepath.Join(b.copies, "work")
	for _, folder := range []string{work, b.set} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	archives := b.archives(t, ours(t), work)
	for _, archive := range archives {
		unzip(t, archive, b.set)
	}
	if files := (&backups{set: work}).dataFiles(t); len(files) > 0 {
		t.Errorf("%q are in the folder", files)
	}
	b.wantCheckpoints(t, 3)
	b.check(t)
	b.checkRestores(t, "vda")
	b.checkArchives(t, archives)
}

// Archives that virtnbdbackup made are read as they are.
func TestArchivesOfThePeer(t *testing.T) {
	t.Parallel()
	b := newBackups(t, twoDisks())
	work := filepath.Join(b.copies, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	b.checkArchives(t, b.archives(t, theirs, work))
}

// archives makes a full and two incrementals to the standard output, in the
// folder work.
func (b *backups) archives(t testing.TB, program []string, work string) (archives [][]byte) {
	t.Helper()
	for i, args := range [][]string{{"-l", "full"}, {"-l", "inc", "-z"}, {"-l", "inc"}} {
		b.changeAll(t)
		b.note(t, checkpoint(i))
		args = slices.Concat(program[1:], []string{"-U", b.daemon.URI(), "-d", b.Name, "-o", "-"}, args)
		var archive, log bytes.Buffer
		cmd := exec.Command(program[0], args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = work, &archive, &log
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, &log)
		}
		archives = append(archives, archive.Bytes())
	}
	return archives
}

// checkArchives compares a folder of the archives with the copies, and has them
// verified.
func (b *backups) checkArchives(t testing.TB, archives [][]byte) {
	t.Helper()
	folder := filepath.Join(b.copies, "archives")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, archive := range archives {
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%d.zip", i)), archive, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	packed := *b
	packed.set = folder
	packed.check(t)
	if out, err := exec.Command(ours(t)[0], "verify", folder).CombinedOutput(); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

// unzip adds the members of an archive to a folder.
func unzip(t testing.TB, archive []byte, folder string) {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	for _, member := range r.File {
		path := filepath.Join(folder, member.Name)
		if member.FileInfo().IsDir() {
			err = os.MkdirAll(path, 0o700)
		} else {
			err = unzipFile(member, path)
		}
		if err != nil {
			t.Fatalf("%s: %v", member.Name, err)
		}
	}
}

func unzipFile(member *zip.File, path string) error {
	r, err := member.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

// An image whose data is in a file of its own is like any other.
func TestBackupDataFile(t *testing.T) {
	t.Parallel()
	program := ours(t)
	dir := t.TempDir()
	b := newBackups(t, testbed.GuestOptions{Disks: []testbed.Disk{
		{Target: "vda", Size: smallDisk, Options: "data_file=" + filepath.Join(dir, "a")},
		{Target: "vdb", Size: smallDisk, Options: "data_file_raw=on,data_file=" + filepath.Join(dir, "b")},
	}})
	for i, args := range [][]string{{"-l", "full"}, {"-l", "inc"}, {"-l", "inc", "-z"}} {
		b.changeAll(t)
		b.make(t, checkpoint(i), program, args...)
	}
	b.wantCheckpoints(t, 3)
	b.check(t)
}

// A socket that a dead process left is not in the way, one of a living is.
func TestBackupSocketInTheWay(t *testing.T) {
	t.Parallel()
	b := newBackups(t, twoDisks())
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(b.scratch, "nbd")})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if out, err := b.run(ours(t), "-l", "full"); err == nil {
		t.Errorf("the socket of another process is no error:\n%s", out)
	}
	l.Close()
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	b.check(t)
}

// QEMU is another user than us, as it mostly is: it can enter the folder for
// scratch files that we make.
func TestBackupForeignQEMU(t *testing.T) {
	t.Parallel()
	daemon := testbed.New(t, testbed.Options{QemuConfig: "user = \"nobody\"\ngroup = \"nogroup\"\ndynamic_ownership = 1\n"})
	guest, err := daemon.Guest(testbed.GuestOptions{Start: testbed.Off, Disks: []testbed.Disk{{Target: "vda", Size: smallDisk}}})
	if err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{daemon.Root(): 0o711, filepath.Dir(guest.Image("vda")): 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	b := &backups{Guest: guest, daemon: daemon, copies: t.TempDir()}
	b.set = filepath.Join(b.copies, "set")
	b.scratch = filepath.Join("/var/tmp", filepath.Base(daemon.Root())) // of the socket, where QEMU may make it
	if err := os.Mkdir(b.scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(b.scratch) })
	if err := os.Chmod(b.scratch, 0o777); err != nil {
		t.Fatal(err)
	}
	b.virsh(t, "start", "--paused", guest.Name)
	if st, err := os.Stat(guest.Image("vda")); err != nil || st.Sys().(*syscall.Stat_t).Uid == 0 {
		t.Fatalf("QEMU is root, or %v", err)
	}
	scratch := filepath.Join(b.scratch, "scratch")
	for _, level := range []string{"full", "inc"} {
		if out, err := b.run(ours(t), "-l", level, "--scratchdir", scratch); err != nil {
			t.Errorf("%s: %v\n%s", level, err, out)
		}
	}
}

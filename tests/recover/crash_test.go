// SPDX-License-Identifier: Apache-2.0

package recover

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"virtnb/tests/testbed"
)

// A guest writes records to its disk, each durable before the next, and says how
// many; whatever is killed, those are there in the end, and all else is as it
// was in the backup.

const (
	recordSector = 512
	recordStride = 17 // sectors: most records are in a cluster that the overlay does not have
	bigDisk      = 64 << 20
)

// writer is the program in the guest. The record of a start after a crash begins
// where the last one ended.
const writer = `i=%d; while [ ! -e /run/stop ]; do i=$((i+1)); printf 'record %%08d' $i |
dd of=/dev/vda bs=512 seek=$((i*17)) conv=notrunc,fsync,sync 2>/run/dd || exit; echo $i >/run/acked.new; mv /run/acked.new /run/acked; done`

// newBootedSite has a guest with Linux and a full disk, and a backup of it.
func newBootedSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, testbed.GuestOptions{Start: testbed.Booted, Disks: []testbed.Disk{{Target: "vda", Size: bigDisk}}})
	if _, err := s.guest.Exec("yes backup | dd of=/dev/vda bs=1M count=64 iflag=fullblock conv=fsync"); err != nil {
		t.Fatal(err)
	}
	s.backUp("-l", "full")
	if err := s.guest.Destroy(); err != nil {
		t.Fatal(err)
	}
	return s
}

// startWriting starts the writer behind so many records.
func (r *recovery) startWriting(from int) {
	r.site.t.Helper()
	if err := r.WaitAgent(); err != nil {
		r.site.t.Fatal(err)
	}
	if _, err := r.Exec("(" + fmt.Sprintf(writer, from) + ") >/dev/null 2>&1 </dev/null &"); err != nil {
		r.site.t.Fatal(err)
	}
}

// acked is how many records the guest says are durable.
func (r *recovery) acked() int {
	out, err := r.Exec("cat /run/acked 2>/dev/null || echo 0")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(out))
	return n
}

// waitAcked waits until the guest has written so many records.
func (r *recovery) waitAcked(least int) int {
	r.site.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		n := r.acked()
		if n >= least {
			return n
		}
		if time.Now().After(end) {
			state, _ := r.State()
			r.site.t.Fatalf("the guest has written %d records, want %d; it is %s", n, least, state)
		}
	}
}

// wantRecords compares the flat disk with the backup and the records on it.
func (s *site) wantRecords(path string, acked int) {
	s.t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	want := bytes.Repeat([]byte("backup\n"), bigDisk/7+1)[:bigDisk]
	written := 0
	for i := 1; i*recordStride*recordSector < bigDisk; i++ {
		at := i * recordStride * recordSector
		record := make([]byte, recordSector)
		copy(record, fmt.Sprintf("record %08d", i))
		if bytes.Equal(got[at:at+recordSector], record) {
			written = i
			copy(want[at:], record)
		} else if i <= acked {
			s.t.Fatalf("record %d of %d that the guest had written is lost", i, acked)
		}
	}
	if !bytes.Equal(got, want) {
		s.t.Errorf("the disk differs from the backup beside the records")
	}
	s.t.Logf("%d records acknowledged, %d written", acked, written)
}

// stopWriting ends the writer and returns how many records there are.
func (r *recovery) stopWriting() int {
	r.site.t.Helper()
	if _, err := r.Exec("touch /run/stop; sleep 1; sync"); err != nil {
		r.site.t.Fatal(err)
	}
	return r.acked()
}

// Everything is killed under a guest that writes, and then the machine is
// promoted, with more being killed, to where its records are compared.
func TestCrashesUnderGuestThatWrites(t *testing.T) {
	t.Parallel()
	s := newBootedSite(t)
	r := s.boot()
	r.startWriting(0)
	n := r.waitAcked(20)

	t.Log("the server is killed: the guest waits, and goes on")
	r.killServer()
	time.Sleep(time.Second)
	s.run("resume", r.Name)
	n = r.waitAcked(n + 20)

	t.Log("libvirtd is killed: the guest does not notice")
	if err := s.daemon.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.daemon.Restart(); err != nil {
		t.Fatal(err)
	}
	s.run("recoveries")
	n = r.waitAcked(n + 20)

	t.Log("QEMU is killed, and the server with it")
	r.killServer()
	r.killQEMU()
	s.wantState(r, "shut off")
	s.run("resume", r.Name)
	r.startWriting(n)
	n = r.waitAcked(n + 20)

	t.Log("the promotion is killed in its middle, the copy goes on in QEMU")
	target := t.TempDir()
	s.killPromotion(r, "--target", target, "--bandwidth", "8M")
	n = r.waitAcked(n + 20)

	t.Log("the server is killed under the copy")
	r.killServer()
	time.Sleep(500 * time.Millisecond)
	s.run("promote", r.Name)
	n = r.waitAcked(n + 20)
	n = max(n, r.stopWriting())
	copied := filepath.Join(target, r.Name+"-vda.qcow2")
	r.Guest = s.daemon.Adopt(r.Name, testbed.Disk{Target: "vda", Source: copied})
	s.wantRecords(s.read(r.Guest, "vda"), n)
	r.wantNoTrace()
}

// wantState waits for what recoveries says of the machine.
func (s *site) wantState(r *recovery, state string) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		out := s.run("recoveries")
		if strings.Contains(out, state) {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("recoveries does not say that %s is %s", r.Name, state)
		}
	}
}

// killPromotion kills a promote when its job is at work.
func (s *site) killPromotion(r *recovery, args ...string) {
	s.t.Helper()
	cmd := s.command(append([]string{"promote", r.Name}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	r.waitJob()
	if err := cmd.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		s.t.Fatalf("the promotion had come to its end\n%s", &out)
	}
}

// waitJob waits for a job of the first disk.
func (r *recovery) waitJob() {
	r.site.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		out, err := r.site.daemon.Virsh("blockjob", r.Name, r.Disks[0].Name, "--raw")
		if err == nil && strings.Contains(out, "type=") {
			return
		}
		if time.Now().After(end) {
			r.site.t.Fatalf("no job of %s: %s, %v", r.Name, out, err)
		}
	}
}

// Where QEMU was started by somebody else, it does not wait for the server: the
// guest is stopped, and not told of errors.
func TestServerKilledStopsGuest(t *testing.T) {
	t.Parallel()
	s := newBootedSite(t)
	r := s.boot("--paused")
	if err := r.Destroy(); err != nil {
		t.Fatal(err)
	}
	if out, err := s.daemon.Virsh("start", r.Name); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r.startWriting(0)
	n := r.waitAcked(10)
	r.killServer()
	r.waitState("paused")
	t.Log("and the backup is away for a while, and another one is in its place")
	away := s.set + ".away"
	if err := os.Rename(s.set, away); err != nil {
		t.Fatal(err)
	}
	if out, err := s.try("resume", r.Name); err == nil || !strings.Contains(err.Error(), "bring it back") {
		t.Errorf("without its backup the guest is resumed: %s, %v", out, err)
	}
	if err := os.CopyFS(s.set, os.DirFS(away)); err != nil {
		t.Fatal(err)
	}
	if out, err := s.try("resume", r.Name); err == nil || !strings.Contains(err.Error(), "not the file any more") {
		t.Errorf("on another backup the guest is resumed: %s, %v", out, err)
	}
	if err := errors.Join(os.RemoveAll(s.set), os.Rename(away, s.set)); err != nil {
		t.Fatal(err)
	}
	s.run("resume", r.Name)
	n = r.waitAcked(n + 20)
	n = max(n, r.stopWriting())
	s.wantRecords(s.read(r.Guest, "vda"), n)
	s.run("discard", r.Name)
	r.wantGone()
}

// A guest that fills the file system of its overlay stops, and goes on when
// there is space.
func TestOverlayFull(t *testing.T) {
	t.Parallel()
	small := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("small", small, "tmpfs", 0, "size=22m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	s := newBootedSite(t)
	r := s.boot("--overlay-dir", small)
	r.startWriting(0)
	n := r.waitAcked(10)
	r.waitState("paused")
	if out, err := s.try("promote", r.Name); err == nil {
		t.Errorf("a promotion without space succeeds: %s", out)
	}
	if err := syscall.Mount("small", small, "tmpfs", syscall.MS_REMOUNT, "size=128m"); err != nil {
		t.Fatal(err)
	}
	s.run("resume", r.Name)
	n = r.waitAcked(n + 1)
	s.run("promote", r.Name)
	n = max(n, r.stopWriting())
	s.wantRecords(s.read(r.Guest, "vda"), n)
	r.wantNoTrace()
	if err := r.Destroy(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(r.Disks[0].Overlay); err != nil {
		t.Fatal(err)
	}
}

// A boot that is killed leaves nothing that discard does not take away.
func TestBootKilled(t *testing.T) {
	t.Parallel()
	s := newPausedSite(t)
	for i, delay := range []time.Duration{20, 150, 300, 500, 800} {
		name := fmt.Sprint("killed", i)
		cmd := s.command("boot", s.set, "--name", name)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay * time.Millisecond)
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		if _, err := os.Stat(filepath.Join(s.state, name, "recovery.json")); err == nil {
			s.run("discard", name)
		} else {
			s.boot("--name", name, "--paused") // it can be had now
			s.run("discard", name)
		}
	}
	if out, err := s.daemon.Virsh("list", "--all", "--name"); err != nil || strings.Contains(out, "killed") {
		t.Errorf("machines are left: %q, %v", out, err)
	}
	if out := s.run("recoveries"); !strings.Contains(out, "nothing") {
		t.Errorf("recoveries: %s", out)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "images/*")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

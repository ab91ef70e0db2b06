// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"virtnb/format"
	"virtnb/tests/testbed"
)

// Backups that are killed, that fail, or whose surroundings do. Whatever
// happens, the next incremental goes on, and each restore point has what the
// disks had.

// crashProgram is "virtnb backup" built so that it can be told to kill itself.
var crashProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "virtnb-crash-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "virtnb")
	cmd := exec.Command("go", "build", "-tags", "crashtest", "-o", path, "../cmd/virtnb")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func removeCrashProgram() {
	if path, err := crashProgram(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
}

// start starts a backup and does not wait for it.
func (b *backups) start(t testing.TB, program string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program, slices.Concat([]string{"backup", "-U", b.daemon.URI(), "-d", b.Name, "-o", b.set}, args)...)
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// wantClean fails the test where something of a backup is left: files that are
// not finished, a job, or checkpoints that the set does not list.
func (b *backups) wantClean(t testing.TB) {
	t.Helper()
	entries, err := os.ReadDir(b.set)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".partial") || strings.HasPrefix(e.Name(), ".") {
			t.Errorf("left behind: %s", e.Name())
		}
	}
	if out, err := b.daemon.Virsh("domjobinfo", b.Name); err == nil && strings.Contains(out, "Operation:        Backup") {
		t.Errorf("a job is left: %s", out)
	}
	if left, _ := filepath.Glob("/var/tmp/virtnbdbackup.*"); len(left) > 0 && t.Failed() {
		t.Logf("sockets: %q", left)
	}
	b.wantCheckpoints(t, b.listed(t))
}

// listed is the number of checkpoints that count.
func (b *backups) listed(t testing.TB) int {
	t.Helper()
	set, err := format.ReadSet(b.set)
	if err != nil {
		t.Fatal(err)
	}
	return len(set.Checkpoints)
}

// backupTargets are two disks, small ones as they are copied at each point.
func backupTargets() testbed.GuestOptions {
	return testbed.GuestOptions{Disks: []testbed.Disk{
		{Target: "vda", Size: 4 << 20},
		{Target: "sda", Size: 2 << 20, Cluster: 4096},
	}}
}

func (b *backups) changeBoth(t testing.TB) {
	t.Helper()
	b.change(t, "vda", 4<<20, 6)
	b.change(t, "sda", 2<<20, 6)
}

// afterwards is what a backup that did not succeed leaves: a set that is as it
// was, on which the next incremental goes on.
func (b *backups) afterwards(t testing.TB, args ...string) {
	t.Helper()
	b.changeBoth(t)
	b.make(t, "the next one", ours(t), append([]string{"-l", "inc"}, args...)...)
	b.points[len(b.points)-1].name = checkpoint(b.listed(t) - 1)
	b.wantClean(t)
	b.check(t)
}

// crashPoints are the steps of a backup of two disks at which it can be killed,
// and whether it counts from then on.
var crashPoints = []struct {
	name   string
	counts bool
}{
	{"begin", false}, {"begun", false}, {"copied", false}, {"side", false},
	{"named0", false}, {"named1", true}, {"named", true}, {"entered", true},
}

func TestBackupKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	program, err := crashProgram()
	if err != nil {
		t.Fatal(err)
	}
	b := newBackups(t, backupTargets())
	b.changeBoth(t)
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	for i, p := range crashPoints {
		for _, twice := range []bool{false, true} {
			b.changeBoth(t)
			if p.counts {
				b.note(t, checkpoint(b.listed(t)))
			}
			for range 1 + count(twice && !p.counts) { // the next one is killed as well
				cmd := b.start(t, program, []string{"VIRTNB_CRASH_AT=" + p.name}, "-l", "inc")
				if err := cmd.Wait(); !killed(err) {
					t.Fatalf("%s: %v", p.name, err)
				}
			}
			args := []string{"-n"}
			if i%2 == 1 {
				args = append(args, "-z")
			}
			b.afterwards(t, args...)
			if t.Failed() {
				t.Fatalf("after a kill at %s, twice: %v", p.name, twice)
			}
		}
	}
	b.checkRestores(t, "vda")
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// killed says whether a program ended by SIGKILL.
func killed(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
}

// A full that is killed leaves an empty folder for the next one, and the chain
// in another folder goes on.
func TestBackupFullKilled(t *testing.T) {
	t.Parallel()
	program, err := crashProgram()
	if err != nil {
		t.Fatal(err)
	}
	for _, incs := range []int{0, 1} {
		b := newBackups(t, backupTargets())
		b.changeBoth(t)
		b.make(t, checkpoint(0), ours(t), "-l", "full")
		for range incs {
			b.afterwards(t)
		}
		first, points := b.set, b.points
		for _, p := range []string{"begin", "begun", "copied", "named0"} {
			b.set, b.points = filepath.Join(b.copies, "other."+p), nil
			b.changeBoth(t)
			if err := b.start(t, program, []string{"VIRTNB_CRASH_AT=" + p}, "-l", "full").Wait(); !killed(err) {
				t.Fatalf("%s: %v", p, err)
			}
			if p == "begun" { // later ones end it before
				other := b.set
				b.set = first // the job is not this folder's to end
				if out, err := b.run(ours(t), "-l", "inc"); err == nil || !strings.Contains(out, "active backup operation") {
					t.Fatalf("%v: %s", err, out)
				}
				b.set = other
				if out, err := b.run(ours(t), "-l", "full", "-k"); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
		}
		other := b.set
		b.set, b.points = first, points
		b.changeBoth(t)
		b.make(t, checkpoint(b.listed(t)), ours(t), "-l", "inc")
		b.check(t)
		b.set, b.points = other, nil
		b.changeBoth(t)
		b.make(t, checkpoint(0), ours(t), "-l", "full")
		b.check(t)
		b.afterwards(t)
		if t.Failed() {
			t.FailNow()
		}
	}
}

// Thirty backups are killed at any moment.
func TestBackupKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	program := ours(t)[0]
	b := newBackups(t, backupTargets())
	b.changeBoth(t)
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	began := time.Now()
	b.afterwards(t)
	whole := time.Since(began)
	for range 30 {
		b.changeBoth(t)
		before := b.listed(t)
		b.note(t, checkpoint(before)) // if it counts
		cmd := b.start(t, program, nil, "-l", "inc", "-n")
		time.Sleep(time.Duration(b.rand.Int64N(int64(whole))))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		b.changeBoth(t)
		b.note(t, checkpoint(before+1))
		if out, err := b.run(ours(t), "-l", "inc"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if b.listed(t) == before+1 { // what was killed did not count
			last := b.points[len(b.points)-1]
			last.name = checkpoint(before)
			b.points = append(b.points[:len(b.points)-2], last)
		}
		b.wantClean(t)
		b.check(t)
		if t.Failed() {
			t.FailNow()
		}
	}
}

// A signal is a failure that cleans up at once, with status 1.
func TestBackupSignals(t *testing.T) {
	t.Parallel()
	program, err := crashProgram()
	if err != nil {
		t.Fatal(err)
	}
	b := newBackups(t, backupTargets())
	b.changeBoth(t)
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		b.changeBoth(t)
		stop := filepath.Join(t.TempDir(), "stop")
		cmd := b.start(t, program, []string{"VIRTNB_STOP_AT=begun", "VIRTNB_STOP_FILE=" + stop}, "-l", "inc")
		waitFor(t, "the job", func() bool { _, err := os.Stat(stop); return err == nil })
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // it is seen before the program goes on
		if err := os.Remove(stop); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%v: %v", sig, err)
		}
		b.wantClean(t)
		b.afterwards(t)
	}
}

// waitFor waits until something is so.
func waitFor(t testing.TB, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// Two backups into one folder, or of one domain, exclude each other.
func TestBackupsExcludeEachOther(t *testing.T) {
	t.Parallel()
	program, err := crashProgram()
	if err != nil {
		t.Fatal(err)
	}
	b := newBackups(t, backupTargets())
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	stop := filepath.Join(t.TempDir(), "stop")
	b.note(t, checkpoint(1))
	cmd := b.start(t, program, []string{"VIRTNB_STOP_AT=begun", "VIRTNB_STOP_FILE=" + stop}, "-l", "inc")
	waitFor(t, "the job", func() bool { _, err := os.Stat(stop); return err == nil })
	before := filesOf(t, b.set)
	if out, err := b.run(ours(t), "-l", "inc"); err == nil || !strings.Contains(out, "another backup is running into it") {
		t.Errorf("into one folder: %v: %s", err, out)
	}
	wantKept(t, before, filesOf(t, b.set))
	first := b.set
	b.set = filepath.Join(b.copies, "other")
	if out, err := b.run(ours(t), "-l", "copy"); err == nil || !strings.Contains(out, "another backup is running of it") {
		t.Errorf("of one domain: %v: %s", err, out)
	}
	b.set = first
	if err := os.Remove(stop); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	b.wantClean(t)
	b.check(t)
}

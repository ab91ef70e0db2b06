// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"virtnb/format"
	"virtnb/tests/testbed"
)

// Backups that fail, are ended or die. Whatever happens, the restore points that
// were there are there afterwards, the next incremental succeeds, and it has all
// that changed since the last backup that counts.

// bigDisk takes long enough to save, at the highest level of compression, that a
// run can be caught at it.
const bigDisk = 64 << 20

func newBigBackups(t *testing.T) *backups {
	t.Helper()
	b := newBackups(t, testbed.GuestOptions{Disks: []testbed.Disk{
		{Target: "vda", Size: bigDisk},
		{Target: "vdb", Size: smallDisk},
	}})
	b.write(t, "vda", "write -P 1 0 4M")
	b.changeBoth(t)
	return b
}

// changeBoth changes a little on both disks.
func (b *backups) changeBoth(t testing.TB) {
	t.Helper()
	b.change(t, "vda", smallDisk, 4)
	b.change(t, "vdb", smallDisk, 4)
}

// fillBig makes all of the big disk differ from the last backup, with data that
// cannot be compressed.
func (b *backups) fillBig(t testing.TB) {
	t.Helper()
	noise := make([]byte, 8<<20)
	for i := 0; i < len(noise); i += 8 {
		binary.NativeEndian.PutUint64(noise[i:], b.rand.Uint64())
	}
	path := filepath.Join(b.copies, "noise")
	if err := os.WriteFile(path, noise, 0o600); err != nil {
		t.Fatal(err)
	}
	for off := 0; off < bigDisk; off += len(noise) {
		b.write(t, "vda", fmt.Sprintf("write -s %s %d %d", path, off, len(noise)))
	}
}

// process is a run that is not waited for.
type process struct {
	*exec.Cmd
	out  bytes.Buffer
	done chan error
}

// start starts a backup. The test's end kills it.
func (b *backups) start(t testing.TB, program []string, env string, args ...string) *process {
	t.Helper()
	args = slices.Concat(program[1:], []string{"-U", cmp.Or(b.uri, b.daemon.URI())}, b.arguments(), args)
	p := &process{Cmd: exec.Command(program[0], args...), done: make(chan error, 1)}
	p.Stdout, p.Stderr = &p.out, &p.out
	p.Env = slices.Concat(os.Environ(), b.env, []string{env})
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	wait := func() { once.Do(func() { p.done <- p.Wait(); close(p.done) }) }
	go wait()
	t.Cleanup(func() { _ = p.Process.Kill(); wait() })
	return p
}

// end waits for the end of a run.
func (p *process) end(t testing.TB) error {
	t.Helper()
	select {
	case err := <-p.done:
		return err
	case <-time.After(patience):
		_ = p.Process.Signal(syscall.SIGABRT)
		t.Fatalf("the backup does not end:\n%s", &p.out)
		return nil
	}
}

// startHeld starts a backup of the big disk, and holds it while it saves that.
func (b *backups) startHeld(t testing.TB, args ...string) *process {
	t.Helper()
	p := b.start(t, ours(t), "", append(args, "-z", "16")...)
	for deadline := time.Now().Add(patience); !b.saving(); time.Sleep(time.Millisecond) {
		select {
		case err := <-p.done:
			t.Fatalf("the backup ended before it could be held: %v\n%s", err, &p.out)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the backup saves nothing:\n%s", &p.out)
		}
	}
	p.signal(t, syscall.SIGSTOP)
	if !b.saving() {
		t.Fatal("the backup was done before it was held")
	}
	return p
}

// saving says whether some of the big disk has been saved, and not all.
func (b *backups) saving() bool {
	files, _ := filepath.Glob(filepath.Join(b.set, "vda.*.data.partial"))
	if len(files) == 0 {
		return false
	}
	info, err := os.Stat(files[0])
	return err == nil && info.Size() > 1<<20
}

func (p *process) signal(t testing.TB, signal os.Signal) {
	t.Helper()
	if err := p.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// wantNoJob fails the test where the guest has a backup job.
func (b *backups) wantNoJob(t testing.TB) {
	t.Helper()
	out, err := b.daemon.Virsh("domjobinfo", b.Name)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "None") {
		t.Errorf("the guest has a job:\n%s", out)
	}
}

// wantNothingNew fails the test where the set has other files than before.
func (b *backups) wantNothingNew(t testing.TB, before map[string][32]byte) {
	t.Helper()
	after := filesOf(t, b.set)
	wantKept(t, before, after)
	for path := range after {
		if _, old := before[path]; !old {
			t.Errorf("%s is left", path)
		}
	}
}

// wantNext makes one more incremental, the nth checkpoint, and compares all.
func (b *backups) wantNext(t testing.TB, n int) {
	t.Helper()
	b.changeBoth(t)
	b.make(t, checkpoint(n), ours(t), "-l", "inc")
	b.wantCheckpoints(t, n+1)
	b.wantNoJob(t)
	b.check(t)
	if left, _ := filepath.Glob(filepath.Join(b.set, "*.partial")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

// A signal ends a backup as a failure does.
func TestBackupSignals(t *testing.T) {
	t.Parallel()
	b := newBigBackups(t)
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	for i, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		before := filesOf(t, b.set)
		b.fillBig(t)
		p := b.startHeld(t, "-l", "inc")
		p.signal(t, signal)
		p.signal(t, syscall.SIGCONT)
		if err := p.end(t); exitStatus(err) != 1 {
			t.Errorf("%v: %v, want exit status 1\n%s", signal, err, &p.out)
		}
		b.wantCheckpoints(t, 1+i)
		b.wantNoJob(t)
		b.wantNothingNew(t, before)
		b.wantNext(t, 1+i)
	}
}

// exitStatus is that of a program's end, -1 for a signal.
func exitStatus(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// Two runs into one folder exclude each other, and so do two of one domain.
func TestBackupExcludesOthers(t *testing.T) {
	t.Parallel()
	b := newBigBackups(t)
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	b.fillBig(t)
	b.note(t, checkpoint(1))
	first := b.startHeld(t, "-l", "inc")
	if out, err := b.run(ours(t), "-l", "inc"); err == nil {
		t.Errorf("two runs into one folder:\n%s", out)
	}
	other := b.into("other")
	if out, err := other.run(ours(t), "-l", "copy"); err == nil {
		t.Errorf("two runs of one domain:\n%s", out)
	}
	first.signal(t, syscall.SIGCONT)
	if err := first.end(t); err != nil {
		t.Errorf("the run that was first: %v\n%s", err, &first.out)
	}
	b.wantNext(t, 2)
}

// The guest ends in the middle of a backup.
func TestBackupGuestEnds(t *testing.T) {
	t.Parallel()
	b := newBigBackups(t)
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	b.fillBig(t)
	p := b.startHeld(t, "-l", "inc")
	if err := b.Destroy(); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGCONT)
	if err := p.end(t); exitStatus(err) != 1 {
		t.Errorf("%v, want exit status 1\n%s", err, &p.out)
	}
	wantOutput(t, p.out.String(), "The backup job has ended: the domain was shut down")
	if err := b.StartAgain(); err != nil {
		t.Fatal(err)
	}
	b.wantNext(t, 1)
}

// libvirtd ends in the middle of a backup, and comes again.
func TestBackupLibvirtdEnds(t *testing.T) {
	t.Parallel()
	b := newBigBackups(t)
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	b.fillBig(t)
	p := b.startHeld(t, "-l", "inc")
	if err := b.daemon.Kill(); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGCONT)
	if err := p.end(t); exitStatus(err) != 1 {
		t.Errorf("%v, want exit status 1\n%s", err, &p.out)
	}
	if err := b.daemon.Restart(); err != nil {
		t.Fatal(err)
	}
	b.wantNext(t, 1)
}

// The target is full: that is what the error says, nothing is left, and the
// chain goes on when there is space.
func TestBackupTargetFull(t *testing.T) {
	t.Parallel()
	b := newBigBackups(t)
	if err := os.Mkdir(b.set, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", b.set, "tmpfs", 0, "size=24m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(b.set, 0); err != nil {
			t.Error(err)
		}
	})
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	before := filesOf(t, b.set)
	b.fillBig(t)
	out, err := b.run(ours(t), "-l", "inc")
	if err == nil {
		t.Fatalf("%d MiB fit in 24:\n%s", bigDisk>>20, out)
	}
	wantOutput(t, out, "no space left")
	b.wantCheckpoints(t, 1)
	b.wantNoJob(t)
	b.wantNothingNew(t, before)
	if err := unix.Mount("tmpfs", b.set, "tmpfs", unix.MS_REMOUNT, "size=200m"); err != nil {
		t.Fatal(err)
	}
	b.wantNext(t, 1)
}

// crashing builds the program so that it can kill itself at a step of a backup.
func crashing(t *testing.T) []string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "virtnb")
	cmd := exec.Command("go", "build", "-tags", "crashtest", "-o", program, "./cmd/virtnb")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return []string{program, "backup"}
}

// steps are where it can.
var steps = []string{"begin", "begun", "copied", "side", "named0", "named1", "named", "entered"}

// recovered makes the next backup after a run that died: that either counts, by
// then at the latest, as restore point n, or is as if it had not been. It returns
// the number of the next restore point.
func (b *backups) recovered(t testing.TB, n int, what string) int {
	t.Helper()
	died := b.points[len(b.points)-1]
	b.points = b.points[:len(b.points)-1]
	b.changeAll(t)
	b.note(t, "?")
	out, err := b.run(ours(t), "-l", "auto")
	if err != nil {
		t.Fatalf("after a death at %s: %v", what, err)
	}
	set, err := format.CheckSet(b.set)
	if err != nil {
		t.Fatal(err)
	}
	next := b.points[len(b.points)-1]
	b.points = b.points[:len(b.points)-1]
	if len(set.Checkpoints) > n+1 { // it counts
		b.points = append(b.points, died)
		n++
	}
	next.name = checkpoint(n)
	b.points = append(b.points, next)
	b.wantCheckpoints(t, n+1)
	b.wantNoJob(t)
	if t.Failed() {
		t.Fatalf("after a death at %s:\n%s", what, out)
	}
	return n + 1
}

// A run that is killed at any of its steps is as if it had not been, or is
// whole.
func TestBackupKilledAtEachStep(t *testing.T) {
	t.Parallel()
	program := crashing(t)
	b := newBackups(t, twoDisks())
	for _, step := range steps {
		c := b.into(step)
		c.dieAt(t, program, step, 0, "full")
	}
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	n := 1
	for _, step := range steps {
		n = b.dieAt(t, program, step, n, "inc")
	}
}

// dieAt has a backup that would be restore point n die, and returns the number
// of the one after the next that succeeded.
func (b *backups) dieAt(t *testing.T, program []string, step string, n int, level string) int {
	t.Helper()
	b.changeAll(t)
	b.note(t, checkpoint(n))
	p := b.start(t, program, "VIRTNB_CRASH_AT="+step, "-l", level)
	if err := p.end(t); exitStatus(err) != -1 {
		t.Fatalf("%s not killed at %s: %v\n%s", level, step, err, &p.out)
	}
	// As if it had been killed over its notes.
	if err := os.WriteFile(filepath.Join(b.set, ".virtnb.journal.partial"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	n = b.recovered(t, n, step+" of "+level)
	b.check(t)
	return n
}

// A run that is killed at any moment leaves a chain that goes on.
func TestBackupKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	b := newBackups(t, twoDisks())
	b.changeAll(t)
	before := time.Now()
	b.make(t, checkpoint(0), ours(t), "-l", "full")
	length := time.Since(before) * 5 / 4
	n := 1
	for range 30 {
		b.changeAll(t)
		b.note(t, checkpoint(n))
		p := b.start(t, ours(t), "", "-l", "inc")
		moment := time.Duration(rand.Int64N(int64(length)))
		select {
		case <-time.After(moment):
			_ = p.Process.Kill()
		case <-p.done:
		}
		<-p.done
		n = b.recovered(t, n, moment.String())
	}
	b.check(t)
}

// Whatever is asked for while a job of somebody else goes on is an error, and
// the job goes on.
func TestBackupStartAndKillOnly(t *testing.T) {
	t.Parallel()
	b := newBackups(t, twoDisks())
	program := ours(t)
	b.changeAll(t)
	b.make(t, checkpoint(0), program, "-l", "full")
	if out, err := b.run(program, "-l", "inc", "-k"); err == nil {
		t.Errorf("there is no job to kill, and no error:\n%s", out)
	}
	b.changeAll(t)
	if _, err := b.run(program, "-l", "inc", "-s"); err != nil {
		t.Fatal(err)
	}
	out, err := b.daemon.Virsh("domjobinfo", b.Name)
	if err != nil || !strings.Contains(out, "Backup") {
		t.Fatalf("no backup job after -s: %s, %v", out, err)
	}
	if _, err := b.run(program, "-l", "inc", "-k"); err != nil {
		t.Fatal(err)
	}
	b.wantNoJob(t)
	b.changeAll(t)
	b.make(t, checkpoint(1), program, "-l", "inc")
	b.wantCheckpoints(t, 2)
	b.check(t)
}

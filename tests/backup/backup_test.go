// SPDX-License-Identifier: Apache-2.0

// Package backup holds the end-to-end tests of "virtnb backup", against a real
// libvirt and real guests.
package backup

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"virtnb/format"
	"virtnb/overlay"
	"virtnb/tests/testbed"
)

// Before each backup the live disks are copied, and what the backup set has at
// its restore points must be those copies, byte for byte.

// patience is how long a test waits for another program before it fails.
const patience = time.Minute

// theirs is the program that virtnb replaces, of version 1.9.15.
var theirs = []string{testbed.PeerBackupProgram}

// ours is the program under test. To see whether a test is right about
// virtnbdbackup too, VIRTNB_BACKUP=virtnbdbackup runs that in its place.
func ours(t testing.TB) []string {
	t.Helper()
	if other := os.Getenv("VIRTNB_BACKUP"); other != "" {
		return strings.Fields(other)
	}
	program, err := filepath.Abs("../../bin/virtnb")
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		t.Fatalf("run make build first: %v", err)
	}
	return []string{program, "backup"}
}

// backups is a guest, the folder of its backups, and what its disks were.
type backups struct {
	*testbed.Guest
	daemon  *testbed.Daemon
	uri     string   // of the daemon, where that is not its own
	env     []string // of programs that use that
	set     string
	copies  string // the folder of the copies of disks
	scratch string // the folder of sockets and scratch files
	targets []string
	points  []livePoint
	rand    *rand.Rand
}

// livePoint is a restore point that must be there.
type livePoint struct {
	name  string            // as the backup set has it
	disks map[string]string // path of the flat copy of each disk
}

// newBackups starts a libvirt and a guest for the test.
func newBackups(t *testing.T, opts testbed.GuestOptions) *backups {
	t.Helper()
	return guestOf(t, testbed.New(t, testbed.Options{}), opts)
}

// guestOf starts a guest of a libvirt for the test.
func guestOf(t *testing.T, daemon *testbed.Daemon, opts testbed.GuestOptions) *backups {
	t.Helper()
	guest, err := daemon.Guest(opts)
	if err != nil {
		t.Fatal(err)
	}
	b := &backups{Guest: guest, daemon: daemon, copies: t.TempDir(), rand: rand.New(rand.NewPCG(3, 4))}
	b.set = filepath.Join(b.copies, "set")
	b.scratch = filepath.Join(b.copies, "scratch")
	if err := os.Mkdir(b.scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, disk := range opts.Disks {
		b.targets = append(b.targets, disk.Target)
	}
	return b
}

// run has a program back the guest up into the set, and returns what it printed.
func (b *backups) run(program []string, args ...string) (string, error) {
	args = slices.Concat(program[1:], b.arguments(), args)
	if b.uri != "" {
		return b.runFar(program[0], args...)
	}
	return b.daemon.Client(program[0], args...)
}

// arguments are those of all backups. The socket and the scratch files of other
// runs on the machine are not in the way of these.
func (b *backups) arguments() []string {
	return []string{"-d", b.Name, "-o", b.set, "-f", filepath.Join(b.scratch, "nbd"), "--scratchdir", b.scratch}
}

// wantNoScratch fails the test where a run left something in the folder of its
// socket and scratch files.
func (b *backups) wantNoScratch(t testing.TB) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(b.scratch, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%q are left, %v", left, err)
	}
}

// make makes a backup that must succeed and becomes a restore point, and returns
// what the program printed.
func (b *backups) make(t testing.TB, point string, program []string, args ...string) string {
	t.Helper()
	b.note(t, point)
	out, err := b.run(program, args...)
	if err != nil {
		t.Fatalf("%s: %v", point, err)
	}
	return out
}

// note copies the disks, which a restore point must have from now on.
func (b *backups) note(t testing.TB, point string) {
	t.Helper()
	p := livePoint{name: point, disks: map[string]string{}}
	dir, err := os.MkdirTemp(b.copies, "live")
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range b.targets {
		path := filepath.Join(dir, target+".raw")
		if err := b.ReadDisk(target, path); err != nil {
			t.Fatal(err)
		}
		p.disks[target] = path
	}
	b.points = append(b.points, p)
}

// checkpoint is the name of the Nth checkpoint.
func checkpoint(n int) string { return fmt.Sprint("virtnbdbackup.", n) }

// check compares the set with the copies.
func (b *backups) check(t testing.TB) {
	t.Helper()
	b.wantNoScratch(t)
	set, err := format.CheckSet(b.set)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range set.Problems {
		t.Errorf("%s: %s", problem.File, problem.Text)
	}
	for _, p := range b.points {
		for target, path := range p.disks {
			if err := samePoint(set, target, p.name, path); err != nil {
				t.Errorf("%s at %s: %v", target, p.name, err)
			}
		}
	}
}

// samePoint compares a disk at a restore point with a flat file.
func samePoint(set *format.Set, target, point, path string) error {
	found, err := set.Find(target, point)
	if err != nil {
		return err
	}
	files, err := found.Files()
	if err != nil {
		return err
	}
	img, err := overlay.Open(files, overlay.Options{})
	if err != nil {
		return err
	}
	defer img.Close()
	live, err := os.Open(path)
	if err != nil {
		return err
	}
	defer live.Close()
	info, err := live.Stat()
	if err != nil {
		return err
	}
	if img.Size() != info.Size() {
		return fmt.Errorf("%d bytes, want %d", img.Size(), info.Size())
	}
	return sameReaders(img, live, img.Size())
}

// sameReaders compares so many bytes of two images.
func sameReaders(got, want io.ReaderAt, size int64) error {
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(a)) {
		n := min(size-off, int64(len(a)))
		_, errA := got.ReadAt(a[:n], off)
		_, errB := want.ReadAt(b[:n], off)
		if err := errors.Join(notEOF(errA), notEOF(errB)); err != nil {
			return err
		}
		if bytes.Equal(a[:n], b[:n]) {
			continue
		}
		for i := range n {
			if a[i] != b[i] {
				return fmt.Errorf("byte %d is %#x, want %#x", off+i, a[i], b[i])
			}
		}
	}
	return nil
}

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// checkRestores has virtnbdrestore bring a disk back at every restore point, and
// compares what it makes.
func (b *backups) checkRestores(t testing.TB, target string) {
	t.Helper()
	for i, p := range b.points {
		folder := filepath.Join(b.copies, fmt.Sprintf("restored.%s.%d", target, i))
		out, err := b.daemon.PeerRestore(b.set, folder, "-n", "-d", target, "--until", p.name)
		if err != nil {
			t.Errorf("%s at %s: %v", target, p.name, err)
			continue
		}
		image := filepath.Join(folder, filepath.Base(b.Image(target)))
		if err := testbed.SameImages(image, "qcow2", p.disks[target], "raw"); err != nil {
			t.Errorf("%s at %s: %v\n%s", target, p.name, err, out)
		}
	}
}

// wantCheckpoints fails the test where the domain has not the first n
// checkpoints, and no others.
func (b *backups) wantCheckpoints(t testing.TB, n int) {
	t.Helper()
	got, err := b.Checkpoints()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range n {
		want = append(want, checkpoint(i))
	}
	if !slices.Equal(got, want) {
		t.Errorf("checkpoints %q, want %q", got, want)
	}
}

// write fills a range of a disk.
func (b *backups) write(t testing.TB, target string, commands ...string) {
	t.Helper()
	if err := b.HostWrite(target, commands...); err != nil {
		t.Fatal(err)
	}
}

// change does so many random things to a disk of some size: data, zeroes as data
// and as zeroes, which keep the clusters or not, and discards. Ranges are off
// the grid of clusters, but for some.
func (b *backups) change(t testing.TB, target string, size int64, times int) {
	t.Helper()
	var commands []string
	for range times {
		grid := []int64{512, 4096, 64 << 10}[b.rand.IntN(3)]
		start := b.rand.Int64N(size/grid) * grid
		length := min((1+b.rand.Int64N(1+size/16/grid))*grid, size-start)
		commands = append(commands, fmt.Sprintf(b.oneChange(), start, length))
	}
	b.write(t, target, commands...)
}

func (b *backups) oneChange() string {
	switch b.rand.IntN(8) {
	case 0:
		return "write -P 0 %d %d"
	case 1:
		return "write -z %d %d"
	case 2:
		return "write -z -u %d %d"
	case 3:
		return "discard %d %d"
	default:
		return fmt.Sprintf("write -P %d %%d %%d", 1+b.rand.IntN(255))
	}
}

// wantOutput fails the test where the output lacks one of the texts.
func wantOutput(t testing.TB, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("no %q in the output:\n%s", text, out)
		}
	}
}

// filesOf is the SHA-256 of each file below a folder, but for logs.
func filesOf(t testing.TB, folder string) map[string][32]byte {
	t.Helper()
	files := map[string][32]byte{}
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || filepath.Ext(path) == ".log" {
			return err
		}
		content, err := os.ReadFile(path)
		files[path] = sha256.Sum256(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// wantKept fails the test where a file of before is not there as it was.
func wantKept(t testing.TB, before, after map[string][32]byte) {
	t.Helper()
	for path, sum := range before {
		switch now, there := after[path]; {
		case !there:
			t.Errorf("%s is gone", path)
		case now != sum:
			t.Errorf("%s has changed", path)
		}
	}
}

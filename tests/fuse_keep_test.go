// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// How changes are kept in their folder: what happens to them when a server is
// killed, space runs out, or the folder or the set is not what it was.

// reads says whether a file has that content. Closing goes on behind close(2), so
// for a while it may not, or not be opened.
func reads(path string, want []byte) error {
	got, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return same(got, want)
}

// write puts text into an image and into the model of it.
func write(t testing.TB, path string, want []byte, off int64, text string) {
	t.Helper()
	f := openWritable(t, path, 0)
	if _, err := f.WriteAt([]byte(text), off); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	copy(want[off:], text)
}

// stopped is what was written to point 1 of a mount that ended since.
func stopped(t *testing.T, dir, changes string, want []byte) {
	t.Helper()
	m := mountWritable(t, dir, changes)
	write(t, m.fuseDisk(1), want, 3_000_000, "changes from before")
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
}

// refused checks that point 1 cannot be opened, for reading or writing, that
// there is one line about it, and that another point can.
func refused(t *testing.T, m *fuseMount, other []byte, texts ...string) {
	t.Helper()
	wantErrno(t, "opening", opened(m.fuseDisk(1)), syscall.EIO)
	_, err := os.OpenFile(m.fuseDisk(1), os.O_RDWR, 0)
	wantErrno(t, "opening to write", err, syscall.EIO)
	m.wantOneLine(t, append(texts, "virtnbdbackup.1/vda.raw")...)
	wantSame(t, "another point", readFile(t, m.fuseDisk(0)), other)
	write(t, m.fuseDisk(0), bytes.Clone(other), 5000, "can be written to")
}

// killedBlocks are blocks that somebody writes one after the other while the
// server is killed: block n of round r is full of r.
type killedBlocks struct {
	mu    sync.Mutex
	done  []uint64 // the round that a block was written in last
	tried []uint64
}

const killedCount = 200

func (k *killedBlocks) fill(block []byte, n int, round uint64) {
	for i := 0; i < len(block); i += 16 {
		binary.LittleEndian.PutUint64(block[i:], round)
		binary.LittleEndian.PutUint64(block[i+8:], uint64(n))
	}
}

// write writes until the server is gone.
func (k *killedBlocks) write(f *os.File) {
	block := make([]byte, blockSize)
	for round := uint64(1); ; round++ {
		for n := range killedCount {
			k.fill(block, n, round)
			k.mu.Lock()
			k.tried[n] = round
			k.mu.Unlock()
			if _, err := f.WriteAt(block, int64(n)*blockSize); err != nil {
				return
			}
			k.mu.Lock()
			k.done[n] = round
			k.mu.Unlock()
		}
		if f.Sync() != nil {
			return
		}
	}
}

// compare checks that each block is as it was written last, or as it was being
// written, or where that never was, as in the backup.
func (k *killedBlocks) compare(t *testing.T, got, backup []byte) {
	t.Helper()
	block := make([]byte, blockSize)
	for n := range killedCount {
		have := got[n*blockSize:][:blockSize]
		ok := k.done[n] == 0 && bytes.Equal(have, backup[n*blockSize:][:blockSize])
		for _, round := range []uint64{k.done[n], k.tried[n]} {
			k.fill(block, n, round)
			ok = ok || round > 0 && bytes.Equal(have, block)
		}
		if !ok {
			t.Errorf("block %d, written in round %d and tried in %d, begins with % x", n, k.done[n], k.tried[n], have[:16])
		}
	}
	wantSame(t, "what nobody wrote to", got[killedCount*blockSize:], backup[killedCount*blockSize:])
}

// A killed server loses nothing that was written, and nothing else comes up.
func TestFuseWritableAfterKill(t *testing.T) {
	dir, disks := writableChain(t)
	changes := t.TempDir()
	m := mountWritable(t, dir, changes)
	k := &killedBlocks{done: make([]uint64, killedCount), tried: make([]uint64, killedCount)}
	f := openWritable(t, m.fuseDisk(1), 0)
	writing := make(chan struct{})
	go func() { k.write(f); close(writing) }()
	eventually(t, func() error {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.done[killedCount/2] < 3 { // two rounds are synced
			return errors.New("nothing is written")
		}
		return nil
	})
	if err := m.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-writing
	f.Close()
	m.killed(t)
	again := mountWritable(t, dir, changes)
	k.compare(t, readFile(t, again.fuseDisk(1)), disks[1])
	wantSame(t, "another point", readFile(t, again.fuseDisk(0)), disks[0])
	if lines := again.log(t); len(lines) > 0 {
		t.Errorf("the log has %q", lines)
	}
}

// killed waits for the end of a server that was killed, and takes what is left
// of its mount away.
func (m *fuseMount) killed(t *testing.T) {
	t.Helper()
	<-m.exited
	m.exited = nil
	if err := unix.Unmount(m.at, unix.MNT_DETACH); err != nil {
		t.Error(err)
	}
}

// Where there is no space for changes, who writes gets ENOSPC. What was written
// before is there, other files are as they were, and with space it goes on.
func TestFuseWritableWithoutSpace(t *testing.T) {
	dir, disks := writableChain(t)
	changes := t.TempDir()
	if err := unix.Mount("tmpfs", changes, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wantNil(t, unmountAt(changes)) })
	m := mountWritable(t, dir, changes)
	want := bytes.Clone(disks[1])
	f := openWritable(t, m.fuseDisk(1), 0)
	written := writeUntilFull(t, f, want)
	if written <= blockSize || written > 2<<20 {
		t.Errorf("%d bytes were written to 2 MiB", written)
	}
	wantSame(t, "what was written", readAll(t, f), want)
	wantSame(t, "another point", readFile(t, m.fuseDisk(0)), disks[0])
	if _, err := os.OpenFile(m.fuseDisk(0), os.O_RDWR, 0); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("opening another point to write: %v", err)
	}
	lines := strings.Join(m.log(t), "\n")
	if strings.Count(lines, "virtnbdbackup.1/vda.raw") != 1 || !strings.Contains(lines, "no space") {
		t.Errorf("the log has %s", lines)
	}
	if err := unix.Mount("", changes, "", unix.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	text := []byte("with space")
	copy(want[written:], text)
	if _, err := f.WriteAt(text, int64(written)); err != nil {
		t.Errorf("with space: %v", err)
	}
	if err := errors.Join(f.Sync(), f.Close(), m.stop()); err != nil {
		t.Fatal(err)
	}
	again := mountWritable(t, dir, changes)
	wantImage(t, again, 1, want)
	wantSame(t, "another point", readFile(t, again.fuseDisk(0)), disks[0])
	wantNil(t, again.stop())
}

func wantNil(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// writeUntilFull writes behind the partition table of an image and its model until there is
// no space, which must be what the error says, and returns how much it wrote.
func writeUntilFull(t *testing.T, f *os.File, want []byte) (written int) {
	t.Helper()
	p := make([]byte, 16*blockSize)
	for written = blockSize; written+len(p) <= len(want); written += len(p) {
		newNoise(uint64(written)).fill(p)
		n, err := unix.Pwrite(int(f.Fd()), p, int64(written))
		copy(want[written:], p[:max(0, n)])
		if err != nil {
			wantErrno(t, "write", err, syscall.ENOSPC)
			return written
		}
		written += n - len(p)
	}
	t.Fatal("there is space for all of the disk")
	return 0
}

// Changes are discarded by deleting their folder, while it is not mounted or
// while nobody has a file open.
func TestFuseChangesAreDiscarded(t *testing.T) {
	for _, mounted := range []bool{false, true} {
		dir, disks := writableChain(t)
		changes := filepath.Join(t.TempDir(), "changes")
		want := bytes.Clone(disks[1])
		stopped(t, dir, changes, want)
		m := mountWritable(t, dir, changes)
		wantImage(t, m, 1, want)
		if !mounted {
			wantNil(t, m.stop())
		}
		if err := os.RemoveAll(changes); err != nil {
			t.Fatal(err)
		}
		if !mounted {
			m = mountWritable(t, dir, changes)
		}
		eventually(t, func() error { return reads(m.fuseDisk(1), disks[1]) })
		wantImage(t, m, 1, disks[1])
		if blocks, want := statOf(t, m.fuseDisk(1)).Blocks, statOf(t, m.fuseDisk(0)).Blocks; blocks == 0 || want == 0 {
			t.Errorf("%d blocks", blocks)
		}
		run(t, "df", m.at)
		again := bytes.Clone(disks[1])
		write(t, m.fuseDisk(1), again, 12345, "new changes")
		wantImage(t, m, 1, again)
	}
}

// A file of changes belongs to one mount at a time.
func TestFuseChangesInUse(t *testing.T) {
	dir, disks := writableChain(t)
	changes := t.TempDir()
	first := mountWritable(t, dir, changes)
	want := bytes.Clone(disks[1])
	f := openWritable(t, first.fuseDisk(1), 0)
	write(t, first.fuseDisk(1), want, 100_000, "in use")
	second := mountWritable(t, dir, changes)
	refused(t, second, disks[0], "in use by another mount", changes)
	wantSame(t, "the first", readAll(t, f), want)
	wantNil(t, f.Close())
	eventually(t, func() error { return opened(second.fuseDisk(1)) })
	wantImage(t, second, 1, want)
}

// Changes to another set of the same name, and to a restore point that another
// one took the place of.
func TestFuseChangesOfAnother(t *testing.T) {
	other := func(t *testing.T, dir string) {
		b := builder{level: 2, since: make([]byte, writableSize)}
		path := savesetPath(dir, 1)
		next := filepath.Join(t.TempDir(), filepath.Base(path))
		b.mustBuild(t, next, partitionedNoise(9))
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		texts  []string
	}{
		"replaced":  {other, []string{"vda.inc.virtnbdbackup.1.data"}},
		"in place":  {overwriteInPlace, []string{"vda.inc.virtnbdbackup.1.data"}},
		"old time":  {overwriteWithOldTime, []string{"savesets"}},
		"new chain": {newChain, []string{"savesets"}},
		"other set": {otherSet, []string{"savesets"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, disks := writableChain(t)
			dir := filepath.Join(t.TempDir(), "vm1")
			wantNil(t, os.Rename(chainOf(t, false, disks...), dir))
			changes := t.TempDir()
			stopped(t, dir, changes, bytes.Clone(disks[1]))
			before := snapshot(t, changes)
			c.change(t, dir)
			m := mountWritable(t, dir, changes)
			first := readFile(t, m.fuseDisk(0))
			wantSame(t, "point 0", first, readFile(t, mountFuse(t, dir).fuseDisk(0)))
			refused(t, m, first, append(c.texts, changes, "discard")...)
			wantNil(t, m.stop())
			for line := range strings.Lines(before) {
				if !strings.Contains(snapshot(t, changes), line) {
					t.Errorf("the changes were %s", line)
				}
			}
		})
	}
}

// overwriteInPlace writes into the data of the saveset of point 1.
func overwriteInPlace(t *testing.T, dir string) {
	path := savesetPath(dir, 1)
	f := openWritable(t, path, 0)
	if _, err := f.WriteAt([]byte("other data"), statOf(t, path).Size/2); err != nil {
		t.Fatal(err)
	}
}

// overwriteWithOldTime puts all of another disk into it, and the time back.
func overwriteWithOldTime(t *testing.T, dir string) {
	path := savesetPath(dir, 1)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	other := changed(partitionedNoise(1), 50)
	copy(other, partitionedNoise(1)[:512])
	overwriteWith(t, path, builder{since: partitionedNoise(1)}, other)
	if st.Size() != statOf(t, path).Size {
		t.Fatal("the size is another one")
	}
	if err := errors.Join(err, os.Chtimes(path, time.Time{}, st.ModTime())); err != nil {
		t.Fatal(err)
	}
}

func newChain(t *testing.T, dir string) {
	disk := partitionedNoise(11)
	builder{}.mustBuild(t, filepath.Join(t.TempDir(), "vda.full.data"), disk)
	wantNil(t, os.Remove(savesetPath(dir, 0)))
	builder{}.mustBuild(t, savesetPath(dir, 0), disk)
}

func otherSet(t *testing.T, dir string) {
	wantNil(t, os.RemoveAll(dir))
	disk := partitionedNoise(12)
	wantNil(t, os.Rename(chainOf(t, false, disk, changed(disk, 13)), dir))
}

// A saveset that is overwritten below changes while they are in use: reads give
// the old content with the changes, or fail; and who comes later is refused.
func TestFuseSavesetChangesBelowChanges(t *testing.T) {
	for _, level := range []int{0, 2} {
		disk := partitionedNoise(1)
		dir := t.TempDir()
		builder{level: level}.mustBuild(t, savesetPath(dir, 0), disk)
		m := mountWritable(t, dir, t.TempDir())
		want := bytes.Clone(disk)
		f := openWritable(t, m.fuseDisk(0), 0)
		block := make([]byte, 64<<10)
		if _, err := f.WriteAt(block, 2<<20); err != nil {
			t.Fatal(err)
		}
		copy(want[2<<20:], block)
		overwriteWith(t, savesetPath(dir, 0), builder{level: level}, partitionedNoise(5))
		failed := readsOld(t, f, want)
		if whole := len(want) / (64 << 10); failed == 0 || failed > whole-1 {
			t.Errorf("level %d: %d of %d reads failed", level, failed, whole)
		}
		got := make([]byte, len(block))
		if _, err := f.ReadAt(got, 2<<20); err != nil || !bytes.Equal(got, block) {
			t.Errorf("level %d: what was written: %v", level, err)
		}
		wantErrno(t, "opening while it is in use", opened(m.fuseDisk(0)), syscall.EIO)
		wantNil(t, f.Close())
		eventually(t, func() error {
			err := opened(m.fuseDisk(0))
			lines := strings.Join(m.log(t), "\n")
			if !errors.Is(err, syscall.EIO) || !strings.Contains(lines, "below these changes") {
				return fmt.Errorf("opening: %v; the log has %s", err, lines)
			}
			return nil
		})
	}
}

// Changes follow a set that is renamed, moved or copied with its times, and
// those of sets that are gone are told of.
func TestFuseChangesFollowTheSet(t *testing.T) {
	for name, move := range map[string]func(t *testing.T, dir string) string{
		"renamed": func(t *testing.T, dir string) string {
			wantNil(t, os.Rename(dir, filepath.Join(filepath.Dir(dir), "vm 2")))
			return filepath.Join(filepath.Dir(dir), "vm 2")
		},
		"copied": func(t *testing.T, dir string) string {
			to := filepath.Join(t.TempDir(), "[copy]")
			run(t, "cp", "-a", dir, to)
			return to
		},
		"linked": func(t *testing.T, dir string) string {
			wantNil(t, os.Symlink(dir, dir+".link"))
			return dir + ".link"
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, changes := filepath.Join(t.TempDir(), "vm1"), t.TempDir()
			disks := [][]byte{partitionedNoise(1), partitionedNoise(2)}
			wantNil(t, os.Rename(chainOf(t, false, disks...), dir))
			want := bytes.Clone(disks[1])
			stopped(t, dir, changes, want)
			to := move(t, dir)
			m := mountWritable(t, to, changes)
			wantImage(t, m, 1, want)
			wantSame(t, "another point", readFile(t, m.fuseDisk(0)), disks[0])
			write(t, m.fuseDisk(1), want, 777, "and later ones")
			if lines := m.log(t); len(lines) != 1 || !strings.Contains(lines[0], filepath.Join(changes, "vm1")) {
				t.Errorf("the log has %q", lines)
			}
			wantNil(t, m.stop())
			m = mountWritable(t, to, changes)
			wantImage(t, m, 1, want)
			if lines := m.log(t); len(lines) > 0 {
				t.Errorf("the log of the next mount has %q", lines)
			}
		})
	}
}

// The changes of a set are not those of its neighbour, though both are equal,
// nor of another one in its place.
func TestFuseChangesOfNeighbours(t *testing.T) {
	root, changes := t.TempDir(), t.TempDir()
	disks := [][]byte{partitionedNoise(1), partitionedNoise(2)}
	wantNil(t, os.Rename(chainOf(t, false, disks...), filepath.Join(root, "vm1")))
	run(t, "cp", "-a", filepath.Join(root, "vm1"), filepath.Join(root, "vm2"))
	want := bytes.Clone(disks[1])
	stopped(t, filepath.Join(root, "vm1"), changes, want)
	m := mountWritable(t, root, changes)
	disk := func(set string) string { return m.path(set, "virtnbdbackup.1", "vda.raw") }
	wantSame(t, "vm1", readFile(t, disk("vm1")), want)
	wantSame(t, "vm2", readFile(t, disk("vm2")), disks[1])
	if lines := m.log(t); len(lines) > 0 {
		t.Errorf("the log has %q", lines)
	}
	// Renamed while it is mounted: the name that it has then leads to the changes.
	wantNil(t, os.Rename(filepath.Join(root, "vm1"), filepath.Join(root, "vm3")))
	eventually(t, func() error { return reads(disk("vm3"), want) })
	wantSame(t, "vm2", readFile(t, disk("vm2")), disks[1])
	wantNil(t, os.Rename(filepath.Join(root, "vm3"), filepath.Join(root, "vm1")))
	eventually(t, func() error { return reads(disk("vm1"), want) })
	wantNil(t, m.stop())
	// Another set instead of it.
	wantNil(t, os.RemoveAll(filepath.Join(root, "vm1")))
	wantNil(t, os.Rename(chainOf(t, false, partitionedNoise(3)), filepath.Join(root, "vm4")))
	m = mountWritable(t, root, changes)
	wantSame(t, "vm4", readFile(t, m.path("vm4", "virtnbdbackup.0", "vda.raw")), partitionedNoise(3))
	if lines := m.log(t); len(lines) != 1 || !strings.Contains(lines[0], filepath.Join(changes, "vm1")) || !strings.HasPrefix(lines[0], "WARN") {
		t.Errorf("the log has %q", lines)
	}
	if names := namesIn(t, changes); !slices.Contains(names, "vm1") {
		t.Errorf("the folder for changes has %q", names)
	}
}

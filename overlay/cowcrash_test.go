// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// cowLife is a COW on a machine, with the oracle's opinion of it.
type cowLife struct {
	m     *cowMachine
	o     cowOracle
	base  *cowTestBase
	path  string
	start int64 // of the part that is written to and looked at, the end of the disk
	c     *COW
}

// plan draws the fate of the next life.
func (l *cowLife) plan(t *rapid.T) {
	l.m.fate = rapid.SampledFrom([]cowFate{fateKill, fatePower, fateEIO, fateNone}).Draw(t, "fate")
	l.m.left = rapid.IntRange(0, 40).Draw(t, "left")
}

// open opens the disk, as often as it takes, and checks what is there.
func (l *cowLife) open(t *rapid.T, pending, cut bool) {
	for {
		c, err := openCOW(l.base, l.path, "id", l.m.env())
		if err == nil {
			l.c = c
			break
		}
		if !errors.Is(err, errFate) && !errors.Is(err, syscall.EIO) {
			t.Fatalf("open: %v", err)
		}
		cut = cut || l.m.fate == fatePower || errors.Is(err, syscall.EIO)
		if errors.Is(err, errFate) {
			l.m.end()
		}
		l.plan(t)
	}
	got := mustReadCOW(t, l.c, l.start, l.base.Size()-l.start)
	if cut {
		l.o.lost(t, got)
	} else {
		l.o.killed(t, got, pending)
	}
	wantExtents(t, l.c, got, l.start)
	l.o.settle(got)
}

// act does one thing to the disk.
func (l *cowLife) act(t *rapid.T) (pending bool, err error) {
	size := l.base.Size()
	off := rapid.Int64Range(l.start, size-1).Draw(t, "off")
	p := make([]byte, rapid.Int64Range(1, min(size-off, 4*cowBlockSize)).Draw(t, "n"))
	if rapid.Bool().Draw(t, "grid") {
		off = max(l.start, off-off%cowBlockSize)
	}
	switch rapid.IntRange(0, 5).Draw(t, "what") {
	case 0:
		if err = l.c.Sync(); err == nil {
			l.o.settle(l.o.now)
		}
		return false, err
	case 1:
		l.o.begin(off-l.start, p)
		err = l.c.Zero(off, int64(len(p)))
	default:
		for i := range p {
			p[i] = byte(l.m.rng.Uint32())
		}
		l.o.begin(off-l.start, p)
		_, err = l.c.WriteAt(p, off)
	}
	if err == nil {
		l.o.done(off-l.start, p)
	}
	return err != nil, err
}

// live acts until fate comes, or for so many steps.
func (l *cowLife) live(t *rapid.T, steps int) {
	var pending bool
	var err error
	for ; steps > 0 && err == nil; steps-- {
		pending, err = l.act(t)
	}
	switch {
	case err == nil && l.m.fate == fateNone:
		if err = l.c.Close(); err == nil {
			l.o.settle(l.o.now)
		}
		mustDo(t, err)
		l.m.end()
		l.plan(t)
		l.open(t, false, false)
	case err == nil || errors.Is(err, errFate): // the process ends here, if not earlier
		mustDo(t, l.c.closeFiles())
		cut := l.m.fate == fatePower
		l.m.end()
		l.plan(t)
		l.open(t, pending, cut)
	case errors.Is(err, syscall.EIO):
		l.afterEIO(t)
		l.plan(t)
		l.open(t, false, true)
	default:
		t.Fatalf("%v", err)
	}
}

// afterEIO checks that a COW whose sync failed gives errors and no wrong bytes.
func (l *cowLife) afterEIO(t *rapid.T) {
	_, err := l.c.WriteAt([]byte("x"), 0)
	for _, err := range []error{err, l.c.Zero(0, 1), l.c.Sync()} {
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("after a failed sync: %v", err)
		}
	}
	block := make([]byte, cowBlockSize)
	for off := l.start; off < l.base.Size(); off += cowBlockSize {
		n, err := l.c.ReadAt(block, off)
		if err != nil && err != io.EOF {
			if !errors.Is(err, syscall.EIO) {
				t.Fatalf("read after a failed sync: %v", err)
			}
			continue
		}
		wantBytes(t, "read after a failed sync", block[:n], l.o.now[off-l.start:][:n])
	}
	if err := l.c.Close(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("close after a failed sync: %v", err)
	}
}

func testCOWLives(t *testing.T, size, start int64, lives int) {
	dir := t.TempDir()
	base := newCOWTestBase(size, uint64(size))
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		seed := rapid.Uint64().Draw(t, "seed")
		l := &cowLife{
			m:     &cowMachine{rng: rand.New(rand.NewPCG(seed, 2)), files: map[string]cowSimDisk{}},
			base:  base,
			path:  filepath.Join(dir, fmt.Sprint(run)),
			start: start,
		}
		l.o.settle(base.content[start:])
		l.plan(t)
		l.open(t, false, false)
		for range lives {
			l.live(t, rapid.IntRange(1, 12).Draw(t, "steps"))
		}
		l.c.closeFiles()
		os.Remove(l.path)
		os.Remove(cowMapName(l.path))
	})
}

func TestCOWSurvivesAnyEnd(t *testing.T) {
	t.Run("small", func(t *testing.T) { testCOWLives(t, 7*cowBlockSize+77, 0, 12) })
	t.Run("groups", func(t *testing.T) { testCOWLives(t, 3*cowGroupSize-1, 2*cowGroupSize-30000, 8) })
	t.Run("sectors", func(t *testing.T) { testCOWLives(t, cowSectorSize+9000, cowSectorSize-30000, 8) })
}

// A write that comes when the data file has been synced, and the map not yet,
// is not taken for durable.
func TestCOWWriteDuringSync(t *testing.T) {
	base := newCOWTestBase(4*cowBlockSize, 1)
	for seed := range uint64(40) {
		path := filepath.Join(t.TempDir(), "sda")
		m := &cowMachine{rng: rand.New(rand.NewPCG(seed, 4)), fate: fateNone, files: map[string]cowSimDisk{}}
		c, err := openCOW(base, path, "id", m.env())
		mustDo(t, err)
		var o cowOracle
		o.settle(base.content)
		block := bytes.Repeat([]byte{1}, cowBlockSize)
		mustWriteCOW(t, c, block, 0)
		copy(o.synced, block)
		m.synced = func(name string) {
			if name == path {
				block := bytes.Repeat([]byte{2}, cowBlockSize)
				o.begin(2*cowBlockSize, block)
				mustWriteCOW(t, c, block, 2*cowBlockSize)
			}
		}
		mustDo(t, c.Sync())
		mustDo(t, c.closeFiles())
		m.synced, m.fate = nil, fatePower
		m.end()
		m.fate = fateNone
		c, err = openCOW(base, path, "id", m.env())
		mustDo(t, err)
		o.lost(t, mustReadCOW(t, c, 0, base.Size()))
		mustDo(t, c.Close())
	}
}

// A sync of more map sectors than it copies at a time.
func TestCOWSyncManySectors(t *testing.T) {
	const sectors = 2*cowSyncBatch + 5
	base := cowHugeBase(sectors * cowSectorSize)
	path := filepath.Join(t.TempDir(), "sda")
	c, err := openCOW(base, path, "id", cowTestBoot("a"))
	mustDo(t, err)
	for i := range int64(sectors) {
		mustWriteCOW(t, c, fmt.Appendf(nil, "sector %08d", i), i*cowSectorSize+i)
	}
	mustDo(t, c.Sync())
	mustDo(t, c.closeFiles())
	c, err = openCOW(base, path, "id", cowTestBoot("b"))
	mustDo(t, err)
	defer c.Close()
	for i := range int64(sectors) {
		want := fmt.Appendf(nil, "\x00sector %08d\x00", i)
		start := i*cowSectorSize + i - 1
		if i == 0 {
			want, start = want[1:], 0
		}
		wantBytes(t, fmt.Sprint("sector ", i), mustReadCOW(t, c, start, int64(len(want))), want)
	}
}

// With a kernel that tells no boot id, only what was synced counts.
func TestCOWWithoutBootID(t *testing.T) {
	base := newCOWTestBase(20000, 1)
	path := filepath.Join(t.TempDir(), "sda")
	env := cowEnv{func() string { return "" }, func(f *os.File) cowFile { return cowOSFile{f} }}
	c, err := openCOW(base, path, "id", env)
	mustDo(t, err)
	mustWriteCOW(t, c, []byte("synced"), 100)
	mustDo(t, c.Sync())
	mustWriteCOW(t, c, []byte("not"), 9000)
	mustDo(t, c.closeFiles())
	c, err = openCOW(base, path, "id", env)
	mustDo(t, err)
	defer c.Close()
	copy(base.content[100:], "synced")
	wantBytes(t, "disk", mustReadCOW(t, c, 0, 20000), base.content)
}

const cowVictimEnv = "VIRTNB_TEST_COW_VICTIM"

// TestCOWVictim is the process that TestCOWSurvivesKill kills.
func TestCOWVictim(t *testing.T) {
	path := os.Getenv(cowVictimEnv)
	if path == "" {
		return // not the victim, but the whole test program
	}
	c := mustOpenCOW(t, newCOWTestBase(50000, 1), path)
	mustWriteCOW(t, c, []byte("written and not synced"), 12345)
	mustDo(t, c.Zero(20000, 9000))
	fmt.Println("\nwritten")
	select {}
}

// The real thing: another process, the kernel's boot id, and SIGKILL.
func TestCOWSurvivesKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sda")
	victim := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCOWVictim$")
	victim.Env = append(os.Environ(), cowVictimEnv+"="+path)
	out, err := victim.StdoutPipe()
	mustDo(t, err)
	mustDo(t, victim.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "written" {
	}
	base := newCOWTestBase(50000, 1)
	_, err = OpenCOW(base, path, "vm1/sda@virtnbdbackup.2")
	wantError(t, err, path, "in use by another mount or process")
	mustDo(t, victim.Process.Kill())
	victim.Wait()

	c := mustOpenCOW(t, base, path)
	copy(base.content[12345:], "written and not synced")
	clear(base.content[20000:29000])
	wantBytes(t, "disk", mustReadCOW(t, c, 0, 50000), base.content)
}

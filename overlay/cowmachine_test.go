// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
)

// What happens to a simulated machine when its time has come.
type cowFate string

const (
	fateKill  cowFate = "kill -9"         // the page cache lives
	fatePower cowFate = "power cut"       // what was not synced is kept or lost, sector by sector
	fateEIO   cowFate = "failed fsync"    // the next sync of a file fails, and loses writes like a power cut
	fateNone  cowFate = "orderly restart" // of the machine
)

var errFate = errors.New("the machine is gone")

// cowMachine runs COWs on files that know what a power cut would leave.
type cowMachine struct {
	rng   *rand.Rand
	fate  cowFate
	left  int // calls that change a file until fate comes; fateEIO waits for the sync after that
	gone  bool
	boot  int
	files map[string]cowSimDisk

	synced func(name string) // if set, called when a file was synced
}

// cowSimDisk is what is on disk of a file where that differs from the current
// content, which is the page cache: sectors of 512 bytes, by number.
type cowSimDisk map[int64][]byte

type cowSimFile struct {
	*os.File
	m    *cowMachine
	disk cowSimDisk
}

func (m *cowMachine) env() cowEnv {
	return cowEnv{
		bootID: func() string { return fmt.Sprintf("%0*d", bootIDBytes, m.boot) },
		file: func(f *os.File) cowFile {
			if m.files[f.Name()] == nil {
				m.files[f.Name()] = cowSimDisk{}
			}
			return &cowSimFile{f, m, m.files[f.Name()]}
		},
	}
}

// step counts a call. It returns whether the call is the last one, which may
// happen in part, and an error when it does not happen at all.
func (m *cowMachine) step() (last bool, err error) {
	if m.gone {
		return false, errFate
	}
	m.left--
	if m.left < 0 && m.fate != fateEIO && m.fate != fateNone {
		m.gone = true
		return true, nil
	}
	return false, nil
}

func (f *cowSimFile) WriteAt(p []byte, off int64) (int, error) {
	last, err := f.m.step()
	if err != nil {
		return 0, err
	}
	if last { // a kill comes between pages
		pages := f.m.rng.Int64N(cowBlocks(off+int64(len(p))) - off/4096 + 1)
		p = p[:min(int64(len(p)), max(0, (off/4096+pages)*4096-off))]
	}
	f.touch(off, int64(len(p)))
	if _, err := f.File.WriteAt(p, off); err != nil {
		return 0, err
	}
	f.writeBackMaybe()
	if last {
		return 0, errFate
	}
	return len(p), nil
}

func (f *cowSimFile) Punch(off, n int64) error {
	last, err := f.m.step()
	if err != nil || last {
		return errFate
	}
	if f.m.rng.IntN(4) == 0 {
		return syscall.EOPNOTSUPP
	}
	f.touch(off, n)
	defer f.writeBackMaybe()
	return cowOSFile{f.File}.Punch(off, n)
}

// touch keeps what is on disk of a range that is about to change.
func (f *cowSimFile) touch(off, n int64) {
	for s := off / 512; s*512 < off+n; s++ {
		if f.disk[s] == nil {
			b := make([]byte, 512)
			got, err := f.ReadAt(b, s*512)
			if err != nil && err != io.EOF {
				panic(err)
			}
			f.disk[s] = b[:got]
		}
	}
}

// writeBackMaybe writes sectors back unasked, now and then.
func (f *cowSimFile) writeBackMaybe() {
	if f.m.rng.IntN(4) == 0 {
		f.writeBackSome()
	}
}

func (f *cowSimFile) writeBackSome() {
	for _, s := range slices.Sorted(maps.Keys(f.disk)) {
		if f.m.rng.IntN(2) == 0 {
			delete(f.disk, s)
		}
	}
}

// lose drops the page cache: each sector is as it is now, or as it was when it
// was last synced or written back.
func (f *cowSimFile) lose() {
	f.writeBackSome()
	for s, old := range f.disk {
		if _, err := f.File.WriteAt(old, s*512); err != nil {
			panic(err)
		}
	}
	clear(f.disk)
}

func (f *cowSimFile) Sync() error {
	last, err := f.m.step()
	if err != nil || last {
		return errFate
	}
	if f.m.fate == fateEIO && f.m.left < 0 {
		f.m.fate = fateNone
		f.lose()
		return syscall.EIO
	}
	clear(f.disk)
	if f.m.synced != nil {
		f.m.synced(f.Name())
	}
	return nil
}

// end lets fate have its way with the files, and starts a new life.
func (m *cowMachine) end() {
	if m.fate == fatePower {
		for _, name := range slices.Sorted(maps.Keys(m.files)) {
			f, err := os.OpenFile(name, os.O_RDWR, 0)
			if err != nil {
				panic(err)
			}
			(&cowSimFile{f, m, m.files[name]}).lose()
			f.Close()
		}
	}
	if m.fate == fatePower || m.fate == fateNone {
		m.boot++
	}
	m.gone = false
}

// cowOracle knows which bytes a part of a disk may have. Offsets are within it.
type cowOracle struct {
	now    []byte // as acknowledged
	synced []byte // as it was at the last sync
	since  []cowWrite
}

type cowWrite struct {
	off int64
	p   []byte
}

func (o *cowOracle) begin(off int64, p []byte) { o.since = append(o.since, cowWrite{off, p}) }
func (o *cowOracle) done(off int64, p []byte)  { copy(o.now[off:], p) }

// settle makes got the state that everything starts from.
func (o *cowOracle) settle(got []byte) {
	o.now, o.synced, o.since = bytes.Clone(got), bytes.Clone(got), nil
}

// killed checks what must hold after the end of a process: only the write
// that was under way, the last, may be there in part.
func (o *cowOracle) killed(t fataler, got []byte, pending bool) {
	t.Helper()
	want := bytes.Clone(o.now)
	if pending {
		w := o.since[len(o.since)-1]
		for i, b := range w.p {
			if at := w.off + int64(i); got[at] == b {
				want[at] = b
			}
		}
	}
	wantBytes(t, "after kill -9", got, want)
}

// lost checks what must hold after a power cut: each byte as at the last sync,
// or of a write since.
func (o *cowOracle) lost(t fataler, got []byte) {
	t.Helper()
	want := bytes.Clone(o.synced)
	for _, w := range o.since {
		for i, b := range w.p {
			if at := w.off + int64(i); got[at] == b {
				want[at] = b
			}
		}
	}
	wantBytes(t, "after a power cut", got, want)
}

// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"virtnb/format"
)

// The map of a copy-on-write layer: for each block of the disk, whether its
// content is in the base, in the data file, or zero (cowState).
//
// # What must hold
//
// A write that was synced survives a power cut. A write that was not survives
// the death of the process (kill -9), and may be lost in a power cut; but a
// power cut never makes a block of the base read as zeroes or garbage.
//
// A power cut keeps any part of what was written to a file since its last
// fsync and loses the rest, each file for itself, in units of a disk sector.
// So a map that says "in the data file" may be on disk while the block's
// content is not. The death of a process loses nothing of what it wrote: that
// is in the page cache.
//
// # How it holds
//
// The map file holds the map twice, behind a header and a boot mark:
//
//	0               header: magic, version, block size, disk size, id of the base
//	4096            boot mark: the boot id of the machine when it last used the file
//	8192            durable map, 512 bytes (a sector) for 2016 blocks
//	8192+span       written map, alike; span is the maps' length in whole pages
//
// A write puts the content into the data file, then the state into "written".
// A sync takes the states as they are, makes the data file durable, puts these
// states into "durable", and makes the map file durable. States that change
// meanwhile wait for the next sync. Hence "durable" never speaks of content
// that may be lost, and "written" is right as long as the page cache lives.
//
// Opening reads the boot mark. If it is of this boot, the page cache has lived:
// "written" counts, and is synced at once, which also brings up errors of a
// write-back that nobody asked about yet. Otherwise "durable" counts, and
// "written" is made equal to it before the mark is set to this boot; who dies
// in between leaves the old mark, and the next one begins again. Where
// the kernel tells no boot id, "durable" always counts.
//
// A block whose state was lost has stale content in the data file. It counts
// as not there: its state is "in the base", and the next write to it writes
// the block whole, filled up from the base. The same goes for content under a
// block that became zero.
//
// A sync that fails leaves it unknown what is on disk, and the kernel reports
// it only once, so the layer then refuses everything that needs the data file,
// and makes the mark one that no boot trusts: opening again falls back to
// "durable".
//
// # Damage
//
// Each sector has a checksum, since a flipped bit here would give whole blocks
// of wrong bytes. A sector is the unit that a disk writes as one, and syncs of
// "durable" wait for each other, so a torn write is no damage: both versions
// of a sector are right at that moment. Wrong checksums are errors, except in
// "written" when it does not count, and in the boot mark, where damage means no
// more than "not this boot".
//
// Left out on purpose: a sector that turned into 512 zero bytes is taken for
// one never written, because writing all of them in advance would cost 65 MiB
// per TiB of disk (where both maps count, it is noticed); a disk that is pulled out of a running machine and put back
// is not told from one that stayed; content in the data file has no checksum,
// as on any disk.
const (
	cowMarkOffset = cowHeaderBytes
	cowMapOffset  = 8192

	// cowMaxSize bounds the disk, and with it the time that opening takes to
	// read the map: 256 TiB have 33 GiB of it, almost all hole.
	cowMaxSize = 1 << 48

	// cowReadSectors is how many sectors are read from the file at once:
	// 1 MiB of each map.
	cowReadSectors = 2048
)

// cowMapSpan is the length of one map in the file, for a disk of size bytes.
func cowMapSpan(size int64) int64 {
	return cowBlocks(cowSectors(size)*cowSectorBytes) * cowBlockSize
}

// cowMap is the map in memory and its file. Memory goes with what was written:
// about 600 bytes for each 8 MiB of disk that has a changed block.
//
// All methods may be called in parallel. Changing the same block in parallel
// is for the caller to prevent.
type cowMap struct {
	file    cowFile
	name    string
	span    int64 // length of one map in the file
	sectors int64

	mu    sync.RWMutex         // guards what follows
	table map[int64]*cowSector // by number; a missing one is all in the base
	dirty map[int64]struct{}   // sectors that changed since the last sync
}

func newCOWMap(file cowFile, path string, size int64) *cowMap {
	return &cowMap{
		file:    file,
		name:    cowMapName(path),
		span:    cowMapSpan(size),
		sectors: cowSectors(size),
		table:   map[int64]*cowSector{},
		dirty:   map[int64]struct{}{},
	}
}

func (m *cowMap) durable(sector int64) int64 { return cowMapOffset + sector*cowSectorBytes }
func (m *cowMap) written(sector int64) int64 { return m.durable(sector) + m.span }

// state returns the state of a block.
func (m *cowMap) state(block int64) cowState {
	state, _ := m.step(block)
	return state
}

// run returns the state of block first and the end of the run of blocks below
// end that share it.
func (m *cowMap) run(first, end int64) (cowState, int64) {
	state, next := m.step(first)
	for next < end {
		s, n := m.step(next)
		if s != state {
			break
		}
		next = n
	}
	return state, min(next, end)
}

// step returns the state of a block and the end of a run that shares it, as
// far as one look tells.
func (m *cowMap) step(block int64) (cowState, int64) {
	number, i := block/cowSectorBlocks, block%cowSectorBlocks
	m.mu.RLock()
	s := m.table[number]
	m.mu.RUnlock()
	if s == nil {
		return cowBase, (number + 1) * cowSectorBlocks
	}
	state, n := wordRun(s.words[i/cowGroupBlocks].Load(), i%cowGroupBlocks)
	return state, block + n
}

// set puts the blocks that e, a range within one sector, touches into a state;
// first in the file, then in memory. After an error both are as before.
func (m *cowMap) set(e format.Extent, state cowState) error {
	number := e.Start / cowSectorSize
	s := m.sector(number)
	s.mu.Lock()
	defer s.mu.Unlock()
	first := number * cowSectorBlocks
	old := s.load()
	words := old.with(e.Start/cowBlockSize-first, cowBlocks(e.End())-first, state)
	if words == old {
		return nil
	}
	if _, err := m.file.WriteAt(words.encode(number), m.written(number)); err != nil {
		return m.fileError(err)
	}
	s.store(words)
	m.markDirty(number)
	return nil
}

// sector returns the sector of that number, a new one if there is none.
func (m *cowMap) sector(number int64) *cowSector {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.table[number]
	if s == nil {
		s = new(cowSector)
		m.table[number] = s
	}
	return s
}

func (m *cowMap) markDirty(numbers ...int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range numbers {
		m.dirty[n] = struct{}{}
	}
}

// takeDirty returns the sectors that changed since it was last asked, in order.
func (m *cowMap) takeDirty() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	numbers := slices.Sorted(maps.Keys(m.dirty))
	clear(m.dirty)
	return numbers
}

// snapshot returns the sectors as they are now, as the file has them.
func (m *cowMap) snapshot(numbers []int64) [][]byte {
	out := make([][]byte, len(numbers))
	for i, n := range numbers {
		s := m.sector(n)
		s.mu.Lock()
		out[i] = s.load().encode(n)
		s.mu.Unlock()
	}
	return out
}

// writeDurable puts a snapshot into the durable map. What it speaks of must be
// durable in the data file.
func (m *cowMap) writeDurable(numbers []int64, snapshot [][]byte) error {
	for i, n := range numbers {
		if _, err := m.file.WriteAt(snapshot[i], m.durable(n)); err != nil {
			return m.fileError(err)
		}
	}
	return nil
}

// fileError gives an error of the file its context.
func (m *cowMap) fileError(err error) error {
	return fmt.Errorf("copy-on-write map %s: %w", m.name, bare(err))
}

// setBootMark says who may trust the written map from now on: this boot, or
// nobody if it is empty.
func (m *cowMap) setBootMark(boot string) error {
	if _, err := m.file.WriteAt(encodeBootMark(boot), cowMarkOffset); err != nil {
		return m.fileError(err)
	}
	return nil
}

// load reads the map that counts into memory, and leaves the file ready for
// use in this boot. Sectors whose written states count but are not durable
// are dirty then.
func (m *cowMap) load(boot string) error {
	mark := make([]byte, cowSectorBytes)
	if err := readFull(m.file, mark, cowMarkOffset); err != nil {
		return m.fileError(err)
	}
	same := sameBootMark(mark, boot)
	if same {
		// A sync that was killed may have left writes to the durable map on
		// their way. The next ones must not change them under the disk's hands.
		if err := m.file.Sync(); err != nil {
			return errors.Join(m.fileError(err), m.setBootMark(""))
		}
	}
	for first := int64(0); first < m.sectors; first += cowReadSectors {
		if err := m.loadSectors(first, min(m.sectors, first+cowReadSectors), same); err != nil {
			return err
		}
	}
	if same {
		return nil
	}
	return m.setBootMark(boot)
}

// loadSectors does load's work for the sectors [first, end).
func (m *cowMap) loadSectors(first, end int64, same bool) error {
	durable := make([]byte, (end-first)*cowSectorBytes)
	written := make([]byte, len(durable))
	if err := readFull(m.file, durable, m.durable(first)); err != nil {
		return m.fileError(err)
	}
	if err := readFull(m.file, written, m.written(first)); err != nil {
		return m.fileError(err)
	}
	for n := first; n < end; n++ {
		at := (n - first) * cowSectorBytes
		err := m.loadSector(n, durable[at:at+cowSectorBytes], written[at:at+cowSectorBytes], same)
		if err != nil {
			return err
		}
	}
	return nil
}

// loadSector does load's work for one sector, given its two versions.
func (m *cowMap) loadSector(n int64, durable, written []byte, same bool) error {
	words, err := decodeCOWSector(durable, n)
	if err != nil {
		return &cowDamage{m.name, m.durable(n), err.Error()}
	}
	differ := !bytes.Equal(durable, written)
	switch {
	case differ && same:
		old := words
		if words, err = decodeCOWSector(written, n); err == nil && !words.follow(old) {
			err = errors.New("synced blocks are missing")
		}
		if err != nil {
			return &cowDamage{m.name, m.written(n), err.Error()}
		}
		m.markDirty(n)
	case differ:
		if _, err := m.file.WriteAt(durable, m.written(n)); err != nil {
			return m.fileError(err)
		}
	}
	if words != (cowWords{}) {
		m.sector(n).store(words)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"virtnb/format"
)

// noise gives bytes that do not compress, and where no two pages are alike.
type noise struct{ *rand.ChaCha8 }

func newNoise(seed uint64) noise {
	var key [32]byte
	copy(key[:], strconv.FormatUint(seed, 10))
	return noise{rand.NewChaCha8(key)}
}

func (n noise) fill(p []byte) { _, _ = n.Read(p) } // it never fails

// noiseDisk is a disk full of noise.
func noiseDisk(size int, seed uint64) []byte {
	disk := make([]byte, size)
	newNoise(seed).fill(disk)
	return disk
}

// blockSize is the grid of what builder finds to be data, or changed.
const blockSize = 4096

// builder makes savesets of whole disks, as a backup of QEMU's extents would.
type builder struct {
	level  int    // LZ4
	since  []byte // the disk at the parent: only what changed; nil: all
	parent string // default: the checkpoint before that of the file's name
}

// build makes the saveset path, whose name says which disk and restore point
// it is of.
func (b builder) build(path string, disk []byte) error {
	name, ok := format.ParseName(filepath.Base(path))
	if !ok {
		return fmt.Errorf("%s is not named like a saveset", path)
	}
	list := b.extents(disk)
	meta := b.meta(name)
	meta.VirtualSize = int64(len(disk))
	for _, e := range list {
		meta.DataSize += e.Length
	}
	f, err := format.Create(path, meta, format.WriterOptions{})
	if err != nil {
		return err
	}
	defer f.Abort()
	for _, e := range list {
		if err := f.Data(e.Start, disk[e.Start:e.End()]); err != nil {
			return err
		}
	}
	return f.Commit()
}

// meta is what the name and the options say.
func (b builder) meta(name format.Name) format.Metadata {
	m := format.Metadata{
		DiskName: name.Disk, DiskFormat: "qcow2", Compression: b.level,
		CheckpointName: "virtnbdbackup.0", Date: time.Date(2026, 11, 22, 2, 0, 0, 0, time.Local),
	}
	if name.Level == format.Inc {
		m.CheckpointName = name.ID
		n := checkpointNumber(name.ID)
		m.Date = m.Date.AddDate(0, 0, n)
		m.ParentCheckpoint = fmt.Sprintf("virtnbdbackup.%d", n-1)
	}
	if b.parent != "" {
		m.ParentCheckpoint = b.parent
	}
	if m.Incremental = b.since != nil; !m.Incremental {
		m.ParentCheckpoint = ""
	}
	return m
}

func checkpointNumber(name string) int {
	n, _ := strconv.Atoi(name[strings.LastIndexByte(name, '.')+1:])
	return n
}

// extents are the blocks that are not zero, or have changed.
func (b builder) extents(disk []byte) (list []format.Extent) {
	for off := 0; off < len(disk); off += blockSize {
		end := min(off+blockSize, len(disk))
		if b.since == nil && format.IsZero(disk[off:end]) ||
			b.since != nil && bytes.Equal(disk[off:end], b.since[off:end]) {
			continue
		}
		if last := len(list) - 1; last >= 0 && list[last].End() == int64(off) {
			list[last].Length += int64(end - off)
			continue
		}
		list = append(list, format.Extent{Start: int64(off), Length: int64(end - off)})
	}
	return list
}

// mustBuild is build for tests.
func (b builder) mustBuild(t testing.TB, path string, disk []byte) {
	t.Helper()
	if err := b.build(path, disk); err != nil {
		t.Fatal(err)
	}
}

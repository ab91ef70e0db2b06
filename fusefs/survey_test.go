// SPDX-License-Identifier: Apache-2.0

package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"virtnb/format"
)

// Listing without the kernel: what it would ask for is called here.

// manyPoints makes a set of one disk at n restore points.
func manyPoints(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		name := format.Name{Disk: "vda", Level: format.Full}
		meta := format.Metadata{VirtualSize: 1 << 20, DiskName: "vda", DiskFormat: "raw", CheckpointName: fmt.Sprintf("virtnbdbackup.%d", i)}
		meta.Date = time.Date(2026, 11, 22, 2, 0, i, 0, time.UTC)
		if i > 0 {
			name = format.Name{Disk: "vda", Level: format.Inc, ID: meta.CheckpointName}
			meta.Incremental, meta.ParentCheckpoint = true, fmt.Sprintf("virtnbdbackup.%d", i-1)
		}
		writePoint(t, filepath.Join(dir, name.String()), meta, int64(8+i)*4096, bytes.Repeat([]byte("data"), 1024))
	}
	return dir
}

// writePoint makes a saveset that holds data at a disk offset.
func writePoint(t *testing.T, path string, meta format.Metadata, off int64, data []byte) {
	t.Helper()
	meta.DataSize = int64(len(data))
	f, err := format.Create(path, meta, format.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	if err := errors.Join(f.Data(off, data), f.Commit()); err != nil {
		t.Fatal(err)
	}
}

func readOnlyLibrary(t *testing.T, dir string) *library {
	t.Helper()
	lib, err := newLibrary(dir, Options{Cache: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return lib
}

// list does what ls -lR does.
func list(t *testing.T, lib *library) (files int) {
	t.Helper()
	c, err := lib.set(lib.dir)
	if err != nil {
		t.Fatal(err)
	}
	names := c.PointNames()
	slices.Sort(names) // as ls does
	for _, name := range names {
		d := &pointDir{lib: lib, dir: lib.dir, name: name}
		entries, err := d.entries(true)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if disk, ok := e.node.(*diskFile); ok {
				disk.content = disk.identity()
				var out fuse.AttrOut
				if errno := disk.Getattr(t.Context(), nil, &out); errno != 0 {
					t.Fatal(errno)
				}
				files++
			}
		}
	}
	return files
}

// TestListingOpensNoChains: names cost no saveset, and the attributes of all
// images cost each saveset once and the chain of the full, for its partitions.
func TestListingOpensNoChains(t *testing.T) {
	const points = 60
	lib := readOnlyLibrary(t, manyPoints(t, points))
	root := lib.root().(*setDir)
	if entries, err := root.entries(); err != nil || len(entries) != points+2 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	if lib.walked.Load() != 0 || lib.opened.Load() != 0 {
		t.Errorf("to list names, %d savesets were walked and %d chains opened", lib.walked.Load(), lib.opened.Load())
	}
	for range 2 { // the second time costs nothing
		if n := list(t, lib); n != points {
			t.Errorf("%d images", n)
		}
		if lib.walked.Load() != points || lib.opened.Load() != 1 {
			t.Errorf("to list %d points, %d savesets were walked and %d chains opened", points, lib.walked.Load(), lib.opened.Load())
		}
	}
}

// One point costs its chain, and nothing of those after it.
func TestOnePointCostsItsChain(t *testing.T) {
	lib := readOnlyLibrary(t, manyPoints(t, 20))
	c, err := lib.set(lib.dir)
	if err != nil {
		t.Fatal(err)
	}
	lib.factsOf(c, c.Disks[0].Points[4], false)
	if lib.walked.Load() != 5 || lib.opened.Load() != 0 {
		t.Errorf("for the fifth point, %d savesets were walked and %d chains opened", lib.walked.Load(), lib.opened.Load())
	}
	lib.facts(c, c.Disks[0].Points[4])
	if lib.walked.Load() != 5 || lib.opened.Load() != 1 {
		t.Errorf("for its partitions too, %d savesets were walked and %d chains opened", lib.walked.Load(), lib.opened.Load())
	}
}

// Who read the latest image and then lists all walks each saveset once more.
func TestListingAfterTheLatest(t *testing.T) {
	const points = 60
	lib := readOnlyLibrary(t, manyPoints(t, points))
	c, err := lib.set(lib.dir)
	if err != nil {
		t.Fatal(err)
	}
	lib.factsOf(c, c.Disks[0].Latest(), false)
	list(t, lib)
	if lib.walked.Load() != 2*points || lib.opened.Load() != 1 {
		t.Errorf("%d savesets were walked and %d chains opened", lib.walked.Load(), lib.opened.Load())
	}
}

// Reading the partition tables of points that are on the way has a bound.
func TestTablesOnTheWay(t *testing.T) {
	dir := manyPoints(t, 20)
	for i := range 20 {
		file := filepath.Join(dir, fmt.Sprintf("vda.inc.virtnbdbackup.%d.data", i))
		if i == 0 {
			file = filepath.Join(dir, "vda.full.data")
		}
		writeTable(t, file, fmt.Sprintf("64,%d,L\n", 64+i))
	}
	lib := readOnlyLibrary(t, dir)
	c, err := lib.set(lib.dir)
	if err != nil {
		t.Fatal(err)
	}
	wantFacts(t, lib, c, c.Disks[0].Latest())
	if n := lib.opened.Load(); n > tablesOnTheWay+2 { // and those of wantFacts
		t.Errorf("%d chains opened for one point", n)
	}
	for _, p := range c.Disks[0].Points {
		wantFacts(t, lib, c, p)
	}
}

// TestSurveyedFacts: facts are those of the opened images, in whatever order
// somebody asks, also of sets with branches and several disks.
func TestSurveyedFacts(t *testing.T) {
	sets, err := filepath.Glob("../tests/vectors/0*")
	if err != nil || len(sets) == 0 {
		t.Fatal(sets, err)
	}
	partitioned := partitionedSet(t)
	for _, dir := range append(sets, partitioned) {
		for _, backward := range []bool{false, true} {
			lib := readOnlyLibrary(t, dir)
			c, err := lib.set(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range c.Disks {
				points := slices.Clone(d.Points)
				if backward {
					slices.Reverse(points)
				}
				for _, p := range points {
					wantFacts(t, lib, c, p)
					if parts := len(lib.facts(c, p).parts); dir == partitioned && parts == 0 {
						t.Errorf("%s has no partitions", p.File)
					}
				}
			}
		}
	}
}

func wantFacts(t *testing.T, lib *library, c *catalogue, p *format.Point) {
	t.Helper()
	if p.Err != nil {
		return
	}
	got := lib.facts(c, p)
	want, err := lib.examine(p)
	if err != nil {
		t.Fatal(err)
	}
	if got.content != want.content || got.size != want.size || got.allocated != want.allocated || !slices.Equal(got.parts, want.parts) {
		t.Errorf("%s: %+v, want %+v", p.File, got, want)
	}
}

// partitionedSet is a disk whose partitions a backup leaves as they are, the
// next one changes, and the one after that leaves.
func partitionedSet(t *testing.T) string {
	t.Helper()
	dir := manyPoints(t, 5)
	writeTable(t, filepath.Join(dir, "vda.full.data"), "64,64,L\n256,512,L\n")
	writeTable(t, filepath.Join(dir, "vda.inc.virtnbdbackup.2.data"), "64,128,L\n")
	return dir
}

// writeTable makes a saveset anew with a partition table as its data.
func writeTable(t *testing.T, file, script string) {
	t.Helper()
	old, err := format.OpenSaveset(file)
	if err != nil {
		t.Fatal(err)
	}
	meta := old.Meta
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, meta.VirtualSize), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/sbin/sfdisk", "-q", disk)
	cmd.Stdin = strings.NewReader("label: dos\n" + script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(disk)
	if err := errors.Join(err, os.Remove(file)); err != nil {
		t.Fatal(err)
	}
	writePoint(t, file, meta, 0, b[:4096])
}

// What is known of a set is kept when its folder changes.
func TestListingAfterPointIsAdded(t *testing.T) {
	const points = 20
	dir := manyPoints(t, points)
	newest := filepath.Join(dir, fmt.Sprintf("vda.inc.virtnbdbackup.%d.data", points-1))
	aside := filepath.Join(t.TempDir(), "aside")
	if err := os.Rename(newest, aside); err != nil {
		t.Fatal(err)
	}
	lib := readOnlyLibrary(t, dir)
	list(t, lib)
	if err := os.Rename(aside, newest); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < points; { // the folder is read again after a while
		n = list(t, lib)
	}
	if lib.walked.Load() != points || lib.opened.Load() != 1 {
		t.Errorf("%d savesets were walked and %d chains opened", lib.walked.Load(), lib.opened.Load())
	}
	if err := os.Rename(newest, aside); err != nil {
		t.Fatal(err)
	}
	for n := points; n == points; {
		n = list(t, lib)
	}
}

// Facts of savesets that are gone do not pile up.
func TestFactsOfGonePoints(t *testing.T) {
	lib := readOnlyLibrary(t, manyPoints(t, 3))
	c, err := lib.set(lib.dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		c.note(&format.Point{File: fmt.Sprint(i)}, &facts{})
	}
	if len(c.disks) > 7 {
		t.Errorf("facts of %d savesets are kept for a set of 3", len(c.disks))
	}
}

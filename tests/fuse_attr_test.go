// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"virtnb/format"
)

func TestFuseAttributes(t *testing.T) {
	models := []*holeModel{newHoleModel(3<<20+512, 1), nil}
	models[1] = models[0].next(2)
	m := mountFuse(t, writeModels(t, 0, models...))
	for n, model := range models {
		st := statOf(t, m.fuseDisk(n))
		if st.Size != int64(len(model.disk)) || st.Mode != syscall.S_IFREG|0o444 || st.Nlink != 1 {
			t.Errorf("point %d: size %d, mode %o, %d links", n, st.Size, st.Mode, st.Nlink)
		}
		if want := (model.allocated() + 511) / 512; st.Blocks != want {
			t.Errorf("point %d: %d blocks, want %d", n, st.Blocks, want)
		}
		if got := time.Unix(st.Mtim.Unix()); !got.Equal(fuseDate(n)) {
			t.Errorf("point %d: modified %v, want %v", n, got, fuseDate(n))
		}
		folder := statOf(t, filepath.Dir(m.fuseDisk(n)))
		if got := time.Unix(folder.Mtim.Unix()); !got.Equal(fuseDate(n)) || folder.Mode != syscall.S_IFDIR|0o555 {
			t.Errorf("folder of point %d: modified %v, mode %o", n, got, folder.Mode)
		}
	}
}

func TestFuseInodesAreStable(t *testing.T) {
	dir := copySet(t, "03-chain")
	m := mountFuse(t, dir)
	first := inodes(t, m.at)
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	second := inodes(t, mountFuse(t, dir).at)
	seen := map[uint64]string{}
	for name, ino := range first {
		if second[name] != ino {
			t.Errorf("%s has number %d, and %d at the next mount", name, ino, second[name])
		}
		if seen[ino] != "" {
			t.Errorf("%s and %s have number %d", name, seen[ino], ino)
		}
		seen[ino] = name
	}
	if len(first) < 20 || len(second) != len(first) {
		t.Errorf("%d files, then %d", len(first), len(second))
	}
}

// inodes are the inode numbers below a folder, by stat and as listed.
func inodes(t *testing.T, at string) map[string]uint64 {
	t.Helper()
	numbers := map[string]uint64{}
	for _, f := range strings.Fields(run(t, "find", at, "-mindepth", "1", "-printf", "%P:%i\n")) {
		name, number := f[:strings.LastIndexByte(f, ':')], f[strings.LastIndexByte(f, ':')+1:]
		st := statOf(t, filepath.Join(at, name))
		numbers[name] = st.Ino
		if fmt.Sprint(st.Ino) != number {
			t.Errorf("%s is listed with number %s and has %d", name, number, st.Ino)
		}
	}
	return numbers
}

// copySet is a copy of a folder of vectors that can be changed.
func copySet(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	run(t, "cp", "-a", filepath.Join(vectors(t), name), dir)
	return dir
}

func TestFuseTree(t *testing.T) {
	m := mountFuse(t, filepath.Join(vectors(t), "03-chain"))
	points := []string{"diff.1795399599", "diff.1795399601"}
	for n := range 5 {
		points = append(points, fmt.Sprintf("virtnbdbackup.%d", n))
	}
	want := append([]string{"by-date", "latest"}, points...)
	slices.Sort(want)
	if got := namesIn(t, m.at); !slices.Equal(got, want) {
		t.Errorf("the view has %q, want %q", got, want)
	}
	if to, err := os.Readlink(m.path("latest")); err != nil || to != "virtnbdbackup.4" {
		t.Errorf("latest leads to %q, %v", to, err)
	}
	if got := namesIn(t, m.path("virtnbdbackup.1")); !slices.Equal(got, []string{"vda.qcow.json", "vda.raw", "vmconfig.xml"}) {
		t.Errorf("a point has %q", got)
	}
	if _, err := os.Stat(m.path("virtnbdbackup.9")); !os.IsNotExist(err) {
		t.Errorf("a point that is not there: %v", err)
	}
}

func TestFuseSavedFiles(t *testing.T) {
	m := mountFuse(t, filepath.Join(vectors(t), "03-chain"))
	for _, point := range []string{"virtnbdbackup.0", "virtnbdbackup.3", "1795399601"} {
		folder := strings.Replace("diff."+point, "diff.v", "v", 1)
		for shown, saved := range map[string]string{
			"vmconfig.xml":  "vmconfig." + point + ".xml",
			"vda.qcow.json": "vda." + point + ".qcow.json",
		} {
			path := filepath.Join(vectors(t), "03-chain", saved)
			wantSame(t, folder+"/"+shown, readFile(t, m.path(folder, shown)), readFile(t, path))
			if st := statOf(t, m.path(folder, shown)); st.Mtim != statOf(t, path).Mtim || st.Mode&0o222 != 0 {
				t.Errorf("%s/%s: mode %o, time %v", folder, shown, st.Mode, st.Mtim)
			}
		}
	}
}

func TestFuseByDate(t *testing.T) {
	disk := noiseDisk(64<<10, 1)
	m := mountFuse(t, chainOf(t, false, disk, changed(disk, 2)))
	names := namesIn(t, m.path("by-date"))
	if want := []string{"2026-11-22T02:00:00", "2026-11-23T02:00:00"}; !slices.Equal(names, want) {
		t.Fatalf("by-date has %q, want %q", names, want)
	}
	for n, name := range names {
		if to, err := os.Readlink(m.path("by-date", name)); err != nil || to != fmt.Sprintf("../virtnbdbackup.%d", n) {
			t.Errorf("%s leads to %q, %v", name, to, err)
		}
		wantSame(t, name, readFile(t, m.path("by-date", name, "vda.raw")), readFile(t, m.fuseDisk(n)))
	}
}

// Points of the same second are all there.
func TestFuseByDateSameSecond(t *testing.T) {
	m := mountFuse(t, copySet(t, "03-chain"))
	linked := map[string]bool{}
	for _, name := range namesIn(t, m.path("by-date")) {
		to, err := os.Readlink(m.path("by-date", name))
		if err != nil {
			t.Fatal(err)
		}
		linked[filepath.Base(to)] = true
	}
	if len(linked) != 7 {
		t.Errorf("by-date leads to %v", linked)
	}
}

func TestFuseFolderOfSets(t *testing.T) {
	disk := noiseDisk(64<<10, 1)
	root := t.TempDir()
	add := func(name string) {
		if err := os.Rename(chainOf(t, false, disk, changed(disk, 2)), filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	add("vm1")
	if err := os.Mkdir(filepath.Join(root, "no-set"), 0o755); err != nil {
		t.Fatal(err)
	}
	m := mountFuse(t, root)
	if got := namesIn(t, m.at); !slices.Equal(got, []string{"vm1"}) {
		t.Errorf("the view has %q", got)
	}
	add("vm 2")
	if got := namesIn(t, m.at); !slices.Equal(got, []string{"vm 2", "vm1"}) {
		t.Errorf("the view has %q after a set was added", got)
	}
	for _, set := range []string{"vm1", "vm 2"} {
		wantSame(t, set, readFile(t, m.path(set, "virtnbdbackup.0", "vda.raw")), disk)
		wantSame(t, set, readFile(t, m.path(set, "latest", "vda.raw")), changed(disk, 2))
	}
	for _, name := range []string{"no-set", "vm3", "..."} {
		if _, err := os.Stat(m.path(name)); !os.IsNotExist(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Listing a set of many points opens no chain.
func TestFuseListsManyPoints(t *testing.T) {
	const points = 201
	dir := t.TempDir()
	disk := make([]byte, 64<<10)
	for n := range points {
		before := slices.Clone(disk)
		newNoise(uint64(n)).fill(disk[n%16*blockSize:][:blockSize])
		addPoint(t, dir, n, true, append(make([][]byte, max(0, n-1)), before), disk)
	}
	m := mountFuse(t, dir)
	began := time.Now()
	names := namesIn(t, m.at)
	for _, name := range names {
		statOf(t, m.path(name))
	}
	t.Logf("%d names listed in %v", len(names), time.Since(began))
	if len(names) != points+2 {
		t.Errorf("%d names", len(names))
	}
	if n := m.openSavesets(t); n != 0 {
		t.Errorf("listing left %d savesets open", n)
	}
	wantSame(t, "the latest", readFile(t, m.diskPath("vda")), disk)
	if n := m.openSavesets(t); n != points {
		t.Errorf("%d savesets open after the latest was read, want %d", n, points)
	}
}

func TestFuseStatfs(t *testing.T) {
	dir := chainOf(t, false, noiseDisk(1<<20, 1))
	m := mountFuse(t, dir)
	set, err := format.ReadSet(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := run(t, "df", "-B1", "--output=source,fstype,used,avail,pcent", m.at)
	fields := strings.Fields(strings.Split(out, "\n")[1])
	used := (set.Disks[0].Points[0].FileSize + blockSize - 1) / blockSize * blockSize
	want := []string{dir, "fuse.virtnb", fmt.Sprint(used), "0", "100%"}
	if !slices.Equal(fields, want) {
		t.Errorf("df says %q, want %q", fields, want)
	}
}

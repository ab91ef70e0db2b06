// SPDX-License-Identifier: Apache-2.0

package format

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// saved is a saveset for a catalogue: no data, only metadata.
type saved struct {
	file, checkpoint, parent, date string
	full                           bool
	disk                           string // in the metadata; "": as the file says
}

func (s saved) bytes() []byte {
	name, _ := ParseName(s.file)
	if s.disk == "" {
		s.disk = name.Disk
	}
	if s.date == "" {
		s.date = "2026-11-23T02:00:00.000001"
	}
	meta := fmt.Sprintf(`{"virtualSize": 1000, "dataSize": 0, "date": %q, "diskName": %q, "checkpointName": %q, "parentCheckpoint": %q, "incremental": %v, "streamVersion": 2}`,
		s.date, s.disk, s.checkpoint, s.parent, !s.full)
	return []byte(fmt.Sprintf("meta %016x %016x\r\n%s\r\n", 0, len(meta), meta) + stopText)
}

func cp(n int) string { return fmt.Sprintf("virtnbdbackup.%d", n) }

func full(disk string) saved {
	return saved{file: disk + ".full.data", checkpoint: cp(0), full: true}
}

func inc(disk string, n int) saved {
	return saved{file: fmt.Sprintf("%s.inc.%s.data", disk, cp(n)), checkpoint: cp(n), parent: cp(n - 1)}
}

func diff(disk string, time, n int) saved {
	return saved{file: fmt.Sprintf("%s.diff.%d.data", disk, time), checkpoint: cp(n + 1), parent: cp(n)}
}

func (s saved) dated(date string) saved { s.date = date; return s }

// set writes savesets into a folder, the last one with the oldest file time,
// and reads its catalogue.
func set(t *testing.T, all ...saved) (*Set, string) {
	t.Helper()
	dir := t.TempDir()
	for i, s := range all {
		path := filepath.Join(dir, s.file)
		if err := os.WriteFile(path, s.bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-time.Duration(i) * time.Hour)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	got, err := CheckSet(dir)
	if err != nil {
		t.Fatal(err)
	}
	return got, dir
}

// points describes the restore points of a disk, those with an error in
// brackets.
func points(d *Disk) string {
	var names []string
	for _, p := range d.Points {
		name := p.Name
		if p.Err != nil {
			name = "(" + name + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func checkPoints(t *testing.T, s *Set, disk, want string) {
	t.Helper()
	if got := points(s.Disk(disk)); got != want {
		t.Errorf("restore points are %s, want %s; problems: %v", got, want, s.Problems)
	}
}

func checkProblem(t *testing.T, s *Set, file, want string) {
	t.Helper()
	for _, p := range s.Problems {
		if p.File == file && strings.Contains(p.Text, want) {
			return
		}
	}
	t.Errorf("no problem of %s with %q in %v", file, want, s.Problems)
}

func TestOrderComesFromLinks(t *testing.T) {
	// File times and dates say nothing, or the contrary.
	s, _ := set(t, full("vda"), diff("vda", 1700000003, 0), diff("vda", 1700000001, 0), inc("vda", 1), inc("vda", 2), diff("vda", 1700000009, 2))
	checkPoints(t, s, "vda", "virtnbdbackup.0 diff.1700000001 diff.1700000003 virtnbdbackup.1 virtnbdbackup.2 diff.1700000009")
	if len(s.Problems) > 0 {
		t.Errorf("problems: %v", s.Problems)
	}
	files, err := s.Disks[0].Latest().Files()
	var names []string
	for _, f := range files {
		names = append(names, filepath.Base(f))
	}
	if want := []string{"vda.full.data", "vda.inc.virtnbdbackup.1.data", "vda.inc.virtnbdbackup.2.data", "vda.diff.1700000009.data"}; !slices.Equal(names, want) || err != nil {
		t.Errorf("latest is %v, %v", names, err)
	}
}

func TestTenComesAfterNine(t *testing.T) {
	all := []saved{full("vda")}
	var want []string
	for i := range 12 {
		want = append(want, cp(i))
		if i > 0 {
			all = append(all, inc("vda", i))
		}
	}
	slices.Reverse(all)
	s, _ := set(t, all...)
	checkPoints(t, s, "vda", strings.Join(want, " "))
}

func TestFallbackFullBeginsAnew(t *testing.T) {
	fallback := saved{file: "vda.inc.virtnbdbackup.2.data", checkpoint: cp(2), full: true}
	s, _ := set(t, full("vda"), inc("vda", 1), fallback, inc("vda", 3))
	checkPoints(t, s, "vda", "virtnbdbackup.0 virtnbdbackup.1 virtnbdbackup.2 virtnbdbackup.3")
	if files, _ := s.Disks[0].Latest().Files(); len(files) != 2 || s.Disks[0].Points[2].Level != Full {
		t.Errorf("latest is %v, level of the fallback %s", files, s.Disks[0].Points[2].Level)
	}
	// The same under the name of a diff, which made a checkpoint then.
	fallback = saved{file: "vda.diff.1700000001.data", checkpoint: cp(1), full: true}
	s, _ = set(t, full("vda"), fallback, inc("vda", 2))
	checkPoints(t, s, "vda", "virtnbdbackup.0 diff.1700000001 virtnbdbackup.2")
}

// Backups of a domain that is off have the whole disk under the name of a diff
// where no checkpoint can be gone on from. Their times are no numbers of
// checkpoints: dates order them among those.
func TestWholeDiskUnderTheNameOfADiff(t *testing.T) {
	off := func(time int, date string) saved {
		return saved{file: fmt.Sprintf("vda.diff.%d.data", time), checkpoint: fmt.Sprintf("diff.%d", time), full: true}.dated(date)
	}
	const day1, day2, day3, day4 = "2026-11-23T02:00:00", "2026-11-24T02:00:00", "2026-11-25T02:00:00", "2026-11-26T02:00:00"
	s, _ := set(t, off(1795399601, day2), full("vda").dated(day3), off(1795399600, day1), inc("vda", 1).dated(day4))
	if got, want := points(s.Disks[0]), "diff.1795399600 diff.1795399601 virtnbdbackup.0 virtnbdbackup.1"; got != want {
		t.Errorf("points %s, want %s", got, want)
	}
	if len(s.Problems) > 0 {
		t.Errorf("problems: %v", s.Problems)
	}
}

func TestDiskNamesAreExact(t *testing.T) {
	s, _ := set(t, full("sda"), full("sdaa"), inc("sda", 1), full("sdb"))
	if got := strings.Join(s.DiskNames(), " "); got != "sda sdb sdaa" {
		t.Errorf("disks are %s", got)
	}
	checkPoints(t, s, "sda", "virtnbdbackup.0 virtnbdbackup.1")
	checkPoints(t, s, "sdaa", "virtnbdbackup.0")
	if _, err := s.Find("sd", ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("disk sd: %v", err)
	}
	if _, err := s.Find("sda", "virtnbdbackup"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "virtnbdbackup.1") {
		t.Errorf("unknown point: %v", err)
	}
}

func TestMissingParentHidesWhatFollowsOnly(t *testing.T) {
	s, _ := set(t, full("vda"), inc("vda", 1), inc("vda", 3), inc("vda", 4), diff("vda", 1700000001, 1))
	checkPoints(t, s, "vda", "virtnbdbackup.0 virtnbdbackup.1 diff.1700000001 (virtnbdbackup.3) (virtnbdbackup.4)")
	checkProblem(t, s, "vda.inc.virtnbdbackup.3.data", `since "virtnbdbackup.2", of which there is no saveset`)
	if len(s.Problems) != 1 {
		t.Errorf("problems: %v", s.Problems)
	}
	if err := s.Disks[0].Latest().Err; !errors.Is(err, ErrChain) || !strings.Contains(err.Error(), "vda.inc.virtnbdbackup.3.data") {
		t.Errorf("latest: %v", err)
	}
}

func TestMissingFull(t *testing.T) {
	s, _ := set(t, inc("vda", 1), inc("vda", 2))
	checkPoints(t, s, "vda", "(virtnbdbackup.1) (virtnbdbackup.2)")
}

func TestTwoSavesetsOfOneCheckpoint(t *testing.T) {
	second := saved{file: "vda.inc.virtnbdbackup.0.data", checkpoint: cp(0), full: true}
	s, _ := set(t, full("vda"), second, inc("vda", 1))
	checkPoints(t, s, "vda", "(virtnbdbackup.0) (virtnbdbackup.0) (virtnbdbackup.1)")
	checkProblem(t, s, "vda.full.data", "both of checkpoint virtnbdbackup.0")
	checkProblem(t, s, "vda.inc.virtnbdbackup.1.data", "several savesets")
}

// Incrementals left over from before a new full have links that fit.
func TestIncrementalOfAnotherChain(t *testing.T) {
	s, _ := set(t, full("vda").dated("2026-11-23T02:00:00"), inc("vda", 1).dated("2026-11-20T02:00:00"), inc("vda", 2).dated("2026-11-21T02:00:00"))
	checkPoints(t, s, "vda", "virtnbdbackup.0 (virtnbdbackup.1) (virtnbdbackup.2)")
	checkProblem(t, s, "vda.inc.virtnbdbackup.1.data", "another chain")

	// The night in which clocks go back is no such case.
	s, _ = set(t, full("vda").dated("2026-10-25T02:59:00"), inc("vda", 1).dated("2026-10-25T02:01:00"))
	checkPoints(t, s, "vda", "virtnbdbackup.0 virtnbdbackup.1")
}

func TestNamesThatDisagreeWithTheMetadata(t *testing.T) {
	misnamed := inc("vda", 2)
	misnamed.file = "vda.inc.virtnbdbackup.7.data"
	stranger := inc("vda", 1)
	stranger.disk = "vdb"
	fake := saved{file: "vdc.full.data", checkpoint: cp(1), parent: cp(0)}
	s, _ := set(t, full("vda"), misnamed, stranger, fake)
	checkProblem(t, s, "vda.inc.virtnbdbackup.7.data", "holds virtnbdbackup.2")
	checkProblem(t, s, "vda.inc.virtnbdbackup.1.data", "holds disk vdb")
	checkProblem(t, s, "vdc.full.data", "holds an incremental")
	checkPoints(t, s, "vdc", "(virtnbdbackup.1)")
}

func TestCycleOfParents(t *testing.T) {
	a := saved{file: "vda.inc.virtnbdbackup.1.data", checkpoint: cp(1), parent: cp(2)}
	b := saved{file: "vda.inc.virtnbdbackup.2.data", checkpoint: cp(2), parent: cp(1)}
	s, _ := set(t, full("vda"), a, b)
	for _, p := range s.Disks[0].Points[1:] {
		if !errors.Is(p.Err, ErrChain) {
			t.Errorf("%s: %v", p.Name, p.Err)
		}
	}
}

// The peer's incremental of a domain that is off names its parent as itself.
func TestOfflineIncremental(t *testing.T) {
	offline := saved{file: "vda.inc.virtnbdbackup.0.data", checkpoint: cp(0), parent: cp(0)}
	s, _ := set(t, full("vda"), offline, inc("vda", 1))
	checkPoints(t, s, "vda", "virtnbdbackup.0 inc.virtnbdbackup.0 virtnbdbackup.1")

	offline = saved{file: "vda.inc.virtnbdbackup.1.data", checkpoint: cp(1), parent: cp(1)}
	s, _ = set(t, full("vda"), offline, inc("vda", 2))
	checkProblem(t, s, "vda.inc.virtnbdbackup.1.data", "written over")
	checkPoints(t, s, "vda", "virtnbdbackup.0 (inc.virtnbdbackup.1) (virtnbdbackup.2)")
}

func TestOneDamagedSavesetHidesNothingBeforeIt(t *testing.T) {
	_, dir := set(t, full("vda"), inc("vda", 1), inc("vda", 2), inc("vda", 3))
	if err := os.Truncate(filepath.Join(dir, "vda.inc.virtnbdbackup.2.data"), 100); err != nil {
		t.Fatal(err)
	}
	s, err := ReadSet(dir)
	if err != nil {
		t.Fatal(err)
	}
	checkPoints(t, s, "vda", "virtnbdbackup.0 virtnbdbackup.1 (virtnbdbackup.2) (virtnbdbackup.3)")
	checkProblem(t, s, "vda.inc.virtnbdbackup.2.data", "offset 0: file is cut")
	if len(s.Problems) != 1 {
		t.Errorf("problems: %v", s.Problems)
	}
}

func TestOddFilesInASet(t *testing.T) {
	_, dir := set(t, full("vda"))
	for _, f := range []string{"vda.inc.virtnbdbackup.1.data.partial", "notes.data", "readme.txt", "vda.full.data.chksum"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "vdb.full.data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "vdc.full.data"), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := ReadSet(dir)
	if err != nil {
		t.Fatal(err)
	}
	checkPoints(t, s, "vda", "virtnbdbackup.0")
	checkProblem(t, s, "vda.inc.virtnbdbackup.1.data.partial", "not used")
	checkProblem(t, s, "notes.data", "not used")
	checkProblem(t, s, "vdb.full.data", "FIFO")
	checkProblem(t, s, "vdc.full.data", "directory")
	if len(s.Problems) != 4 {
		t.Errorf("problems: %v", s.Problems)
	}
}

func TestFolderThatIsNoSet(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadSet(dir); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), dir) {
		t.Errorf("empty folder: %v", err)
	}
	if _, err := ReadSet(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSet(filepath.Join(dir, "file")); err == nil {
		t.Error("a file is taken for a set")
	}
}

func TestSideFiles(t *testing.T) {
	_, dir := set(t, full("vda"), inc("vda", 1))
	if err := os.WriteFile(filepath.Join(dir, "vm1.cpt"), []byte(`["virtnbdbackup.0", "virtnbdbackup.1", "virtnbdbackup.2"]`), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ReadSet(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.Domain != "vm1" {
		t.Errorf("domain is %q", s.Domain)
	}
	checkProblem(t, s, "vm1.cpt", "virtnbdbackup.2 has no saveset")
	checkPoints(t, s, "vda", "virtnbdbackup.0 virtnbdbackup.1")
}

// A copy without file times gives the same catalogue.
func TestCatalogueOfTheVectors(t *testing.T) {
	want := "virtnbdbackup.0 diff.1795399599 diff.1795399601 virtnbdbackup.1 virtnbdbackup.2 virtnbdbackup.3 virtnbdbackup.4"
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../tests/vectors/03-chain")); err != nil {
		t.Fatal(err)
	}
	for i, path := range []string{"../tests/vectors/03-chain", dir} {
		s, err := CheckSet(path)
		if err != nil {
			t.Fatal(err)
		}
		checkPoints(t, s, "vda", want)
		if s.Domain != "t2" || len(s.Problems) > 0 {
			t.Errorf("%d: domain %q, problems %v", i, s.Domain, s.Problems)
		}
	}
}

func TestSetsBelowAFolder(t *testing.T) {
	sets, failed, err := Sets("../tests/vectors")
	if err != nil || len(failed) > 0 || len(sets) != 7 {
		t.Errorf("%d sets, failed %v, %v", len(sets), failed, err)
	}
}

func FuzzName(f *testing.F) {
	f.Add("vda.inc.virtnbdbackup.1.data")
	f.Add("sda.diff.1795399599.data")
	f.Fuzz(func(t *testing.T, base string) {
		n, ok := ParseName(base)
		if ok && (n.String() != base || strings.ContainsAny(base, "/@\x00\n")) {
			t.Fatalf("%q is read as %+v", base, n)
		}
	})
}

// FuzzLinks: whatever savesets say of each other, every one is in the list
// once, after its parent, and either has a chain to a full or an error.
func FuzzLinks(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 1, 2, 2, 2, 3})
	f.Add([]byte{1, 1, 2, 1, 2, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &Disk{Name: "vda"}
		for ; len(b) >= 3 && len(d.Points) < 60; b = b[3:] {
			name := Name{Disk: "vda", Level: []Level{Full, Copy, Inc, Diff}[b[0]%4], ID: cp(int(b[1] % 8))}
			p := &Point{Disk: "vda", Level: name.Level, File: name.String()}
			p.Meta = Metadata{DiskName: "vda", CheckpointName: cp(int(b[1] % 8)), ParentCheckpoint: cp(int(b[2] % 8)), Incremental: b[0]&16 == 0 && name.Level != Full}
			p.identify(name)
			d.Points = append(d.Points, p)
		}
		n := len(d.Points)
		d.link()
		seen := map[*Point]bool{nil: true}
		for _, p := range d.Points {
			if seen[p] || !seen[p.Parent] {
				t.Fatalf("%s is out of order", p.Name)
			}
			seen[p] = true
			if files, err := p.Files(); err == nil && (len(files) == 0 || p.Meta.Incremental && len(files) < 2) {
				t.Fatalf("%s has the chain %v", p.Name, files)
			}
		}
		if len(d.Points) != n {
			t.Fatalf("%d of %d points are listed", len(d.Points), n)
		}
	})
}

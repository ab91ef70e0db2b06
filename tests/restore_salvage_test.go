// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"virtnb/format"
	"virtnb/internal/archive"
	"virtnb/tests/testbed"
)

// Sets that are damaged, and sets in archives: what "virtnb restore --salvage"
// makes of them, and what "virtnb verify" and "virtnb dump" say.

// corruptions are kinds of damage to the chain of vda.
var corruptions = map[string]func(t *testing.T, dir string){
	"lz4": func(t *testing.T, dir string) {
		path := filepath.Join(dir, "vda.inc.virtnbdbackup.1.data")
		b := readFile(t, path)
		at := bytes.Index(b, []byte{4, 0x22, 0x4d, 0x18}) + 40
		b[at] ^= 0x55
		writeFile(t, path, b)
	},
	"cut full":   func(t *testing.T, dir string) { cutFile(t, filepath.Join(dir, "vda.full.data"), 100_000) },
	"cut inc":    func(t *testing.T, dir string) { cutFile(t, filepath.Join(dir, "vda.inc.virtnbdbackup.3.data"), 100) },
	"missing":    func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "vda.inc.virtnbdbackup.1.data")) },
	"no full":    func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "vda.full.data")) },
	"no saveset": func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "vda.full.data"), []byte("hello")) },
	"size": func(t *testing.T, dir string) {
		path := filepath.Join(dir, "vda.full.data")
		b := readFile(t, path)
		at := bytes.Index(b, []byte(`"dataSize": `)) + len(`"dataSize": `)
		b[at] = '1' + (b[at]-'0')%9
		writeFile(t, path, b)
	},
	"frame": func(t *testing.T, dir string) {
		path := filepath.Join(dir, "vda.full.data")
		b := readFile(t, path)
		at := bytes.Index(b, []byte("\r\nzero "))
		b[at+2] = 'x'
		writeFile(t, path, b)
	},
	"burst": func(t *testing.T, dir string) {
		path := filepath.Join(dir, "vda.full.data")
		b := readFile(t, path)
		clear(b[len(b)/2:][:20_000])
		writeFile(t, path, b)
	},
}

// badBlocks are the blocks of 512 bytes that ddrescuelog finds bad in a map.
func badBlocks(t *testing.T, path string, size int) map[int]bool {
	t.Helper()
	bad := map[int]bool{}
	for _, line := range strings.Fields(run(t, "ddrescuelog", "-b", "512", "--list-blocks=-", path)) {
		n, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		bad[n] = true
	}
	text := run(t, "ddrescuelog", "--show-status", path)
	if !strings.Contains(text, "non-tried:        0 B") {
		t.Errorf("the map says\n%s", text)
	}
	return bad
}

// Outside of what the map calls bad, a salvaged disk is right. Damage is never
// success.
func TestSalvage(t *testing.T) {
	for name, damage := range corruptions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := restoreSet(t)
			damage(t, s.dir)
			kept(t, s.dir)
			out := t.TempDir()
			d := s.disks[0]
			want := d.points[len(d.points)-1]
			r := virtnbRestore(t, "-i", s.dir, "-o", out, "-d", "vda", "--format", "raw", "--salvage", "--json")
			if r.status != 1 || !strings.Contains(r.log, "restored from a damaged backup set") {
				t.Fatalf("status %d\n%s", r.status, r.log)
			}
			image := filepath.Join(out, "vda.raw")
			got := readFile(t, image)
			bad := badBlocks(t, image+".map", len(got))
			if len(got) != len(want) {
				t.Fatalf("image has %d bytes, want %d", len(got), len(want))
			}
			for off := 0; off < len(got); off += 512 {
				if end := min(len(got), off+512); !bad[off/512] && !bytes.Equal(got[off:end], want[off:end]) {
					t.Fatalf("disk offset %d is wrong\n%s", off, r.log)
				}
			}
			if all := (len(got) + 511) / 512; len(bad) == all && name != "size" && name != "no saveset" {
				t.Errorf("nothing could be salvaged\n%s", r.log)
			}
			checkUnreadable(t, r.out, bad)
		})
	}
}

// checkUnreadable compares the last line of --json with the map.
func checkUnreadable(t *testing.T, out []byte, bad map[int]bool) {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var res struct {
		Status int
		Disks  []struct{ Unreadable *int64 }
	}
	if err := json.Unmarshal(lines[len(lines)-1], &res); err != nil || res.Status != 1 || len(res.Disks) != 1 || res.Disks[0].Unreadable == nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := *res.Disks[0].Unreadable; n > int64(len(bad))*512 || n < int64(len(bad)-100)*512 {
		t.Errorf("%d bytes are unreadable, and %d blocks of the map bad", n, len(bad))
	}
}

func TestSalvageOfSoundSet(t *testing.T) {
	s := restoreSet(t)
	out := t.TempDir()
	mustRestore(t, "-i", s.dir, "-o", out, "--format", "raw", "--salvage", "--until", "virtnbdbackup.1")
	for _, d := range s.disks {
		image := filepath.Join(out, d.name+".raw")
		if !bytes.Equal(readFile(t, image), d.points[1]) {
			t.Errorf("disk %s differs", d.name)
		}
		run(t, "ddrescuelog", "--done-status", image+".map")
	}
}

func TestSalvageNeedsAPlaceForTheMap(t *testing.T) {
	s := restoreSet(t)
	out := t.TempDir()
	mustFail(t, "--map-file", "-i", s.dir, "-o", "-", "-d", "vda", "--salvage")
	mustFail(t, "one disk", "-i", s.dir, "-o", out, "--salvage", "--map-file", filepath.Join(out, "map"))
	writeFile(t, filepath.Join(out, "map"), []byte("precious"))
	mustFail(t, "already exists", "-i", s.dir, "-o", out, "--salvage", "-d", "vda", "--map-file", filepath.Join(out, "map"))
	if names := namesIn(t, out); len(names) != 1 || string(readFile(t, filepath.Join(out, "map"))) != "precious" {
		t.Errorf("there are %q", names)
	}
	r := mustRestore(t, "-i", s.dir, "-o", "-", "-d", "vda", "--salvage", "--map-file", filepath.Join(out, "other"))
	if d := s.disks[0]; !bytes.Equal(r.out, d.points[len(d.points)-1]) {
		t.Error("the disk on the standard output differs")
	}
}

// zipped puts the files of a set into archives, one for each restore point, as
// backups to the standard output do.
func zipped(t *testing.T, s *interopSet) (archives []string) {
	t.Helper()
	dir := t.TempDir()
	for i, point := range s.names {
		path := filepath.Join(dir, fmt.Sprintf("%d.zip", i))
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		w, err := archive.New(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range namesIn(t, s.dir) {
			n, isData := format.ParseName(name)
			if of := isData && (n.ID == point || i == 0 && n.Level == format.Full); of || !isData && strings.Contains(name, "."+point+".") && !strings.HasSuffix(name, ".chksum") {
				if err := w.File(name, filepath.Join(s.dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		archives = append(archives, path)
	}
	return archives
}

func TestRestoreFromArchives(t *testing.T) {
	s := restoreSet(t)
	archives := zipped(t, s)
	dir := filepath.Dir(archives[0])
	kept(t, dir)
	last := len(s.names) - 1
	for _, test := range []struct {
		point int
		args  []string
	}{
		{last, []string{"-i", dir}},
		{last, []string{"-i", strings.Join(archives, ",")}},
		{1, []string{"-i", strings.Join(archives[:2], ",")}},
		{1, []string{"-i", dir, "--until", s.names[1]}},
		{0, []string{"-i", archives[0]}},
	} {
		out := t.TempDir()
		mustRestore(t, append(test.args, "-o", out, "--format", "raw", "-c")...)
		for _, d := range s.disks {
			if !bytes.Equal(readFile(t, filepath.Join(out, d.name+".raw")), d.points[test.point]) {
				t.Errorf("%q: disk %s differs", test.args, d.name)
			}
		}
	}
	out := t.TempDir()
	mustRestore(t, "-i", dir, "-o", out, "-s", "vda.full.data,vda.inc.virtnbdbackup.1.data", "--format", "raw")
	if !bytes.Equal(readFile(t, filepath.Join(out, "vda")), s.disks[0].points[1]) {
		t.Error("--sequence: disk vda differs")
	}
	mustFail(t, "changes since", "-i", strings.Join(archives[1:], ","), "-o", t.TempDir())
	mustFail(t, "does not exist", "-i", archives[0]+","+dir+"/none.zip", "-o", t.TempDir())
}

// verifyStatus runs verify in each of its ways and returns the JSON.
func verifyStatus(t *testing.T, set string, want int) (report struct {
	OK       bool
	Findings []struct{ File, Kind string }
}) {
	t.Helper()
	virtnb, err := built("virtnb")
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	err = runTo(t, &out, &errOut, virtnb, "verify", set, "--json")
	if (err == nil) != (want == 0) {
		t.Errorf("verify: %v, want status %d\n%s%s", err, want, &out, &errOut)
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil || report.OK != (want == 0) {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, args := range [][]string{{"-o", "verify"}, {"-a", "verify", "-o", "x", "-B", "4096"}, {"-o", "verify", "-d", "vda"}} {
		if r := virtnbRestore(t, append(args, "-i", set)...); r.status != want || len(r.out) > 0 || !strings.Contains(r.log, "Computing checksum for: ") {
			t.Errorf("%q: status %d, want %d\n%s%s", args, r.status, want, r.out, r.log)
		}
	}
	return report
}

func TestVerifyExitStatuses(t *testing.T) {
	verifyStatus(t, restoreSet(t).dir, 0)
	verifyStatus(t, vector("03-chain"), 0)
	for name, damage := range corruptions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := restoreSet(t)
			damage(t, s.dir)
			kept(t, s.dir)
			for _, f := range verifyStatus(t, s.dir, 1).Findings {
				if f.Kind != "note" && !strings.HasPrefix(f.File, "vda.") {
					t.Errorf("finding %+v", f)
				}
			}
		})
	}
	r := virtnbRestore(t, "-i", filepath.Join(t.TempDir(), "none"), "-o", "verify")
	if r.status != 1 {
		t.Errorf("status %d of a set that is not there\n%s", r.status, r.log)
	}
}

// A set on a file system that cannot be written to is verified, and salvaged.
func TestVerifyOfReadOnlyMount(t *testing.T) {
	s := restoreSet(t)
	at := smallTmpfs(t, "64M")
	for _, name := range namesIn(t, s.dir) {
		if st, err := os.Stat(filepath.Join(s.dir, name)); err == nil && st.Mode().IsRegular() {
			writeFile(t, filepath.Join(at, name), readFile(t, filepath.Join(s.dir, name)))
		}
	}
	cutFile(t, filepath.Join(at, "vda.full.data"), 10)
	if err := unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	verifyStatus(t, at, 1)
	if r := virtnbRestore(t, "-i", at, "-o", t.TempDir(), "--salvage"); r.status != 1 || !strings.Contains(r.log, "0 B of") {
		t.Errorf("status %d\n%s", r.status, r.log)
	}
}

// dump says what virtnbdrestore says.
func TestDumpAsThePeer(t *testing.T) {
	s := restoreSet(t)
	r := virtnbRestore(t, "-i", s.dir, "-o", "dump", "-d", "vda")
	if r.status != 0 || !strings.Contains(r.log, "Dumping saveset meta information") {
		t.Fatalf("status %d\n%s", r.status, r.log)
	}
	theirs := run(t, testbed.PeerRestoreProgram, "-U", "test:///default", "-i", s.dir, "-o", "dump", "-d", "vda", "-L", filepath.Join(t.TempDir(), "log"))
	if string(r.out) != theirs {
		t.Errorf("ours\n%s\ntheirs\n%s", r.out, theirs)
	}
	virtnb, err := built("virtnb")
	if err != nil {
		t.Fatal(err)
	}
	if text := run(t, virtnb, "dump", s.dir, "-d", "vda", "--json"); text != theirs {
		t.Errorf("virtnb dump --json\n%s", text)
	}
	if text := run(t, virtnb, "dump", s.dir); strings.Count(text, "\n") != 1+len(s.disks)*len(s.names) {
		t.Errorf("virtnb dump\n%s", text)
	}
	cutFile(t, filepath.Join(s.dir, "vda.full.data"), 10)
	if r := virtnbRestore(t, "-i", s.dir, "-a", "dump", "-o", "x"); r.status != 1 || !json.Valid(r.out) {
		t.Errorf("status %d of a damaged set\n%s", r.status, r.log)
	}
}

// A folder of archives is mounted as the set that they make up.
func TestMountOfArchives(t *testing.T) {
	s := restoreSet(t)
	m := mountFuse(t, filepath.Dir(zipped(t, s)[0]))
	for i, point := range s.names {
		for _, d := range s.disks {
			if !bytes.Equal(readFile(t, filepath.Join(m.at, point, d.name+".raw")), d.points[i]) {
				t.Errorf("%s at %s differs", d.name, point)
			}
		}
		if !bytes.Equal(readFile(t, filepath.Join(m.at, point, "vmconfig.xml")), readFile(t, filepath.Join(s.dir, "vmconfig."+point+".xml"))) {
			t.Errorf("vmconfig.xml of %s differs", point)
		}
	}
}

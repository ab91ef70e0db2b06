// SPDX-License-Identifier: Apache-2.0

package format

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pack writes files of the chain of the vectors into an archive as a backup to
// the standard output does: stored, with sizes and checksums behind the data.
func pack(t testing.TB, path string, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	add := func(name string, content []byte) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Modified: time.Now()})
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add("checkpoints/", nil)
	add("checkpoints/virtnbdbackup.0.xml", []byte("<domaincheckpoint/>"))
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join("../tests/vectors/03-chain", name))
		if err != nil {
			t.Fatal(err)
		}
		add(name, content)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The files of the chain, as two backups to the standard output have them.
var (
	firstFiles = []string{"vda.full.data", "vmconfig.virtnbdbackup.0.xml"}
	laterFiles = []string{"vda.inc.virtnbdbackup.1.data", "vda.inc.virtnbdbackup.2.data", "vda.inc.virtnbdbackup.3.data", "vda.inc.virtnbdbackup.4.data", "t2.cpt", "vmconfig.virtnbdbackup.4.xml"}
)

func TestSetInArchives(t *testing.T) {
	dir := t.TempDir()
	first, later := pack(t, filepath.Join(dir, "a.zip"), firstFiles...), pack(t, filepath.Join(dir, "b.ZIP"), laterFiles...)
	for _, paths := range [][]string{{first, later}, {later, first}, {dir}} {
		s, err := CheckSet(paths...)
		if err != nil {
			t.Fatal(err)
		}
		if s.Domain != "t2" || len(s.Disks) != 1 || len(s.Disks[0].Points) != 5 || len(s.Problems) != 0 {
			t.Fatalf("%v: %+v", paths, s)
		}
		for _, p := range s.Disks[0].Points {
			if _, err := p.Files(); err != nil {
				t.Errorf("%v: %v", paths, err)
			}
		}
		wantSideFile(t, s, "virtnbdbackup.4", "vmconfig.xml", "vmconfig.virtnbdbackup.4.xml")
	}
	if s, err := ReadSet(later); err != nil || !errors.Is(s.Disks[0].Latest().Err, ErrChain) {
		t.Errorf("incrementals alone: %+v, %v", s, err)
	}
}

func wantSideFile(t *testing.T, s *Set, point, name, file string) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("../tests/vectors/03-chain", file))
	if err != nil {
		t.Fatal(err)
	}
	f, err := OpenSideFile(s.SavedFiles(point)[name])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want) || f.Size() != int64(len(want)) {
		t.Errorf("%s of %s: %q, %v", name, point, got, err)
	}
}

// What two archives have of one name is of two backups.
func TestArchivesOfTwoBackupsAreRefused(t *testing.T) {
	dir := t.TempDir()
	a, b := pack(t, filepath.Join(dir, "a.zip"), firstFiles...), pack(t, filepath.Join(dir, "b.zip"), firstFiles...)
	for _, paths := range [][]string{{a, b}, {dir}} {
		if _, err := ReadSet(paths...); !errors.Is(err, ErrChain) || !strings.Contains(err.Error(), b) {
			t.Errorf("%v: %v", paths, err)
		}
	}
}

// Archives in a folder that has savesets of its own do not belong to the set.
func TestArchiveBesideSavesetsIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	pack(t, filepath.Join(dir, "a.zip"), laterFiles...)
	full, err := os.ReadFile("../tests/vectors/03-chain/vda.full.data")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "vda.full.data"), full, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if s, err := ReadSet(dir); err != nil || len(s.Disks[0].Points) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestMemberOfArchiveIsCurrentAsLongAsTheArchive(t *testing.T) {
	path := pack(t, filepath.Join(t.TempDir(), "a.zip"), firstFiles...)
	member := filepath.Join(path, "vda.full.data")
	s, err := OpenSaveset(member)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	stamp, ok := s.Stamp()
	if now, err := StampOf(member); err != nil || !ok || now != stamp || stamp.Member != "vda.full.data" {
		t.Errorf("stamps %+v and %+v, %v", stamp, now, err)
	}
	if !s.Current() || s.Unchanged() != nil || s.Fd() != -1 {
		t.Error("the archive did not change, and the member did")
	}
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if s.Current() || !errors.Is(s.Unchanged(), ErrChanged) {
		t.Error("the archive changed, and the member did not")
	}
	if _, err := OpenSaveset(filepath.Join(path, "vdb.full.data")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("member that is not there: %v", err)
	}
}

// craft writes an archive of these members and changes it.
func craft(t testing.TB, headers []zip.FileHeader, change func(b []byte)) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, h := range headers {
		w, err := z.CreateHeader(&h)
		if err == nil && !strings.HasSuffix(h.Name, "/") {
			_, err = io.WriteString(w, "hello")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(b.Bytes())
	}
	return b.Bytes()
}

// directory is where the entry of the n-th member in the directory begins.
func directory(b []byte, n int) int {
	at := -1
	for range n + 1 {
		at += 1 + bytes.Index(b[at+1:], []byte("PK\x01\x02"))
	}
	return at
}

func TestHostileArchivesAreRefused(t *testing.T) {
	one := []zip.FileHeader{{Name: "vda.full.data"}}
	two := []zip.FileHeader{{Name: "vda.full.data"}, {Name: "vdb.full.data"}}
	tests := []struct {
		name, want string
		headers    []zip.FileHeader
		change     func(b []byte)
	}{
		{"sound", "", two, nil},
		{"sound with a folder", "", []zip.FileHeader{{Name: "checkpoints/"}, {Name: "checkpoints/a.xml"}}, nil},
		{"out of the folder", "not one of a file", []zip.FileHeader{{Name: "../vda.full.data"}}, nil},
		{"out of the folder later", "not one of a file", []zip.FileHeader{{Name: "a/../../vda.full.data"}}, nil},
		{"not as short as can be", "not one of a file", []zip.FileHeader{{Name: "./vda.full.data"}}, nil},
		{"absolute", "not one of a file", []zip.FileHeader{{Name: "/etc/passwd"}}, nil},
		{"backslash", "not one of a file", []zip.FileHeader{{Name: `..\vda.full.data`}}, nil},
		{"zero byte", "not one of a file", []zip.FileHeader{{Name: "vda.full.data\x00.png"}}, nil},
		{"no name", "not one of a file", []zip.FileHeader{{Name: ""}}, nil},
		{"doubled", "two members", []zip.FileHeader{one[0], one[0]}, nil},
		{"compressed", "compressed", []zip.FileHeader{{Name: "vda.full.data", Method: zip.Deflate}}, nil},
		{"encrypted", "encrypted", one, func(b []byte) { b[directory(b, 0)+8] |= 1 }},
		{"too large", "can hold", one, func(b []byte) {
			binary.LittleEndian.PutUint32(b[directory(b, 0)+20:], 1<<30)
			binary.LittleEndian.PutUint32(b[directory(b, 0)+24:], 1<<30)
		}},
		{"two sizes", "can hold", one, func(b []byte) { binary.LittleEndian.PutUint32(b[directory(b, 0)+24:], 4) }},
		{"overlapping", "lies over", two, func(b []byte) {
			binary.LittleEndian.PutUint32(b[directory(b, 0)+20:], 9)
			binary.LittleEndian.PutUint32(b[directory(b, 0)+24:], 9+16+30)
			binary.LittleEndian.PutUint32(b[directory(b, 0)+20:], 9+16+30)
		}},
		{"in one place", "lies over", two, func(b []byte) { copy(b[directory(b, 1)+42:], b[directory(b, 0)+42:][:4]) }},
		{"no member there", "directory says", one, func(b []byte) { b[directory(b, 0)+42] = 7 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := craft(t, test.headers, test.change)
			_, err := readMembers(bytes.NewReader(b), int64(len(b)))
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestCutArchiveIsRefused(t *testing.T) {
	b := craft(t, []zip.FileHeader{{Name: "vda.full.data"}, {Name: "vdb.full.data"}}, nil)
	for n := range b {
		if _, err := readMembers(bytes.NewReader(b[:n]), int64(n)); err == nil {
			t.Fatalf("cut at %d of %d and accepted", n, len(b))
		}
	}
	path := filepath.Join(t.TempDir(), "a.zip")
	if err := os.WriteFile(path, b[:len(b)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSet(path); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path) {
		t.Errorf("error is %v", err)
	}
}

// FuzzArchive reads anything as an archive: members lie inside it, apart from
// each other, and have names of their own.
func FuzzArchive(f *testing.F) {
	f.Add(craft(f, []zip.FileHeader{{Name: "vda.full.data"}, {Name: "checkpoints/"}, {Name: "checkpoints/a.xml"}}, nil))
	f.Add(craft(f, []zip.FileHeader{{Name: "../a"}}, nil))
	f.Add(craft(f, []zip.FileHeader{{Name: "a", Method: zip.Deflate}}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		members, err := readMembers(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		taken := make([]bool, len(b))
		for _, m := range members {
			if m.at < 0 || m.size < 0 || m.at+m.size > int64(len(b)) || !filepath.IsLocal(m.name) {
				t.Fatalf("%+v in %d bytes", m, len(b))
			}
			for i := range m.size {
				if taken[m.at+i] {
					t.Fatalf("%+v overlaps", m)
				}
				taken[m.at+i] = true
			}
		}
	})
}

// The archive in testdata is one that Python's zipfile wrote to a pipe, with the
// sizes of members in Zip64 fields behind their data, as virtnbdbackup makes it.
func TestArchiveOfPython(t *testing.T) {
	s, err := CheckSet("testdata/zip/python.zip")
	if err != nil || s.Domain != "t2" {
		t.Fatalf("%+v, %v", s, err)
	}
	p := s.Disks[0].Latest()
	if p.Name != "virtnbdbackup.0" || p.Err != nil {
		t.Errorf("%+v", p)
	}
	if _, x := examine(t, p.File); len(x.Damages) > 0 || x.Checksum != ChecksumMatch {
		t.Errorf("%+v", x)
	}
	wantSideFile(t, s, "virtnbdbackup.0", "vmconfig.xml", "vmconfig.virtnbdbackup.0.xml")
}

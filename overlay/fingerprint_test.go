// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"virtnb/format"
)

func fingerprintOf(t *testing.T, files []string) string {
	t.Helper()
	c, err := Open(files, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sum, err := c.Fingerprint()
	if err != nil || sum == "" {
		t.Fatalf("fingerprint %q, %v", sum, err)
	}
	return sum
}

// A set that is moved, linked, gets other modes, or is copied with its times is
// the same; holes that a copy has or has not make no difference.
func TestFingerprintOfTheSame(t *testing.T) {
	files := []string{chainFile(t.TempDir(), 0)}
	files = append(files, chainFile(filepath.Dir(files[0]), 1))
	full := testSaveset{size: 4 << 20, checkpoint: "virtnbdbackup.0", pieces: []piece{{data: make([]byte, 2<<20)}, {start: 3 << 20, data: []byte("end")}}}
	full.write(t, files[0])
	testSaveset{size: 4 << 20, checkpoint: "virtnbdbackup.1", parent: "virtnbdbackup.0", pieces: []piece{{start: 1, data: []byte("b")}}}.write(t, files[1])
	want := fingerprintOf(t, files)
	if got := fingerprintOf(t, files); got != want {
		t.Error("another one at the next opening")
	}
	if err := errors.Join(os.Chmod(files[0], 0o400), os.Link(files[1], files[1]+".link")); err != nil {
		t.Fatal(err)
	}
	if got := fingerprintOf(t, files); got != want {
		t.Error("another one with another mode and link")
	}
	if got := fingerprintOf(t, files[:1]); got == want {
		t.Error("the same one without the incremental")
	}
	var copies []string
	for _, file := range files {
		copies = append(copies, sparseCopy(t, file))
	}
	if got := fingerprintOf(t, copies); got != want {
		t.Error("another one of a sparse copy")
	}
}

// sparseCopy copies a file and its times; blocks of zeroes become holes.
func sparseCopy(t *testing.T, file string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(file))
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for off := 0; off < len(content); off += 4096 {
		if p := content[off:min(off+4096, len(content))]; !format.IsZero(p) {
			if _, err := f.WriteAt(p, int64(off)); err != nil {
				t.Fatal(err)
			}
		}
	}
	st, err := os.Stat(file)
	if err := errors.Join(err, f.Truncate(int64(len(content))), os.Chtimes(to, st.ModTime(), st.ModTime())); err != nil {
		t.Fatal(err)
	}
	return to
}

// A saveset that was written to is another one: by its time, and another disk
// of the same size also with the time put back.
func TestFingerprintOfAnother(t *testing.T) {
	path := chainFile(t.TempDir(), 0)
	saveset := func(b byte) []byte {
		return testSaveset{size: 4 << 20, checkpoint: "virtnbdbackup.0", pieces: []piece{{data: bytes.Repeat([]byte{b}, 3<<20)}}}.bytes()
	}
	if err := os.WriteFile(path, saveset('a'), 0o600); err != nil {
		t.Fatal(err)
	}
	want := fingerprintOf(t, []string{path})
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, st.ModTime().Add(time.Nanosecond)); err != nil {
		t.Fatal(err)
	}
	if got := fingerprintOf(t, []string{path}); got == want {
		t.Error("the same with another time")
	}
	if err := errors.Join(os.WriteFile(path, saveset('b'), 0o600), os.Chtimes(path, time.Time{}, st.ModTime())); err != nil {
		t.Fatal(err)
	}
	if got := fingerprintOf(t, []string{path}); got == want {
		t.Error("the same with another content")
	}
}

// A saveset that changes while it is open has no fingerprint any more.
func TestFingerprintOfAChangedFile(t *testing.T) {
	img := openChain(t, Options{}, testSaveset{size: 100, checkpoint: "virtnbdbackup.0", pieces: []piece{{data: []byte("data")}}})
	for _, before := range []bool{true, false} {
		if _, err := img.Fingerprint(); before == (err != nil) {
			t.Errorf("before the change: %v; error %v", before, err)
		}
		now := time.Now().Add(time.Hour)
		if err := os.Chtimes(img.sources[0].Path, now, now); err != nil {
			t.Fatal(err)
		}
	}
}

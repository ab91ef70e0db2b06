// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"
)

// identitySet is a chain of two files, and writes the second one anew.
func identitySet(t *testing.T) (files []string, rewrite func()) {
	t.Helper()
	dir := t.TempDir()
	files = []string{chainFile(dir, 0), chainFile(dir, 1)}
	testSaveset{size: 8192, checkpoint: "virtnbdbackup.0", pieces: []piece{{start: 0, data: []byte("a")}}}.write(t, files[0])
	inc := testSaveset{size: 8192, checkpoint: "virtnbdbackup.1", parent: "virtnbdbackup.0", pieces: []piece{{start: 1, data: []byte("b")}}}
	inc.write(t, files[1])
	return files, func() { inc.write(t, files[1]) }
}

// Pool.Identity tells without opening what Identity tells of an open image.
func TestIdentity(t *testing.T) {
	files, rewrite := identitySet(t)
	p := NewPool(NewCache(1 << 20))
	img, err := p.Open(files)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release(img)
	if id, err := p.Identity(files); err != nil || id != img.Identity() {
		t.Errorf("identity %x, %v; the open image has %x", id, err, img.Identity())
	}
	if id, err := p.Identity(files[:1]); err != nil || id == img.Identity() {
		t.Errorf("the full alone has identity %x, %v", id, err)
	}
	if err := os.Remove(files[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Identity(files); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the second file: %v", err)
	}
	rewrite()
	if id, err := p.Identity(files); err != nil || id == img.Identity() {
		t.Errorf("after the second file was made anew: %x, %v", id, err)
	}
}

// What takes nothing from the content leaves the identity, of images that are
// open and of those that are opened then.
func TestIdentityOfTheSameContent(t *testing.T) {
	files, _ := identitySet(t)
	p := NewPool(NewCache(1 << 20))
	before, err := p.Open(files)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release(before)
	for _, change := range []func() error{
		func() error { return os.Chmod(files[0], 0o400) },
		func() error { return os.Link(files[1], files[1]+".link") },
		func() error { return os.Chmod(files[0], 0o600) },
		func() error { return os.Remove(files[1] + ".link") },
	} {
		time.Sleep(20 * time.Millisecond) // the clock of the file system
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if id, err := p.Identity(files); err != nil || id != before.Identity() {
			t.Errorf("identity %x, %v; it was %x", id, err, before.Identity())
		}
		after, err := p.Open(files)
		if err != nil {
			t.Fatal(err)
		}
		if after.Identity() != before.Identity() {
			t.Errorf("opened again: identity %x; it was %x", after.Identity(), before.Identity())
		}
		p.Release(after)
	}
}

func TestIdentityOfAFileWithItsOldTime(t *testing.T) {
	files, _ := identitySet(t)
	p := NewPool(NewCache(1 << 20))
	before, err := p.Identity(files)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(files[1])
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	if err := os.WriteFile(files[1], bytes.Repeat([]byte("x"), int(st.Size())), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(files[1], time.Time{}, st.ModTime()); err != nil {
		t.Fatal(err)
	}
	if after, err := p.Identity(files); err != nil || after == before {
		t.Errorf("identity %x, %v, as before", after, err)
	}
}

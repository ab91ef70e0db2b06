// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStateSurvives(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, unlock, err := newState(dir, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	s.Disks = []Disk{{Target: "vda", Export: "vda@p", Overlay: "/o", Size: 5, Copies: []string{"/c"}}}
	if err := s.enter(Running); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openState(dir, "vm1"); !errors.Is(err, ErrBusy) {
		t.Errorf("a recovery that is in use: %v", err)
	}
	unlock()
	again, unlock, err := openState(dir, "vm1")
	if err != nil || again.Phase != Running || len(again.Disks) != 1 || again.Disks[0].Copies[0] != "/c" {
		t.Errorf("got %+v, %v", again, err)
	}
	unlock()
	if _, _, err := newState(dir, "vm1"); err == nil {
		t.Error("a name is given twice")
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700, s.folder: 0o700, filepath.Join(s.folder, stateFile): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

// A command that is killed while it writes leaves a file, which is no state and
// keeps nothing from going on.
func TestStateOfKilledCommand(t *testing.T) {
	dir := t.TempDir()
	_, first, err := newState(dir, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	first() // before a state was written
	if _, _, err := openState(dir, "vm1"); err == nil {
		t.Error("a recovery without a state")
	}
	if list, err := readStates(dir); len(list) > 0 || err != nil {
		t.Errorf("it is listed: %v, %v", list, err)
	}
	s, unlock, err := newState(dir, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if err := errors.Join(s.save(), os.WriteFile(filepath.Join(s.folder, ".partial1"), nil, 0o600), s.remove()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.folder); err == nil {
		t.Error("the folder is still there")
	}
}

func TestStateMistakes(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"", "..", "a/b", "x\ny"} {
		if _, _, err := newState(dir, name); err == nil {
			t.Errorf("name %q is taken", name)
		}
		if _, _, err := openState(dir, name); err == nil {
			t.Errorf("name %q is found", name)
		}
	}
	if _, _, err := openState(dir, "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a recovery that is not there: %v", err)
	}
	for text, want := range map[string]string{"{": "unexpected end", `{"version":2}`: "version 2"} {
		if err := os.MkdirAll(filepath.Join(dir, "bad"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "bad", stateFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := openState(dir, "bad"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		if _, err := readStates(dir); err == nil {
			t.Errorf("%s: no error in the list", text)
		}
	}
}

func TestCheckFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := stampFiles([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	s := &State{Name: "vm1", Files: files}
	if err := s.checkFiles(); err != nil {
		t.Errorf("files that are as they were: %v", err)
	}
	later := time.Now().Add(time.Hour)
	for _, change := range []func() error{
		func() error { return os.Chtimes(path, later, later) },
		func() error { return os.WriteFile(path, []byte("more"), 0o600) },
		func() error { return os.Remove(path) },
	} {
		if err := errors.Join(change()); err != nil {
			t.Fatal(err)
		}
		if err := s.checkFiles(); err == nil {
			t.Error("a file that has changed is accepted")
		}
	}
}

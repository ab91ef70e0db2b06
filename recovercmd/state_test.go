// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A process that dies while it writes the state leaves half a file, which is in
// nobody's way: the state is what it was, and the recovery can be taken away.
func TestStateOfDeadProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "virtnb", "recoveries")
	s, unlock, err := newState(dir, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.save(); err != nil {
		t.Fatal(err)
	}
	unlock()
	half := filepath.Join(s.folder, stateFile+partialSuffix)
	if err := os.WriteFile(half, []byte(`{"version":`), 0o600); err != nil {
		t.Fatal(err)
	}
	s, unlock, err = openState(dir, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if s.Name != "vm1" || s.Phase != Starting {
		t.Errorf("%+v", s)
	}
	if err := s.remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	if _, _, err := openState(dir, "vm1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("opened after its removal: %v", err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func newTarget(t *testing.T) *target {
	t.Helper()
	tg, err := openTarget(filepath.Join(t.TempDir(), "set"), "vm1", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tg.close)
	return tg
}

func put(t *testing.T, tg *target, names ...string) {
	t.Helper()
	for _, n := range names {
		if err := os.WriteFile(tg.path(n), []byte(n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// list is what is in the folder.
func (t *target) list() (names []string) {
	entries, _ := os.ReadDir(t.dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestTargetIsForItsOwnerAndLocked(t *testing.T) {
	tg := newTarget(t)
	st, err := os.Stat(tg.dir)
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if _, err := openTarget(tg.dir, "vm1", ""); !errors.Is(err, errBusy) {
		t.Errorf("opened twice: %v", err)
	}
	tg.close()
	again, err := openTarget(tg.dir, "vm1", "")
	if err != nil {
		t.Fatal(err)
	}
	again.close()
	if got := tg.list(); len(got) > 0 {
		t.Errorf("the lock left %q", got)
	}
}

func TestCheckpointList(t *testing.T) {
	tg := newTarget(t)
	if names, err := tg.checkpoints(); err != nil || len(names) != 0 {
		t.Fatalf("%q, %v", names, err)
	}
	for _, n := range []string{"virtnbdbackup.0", "virtnbdbackup.1", "virtnbdbackup.1"} {
		if err := tg.addCheckpoint(n); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(tg.cptFile())
	if want := `["virtnbdbackup.0", "virtnbdbackup.1"]`; err != nil || string(text) != want {
		t.Errorf("%s, %v; want %s", text, err, want)
	}
	for _, bad := range []string{"", "{", `{"a": 1}`, `["../x"]`, `["a/b"]`, `[1]`} {
		put(t, tg)
		if err := os.WriteFile(tg.cptFile(), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if names, err := tg.checkpoints(); err == nil || !strings.Contains(err.Error(), "vm1.cpt") {
			t.Errorf("%q: %q, %v", bad, names, err)
		}
	}
}

// A run that died is told by what has its name: all savesets, or not all.
func TestJournalOfADeadRun(t *testing.T) {
	for _, c := range []struct {
		name     string
		files    []string
		complete bool
	}{
		{"nothing yet", nil, false},
		{"writing", []string{"sda.inc.virtnbdbackup.1.data.partial", "vda.inc.virtnbdbackup.1.data.partial"}, false},
		{"half named", []string{"sda.inc.virtnbdbackup.1.data", "sda.inc.virtnbdbackup.1.data.chksum", "vda.inc.virtnbdbackup.1.data.partial", "vda.inc.virtnbdbackup.1.data.chksum.partial", "vmconfig.virtnbdbackup.1.xml"}, false},
		{"all named", []string{"sda.inc.virtnbdbackup.1.data", "vda.inc.virtnbdbackup.1.data", "vmconfig.virtnbdbackup.1.xml"}, true},
	} {
		tg := newTarget(t)
		old := []string{"sda.full.data", "vda.full.data", "vda.inc.virtnbdbackup.9.data.partial", "vmconfig.virtnbdbackup.0.xml"}
		put(t, tg, append(old, c.files...)...)
		j := &journal{target: tg, Domain: "vm1", Checkpoint: "virtnbdbackup.1", Begun: true,
			Data: []string{"sda.inc.virtnbdbackup.1.data", "vda.inc.virtnbdbackup.1.data"},
			Side: []string{tg.path("vmconfig.virtnbdbackup.1.xml")}, CheckpointXML: tg.checkpointFile("virtnbdbackup.1"),
			Scratch: []string{"/var/tmp/backup.ABCDEFGH.vda"}}
		if err := j.write(); err != nil {
			t.Fatal(err)
		}
		back, err := tg.readJournal()
		if err != nil {
			t.Fatal(err)
		}
		if back.complete() != c.complete {
			t.Errorf("%s: complete %v", c.name, back.complete())
		}
		if c.complete {
			continue
		}
		if err := errors.Join(back.removeFiles(), back.remove()); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := tg.list(); !slices.Equal(got, old) {
			t.Errorf("%s: left %q, want %q", c.name, got, old)
		}
	}
}

func TestCompleteBackupIsEntered(t *testing.T) {
	tg := newTarget(t)
	xml := tg.checkpointFile("virtnbdbackup.0")
	if err := os.Mkdir(tg.checkpointDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{xml: "old", xml + partialSuffix: "new"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(t, tg, "vda.full.data")
	j := &journal{target: tg, Domain: "vm1", Checkpoint: "virtnbdbackup.0", Data: []string{"vda.full.data"}, CheckpointXML: xml}
	for range 2 { // whoever dies in between does it again
		if err := j.finish(); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(xml); err != nil || string(text) != "new" {
		t.Errorf("%s, %v", text, err)
	}
	if names, err := tg.checkpoints(); err != nil || !slices.Equal(names, []string{"virtnbdbackup.0"}) {
		t.Errorf("%q, %v", names, err)
	}
}

// A full begins the list anew: what it had was of a chain whose files are gone.
func TestFullBeginsTheListOfCheckpoints(t *testing.T) {
	tg := newTarget(t)
	if err := tg.listCheckpoints([]string{"virtnbdbackup.0", "virtnbdbackup.1"}); err != nil {
		t.Fatal(err)
	}
	j := &journal{target: tg, Domain: "vm1", Checkpoint: "virtnbdbackup.0", First: true}
	if err := j.finish(); err != nil {
		t.Fatal(err)
	}
	if names, err := tg.checkpoints(); err != nil || !slices.Equal(names, []string{"virtnbdbackup.0"}) {
		t.Errorf("%q, %v", names, err)
	}
}

// Checkpoints that were saved in the set are found when --checkpointdir is given
// later.
func TestSavedCheckpointIsFoundInTheSet(t *testing.T) {
	tg := newTarget(t)
	if err := os.Mkdir(tg.checkpointDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tg.checkpointFile("virtnbdbackup.0"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	tg.checkpointDir = t.TempDir()
	if text, err := tg.savedCheckpointText("virtnbdbackup.0"); err != nil || string(text) != "text" {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := tg.savedCheckpointText("virtnbdbackup.1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not there: %v", err)
	}
	if err := tg.disown("virtnbdbackup.0"); err != nil {
		t.Fatal(err)
	}
	if _, err := tg.savedCheckpointText("virtnbdbackup.0"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("disowned, and still there: %v", err)
	}
}

func TestHostileJournal(t *testing.T) {
	tg := newTarget(t)
	for _, bad := range []string{
		"", "{", "[]", `{"version":2}`,
		`{"version":1,"data":["../vda.full.data"]}`,
		`{"version":1,"data":["vda.full"]}`,
		`{"version":1,"side":["/etc/passwd"]}`,
		`{"version":1,"side":["` + tg.dir + `/../x"]}`,
		`{"version":1,"checkpoint":"a","checkpointXML":"/etc/b.xml"}`,
		`{"version":1,"scratch":["/etc/passwd"]}`,
		`{"version":1,"scratch":["backup.x"]}`,
	} {
		if err := os.WriteFile(tg.path(journalName), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if j, err := tg.readJournal(); err == nil || !strings.Contains(err.Error(), journalName) {
			t.Errorf("%s: %+v, %v", bad, j, err)
		}
	}
	if err := os.Remove(tg.path(journalName)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", tg.path(journalName)); err != nil {
		t.Fatal(err)
	}
	if _, err := tg.readJournal(); err == nil {
		t.Error("a link was followed")
	}
}

func TestWriteFileLeavesWhatWasThere(t *testing.T) {
	tg := newTarget(t)
	put(t, tg, "file")
	fails := func(f *os.File) error {
		_, _ = f.WriteString("half")
		return errors.New("disk full")
	}
	if err := writeAtomic(tg.path("file"), fails); err == nil {
		t.Fatal("no error")
	}
	if text, err := os.ReadFile(tg.path("file")); err != nil || string(text) != "file" {
		t.Errorf("%s, %v", text, err)
	}
	if got := tg.list(); !slices.Equal(got, []string{"file"}) {
		t.Errorf("left %q", got)
	}
	if err := vacant(tg.path("file")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("vacant: %v", err)
	}
}

// What cannot be entered into the list is taken back, its checkpoint's
// configuration included.
func TestFinishFails(t *testing.T) {
	tg := newTarget(t)
	xml := tg.path("virtnbdbackup.0.xml")
	put(t, tg, "vda.full.data", "virtnbdbackup.0.xml.partial")
	if err := os.Mkdir(tg.cptFile(), 0o700); err != nil {
		t.Fatal(err)
	}
	j := &journal{target: tg, Domain: "vm1", Checkpoint: "virtnbdbackup.0", Data: []string{"vda.full.data"}, CheckpointXML: xml}
	if err := j.finish(); err == nil {
		t.Fatal("entered into a folder")
	}
	if err := j.removeFiles(); err != nil {
		t.Fatal(err)
	}
	if got := tg.list(); !slices.Equal(got, []string{"vm1.cpt"}) {
		t.Errorf("left %q", got)
	}
}

// Once it counts, a backup does not fail for what is only in the way.
func TestEnterWithLeftovers(t *testing.T) {
	tg := newTarget(t)
	scratch := filepath.Join(t.TempDir(), "backup.X.vda")
	if err := os.MkdirAll(filepath.Join(scratch, "cannot be removed"), 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, tg, "vda.full.data")
	j := &journal{target: tg, Domain: "vm1", Checkpoint: "virtnbdbackup.0", Data: []string{"vda.full.data"}, Scratch: []string{scratch}}
	r := &run{target: tg, log: slog.New(slog.DiscardHandler)}
	if err := r.enter(j); err != nil {
		t.Error(err)
	}
	if names, err := tg.checkpoints(); err != nil || len(names) != 1 {
		t.Errorf("%q, %v", names, err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The journal is a file in the target folder that says what a run is about to
// make, written before it makes it and removed when it is done. A run that
// finds a journal has the lock on the folder, so the run that wrote it is dead,
// or left its job running on purpose (--startonly).
//
//	all savesets have their names  ->  the backup is whole: it is made to count
//	otherwise                      ->  all of it is taken back
//
// Savesets get their names when their data is durable, and after everything
// else of the run has been saved.

const (
	journalName    = ".virtnb.journal"
	journalVersion = 1
	maxJournal     = 4 << 20
)

// journal is the content of the file.
type journal struct {
	Version int    `json:"version"`
	Domain  string `json:"domain"`
	UUID    string `json:"uuid"`

	// Checkpoint is the one that the run creates, "" for none. It exists, or
	// not, if Begun; before, a checkpoint of that name is of an earlier chain.
	Checkpoint string `json:"checkpoint,omitempty"`
	Parent     string `json:"parent,omitempty"` // the checkpoint before, which takes the bitmap back
	Begun      bool   `json:"begun,omitempty"`
	First      bool   `json:"first,omitempty"` // it begins a chain: checkpoints that the set listed before are of none
	// Retired are checkpoints of earlier chains, to be deleted once this one counts.
	Retired []string `json:"retired,omitempty"`

	Socket    string   `json:"socket,omitempty"`  // of the libvirt job, which identifies it
	Scratch   []string `json:"scratch,omitempty"` // paths of its scratch files
	Remote    bool     `json:"remote,omitempty"`  // these are on another machine
	StartOnly bool     `json:"startOnly,omitempty"`

	Data []string `json:"data,omitempty"` // base names of savesets and images
	Side []string `json:"side,omitempty"` // paths of everything else
	// CheckpointXML is the path of the checkpoint's configuration. It is written
	// with ".partial" behind it, as it can replace that of an earlier chain.
	CheckpointXML string `json:"checkpointXML,omitempty"`

	target *target
}

func (j *journal) path() string { return j.target.path(journalName) }

// write makes the journal durable.
func (j *journal) write() error {
	j.Version = journalVersion
	text, err := json.MarshalIndent(j, "", " ")
	if err == nil {
		err = writeFile(j.path(), text)
	}
	if err != nil {
		return fmt.Errorf("journal of the backup: %w", err)
	}
	return nil
}

// remove removes the journal, also the newer one that a run was killed over.
func (j *journal) remove() error {
	if err := removeAll(j.path(), j.path()+partialSuffix); err != nil {
		return fmt.Errorf("journal of the backup: %w", err)
	}
	return syncDir(j.target.dir)
}

// readJournal returns the journal in the folder, nil if there is none.
func (t *target) readJournal() (*journal, error) {
	path := t.path(journalName)
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, removeAll(path + partialSuffix)
	}
	if err == nil && (!st.Mode().IsRegular() || st.Size() > maxJournal) {
		err = fmt.Errorf("%s is no regular file of a sane size", path)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	j := &journal{target: t}
	if err == nil {
		err = json.Unmarshal(text, j)
	}
	if err == nil {
		err = j.validate()
	}
	if err != nil {
		return nil, fmt.Errorf("the journal of an earlier backup cannot be read: %w; if no backup of this domain is running, remove %s and the files of that backup", err, path)
	}
	return j, nil
}

// validate refuses what would lead out of the folders that a backup writes to.
func (j *journal) validate() error {
	if j.Version != journalVersion {
		return fmt.Errorf("version %d is unknown, this release knows %d", j.Version, journalVersion)
	}
	for _, base := range j.Data {
		if base != filepath.Base(base) || !strings.HasSuffix(base, dataSuffix) {
			return fmt.Errorf("%q is no name of a saveset", base)
		}
	}
	for _, path := range j.Side {
		if filepath.Dir(path) != j.target.dir {
			return fmt.Errorf("%q is not in the folder", path)
		}
	}
	if x := j.CheckpointXML; x != "" && (filepath.Base(x) != j.Checkpoint+".xml" || !filepath.IsAbs(x)) {
		return fmt.Errorf("%q is no file of checkpoint %q", x, j.Checkpoint)
	}
	for _, path := range j.Scratch {
		if !filepath.IsAbs(path) || !strings.HasPrefix(filepath.Base(path), scratchPrefix) {
			return fmt.Errorf("%q is no scratch file", path)
		}
	}
	return nil
}

// complete says whether the data is durable under its names.
func (j *journal) complete() bool {
	for _, base := range j.Data {
		if _, err := os.Lstat(j.target.path(base)); err != nil {
			return false
		}
	}
	return len(j.Data) > 0 && !j.StartOnly
}

// finish makes a complete backup count.
func (j *journal) finish() error {
	if j.CheckpointXML != "" {
		err := os.Rename(j.CheckpointXML+partialSuffix, j.CheckpointXML)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := syncDir(filepath.Dir(j.CheckpointXML)); err != nil {
			return err
		}
	}
	if j.Checkpoint == "" {
		return nil
	}
	err := j.list()
	if err != nil && j.CheckpointXML != "" { // to be taken back with the rest
		_ = os.Rename(j.CheckpointXML, j.CheckpointXML+partialSuffix)
	}
	return err
}

func (j *journal) list() error {
	if j.First {
		return j.target.listCheckpoints([]string{j.Checkpoint})
	}
	return j.target.addCheckpoint(j.Checkpoint)
}

// removeFiles takes back what the run wrote.
func (j *journal) removeFiles() error {
	var paths []string
	for _, base := range j.Data {
		p := j.target.path(base)
		paths = append(paths, p, p+partialSuffix, p+chksumSuffix, p+chksumSuffix+partialSuffix)
	}
	for _, p := range j.Side {
		paths = append(paths, p, p+partialSuffix)
	}
	if j.CheckpointXML != "" {
		paths = append(paths, j.CheckpointXML+partialSuffix)
	}
	return errors.Join(removeAll(paths...), syncDir(j.target.dir))
}

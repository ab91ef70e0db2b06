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
	"syscall"

	"golang.org/x/sys/unix"

	"virtnb/format"
)

const (
	dataSuffix    = ".data"
	partialSuffix = ".partial"
	chksumSuffix  = ".chksum"
)

// checkpointFolder is where checkpoints are kept if --checkpointdir is not given.
const checkpointFolder = "checkpoints"

// maxCheckpointList bounds the size of DOMAIN.cpt, far above a real one.
const maxCheckpointList = 16 << 20

// target is the folder that a backup goes into. It is locked: two runs into
// one folder exclude each other.
type target struct {
	dir           string // absolute
	domain        string
	checkpointDir string // absolute
	lock          *os.File
}

// openTarget makes the folder where it is missing, for its owner alone, and
// locks it. The error is errBusy if another run has it.
func openTarget(dir, domain, checkpointDir string) (*target, error) {
	t, err := unlockedTarget(dir, domain, checkpointDir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return nil, fmt.Errorf("target folder: %w", err)
	}
	if t.lock, err = lockFolder(t.dir); err != nil {
		return nil, err
	}
	return t, nil
}

// unlockedTarget is a folder that another run may be at work in.
func unlockedTarget(dir, domain, checkpointDir string) (*target, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	t := &target{dir: dir, domain: domain, checkpointDir: filepath.Join(dir, checkpointFolder)}
	if checkpointDir != "" {
		t.checkpointDir, err = filepath.Abs(checkpointDir)
	}
	return t, err
}

// errBusy means that another run is at work.
var errBusy = errors.New("another backup is running")

// lockFolder locks a folder until the file is closed or the process ends. What
// is locked is the folder itself, so that nothing stays behind.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("target folder: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		f.Close()
		return nil, fmt.Errorf("target folder %s: %w into it; wait for it, or see which with \"fuser -v %[1]s\"", dir, errBusy)
	case errors.Is(err, syscall.EBADF):
		f.Close()
		return lockFile(filepath.Join(dir, ".virtnb.lock"))
	case err != nil:
		f.Close()
		return nil, fmt.Errorf("target folder %s: locking it: %w", dir, err)
	}
	return f, nil
}

// lockFile locks a file: NFS locks nothing that is not open for writing.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w, or the folder cannot be locked: %w", path, errBusy, err)
	}
	return f, nil
}

// close lets others in.
func (t *target) close() {
	if t.lock != nil {
		t.lock.Close()
	}
}

func (t *target) path(base string) string { return filepath.Join(t.dir, base) }

func (t *target) cptFile() string { return t.path(t.domain + ".cpt") }

// checkpoints returns the checkpoints that count, oldest first.
func (t *target) checkpoints() ([]string, error) {
	st, err := os.Stat(t.cptFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && st.Size() > maxCheckpointList {
		err = fmt.Errorf("%s has %d bytes", t.cptFile(), st.Size())
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(t.cptFile())
	}
	if err != nil {
		return nil, fmt.Errorf("Failed to read checkpoint file: [%w]", err)
	}
	var names []string
	if err := json.Unmarshal(text, &names); err != nil {
		return nil, fmt.Errorf("Invalid checkpoint file: [%s: %w]", t.cptFile(), err)
	}
	for _, name := range names {
		if !isCheckpointName(name) {
			return nil, fmt.Errorf("Invalid checkpoint file: [%s: %q is no name of a checkpoint]", t.cptFile(), name)
		}
	}
	return names, nil
}

// explain adds to errNoCheckpoints what a person would look for next: the folder
// of another domain, or of one that has been renamed.
func (t *target) explain(err error) error {
	lists := namesIn(t.dir, "", ".cpt")
	if !errors.Is(err, errNoCheckpoints) || len(lists) == 0 {
		return err
	}
	name := strings.TrimSuffix(lists[0], ".cpt")
	return fmt.Errorf("%w The folder has the chain of domain %s; if %s is that domain under a new name, rename %s.cpt", err, name, t.domain, name)
}

// namesIn lists the files of a folder whose names begin and end like that.
// Of a folder that cannot be read there are none.
func namesIn(dir, prefix, suffix string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	return names
}

// isCheckpointName says whether name can be part of the name of a file.
func isCheckpointName(name string) bool {
	_, ok := format.ParseName("x.inc." + name + dataSuffix)
	return ok
}

// addCheckpoint makes a checkpoint count: it is the last step of a backup.
func (t *target) addCheckpoint(name string) error {
	names, err := t.checkpoints()
	if err != nil {
		return err
	}
	if len(names) > 0 && names[len(names)-1] == name {
		return nil
	}
	return t.listCheckpoints(append(names, name))
}

// listCheckpoints writes the list of the checkpoints that count.
func (t *target) listCheckpoints(names []string) error {
	return writeFile(t.cptFile(), pythonList(names))
}

// pythonList is what Python's json.dumps makes of names.
func pythonList(names []string) []byte {
	quoted := make([]string, len(names))
	for i, n := range names {
		b, _ := json.Marshal(n) // a string cannot fail
		quoted[i] = string(b)
	}
	return []byte("[" + strings.Join(quoted, ", ") + "]")
}

// content is what a target folder has.
type content struct {
	full     bool     // a full of some disk
	data     []string // savesets and images, finished or not
	partials []string // unfinished files
}

func (t *target) content() (c content, err error) {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return c, fmt.Errorf("target folder: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, partialSuffix) {
			c.partials = append(c.partials, name)
		}
		if strings.Contains(name, dataSuffix) {
			c.data = append(c.data, name)
		}
		c.full = c.full || strings.HasSuffix(name, ".full"+dataSuffix)
	}
	return c, nil
}

// onlyWhole says whether all that is there are copies and whole disks under
// the names of diffs, as backups of a domain that is off make them.
func (c content) onlyWhole() bool {
	for _, base := range c.data {
		name, ok := format.ParseName(strings.TrimSuffix(base, chksumSuffix))
		if !ok || name.Level != format.Copy && name.Level != format.Diff {
			return false
		}
	}
	return len(c.data) > 0
}

// writeFile makes a file durable under its name, or leaves what was there.
func writeFile(path string, content []byte) error {
	return writeAtomic(path, func(f *os.File) error {
		_, err := f.Write(content)
		return err
	})
}

// writeAtomic is writeFile for content that fill writes.
func writeAtomic(path string, fill func(*os.File) error) (err error) {
	tmp := path + partialSuffix
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp))
		}
	}()
	if err := errors.Join(fill(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeDurable writes a file that may be there, and makes it durable.
func writeDurable(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(path)))
}

// makeFolder makes a folder for its owner alone.
func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// vacant returns nil if there is nothing at path.
func vacant(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return fmt.Errorf("%s: %w: backups are never overwritten", path, fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}

// syncDir makes the names in a folder durable. File systems that cannot do
// that say so by EINVAL or ENOTSUP.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}

// removeAll removes files that may not be there.
func removeAll(paths ...string) error {
	var errs []error
	for _, p := range paths {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

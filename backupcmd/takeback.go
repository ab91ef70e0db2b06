// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"libvirt.org/go/libvirt"

	"virtnb/internal/qemu"
)

// Taking back what a backup made that failed or died.

// takeBackTime is how long a run that fails may take to clean up.
const takeBackTime = 2 * time.Minute

// activeError is a job that is not ours to end.
type activeError struct{ domain string }

func (e activeError) Error() string {
	return fmt.Sprintf("Detected an active backup operation for running domain. Check with [virsh domjobinfo %s]; "+
		"a job that nobody needs is ended with --killonly", e.domain)
}

// takeBack looks for a run that died in this folder, and for jobs that run.
// We have the lock on the folder.
func (r *run) takeBack(ctx context.Context) error {
	j, err := r.target.readJournal()
	if err != nil {
		return err
	}
	if j == nil {
		_, running, err := r.runningJob()
		if err == nil && running {
			err = activeError{r.o.Domain}
		}
		return err
	}
	if err := r.adopt(j); err != nil {
		return err
	}
	if j.complete() {
		r.log.Warn("The last backup into this folder was complete, but ended before it was entered: entering it.")
		return r.enter(j)
	}
	r.log.Warn("The last backup into this folder did not end: taking back what it left behind.")
	return r.rollBack(ctx, j)
}

// adopt sees whether the journal of a run is ours to follow: it is that of our
// domain, which may have been renamed since, or of one that is no more.
func (r *run) adopt(j *journal) error {
	if j.Domain != r.o.Domain && j.UUID != r.uuid {
		dom, err := r.conn.LookupDomainByUUIDString(j.UUID)
		if err == nil {
			_ = dom.Free()
		}
		if !errors.Is(err, libvirt.ERR_NO_DOMAIN) {
			return fmt.Errorf("folder %s has an unfinished backup of domain %s: run a backup of that domain into it first", r.target.dir, j.Domain)
		}
	}
	t := *r.target
	t.domain = j.Domain // whose list of checkpoints it is about
	j.target = &t
	return nil
}

// rollBack ends the job of a run, deletes its checkpoint and its files. What
// cannot be done stays in the journal for the next run.
func (r *run) rollBack(ctx context.Context, j *journal) error {
	if j.UUID == r.uuid {
		if err := r.endOwnJob(ctx, j); err != nil {
			return err
		}
		if err := r.takeCheckpointBack(ctx, j); err != nil {
			return err
		}
	}
	return errors.Join(j.removeFiles(), r.removeLeftovers(j), j.remove())
}

// endOwnJob ends the job of the run that wrote the journal. Another one is not
// touched.
func (r *run) endOwnJob(ctx context.Context, j *journal) error {
	socket, running, err := r.runningJob()
	switch {
	case err != nil || !running:
		return err
	case socket != j.Socket || j.StartOnly && !r.o.KillOnly:
		return activeError{r.o.Domain}
	}
	r.log.Info("Stopping domain jobs")
	return r.endJob(ctx)
}

// removeLeftovers removes them. Those of another machine, which may be out of
// reach by now, are no reason to fail.
func (r *run) removeLeftovers(j *journal) error {
	if !j.Remote {
		return removeAll(j.leftovers()...)
	}
	if !r.overSSH() {
		return nil
	}
	list := j.Scratch
	if path.IsAbs(j.Socket) {
		list = append(list, j.Socket)
	}
	for _, p := range list {
		if err := r.host.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.log.Debug(fmt.Sprintf("%s may be left on %s: %v", p, r.host, err))
		}
	}
	return nil
}

// leftovers are files that QEMU makes for the job, and removes if it lives.
func (j *journal) leftovers() []string {
	list := j.Scratch
	if st, err := os.Lstat(j.Socket); err == nil && st.Mode().Type() == os.ModeSocket {
		list = append(list, j.Socket)
	}
	return list
}

// takeCheckpointBack deletes the checkpoint of a run whose data does not count.
// Its bitmap is merged into that of its parent, which so has all changes again.
func (r *run) takeCheckpointBack(ctx context.Context, j *journal) error {
	if j.Checkpoint == "" || !j.Begun {
		return nil
	}
	active, err := r.isActive()
	if err != nil {
		return err
	}
	if active {
		err = r.deleteCheckpoint(j.Checkpoint)
	} else {
		err = r.mergeOffline(ctx, j)
	}
	if err == nil {
		return nil
	}
	if !r.stillThere(j.Checkpoint) {
		return nil
	}
	// The bitmaps are broken. Without the checkpoint's one, that of its parent
	// lacks changes, so neither may be gone on from.
	r.log.Warn(fmt.Sprintf("Checkpoint [%s] cannot be merged into its parent: %v. The next backup saves whole disks", j.Checkpoint, err))
	for _, name := range []string{j.Checkpoint, j.Parent} {
		if name == "" {
			continue
		}
		if err := r.forgetCheckpoint(name); err != nil {
			return err
		}
	}
	return j.target.disown(j.Parent)
}

func (r *run) stillThere(checkpoint string) bool {
	known, err := r.listCheckpoints()
	if err != nil {
		return true
	}
	for _, k := range known {
		if k.Name == checkpoint {
			return true
		}
	}
	return false
}

// mergeOffline does to the images of a domain that is off what libvirt does
// when a checkpoint of a running one is deleted.
func (r *run) mergeOffline(ctx context.Context, j *journal) error {
	for _, d := range r.xml.Disks() {
		if d.Type == "volume" {
			var err error
			if d.Path, err = r.volumePath(d.Pool, d.Volume); err != nil {
				return fmt.Errorf("disk %s: %w", d.Target, err)
			}
		}
		if d.Path == "" || d.Format != "qcow2" {
			continue
		}
		if err := r.mergeBitmap(ctx, d.Path, d.Format, j); err != nil {
			return fmt.Errorf("disk %s: %w", d.Target, err)
		}
	}
	return r.forgetCheckpoint(j.Checkpoint)
}

func (r *run) mergeBitmap(ctx context.Context, path, format string, j *journal) error {
	_, info, err := qemu.Info(ctx, r.host, path, format)
	if err != nil {
		return err
	}
	if _, found := info.Bitmap(j.Checkpoint); !found {
		return nil
	}
	if _, found := info.Bitmap(j.Parent); found {
		if err := qemu.BitmapMerge(ctx, r.host, path, format, j.Checkpoint, j.Parent); err != nil {
			return err
		}
		if err := qemu.BitmapEnable(ctx, r.host, path, format, j.Parent); err != nil {
			return err
		}
	}
	return qemu.BitmapRemove(ctx, r.host, path, format, j.Checkpoint)
}

// failed takes back what the run made, and says what became of it.
func (r *run) failed(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), takeBackTime)
	defer cancel()
	r.log.Error("Cleanup: Stopping backup job")
	if err := r.rollBack(ctx, r.journal); err != nil {
		return fmt.Errorf("%w. What it made could not be taken back now: %w. The next backup into %s does that; restore points made before are as they were",
			cause, err, r.target.dir)
	}
	return fmt.Errorf("%w. Nothing of this backup was kept; restore points made before are as they were, and the next backup goes on from them", cause)
}

// kill ends a running job, whoever began it, and what belongs to it.
func (r *run) kill(ctx context.Context) error {
	r.log.Info("Stopping backup job")
	_, running, err := r.runningJob()
	if err != nil {
		return err
	}
	if running {
		r.log.Info("Stopping domain jobs")
		err = r.endJob(ctx)
	} else {
		err = fmt.Errorf("domain %s has no running backup job", r.o.Domain)
	}
	if r.target.lock == nil { // the run that has it takes its own back
		return err
	}
	j, readErr := r.target.readJournal()
	if readErr != nil || j == nil || j.Domain != r.o.Domain {
		return errors.Join(err, readErr)
	}
	if j.complete() {
		return errors.Join(err, r.enter(j))
	}
	return errors.Join(err, r.rollBack(ctx, j))
}

// enter makes a complete backup count, and then lets go of what it replaces.
// What goes wrong with that is no failure of the backup, which counts by then.
func (r *run) enter(j *journal) error {
	if err := j.finish(); err != nil {
		return err
	}
	crashPoint("entered")
	if j.UUID == r.uuid { // else it is of a domain that is no more
		r.discardRetired(j)
	}
	if j.Checkpoint != "" && (len(j.Retired) > 0 || j.Parent == "") {
		r.forgetSaved(j)
	}
	if err := errors.Join(r.removeLeftovers(j), j.remove()); err != nil {
		r.log.Warn(fmt.Sprintf("The backup is complete, but not all that it needed meanwhile can be removed: %v", err))
	}
	return nil
}

func (r *run) discardRetired(j *journal) {
	for _, name := range j.Retired {
		if err := r.discardCheckpoint(name); err != nil {
			r.log.Warn(fmt.Sprintf("Checkpoint [%s] of an earlier chain cannot be removed: %v", name, err))
		}
	}
}

// forgetSaved removes the saved configurations of checkpoints that a new chain
// replaces: with --checkpointdir, they are beside its own.
func (r *run) forgetSaved(j *journal) {
	names, err := j.target.checkpoints()
	if err != nil {
		return
	}
	keep := map[string]bool{}
	for _, n := range names {
		keep[n+".xml"] = true
	}
	for _, name := range namesIn(j.target.checkpointDir, checkpointPrefix, ".xml") {
		if path := filepath.Join(j.target.checkpointDir, name); !keep[name] {
			r.log.Debug("Remove checkpoint file: " + path)
			_ = removeAll(path)
		}
	}
}

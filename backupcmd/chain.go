// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"libvirt.org/go/libvirt"

	"virtnb/internal/domainxml"
)

// What libvirt knows of checkpoints, against what the set says.
//
// A checkpoint is ours if its name, its time of creation and its description,
// which has something random, are those that the set saved: every set calls its
// first checkpoint virtnbdbackup.0, so the name alone can be that of another set,
// whose bitmap lacks changes that this one needs. Where the newest checkpoint of the set is not the domain's any more,
// disks are saved whole, inside of the chain.

// listCheckpoints returns all checkpoints of the domain, parents first.
func (r *run) listCheckpoints() ([]domainxml.Checkpoint, error) {
	var known []domainxml.Checkpoint
	err := r.libvirt("listing checkpoints", func(dom *libvirt.Domain) error {
		known = nil
		list, err := dom.ListAllCheckpoints(libvirt.DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL)
		if err != nil {
			return err
		}
		for i := range list {
			defer list[i].Free()
			text, err := list[i].GetXMLDesc(libvirt.DOMAIN_CHECKPOINT_XML_NO_DOMAIN)
			if err != nil {
				return err
			}
			info, err := domainxml.ParseCheckpoint([]byte(text))
			if err != nil {
				return err
			}
			known = append(known, info)
		}
		return nil
	})
	return known, err
}

// errForeign means that somebody else's checkpoints are in the domain's chain.
var errForeign = errors.New("Foreign checkpoint found")

// checkForeign refuses domains with checkpoints of others: the changes since
// such a one are in no bitmap of ours alone.
func checkForeign(known []domainxml.Checkpoint) error {
	for _, c := range known {
		if !strings.Contains(c.Name, checkpointPrefix) {
			return fmt.Errorf("%w: [%s]. This checkpoint has not been created by this utility. "+
				"To ensure backup chain consistency, remove existing checkpoints "+
				"and start a new backup chain by creating a full backup", errForeign, c.Name)
		}
	}
	return nil
}

// chain is what an online backup goes on from.
type chain struct {
	valid  bool                  // the set's newest checkpoint is the domain's
	parent *domainxml.Checkpoint // that checkpoint, if valid
	stray  []string              // checkpoints behind it that count nowhere, newest first
	others []string              // other checkpoints with our prefix, newest first
}

// findChain compares what libvirt has with the checkpoints of the set.
func (r *run) findChain(known []domainxml.Checkpoint, checkpoints []string) chain {
	var c chain
	behind := map[string]bool{} // descendants of the parent
	for i := range known {
		k := &known[i]
		switch {
		case r.plan.parent != "" && k.Name == r.plan.parent && r.isOurs(k):
			c.valid, c.parent = true, k
			behind[k.Name] = true
		case c.valid && behind[k.Parent] && !slices.Contains(checkpoints, k.Name):
			behind[k.Name] = true
			c.stray = append(c.stray, k.Name)
		case !slices.Contains(checkpoints, k.Name) || r.plan.parent == "" || !r.isOurs(k):
			c.others = append(c.others, k.Name)
		}
	}
	slices.Reverse(c.stray)
	slices.Reverse(c.others)
	return c
}

// isOurs says whether a checkpoint of the domain is the one that this set made.
func (r *run) isOurs(k *domainxml.Checkpoint) bool {
	saved, err := r.target.savedCheckpoint(k.Name)
	if err != nil {
		r.log.Debug(fmt.Sprintf("Checkpoint [%s] cannot be told from others of its name: %v", k.Name, err))
		return false
	}
	return !k.Created.IsZero() && saved.Created.Equal(k.Created) && saved.Description == k.Description
}

// maxCheckpointXML bounds the size of a saved checkpoint, which embeds the
// domain's configuration.
const maxCheckpointXML = 16 << 20

func (t *target) checkpointFile(name string) string {
	return filepath.Join(t.checkpointDir, name+".xml")
}

// savedCheckpointText reads the configuration of a checkpoint of the set. It may
// have been saved when --checkpointdir was not given.
func (t *target) savedCheckpointText(name string) ([]byte, error) {
	path := t.checkpointFile(name)
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		path = filepath.Join(t.dir, checkpointFolder, name+".xml")
		st, err = os.Stat(path)
	}
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxCheckpointXML {
		return nil, fmt.Errorf("%s is no regular file of a sane size", path)
	}
	return os.ReadFile(path)
}

// lostSuffix is behind the names of checkpoints' files whose bitmaps lack changes.
const lostSuffix = ".lost"

// disown puts the configuration of a checkpoint aside, without which it is not
// the set's any more: its bitmaps, which may be there, are not gone on from.
func (t *target) disown(name string) error {
	if name == "" {
		return nil
	}
	for _, path := range []string{t.checkpointFile(name), filepath.Join(t.dir, checkpointFolder, name+".xml")} {
		if err := os.Rename(path, path+lostSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (t *target) savedCheckpoint(name string) (info domainxml.Checkpoint, err error) {
	text, err := t.savedCheckpointText(name)
	if err != nil {
		return info, err
	}
	return domainxml.ParseCheckpoint(text)
}

// redefine tells libvirt of checkpoints that it lost: those of a domain that
// was undefined, migrated or restored. Only the last one is needed; where
// that fails, disks are saved whole.
func (r *run) redefine(known []domainxml.Checkpoint, checkpoints []string) {
	r.log.Info(fmt.Sprintf("Loading checkpoint list from: [%s]", r.target.checkpointDir))
	for _, name := range checkpoints {
		if slices.ContainsFunc(known, func(k domainxml.Checkpoint) bool { return k.Name == name }) {
			r.log.Debug(fmt.Sprintf("Checkpoint [%s] found", name))
			continue
		}
		text, err := r.target.savedCheckpointText(name)
		if errors.Is(err, fs.ErrNotExist) {
			r.log.Debug(fmt.Sprintf("Checkpoint [%s] was not saved in [%s]", name, r.target.checkpointDir))
			continue
		}
		r.log.Info(fmt.Sprintf("Redefine missing checkpoint: [%s]", name))
		if err == nil {
			err = r.redefineOne(text)
		}
		if err != nil && name == checkpoints[len(checkpoints)-1] {
			r.log.Warn(fmt.Sprintf("Redefining checkpoint failed: [%s]: %v", name, err))
		} else if err != nil {
			r.log.Info(fmt.Sprintf("Checkpoint [%s] is not redefined, and is not needed: %v", name, err))
		}
	}
}

// redefineOne defines a checkpoint, without a parent where libvirt does not
// have that any more.
func (r *run) redefineOne(text []byte) error {
	define := func(xml []byte) error {
		return r.libvirt("redefining a checkpoint", func(dom *libvirt.Domain) error {
			c, err := dom.CreateCheckpointXML(string(xml), libvirt.DOMAIN_CHECKPOINT_CREATE_REDEFINE|libvirt.DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE)
			if err != nil {
				return err
			}
			return c.Free()
		})
	}
	err := define(text)
	if err == nil {
		return nil
	}
	alone, xmlErr := domainxml.WithoutParent(text)
	if xmlErr != nil {
		return err
	}
	return define(alone)
}

// deleteCheckpoint deletes a checkpoint of the domain, by which its bitmap is
// merged into that of its parent. One that is not there is no error. Where the
// bitmap is broken, there is nothing to merge and libvirt forgets it only.
func (r *run) deleteCheckpoint(name string) error {
	r.log.Debug(fmt.Sprintf("Attempt to remove checkpoint: [%s]", name))
	return r.libvirt("removing checkpoint "+name, func(dom *libvirt.Domain) error {
		c, err := dom.CheckpointLookupByName(name, 0)
		if errors.Is(err, libvirt.ERR_NO_DOMAIN_CHECKPOINT) {
			return nil
		}
		if err != nil {
			return err
		}
		defer c.Free()
		return c.Delete(0)
	})
}

// forgetCheckpoint deletes what libvirt knows of a checkpoint, not its bitmaps.
func (r *run) forgetCheckpoint(name string) error {
	return r.libvirt("forgetting checkpoint "+name, func(dom *libvirt.Domain) error {
		c, err := dom.CheckpointLookupByName(name, 0)
		if errors.Is(err, libvirt.ERR_NO_DOMAIN_CHECKPOINT) {
			return nil
		}
		if err != nil {
			return err
		}
		defer c.Free()
		return c.Delete(libvirt.DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
	})
}

// discardCheckpoint deletes a checkpoint that nobody goes on from.
func (r *run) discardCheckpoint(name string) error {
	err := r.deleteCheckpoint(name)
	if err == nil {
		return nil
	}
	r.log.Warn(fmt.Sprintf("Checkpoint [%s] cannot be removed: %v. Removing what libvirt knows of it; its bitmap may stay in the images", name, err))
	return r.forgetCheckpoint(name)
}

// makeRoom sees to it that the new checkpoint's name is free, and returns the
// checkpoints that can go once the new one counts. It begins to matter to other
// chains here, so it comes last before the job.
func (r *run) makeRoom(ctx context.Context, known []domainxml.Checkpoint, c chain) (retired []string, err error) {
	for _, name := range c.stray {
		r.log.Warn(fmt.Sprintf("Removing checkpoint [%s], of which there is no backup: one that failed left it behind", name))
		if err := r.deleteCheckpoint(name); err != nil {
			if err := r.abandonStray(name, err); err != nil {
				return nil, err
			}
		}
	}
	if !r.plan.creates {
		return nil, nil
	}
	for _, k := range known {
		if err := waitForSecondAfter(ctx, k.Created); err != nil {
			return nil, err
		}
	}
	for _, name := range r.staleBitmaps(known) {
		if err := r.removeStaleBitmaps(name); err != nil {
			return nil, err
		}
	}
	for _, name := range c.others {
		if name != r.plan.checkpoint {
			retired = append(retired, name)
		} else if err := r.discardCheckpoint(name); err != nil {
			return nil, err
		}
	}
	return retired, nil
}

// abandonStray lets go of a checkpoint whose bitmaps are broken, and with it of
// what the one before it knows: that may lack the changes since.
func (r *run) abandonStray(name string, why error) error {
	if err := r.forgetCheckpoint(name); err != nil {
		return errors.Join(why, err)
	}
	r.chain.valid = false
	for i := range r.disks {
		r.saveWhole(&r.disks[i], fmt.Sprintf("checkpoint %s cannot be merged into that before it: %v", name, why))
	}
	return nil
}

// waitForSecondAfter waits until a checkpoint that is made now is younger than
// one of that time: those that virtnbdbackup makes have no other mark, and it
// has a grain of a second.
func waitForSecondAfter(ctx context.Context, created time.Time) error {
	wait := time.Until(created.Add(time.Second))
	if wait <= 0 || wait > 2*time.Second {
		return nil
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

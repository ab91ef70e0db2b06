// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"fmt"

	"virtnb/internal/qemu"
)

// A domain that is off is read by qemu-nbd, which also tells what a bitmap in
// the image notes as changed. Libvirt makes no checkpoints then, so such a
// backup is a copy, or has changes since the last checkpoint under the name of
// a diff: the next one of the running domain goes on from that checkpoint.

func (r *run) saveOffline(ctx context.Context) (err error) {
	if err := r.findOfflineChanges(ctx); err != nil {
		return err
	}
	if done, err := r.estimate(ctx); done || err != nil {
		return err
	}
	if saved, err := r.dom.HasManagedSaveImage(0); err == nil && saved {
		r.log.Warn("The domain has a saved state, which is not part of the backup: its disks are as after a power cut")
	}
	r.journal = r.newJournal()
	if err := r.journal.write(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = r.failed(err)
		}
	}()
	return r.copyAndCommit(ctx)
}

// findOfflineChanges marks the disks whose images cannot tell what changed
// since the parent checkpoint.
func (r *run) findOfflineChanges(ctx context.Context) error {
	if r.plan.parent == "" {
		return nil
	}
	known, err := r.listCheckpoints()
	if err != nil {
		return err
	}
	if err := checkForeign(known); err != nil {
		return err
	}
	checkpoints, err := r.target.checkpoints()
	if err != nil {
		return err
	}
	r.chain = r.findChain(known, checkpoints)
	if len(r.chain.stray) > 0 { // changes are in their bitmaps as well
		r.log.Warn(fmt.Sprintf("Checkpoint [%s], of which there is no backup, follows [%s]", r.chain.stray[0], r.plan.parent))
		r.chain.valid = false
	}
	r.findNewDisks()
	for i := range r.disks {
		if err := r.findOfflineBitmap(ctx, &r.disks[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) findOfflineBitmap(ctx context.Context, d *disk) error {
	if d.whole {
		return nil
	}
	_, info, err := qemu.Info(ctx, r.host, d.Path, d.Format)
	if err != nil {
		return fmt.Errorf("disk %s: %w", d.Target, err)
	}
	switch b, found := info.Bitmap(r.plan.parent); {
	case !found:
		r.saveWhole(d, fmt.Sprintf("its image has no bitmap %s", r.plan.parent))
	case b.InUse():
		r.saveWhole(d, fmt.Sprintf("the bitmap %s in its image was not closed: the domain crashed", r.plan.parent))
	}
	return nil
}

// bitmapContext is the NBD meta context that says what of a disk has changed, ""
// where all of it is saved.
func (r *run) bitmapContext(d disk) string {
	switch {
	case r.plan.parent == "" || d.whole:
		return ""
	case r.plan.offline:
		return "qemu:dirty-bitmap:" + r.plan.parent
	}
	return "qemu:dirty-bitmap:backup-" + d.Target
}

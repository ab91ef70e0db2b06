// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"libvirt.org/go/libvirt"

	"virtnb/internal/domainxml"
)

// Bitmaps without a checkpoint. Where libvirt forgot a checkpoint and not its
// bitmaps, in images or in QEMU, those keep its name from being used again. Libvirt
// removes them where it is told of such a checkpoint first, and that works for
// ones that a crash left inconsistent, too.

// isStaleBitmap says whether a job cannot begin because a bitmap of the new
// checkpoint's name is there. Libvirt has no code for it; the words are those
// of QEMU, which speaks one language.
func isStaleBitmap(err error) bool {
	return err != nil && strings.Contains(err.Error(), "Bitmap already exists")
}

// staleBitmaps lists the bitmaps in the images that have names of ours, and
// checkpoints that libvirt does not know.
func (r *run) staleBitmaps(known []domainxml.Checkpoint) (names []string) {
	for _, d := range r.disks {
		for _, name := range d.bitmaps {
			is := func(k domainxml.Checkpoint) bool { return k.Name == name }
			if strings.HasPrefix(name, checkpointPrefix) && domainxml.CheckCheckpoint(name) == nil &&
				!slices.ContainsFunc(known, is) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// removeStaleBitmaps removes the bitmaps of the running domain's disks that
// have the name of a checkpoint which libvirt does not know.
func (r *run) removeStaleBitmaps(name string) error {
	r.log.Info(fmt.Sprintf("Removing bitmaps [%s], which belong to no checkpoint of the domain any more", name))
	for _, d := range r.disks {
		if !d.tracked() {
			continue
		}
		if err := r.removeStaleBitmap(name, d.Target); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) removeStaleBitmap(name, target string) error {
	text, err := domainxml.CheckpointXML(domainxml.Checkpoint{
		Name: name, Created: time.Now(), Disks: []domainxml.CheckpointDisk{{Name: target}},
	})
	if err == nil {
		text, err = domainxml.WithDomain([]byte(text), r.xml)
	}
	if err != nil {
		return err
	}
	err = r.libvirt("redefining checkpoint "+name, func(dom *libvirt.Domain) error {
		c, err := dom.CreateCheckpointXML(text, libvirt.DOMAIN_CHECKPOINT_CREATE_REDEFINE)
		if err != nil {
			return err
		}
		return c.Free()
	})
	if err != nil {
		return err
	}
	if err := r.deleteCheckpoint(name); err != nil {
		r.log.Debug(fmt.Sprintf("Disk [%s] has no bitmap [%s]: %v", target, name, err))
		return r.forgetCheckpoint(name)
	}
	return nil
}

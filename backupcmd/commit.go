// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"fmt"

	"libvirt.org/go/libvirt"
)

// commit gives the savesets their names, and then makes the backup count.
func (r *run) commit(out output) error {
	if err := out.commit(); err != nil {
		return err
	}
	crashPoint("named")
	return r.enter(r.journal)
}

// saveCheckpointXML saves the configuration of the new checkpoint, for which
// the name of the file stays free until the backup counts.
func (r *run) saveCheckpointXML() error {
	if !r.plan.creates {
		return nil
	}
	r.log.Info("Started backup job with checkpoint, saving information.")
	path := r.target.checkpointFile(r.plan.checkpoint)
	r.log.Info(fmt.Sprintf("Saving checkpoint config to: [%s]", path))
	text, err := r.checkpointText(r.plan.checkpoint)
	if err != nil {
		return err
	}
	if err := makeFolder(r.target.checkpointDir); err != nil {
		return err
	}
	return writeDurable(path+partialSuffix, []byte(text))
}

// checkpointText is the configuration of a checkpoint, with the sizes of its
// bitmaps where libvirt can tell them.
func (r *run) checkpointText(name string) (text string, err error) {
	err = r.libvirt("reading checkpoint "+name, func(dom *libvirt.Domain) error {
		c, err := dom.CheckpointLookupByName(name, 0)
		if err != nil {
			return err
		}
		defer c.Free()
		if text, err = c.GetXMLDesc(libvirt.DOMAIN_CHECKPOINT_XML_SIZE); err == nil {
			return nil
		}
		r.log.Debug(fmt.Sprintf("Failed to get checkpoint info with size information: [%v]", err))
		text, err = c.GetXMLDesc(0)
		return err
	})
	return text, err
}

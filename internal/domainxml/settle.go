// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"fmt"
)

// Settle makes the XML of a recovered domain that runs from its backup no more:
// disks, by target, are where these qcow2 images are, which have no backing
// images. What Recover did for the time of the recovery is undone. The others
// stay as they are.
func Settle(d *Domain, images map[string]string) ([]byte, error) {
	doc := d.doc.Copy()
	for _, e := range children(child(doc.Root(), "devices"), "disk") {
		path, ok := images[attr(child(e, "target"), "dev")]
		if !ok {
			continue
		}
		if err := checkPath("image", path); err != nil {
			return nil, fmt.Errorf("disk %s: %w", attr(child(e, "target"), "dev"), err)
		}
		dropChain(e)
		setDriver(e, "qcow2")
		setSource(e, RestoredDisk{Path: path, Format: "qcow2"}, false)
		removeAttrs(child(e, "driver"), "error_policy", "rerror_policy")
	}
	return writeDocument(doc)
}

// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"virtnb/internal/domainxml"
)

// promoted says, of a disk as the running machine has it, whether it needs the
// backup no more: it has no backing image, and is where it is to be.
func (d Disk) promoted(now domainxml.Disk, copied bool) bool {
	if copied {
		return d.Copy != "" && now.Path == d.Copy && !now.HasBacking()
	}
	return now.Path == d.Overlay && !now.HasBacking()
}

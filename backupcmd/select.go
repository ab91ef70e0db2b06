// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"errors"
	"fmt"

	"virtnb/internal/domainxml"
	"virtnb/internal/qemu"
)

// errNoDisks means that the options leave no disk to save.
var errNoDisks = errors.New("Unable to detect disks suitable for backup.")

// selectDisks applies the options to the domain's disks, and logs what becomes
// of those that are left out. A disk that cannot be saved and is not excluded
// is an error in the log, and so in the exit status, which does not keep the
// others from being saved.
func (r *run) selectDisks(raw, offline bool) ([]disk, error) {
	decisions := domainxml.Select(r.xml.Disks(), domainxml.SelectOptions{
		Include: r.o.Include, Exclude: r.o.Exclude, Raw: raw, Network: raw && !offline, Volume: r.volumePath,
	})
	var chosen []disk
	for _, d := range decisions {
		if d.Message != "" {
			r.log.Log(context.Background(), d.Level, d.Message)
		}
		if d.Chosen {
			d.Disk.Path = d.Path
			chosen = append(chosen, disk{Disk: d.Disk})
		}
	}
	if len(chosen) == 0 {
		return nil, errNoDisks
	}
	return chosen, nil
}

// findBitmaps notes the bitmaps in the images, and marks the disks whose images
// can have none: old ones of qcow2, and those of other formats. An image that cannot be looked at is taken
// for one that can.
func (r *run) findBitmaps(ctx context.Context) {
	for i := range r.disks {
		d := &r.disks[i]
		hint := ""
		switch {
		case d.raw():
		case d.Format != "qcow2":
			d.old, hint = true, "format "+d.Format
		case d.Path != "":
			_, info, err := qemu.Info(ctx, r.host, d.Path, d.Format)
			for _, b := range info.Specific.QCOW2.Bitmaps {
				d.bitmaps = append(d.bitmaps, b.Name)
			}
			if err == nil && info.Specific.QCOW2.Compat == "0.10" {
				d.old, hint = true, "qcow2 with compat=0.10; \"qemu-img amend -o compat=1.1\" makes it able to, while the domain is off"
			}
		}
		if d.old {
			r.log.Warn(fmt.Sprintf("Disk [%s] is saved whole each time: its image cannot note what changes (%s)", d.Target, hint))
		}
	}
}

// volumePath asks libvirt where a volume of a storage pool is.
func (r *run) volumePath(pool, volume string) (string, error) {
	p, err := r.conn.LookupStoragePoolByName(pool)
	if err != nil {
		return "", err
	}
	defer p.Free()
	v, err := p.LookupStorageVolByName(volume)
	if err != nil {
		return "", err
	}
	defer v.Free()
	return v.GetPath()
}

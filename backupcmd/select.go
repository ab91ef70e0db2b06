// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"errors"

	"virtnb/internal/domainxml"
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

// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"libvirt.org/go/libvirt"

	"virtnb/format"
	"virtnb/internal/domainxml"
	"virtnb/internal/nbd"
)

// estimate does what --printonly and --threshold ask for. It says whether that
// is all there is to do: with --printonly it always is.
func (r *run) estimate(ctx context.Context) (done bool, err error) {
	changes := r.plan.level == format.Inc || r.plan.level == format.Diff
	threshold := r.o.Threshold > 0 && changes && !r.plan.offline
	if !r.o.PrintOnly && !threshold {
		return false, nil
	}
	size, err := r.estimatedSize(ctx)
	if err != nil {
		return false, err
	}
	if r.o.PrintOnly {
		r.log.Info(fmt.Sprintf("Estimated checkpoint backup size: [%d] Bytes", size))
		r.ui.estimate(size)
		return true, nil
	}
	if size < r.o.Threshold {
		r.log.Info(fmt.Sprintf("Backup size [%d] does not meet required threshold [%d], skipping backup.", size, r.o.Threshold))
		return true, nil
	}
	return false, nil
}

// estimatedSize is what the disks have changed since the parent checkpoint, or
// have allocated where they are saved whole, in bytes.
func (r *run) estimatedSize(ctx context.Context) (size int64, err error) {
	var changed []domainxml.CheckpointDisk
	if r.chain.valid && !r.plan.offline && slices.ContainsFunc(r.disks, func(d disk) bool { return !d.whole }) {
		text, err := r.checkpointText(r.plan.parent)
		if err != nil {
			return 0, err
		}
		c, err := domainxml.ParseCheckpoint([]byte(text))
		if err != nil {
			return 0, err
		}
		changed = c.Disks
	}
	for number, d := range r.disks {
		if r.bitmapContext(d) != "" && r.plan.offline {
			n, err := r.changedOffline(ctx, d, number)
			if err != nil {
				return 0, err
			}
			size += n
			continue
		}
		i := slices.IndexFunc(changed, func(c domainxml.CheckpointDisk) bool { return c.Name == d.Target })
		if i >= 0 && !d.whole {
			size += changed[i].Size
			continue
		}
		n, err := r.allocated(d)
		if err != nil {
			return 0, err
		}
		size += n
	}
	return size, nil
}

// changedOffline is what a disk of a domain that is off has changed: libvirt
// knows only of running ones.
func (r *run) changedOffline(ctx context.Context, d disk, number int) (n int64, err error) {
	server, err := r.serveOffline(ctx, d, number)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	client, err := nbd.Connect(ctx, r.nbdOptions(server.reach, d))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	return (&source{r: r, disk: d, client: client}).count(ctx)
}

func (r *run) allocated(d disk) (n int64, err error) {
	err = r.libvirt("asking for the size of disk "+d.Target, func(dom *libvirt.Domain) error {
		info, err := dom.GetBlockInfo(d.Target, 0)
		if err == nil {
			n = int64(info.Allocation)
		}
		return err
	})
	return n, err
}

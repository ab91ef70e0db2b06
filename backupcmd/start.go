// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"fmt"

	"libvirt.org/go/libvirt"
)

// start starts a domain that is off, where --start-domain asks for it: paused,
// so that the guest does not run, and only for as long as we are connected.
func (r *run) start(ctx context.Context) error {
	active, err := r.isActive()
	if err != nil || active || !r.o.StartDomain || ctx.Err() != nil {
		return err
	}
	saved, err := r.dom.HasManagedSaveImage(0)
	if err != nil {
		return err
	}
	if saved {
		return fmt.Errorf("domain %s has a saved state, which a start would use up: start it yourself, or back it up as it is, without --start-domain", r.o.Domain)
	}
	r.log.Info("Starting domain in paused state")
	if err := r.dom.CreateWithFlags(libvirt.DOMAIN_START_PAUSED | libvirt.DOMAIN_START_AUTODESTROY); err != nil {
		return fmt.Errorf("starting the domain: %w", err)
	}
	r.started = true
	return nil
}

// stopStarted ends a domain that start started. It is told to end by itself, so
// that QEMU writes its bitmaps into the images.
func (r *run) stopStarted() {
	if !r.started {
		return
	}
	r.log.Info("Stopping the domain that was started for the backup")
	if err := r.dom.DestroyFlags(libvirt.DOMAIN_DESTROY_GRACEFUL); err != nil {
		r.log.Warn(fmt.Sprintf("The domain that was started for the backup does not end: %v", err))
	}
}

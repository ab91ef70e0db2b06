// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"libvirt.org/go/libvirt"

	"virtnb/internal/virt"
)

// A job begins while the guest's file systems are frozen, where its agent does
// that, and while the domain is suspended, where --pause asks for it. Freezing
// comes before suspending: the agent of a suspended guest answers nothing.

// thawTime is how long the guest's agent may take to thaw.
const thawTime = 2 * time.Minute

// quiesce calms the guest. What it returns undoes all of it, and must be called.
func (r *run) quiesce(ctx context.Context) (undo func(), err error) {
	paused, err := r.isPaused()
	if err != nil {
		return nil, err
	}
	thaw := func() {}
	if !paused {
		thaw = r.freeze(ctx)
	}
	if !r.o.Pause || paused {
		return thaw, nil
	}
	r.log.Info("Suspending domain for the start of the backup job.")
	if err := r.dom.Suspend(); err != nil {
		thaw()
		return nil, fmt.Errorf("suspending the domain: %w", err)
	}
	return func() {
		if err := r.dom.Resume(); err != nil {
			r.log.Error(fmt.Sprintf("The domain stays suspended, resume it with \"virsh resume %s\": %v", r.o.Domain, err))
		}
		thaw()
	}, nil
}

func (r *run) isPaused() (bool, error) {
	state, _, err := r.dom.GetState()
	return state == libvirt.DOMAIN_PAUSED, err
}

// freeze freezes the guest's file systems, and returns what thaws them. Without
// an agent the backup is as after a power cut, which is a warning.
func (r *run) freeze(ctx context.Context) (thaw func()) {
	r.log.Debug("Attempting to freeze filesystems.")
	ctx, cancel := context.WithTimeoutCause(ctx, r.o.FreezeTimeout, fmt.Errorf("no answer within %v", r.o.FreezeTimeout))
	defer cancel()
	err := virt.Freeze(ctx, r.dom, r.o.FreezeMountpoints)
	if err != nil {
		if errors.Is(err, libvirt.ERR_AGENT_UNRESPONSIVE) || ctx.Err() != nil {
			r.log.Warn("Guest agent is not responding")
		}
		r.log.Warn(fmt.Sprintf("Filesystems are not frozen, the backup will be as after a power cut: %v", err))
		return func() {}
	}
	r.log.Info("Freezed filesystems.")
	return func() {
		r.log.Debug("Attempting to thaw filesystems.")
		ctx, cancel := context.WithTimeoutCause(context.Background(), thawTime, fmt.Errorf("no answer within %v", thawTime))
		defer cancel()
		if err := virt.Thaw(ctx, r.dom); err != nil {
			r.log.Warn(fmt.Sprintf("Filesystems may still be frozen, thaw them with \"virsh domfsthaw %s\": %v", r.o.Domain, err))
			return
		}
		r.log.Info("Thawed filesystems.")
	}
}

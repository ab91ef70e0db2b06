// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"libvirt.org/go/libvirt"

	"virtnb/internal/host"
	"virtnb/internal/qemu"
	"virtnb/internal/virt"
)

// Resume brings a recovery back after a failure, with all that the guest wrote:
// the server, then the machine if it is off, then the guest if it is stopped.
func Resume(ctx context.Context, o Options) error {
	s, unlock, err := o.open()
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.wantUsable(); err != nil {
		return err
	}
	did, err := bringBack(ctx, s, o)
	if err != nil {
		return err
	}
	if o.JSON {
		return writeJSON(o.Out, map[string]any{"name": s.Name, "state": "running", "actions": did})
	}
	if len(did) == 0 {
		_, err = fmt.Fprintf(o.Out, "%s runs, nothing was to be done\n", s.Name)
		return err
	}
	for _, what := range did {
		fmt.Fprintln(o.Out, what)
	}
	_, err = fmt.Fprintf(o.Out, "%s runs\n", s.Name)
	return err
}

// wantUsable says whether there is something to go on with.
func (s *State) wantUsable() error {
	switch s.Phase {
	case Running, Promoting:
		return nil
	case Starting:
		return fmt.Errorf("the boot of %s did not come to its end, the guest has not run: virtnb discard %[1]s, and boot again", s.Name)
	}
	return fmt.Errorf("%s is being discarded: virtnb discard %[1]s", s.Name)
}

func bringBack(ctx context.Context, s *State, o Options) ([]string, error) {
	if s.Plain {
		return restorePlain(ctx, s)
	}
	m, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	defer m.close()
	return restore(ctx, s, m, o)
}

// restore does what is needed for the guest to run, and tells what it did.
func restore(ctx context.Context, s *State, m *machine, o Options) (did []string, err error) {
	did = []string{}
	started, err := serveAgain(ctx, s)
	if err != nil {
		return nil, err
	}
	if started {
		did = append(did, "the server of the backup was started again")
	}
	off, err := m.off()
	if err != nil {
		return nil, err
	}
	if off {
		if err := startAgain(ctx, s, m); err != nil {
			return nil, err
		}
		did = append(did, "the machine was started again")
	}
	tellToWait(s, m, o.ErrOut)
	state, err := virt.StateOf(m.dom)
	if err != nil {
		return nil, err
	}
	if state.Running() {
		return did, nil
	}
	if err := m.goOn(ctx, state); err != nil {
		return nil, err
	}
	if !off {
		did = append(did, "the guest, which was "+state.String()+", goes on")
	}
	return did, nil
}

// How often a guest is let run that an I/O error stops again, and how long it
// takes to know. QEMU's client of a server that was gone for long fails one more
// request before it connects.
const (
	resumeTries = 8
	resumeWatch = 300 * time.Millisecond
)

// goOn lets the guest run. What an I/O error stopped is tried again at once.
func (m *machine) goOn(ctx context.Context, was virt.State) error {
	for range resumeTries {
		if err := m.resume(); err != nil {
			return err
		}
		if !ioError(was) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(resumeWatch):
		}
		now, err := virt.StateOf(m.dom)
		if err != nil || now.Running() {
			return err
		}
	}
	return errors.New("I/O errors stop the guest again and again: is the file system of its overlays full? virsh domblkerror tells which disk it is")
}

func ioError(s virt.State) bool {
	return s.State == libvirt.DOMAIN_PAUSED && libvirt.DomainPausedReason(s.Reason) == libvirt.DOMAIN_PAUSED_IOERROR
}

// serveAgain starts the server unless it runs. It serves what it served, or
// nothing.
func serveAgain(ctx context.Context, s *State) (started bool, err error) {
	if err := s.checkFiles(); err != nil {
		return false, err
	}
	return s.server().start(ctx)
}

// startAgain starts a machine that is off, which reads its overlays.
func startAgain(ctx context.Context, s *State, m *machine) error {
	for _, d := range s.Disks {
		if _, err := os.Stat(d.Overlay); err != nil && len(d.Copies) == 0 {
			return fmt.Errorf("what the guest wrote to disk %s is lost: %w", d.Target, err)
		}
	}
	if m.dom == nil {
		xml, err := os.ReadFile(filepath.Join(s.folder, configFile))
		if err != nil {
			return err
		}
		if err := m.define(xml); err != nil {
			return err
		}
	}
	if err := s.settlePulled(ctx, m); err != nil {
		return err
	}
	if err := m.startPaused(); err != nil {
		return errors.Join(err, fmt.Errorf("%s is as it was; virtnb resume %[1]s can be tried again", s.Name))
	}
	return nil
}

// settlePulled takes the backing image of an overlay that got all of it out of
// the definition, if the end came before libvirt did: what the guest has
// discarded since would be there again.
func (s *State) settlePulled(ctx context.Context, m *machine) error {
	if s.Phase != Promoting {
		return nil
	}
	now, err := m.disks()
	if err != nil {
		return err
	}
	images := map[string]string{}
	for _, d := range s.Disks {
		if disk := now[d.Target]; disk.Path != d.Overlay || !disk.HasBacking() {
			continue
		}
		_, info, err := qemu.Info(ctx, host.Local{}, d.Overlay, "qcow2")
		if err != nil {
			return err
		}
		if info.BackingFile == "" {
			images[d.Target] = d.Overlay
		}
	}
	if len(images) == 0 {
		return nil
	}
	return m.settle(images)
}

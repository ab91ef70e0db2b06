// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"virtnb/internal/domainxml"
	"virtnb/internal/progress"
	"virtnb/internal/virt"
)

// PromoteOptions say where a machine goes.
type PromoteOptions struct {
	Options
	// Target is a folder, or a storage pool that is one, for the new images.
	// Without it the overlays get all that they lack and stay where they are.
	Target    string
	Bandwidth int64    // bytes a second; 0: no limit
	Stderr    *os.File // bars go there if it is a terminal; nil: none
}

// A machine is made permanent one disk after the other, while it runs, by a job
// of QEMU: it fills the overlay from the backup (pull), or copies both to a new
// image and then has the guest use that (copy). The job does not need us: when
// we end, it goes on, and the next promote waits for its end. What is done is
// asked of libvirt each time, and not kept by us.
//
// Nothing is lost when something fails in between. A pull only adds to the
// overlay. A copy counts when the guest uses it; the guest stands still for that
// moment, so that until the new place is written down both images are the same.

// jobInterval is how often a job is asked how far it is.
const jobInterval = 50 * time.Millisecond

// Promote makes a recovery a machine that needs no backup.
func Promote(ctx context.Context, o PromoteOptions) error {
	s, unlock, err := o.open()
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.wantUsable(); err != nil {
		return err
	}
	if s.Plain {
		return fmt.Errorf("%s was booted without libvirt, and cannot be promoted while it runs: shut the guest down, copy each overlay with qemu-img convert -O qcow2, then virtnb discard %[1]s", s.Name)
	}
	m, err := s.find(ctx)
	if err != nil {
		return err
	}
	defer m.close()
	p := &promotion{o: o, state: s, machine: m}
	if err := p.prepare(ctx); err != nil {
		return err
	}
	ctx, cancel := m.conn.Context(ctx)
	defer cancel()
	if err := p.disks(ctx); err != nil {
		return fmt.Errorf("%w; nothing is lost, virtnb promote %s goes on from here", err, s.Name)
	}
	images, err := p.finish()
	if err != nil {
		return fmt.Errorf("%w; virtnb promote %s can be tried again", err, s.Name)
	}
	return p.report(images)
}

// promotion is a promotion on its way.
type promotion struct {
	o       PromoteOptions
	state   *State
	machine *machine
	display *progress.Display
}

// prepare sees to it that the machine runs and can read its backup, and notes
// where it goes.
func (p *promotion) prepare(ctx context.Context) error {
	s := p.state
	off, err := p.machine.off()
	if err != nil {
		return err
	}
	if off {
		return fmt.Errorf("%s is off, and is promoted while it runs: virtnb resume %[1]s first", s.Name)
	}
	if _, err := serveAgain(ctx, s); err != nil {
		return err
	}
	if err := p.chooseTarget(); err != nil {
		return err
	}
	if err := s.enter(Promoting); err != nil {
		return err
	}
	return p.goOn()
}

// goOn lets a guest go on that a promote stopped, and could not let go on. The
// definition has the copies first that it uses by now.
func (p *promotion) goOn() error {
	s := p.state
	if !s.Stopped {
		return nil
	}
	now, err := p.machine.disks()
	if err != nil {
		return err
	}
	images := map[string]string{}
	for _, d := range s.Disks {
		if slices.Contains(d.Copies, now[d.Target].Path) {
			images[d.Target] = now[d.Target].Path
		}
	}
	if err := p.machine.settle(images); err != nil {
		return err
	}
	state, err := virt.StateOf(p.machine.dom)
	if err != nil {
		return err
	}
	if !state.Running() {
		if err := p.machine.resume(); err != nil {
			return err
		}
	}
	s.Stopped = false
	return s.save()
}

// chooseTarget keeps to the folder that an earlier promote began to copy to.
func (p *promotion) chooseTarget() error {
	s := p.state
	if p.o.Target == "" {
		return nil
	}
	dir, pool, err := p.targetFolder()
	if err != nil {
		return err
	}
	if s.Target != "" && s.Target != dir {
		return fmt.Errorf("%s is being promoted to %s already: leave --target out to go on", s.Name, s.Target)
	}
	s.Target, s.Pool = dir, pool
	return nil
}

// newCopy notes a new place for a copy of the disk.
func (p *promotion) newCopy(d *Disk) (string, error) {
	base := filepath.Join(p.state.Target, p.state.Name+"-"+d.Target)
	path := base + ".qcow2"
	for i := 1; slices.Contains(d.Copies, path); i++ {
		path = fmt.Sprintf("%s.%d.qcow2", base, i)
	}
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("%s is there already: move it away, or choose another target", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	d.Copies = append(d.Copies, path)
	return path, p.state.save()
}

// disks promotes those that are not.
func (p *promotion) disks(ctx context.Context) error {
	options := progress.Options{Label: "promoting disk", Stderr: p.o.Stderr, NoBars: p.o.Stderr == nil}
	if p.o.JSON {
		options.JSON = p.o.Out
	}
	p.display = progress.New(options)
	defer p.display.Close()
	for i := range p.state.Disks {
		d := &p.state.Disks[i]
		done, err := p.done(d)
		if err != nil {
			return err
		}
		bar := p.display.Disk(d.Target, d.Size)
		if done {
			err = p.endLateJob(d)
		} else {
			err = p.disk(ctx, d, bar)
		}
		if err != nil {
			bar.Fail()
			return fmt.Errorf("disk %s: %w", d.Target, err)
		}
		bar.Finish()
	}
	return nil
}

func (p *promotion) disk(ctx context.Context, d *Disk, bar progress.Progress) error {
	if p.state.Target == "" {
		return p.pull(ctx, d, bar)
	}
	return p.copy(ctx, d, bar)
}

// done asks libvirt whether the disk needs the backup no more.
func (p *promotion) done(d *Disk) (bool, error) {
	disks, err := p.machine.disks()
	if err != nil {
		return false, err
	}
	now, ok := disks[d.Target]
	if !ok {
		return false, fmt.Errorf("disk %s was taken from the machine", d.Target)
	}
	return d.promoted(now, p.state.Target != ""), nil
}

// promoted says, of a disk as the running machine has it, whether it needs the
// backup no more: it has no backing image, and is where it is to be.
func (d Disk) promoted(now domainxml.Disk, copied bool) bool {
	if copied {
		return slices.Contains(d.Copies, now.Path) && !now.HasBacking()
	}
	return now.Path == d.Overlay && !now.HasBacking()
}

// pull has the overlay filled from the backup.
func (p *promotion) pull(ctx context.Context, d *Disk, bar progress.Progress) error {
	if err := p.startPull(d); err != nil {
		return err
	}
	err := p.waitJob(ctx, d, bar, func() (bool, error) { return false, nil })
	if err != nil {
		return err
	}
	done, err := p.done(d)
	if err == nil && !done {
		err = p.failed(filepath.Dir(d.Overlay))
	}
	return err
}

// copy has the disk copied, and then used by the guest.
func (p *promotion) copy(ctx context.Context, d *Disk, bar progress.Progress) error {
	if err := p.startCopy(d); err != nil {
		return err
	}
	ready := false
	err := p.waitJob(ctx, d, bar, func() (bool, error) {
		disks, err := p.machine.disks()
		ready = err == nil && disks[d.Target].MirrorReady
		return ready, err
	})
	if err != nil {
		return err
	}
	if !ready {
		return p.failed(p.state.Target)
	}
	return p.pivot(d)
}

// failed is the error for a job that has ended before its end. libvirt does not
// tell why.
func (p *promotion) failed(dir string) error {
	err := fmt.Errorf("QEMU gave up, the guest goes on; the log of QEMU may tell why")
	if space, statErr := freeSpace(dir); statErr == nil && space < 16<<20 {
		err = fmt.Errorf("QEMU gave up, the guest goes on; there are %d bytes left in %s", space, dir)
	}
	return err
}

// waitJob waits until a job has ended, or until ready says that it need not.
func (p *promotion) waitJob(ctx context.Context, d *Disk, bar progress.Progress, ready func() (bool, error)) error {
	tick := time.NewTicker(jobInterval)
	defer tick.Stop()
	shown := int64(0)
	for {
		job, err := p.machine.job(d.Target)
		if err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		if job == nil {
			return nil
		}
		if job.End > 0 {
			now := int64(float64(job.Cur) / float64(job.End) * float64(d.Size))
			bar.Add(max(now-shown, 0))
			shown = max(now, shown)
		}
		if ok, err := ready(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (QEMU goes on meanwhile)", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// promotedJSON is the last line of --json.
type promotedJSON struct {
	Type  string            `json:"type"` // "result"
	Name  string            `json:"name"`
	UUID  string            `json:"uuid"`
	State string            `json:"state"`  // "promoted"
	Disks map[string]string `json:"images"` // by target
}

func (p *promotion) report(images map[string]string) error {
	s := p.state
	if p.o.JSON {
		return writeLine(p.o.Out, promotedJSON{"result", s.Name, s.UUID, "promoted", images})
	}
	for _, d := range s.Disks {
		fmt.Fprintf(p.o.Out, "%s: %s\n", d.Target, images[d.Target])
	}
	_, err := fmt.Fprintf(p.o.Out, "%s needs its backup no more\n", s.Name)
	return err
}

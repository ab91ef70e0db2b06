// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"time"

	"libvirt.org/go/libvirt"

	"virtnb/format"
	"virtnb/internal/archive"
	"virtnb/internal/domainxml"
	"virtnb/internal/host"
	"virtnb/internal/virt"
)

// run is a backup that is being made.
type run struct {
	o       Options
	log     *slog.Logger
	ui      *ui             // progress and results
	zip     *archive.Writer // nil: into the folder
	logPath string

	conn *virt.Connection
	dom  *libvirt.Domain
	host host.Host // where the domain's files are
	far  bool      // that is another machine
	ssh  bool      // which is reached through SSH

	xmlText string // the domain's configuration as it is saved
	xml     *domainxml.Domain
	uuid    string
	started bool // by us, for the time of the backup
	gaveUp  bool // libvirtd went away and did not come back

	target     *target
	plan       plan
	chain      chain
	disks      []disk
	guest      *libvirt.DomainGuestInfo // nil: nobody told
	server     *server
	domainLock net.Listener
	journal    *journal
}

// disk is a disk that is saved.
type disk struct {
	domainxml.Disk
	file    string   // base name of the saveset
	scratch string   // path of the job's scratch file
	whole   bool     // a full although the plan says incremental
	old     bool     // the image can have no bitmap, and is not raw
	bitmaps []string // those in the image, not asked for with level copy
}

// raw says whether the image is a plain one.
func (d disk) raw() bool { return d.Format == "raw" }

// tracked says whether the image can have bitmaps, which note what changes.
func (d disk) tracked() bool { return !d.raw() && !d.old }

// save makes the backup, or whatever else the options ask for.
func (r *run) save(ctx context.Context) error {
	if err := r.findDomain(ctx); err != nil {
		return err
	}
	if r.o.KillOnly {
		return r.kill(ctx)
	}
	if err := r.takeBack(ctx); err != nil {
		return err
	}
	if err := r.start(ctx); err != nil {
		return err
	}
	defer r.stopStarted()
	if err := r.decide(ctx); err != nil {
		return err
	}
	if r.plan.offline {
		if err := r.o.CheckOffline(); err != nil {
			return err
		}
		return r.saveOffline(ctx)
	}
	return r.saveOnline(ctx)
}

// decide makes the plan and chooses the disks.
func (r *run) decide(ctx context.Context) error {
	s := situation{level: string(r.o.Level), zip: r.o.Zip(), now: time.Now()}
	var err error
	if s.content, err = r.target.content(); err != nil {
		return err
	}
	if s.checkpoints, err = r.target.checkpoints(); err != nil {
		return err
	}
	active, err := r.dom.IsActive()
	if err != nil {
		return err
	}
	s.offline = !active
	if err := r.chooseDisks(ctx, s); err != nil {
		if errors.Is(err, errNoDisks) {
			err = errors.Join(err, r.saveWithoutDisks(ctx, s))
		}
		return err
	}
	s.onlyRaw = !hasTracked(r.disks)
	if r.plan, err = makePlan(s, r.log); err != nil {
		return r.target.explain(err)
	}
	if err := r.o.Check(r.plan.level); err != nil {
		return err
	}
	return r.nameFiles()
}

// chooseDisks selects the disks. Raw ones depend on the level, which depends on
// nothing that is not known here.
func (r *run) chooseDisks(ctx context.Context, s situation) error {
	level := r.o.Level
	if level == Auto {
		level = format.Full
		if s.content.full {
			level = format.Inc
		}
	}
	selected, err := r.selectDisks(r.o.WithRaw(level, r.log), s.offline)
	if err != nil {
		return err
	}
	r.disks = selected
	if level != format.Copy {
		r.findBitmaps(ctx)
	}
	r.log.Info(fmt.Sprintf("Backup will save [%d] attached disks.", len(r.disks)))
	r.log.Info(fmt.Sprintf("Concurrent backup processes: [%d]", r.o.Workers(len(r.disks))))
	if level := r.o.CompressLevel(); level != 0 {
		r.log.Info(fmt.Sprintf("Compression enabled, level [%d]", level))
	}
	return nil
}

func hasTracked(disks []disk) bool {
	for _, d := range disks {
		if d.tracked() {
			return true
		}
	}
	return false
}

// nameFiles gives the disks their savesets, none of which may exist. Where they
// are named by their time, an earlier backup of the same second has that name.
func (r *run) nameFiles() error {
	err := r.nameFilesNow()
	for range 3 {
		if !errors.Is(err, fs.ErrExist) || r.plan.level != format.Diff {
			break
		}
		time.Sleep(time.Until(r.plan.date.Truncate(time.Second).Add(time.Second)))
		r.plan.date = time.Now()
		if r.plan.whole {
			r.plan.checkpoint = r.plan.diffName()
		}
		err = r.nameFilesNow()
	}
	return err
}

func (r *run) nameFilesNow() error {
	for i := range r.disks {
		d := &r.disks[i]
		d.file = r.plan.saveset(d.Target, d.raw())
		d.whole = r.plan.whole || !d.tracked() && r.plan.parent != ""
		if !r.plan.offline {
			d.scratch = scratchName(r.o.ScratchDir, d.Target)
		}
		if r.o.Zip() {
			continue
		}
		for _, name := range []string{d.file, d.file + partialSuffix} {
			if err := vacant(r.target.path(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// saveOnline saves a domain that runs, through a job of libvirt.
func (r *run) saveOnline(ctx context.Context) (err error) {
	known, err := r.prepareChain()
	if err != nil {
		return err
	}
	if done, err := r.estimate(ctx); done || err != nil {
		return err
	}
	if err := r.listen(ctx); err != nil {
		return err
	}
	defer r.server.close()
	r.askGuest(ctx)
	r.journal = r.newJournal()
	if err := r.journal.write(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = r.failed(err)
		}
	}()
	if r.journal.Retired, err = r.makeRoom(ctx, known, r.chain); err != nil {
		return err
	}
	r.journal.Begun = true
	if err := r.journal.write(); err != nil {
		return err
	}
	crashPoint("begin")
	if err := r.beginJob(ctx); err != nil {
		return err
	}
	crashPoint("begun")
	if err := r.saveCheckpointXML(); err != nil {
		return err
	}
	if r.o.StartOnly {
		return r.leaveRunning()
	}
	return r.copyAndCommit(ctx)
}

// copyAndCommit is what follows when the disks can be read.
func (r *run) copyAndCommit(ctx context.Context) error {
	out := r.openOutput()
	defer out.abort()
	if err := r.copyDisks(ctx, out); err != nil {
		return r.explainEnd(err)
	}
	if !r.plan.offline {
		r.log.Info("Backup jobs finished, stopping backup task.")
		if err := r.endJob(ctx); err != nil {
			return err
		}
	}
	crashPoint("copied")
	if err := r.saveSideFiles(ctx, out); err != nil {
		return err
	}
	crashPoint("side")
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	return r.commit(out)
}

// prepareChain compares what libvirt knows with what the set says.
func (r *run) prepareChain() ([]domainxml.Checkpoint, error) {
	if r.plan.level == format.Copy {
		return nil, nil
	}
	known, err := r.listCheckpoints()
	if err != nil {
		return nil, err
	}
	if err := checkForeign(known); err != nil {
		return nil, err
	}
	if r.plan.parent == "" {
		r.chain = r.findChain(known, nil)
		return known, nil
	}
	checkpoints, err := r.target.checkpoints()
	if err != nil {
		return nil, err
	}
	r.redefine(known, checkpoints)
	if known, err = r.listCheckpoints(); err != nil {
		return nil, err
	}
	r.chain = r.findChain(known, checkpoints)
	r.findNewDisks()
	return known, nil
}

// findNewDisks marks the disks that the parent checkpoint says nothing of.
func (r *run) findNewDisks() {
	for i := range r.disks {
		d := &r.disks[i]
		switch {
		case d.whole:
		case !r.chain.valid:
			r.saveWhole(d, fmt.Sprintf("the domain's checkpoint %s is missing, or is not the one of this folder", r.plan.parent))
		case !hasBitmap(*r.chain.parent, d.Target):
			r.saveWhole(d, fmt.Sprintf("it is new since checkpoint %s", r.plan.parent))
		}
	}
}

func hasBitmap(c domainxml.Checkpoint, target string) bool {
	for _, d := range c.Disks {
		if d.Name == target && !d.Skip {
			return true
		}
	}
	return false
}

// newJournal lists what the run is about to make.
func (r *run) newJournal() *journal {
	j := &journal{target: r.target, Domain: r.o.Domain, UUID: r.uuid, StartOnly: r.o.StartOnly, Remote: r.remote()}
	for _, d := range r.disks {
		if !r.o.Zip() {
			j.Data = append(j.Data, d.file)
		}
		if d.scratch != "" {
			j.Scratch = append(j.Scratch, d.scratch)
		}
	}
	if r.server != nil {
		j.Socket = r.server.identity()
	}
	if r.plan.creates {
		j.Checkpoint = r.plan.checkpoint
		j.First = r.plan.level == format.Full
		j.CheckpointXML = r.target.checkpointFile(r.plan.checkpoint)
		if r.chain.valid {
			j.Parent = r.plan.parent
		}
	}
	j.Side = r.sideFiles()
	return j
}

// leaveRunning ends the run of --startonly with the job going on.
func (r *run) leaveRunning() error {
	r.log.Info("Started backup job for debugging, exiting.")
	r.log.Info(fmt.Sprintf("The job goes on until it is ended with --killonly; the next backup takes checkpoint [%s] back", r.journal.Checkpoint))
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"libvirt.org/go/libvirt"

	"virtnb/internal/domainxml"
)

// The libvirt job of a running domain: libvirt freezes the content of the disks
// as of its start, exports them by NBD, and creates the checkpoint with them.

// scratchPrefix begins the names of scratch files, in which QEMU keeps what the
// guest overwrites meanwhile.
const scratchPrefix = "backup."

// jobEnd is how long a job may take to end after it was told to.
const jobEnd = time.Minute

// beginJob starts the job. Disks whose bitmaps turn out to be broken are saved
// whole.
func (r *run) beginJob(ctx context.Context) error {
	thaw, err := r.quiesce(ctx)
	if err != nil {
		return err
	}
	defer thaw()
	r.log.Info("Starting backup job.")
	err = r.beginOnce()
	if errors.Is(err, libvirt.ERR_CHECKPOINT_INCONSISTENT) && r.plan.parent != "" {
		r.log.Warn(fmt.Sprintf("Checkpoint [%s] cannot be gone on from for all disks: %v", r.plan.parent, err))
		if err := r.findBroken(ctx); err != nil {
			return err
		}
		err = r.beginOnce()
	}
	if isStaleBitmap(err) {
		if err := r.removeStaleBitmaps(r.plan.checkpoint); err != nil {
			return err
		}
		err = r.beginOnce()
	}
	if err != nil {
		return fmt.Errorf("Failed to start backup: [%w]%s", err, r.serverHint(err))
	}
	r.log.Debug("Backup job started.")
	return nil
}

// serverHint says what can be done where QEMU could not listen at a port.
func (r *run) serverHint(err error) string {
	if !r.overTCP() || !strings.Contains(err.Error(), "nbd-server-start") {
		return ""
	}
	return fmt.Sprintf("; is %s an address of that host, and the port free? Backups at the same time need different ones, see --nbd-ip and --nbd-port", r.server.at)
}

func (r *run) beginOnce() error {
	checkpoint := ""
	if r.plan.creates {
		var err error
		if checkpoint, err = r.checkpointXML(); err != nil {
			return err
		}
	}
	return r.beginWith(r.disks, checkpoint)
}

func (r *run) beginWith(disks []disk, checkpointXML string) error {
	xml, err := r.backupXML(disks)
	if err != nil {
		return err
	}
	r.log.Debug("Backup job: " + xml)
	version, err := r.conn.GetLibVersion()
	if err != nil {
		return err
	}
	return r.dom.BackupBegin(xml, checkpointXML, beginFlags(version))
}

// preservesShutdown is the release of libvirt from on which a domain that shuts
// down can be kept until its backup is done.
const preservesShutdown = 11_010_000

// beginFlags are those for a libvirt of this version, which is that of the
// daemon: it refuses flags that it does not know.
func beginFlags(version uint32) libvirt.DomainBackupBeginFlags {
	if version >= preservesShutdown {
		return libvirt.DOMAIN_BACKUP_BEGIN_PRESERVE_SHUTDOWN_DOMAIN
	}
	return 0
}

func (r *run) backupXML(disks []disk) (string, error) {
	job := r.server.job()
	for _, d := range r.xml.Disks() {
		job.Disks = append(job.Disks, domainxml.BackupDisk{Name: d.Target, Skip: true})
		for _, c := range disks {
			if c.Target == d.Target {
				job.Disks[len(job.Disks)-1] = r.backupDisk(c)
			}
		}
	}
	return domainxml.BackupXML(job)
}

func (r *run) backupDisk(d disk) domainxml.BackupDisk {
	b := domainxml.BackupDisk{Name: d.Target, Scratch: d.scratch}
	switch {
	case r.plan.parent == "":
	case d.whole:
		b.Full = true
	default:
		b.Incremental = r.plan.parent
	}
	return b
}

func (r *run) checkpointXML() (string, error) {
	c := domainxml.Checkpoint{Name: r.plan.checkpoint, Parent: r.plan.parent, Description: "Backup checkpoint " + rand.Text()}
	if !r.chain.valid {
		c.Parent = ""
	}
	for _, d := range r.disks {
		c.Disks = append(c.Disks, domainxml.CheckpointDisk{Name: d.Target, Skip: !d.tracked()})
	}
	return domainxml.CheckpointXML(c)
}

// findBroken marks the disks whose bitmaps libvirt cannot use, by asking for a
// job of each alone: its messages name disks, but in the daemon's language.
func (r *run) findBroken(ctx context.Context) error {
	found := false
	for i := range r.disks {
		d := &r.disks[i]
		if d.whole {
			continue
		}
		err := r.beginWith([]disk{*d}, "")
		if errors.Is(err, libvirt.ERR_CHECKPOINT_INCONSISTENT) {
			r.saveWhole(d, "its bitmap is missing or broken")
			found = true
			continue
		}
		if err != nil {
			return err
		}
		if err := r.endJob(ctx); err != nil {
			return err
		}
	}
	if !found { // together they fail, alone they do not: be safe
		for i := range r.disks {
			r.saveWhole(&r.disks[i], "its bitmap cannot be used")
		}
	}
	return nil
}

// saveWhole makes a disk a full inside of the chain.
func (r *run) saveWhole(d *disk, why string) {
	if d.whole {
		return
	}
	d.whole = true
	r.log.Warn(fmt.Sprintf("Disk [%s] is saved whole: %s", d.Target, why))
}

// endJob ends the domain's job and waits until it is gone. No job is no error.
func (r *run) endJob(ctx context.Context) error {
	return r.libvirt("stopping the backup job", func(dom *libvirt.Domain) error {
		if running, err := hasBackupJob(dom); err != nil || !running {
			return err
		}
		if err := dom.AbortJob(); err != nil {
			if running, _ := hasBackupJob(dom); running {
				return err
			}
		}
		return waitForJobEnd(ctx, dom)
	})
}

// hasBackupJob says whether a backup job runs; of a domain that is off, none
// does.
func hasBackupJob(dom *libvirt.Domain) (bool, error) {
	stats, err := dom.GetJobStats(0)
	if errors.Is(err, libvirt.ERR_OPERATION_INVALID) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return stats.Type != libvirt.DOMAIN_JOB_NONE &&
		(!stats.OperationSet || stats.Operation == libvirt.DOMAIN_JOB_OPERATION_BACKUP), nil
}

func waitForJobEnd(ctx context.Context, dom *libvirt.Domain) error {
	ctx, cancel := context.WithTimeoutCause(ctx, jobEnd, fmt.Errorf("the job does not end; see \"virsh domjobinfo\""))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if running, err := hasBackupJob(dom); err != nil || !running {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// explainEnd says of a failure to read disks that the job is gone, if it is.
func (r *run) explainEnd(err error) error {
	if r.plan.offline {
		return err
	}
	if _, running, jobErr := r.runningJob(); jobErr != nil || running {
		return err
	}
	return fmt.Errorf("%w. The backup job has ended: the domain was shut down or crashed, or somebody aborted the job", err)
}

// runningJob returns the socket, or address, of the domain's backup job, and
// whether there is one.
func (r *run) runningJob() (socket string, running bool, err error) {
	err = r.libvirt("looking for a backup job", func(dom *libvirt.Domain) error {
		var err error
		if running, err = hasBackupJob(dom); err != nil || !running {
			return err
		}
		text, err := dom.BackupGetXMLDesc(0)
		if err == nil {
			socket = domainxml.BackupServer([]byte(text))
			return nil
		}
		if still, stillErr := hasBackupJob(dom); stillErr == nil && !still {
			running = false // it ended meanwhile
			return nil
		}
		return err
	})
	return socket, running, err
}

// scratchName is a path for a scratch file that nothing else has.
func scratchName(dir, target string) string {
	return filepath.Join(dir, scratchPrefix+strings.ToUpper(rand.Text()[:8])+"."+target)
}

// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"virtnb/format"
)

// checkpointPrefix is in the names of all checkpoints of this format's tools.
const checkpointPrefix = "virtnbdbackup"

// levelAuto is a full where there is none, an incremental otherwise.
const levelAuto = "auto"

// plan is what a run saves, and under which names.
type plan struct {
	level   format.Level
	offline bool // the domain is off: its images are read, libvirt makes no checkpoint

	// checkpoint is the name that savesets carry, parent the one whose changes
	// are saved, "" for none. Only creates says that libvirt makes the checkpoint.
	checkpoint, parent string
	creates            bool

	// whole means that the savesets hold whole disks although their names are
	// those of a diff: a domain that is off has no checkpoint to go on from.
	whole bool

	date time.Time
}

var (
	errNoCheckpoints = errors.New("No existing checkpoints found, execute full backup first.")
	errNotEmpty      = errors.New("Target directory already contains full or copy backup.")
	errNoFull        = errors.New("Cant execute switch to auto incremental backup: " +
		"target folder seems not to include full backup.")
)

// situation is what a plan depends on.
type situation struct {
	level       string // as asked for
	offline     bool
	onlyRaw     bool // no disk can have a bitmap
	zip         bool // goes to standard output: there is no folder to look at but for checkpoints
	content     content
	checkpoints []string // of DOMAIN.cpt
	now         time.Time
}

// makePlan decides what is saved. It logs what scripts know from virtnbdbackup.
func makePlan(s situation, log *slog.Logger) (plan, error) {
	p := plan{offline: s.offline, date: s.now}
	if s.level == levelAuto {
		if err := p.auto(s, log); err != nil {
			return p, err
		}
	} else {
		p.level = format.Level(s.level)
	}
	if p.level == format.Full && s.offline {
		log.Warn("Domain is offline, resetting backup options.")
		p.setLevel(format.Copy, log)
	}
	if p.level != format.Copy && s.onlyRaw {
		log.Info("Only raw disks attached, switching to backup mode copy.")
		p.level, p.whole = format.Copy, false
	}
	if err := p.checkTarget(s); err != nil {
		return p, err
	}
	return p, p.name(s, log)
}

func (p *plan) setLevel(l format.Level, log *slog.Logger) {
	p.level = l
	log.Info(fmt.Sprintf("Backup level: [%s].", l))
}

// auto resolves the level auto.
func (p *plan) auto(s situation, log *slog.Logger) error {
	first := len(s.content.data) == 0
	if s.zip {
		first = len(s.checkpoints) == 0
	}
	switch {
	case first:
		log.Info("Backup mode auto, target folder is empty: executing full backup.")
		p.level = format.Full
	case s.content.full || s.zip:
		log.Info("Backup mode auto: executing incremental backup.")
		p.level = format.Inc
	case s.content.onlyWhole() && s.offline:
		log.Info("Backup mode auto: domain is offline and has no checkpoint: saving the whole disks.")
		p.level, p.whole = format.Diff, true
	case s.content.onlyWhole():
		log.Info("Backup mode auto, target folder has no full backup: executing full backup.")
		p.level = format.Full
	default:
		return errNoFull
	}
	return nil
}

// checkTarget looks for what in the folder speaks against the level.
func (p *plan) checkTarget(s situation) error {
	if s.zip {
		return nil
	}
	switch p.level {
	case format.Inc, format.Diff:
		if len(s.content.partials) > 0 {
			return fmt.Errorf("Partial backup found in target directory: [%s]. "+
				"One of the last backups seems to have failed, and was not made by this program: remove the file, then run this again, "+
				"or consider re-executing full backup", s.content.partials[0])
		}
	default:
		beside := s.level == levelAuto && s.content.onlyWhole()
		if len(s.content.data) > 0 && !beside {
			return errNotEmpty
		}
	}
	return nil
}

// name gives the savesets their checkpoints.
func (p *plan) name(s situation, log *slog.Logger) error {
	p.checkpoint = checkpointPrefix + ".0"
	p.creates = !s.offline && (p.level == format.Full || p.level == format.Inc)
	if p.whole {
		p.checkpoint = p.diffName()
		return nil
	}
	if p.level == format.Inc || p.level == format.Diff {
		if len(s.checkpoints) == 0 {
			return errNoCheckpoints
		}
		p.parent = s.checkpoints[len(s.checkpoints)-1]
		p.checkpoint = fmt.Sprintf("%s.%d", checkpointPrefix, len(s.checkpoints))
		log.Info(fmt.Sprintf("Next checkpoint id: [%d].", len(s.checkpoints)))
		log.Info(fmt.Sprintf("Parent checkpoint name [%s].", p.parent))
	}
	if p.level == format.Inc && s.offline {
		// Nothing is ever overwritten: what makes no checkpoint is named by its time.
		log.Info("Offline backup, using latest checkpoint, saving only delta.")
		p.level = format.Diff
	}
	if p.level == format.Diff {
		log.Info(fmt.Sprintf("Diff backup: saving delta since checkpoint: [%s].", p.parent))
	}
	if p.creates {
		log.Info(fmt.Sprintf("Using checkpoint name: [%s].", p.checkpoint))
	}
	return nil
}

// diffName is the name of the restore point of a diff.
func (p *plan) diffName() string { return string(format.Diff) + "." + p.ident() }

// ident is the part of the names of files that stands for the run.
func (p *plan) ident() string {
	switch p.level {
	case format.Copy:
		return string(format.Copy)
	case format.Diff:
		return strconv.FormatInt(p.date.Unix(), 10)
	}
	return p.checkpoint
}

// saveset is the name of the file of a disk. Disks whose images cannot have
// bitmaps are always copies.
func (p *plan) saveset(disk string, raw bool) string {
	n := format.Name{Disk: disk, Level: p.level}
	switch {
	case raw && (p.level == format.Full || p.level == format.Copy):
		n.Level = format.Copy
	case p.level == format.Inc || p.level == format.Diff:
		n.ID = p.ident()
	}
	return n.String()
}

// metadata is what the saveset of a disk says of itself. A disk that is saved
// whole inside of a chain is a full of this checkpoint.
func (p *plan) metadata(d disk, size int64, level int) format.Metadata {
	m := format.Metadata{
		VirtualSize: size, Date: p.date, DiskName: d.Target, DiskFormat: d.Format,
		CheckpointName: p.checkpoint, ParentCheckpoint: p.parent,
		Compression: level, Incremental: p.parent != "" && !d.whole,
	}
	if d.whole {
		m.ParentCheckpoint = ""
		if p.level == format.Diff {
			m.CheckpointName = p.diffName()
		}
	}
	return m
}

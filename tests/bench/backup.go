// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// backupPlan is a guest to back up. Its disks have 4 GiB, those of many extents
// a little less, half of it data.
type backupPlan struct {
	disks   int
	extents int // of each disk, data and zero in turn
	cluster int // of the images, bytes
	rounds  int // at most
	lz4     bool
}

const (
	backupRounds = 3
	backupRuns   = 512 // extents of usual disks: 8 MiB each
)

var backupPlans = []backupPlan{
	{1, backupRuns, 64 << 10, backupRounds, true},
	{3, backupRuns, 64 << 10, backupRounds, true},
	{1, 1_000_000, page, 2, false},
}

// memoryBound is that of data on its way, which is virtnb's default, and of
// all else, bytes.
const memoryBound = 256<<20 + 64<<20

// backupKind is how the guest of a plan is backed up.
type backupKind struct {
	backupPlan
	compress bool
}

// name is that of a row.
func (k backupKind) name(what string) string {
	s := plain
	if k.compress {
		s = lz4
	}
	return "backup/" + rowName(s, k.stage(), what)
}

// kinds are those of which any row is asked for.
func (b *bench) backupKinds(pl backupPlan) (list []backupKind) {
	for _, compress := range []bool{false, true} {
		if compress && !pl.lz4 {
			continue
		}
		k := backupKind{pl, compress}
		for _, what := range backupWhats(k) {
			if b.match(k.name(what)) {
				list = append(list, k)
				break
			}
		}
	}
	return list
}

// backupWhats are the ends of the names of rows.
func backupWhats(k backupKind) (list []string) {
	for _, other := range k.others() {
		for _, v := range backupValues {
			list = append(list, v.name+"/"+other.name)
		}
	}
	return append(list, "time/lz4-alone")
}

// others are those that virtnb is compared with.
func (k backupKind) others() []backuper {
	if k.compress {
		return []backuper{peerBackup}
	}
	return []backuper{plainCopy, peerBackup}
}

// backupValues are what is compared.
var backupValues = []struct {
	name, unit string
	of         func(usage) float64
}{
	{"time", "s", func(u usage) float64 { return u.wall }},
	{"cpu", "s", func(u usage) float64 { return u.cpu }},
	{"cpu-started", "s", func(u usage) float64 { return u.started }},
	{"cpu-qemu", "s", func(u usage) float64 { return u.qemu }},
	{"memory", "MiB", func(u usage) float64 { return u.memory / (1 << 20) }},
}

// runBackups measures the backups of all plans.
func (b *bench) runBackups(ctx context.Context) error {
	for _, pl := range backupPlans {
		kinds := b.backupKinds(pl)
		if len(kinds) == 0 {
			continue
		}
		if err := b.runBackupPlan(ctx, pl, kinds); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) runBackupPlan(ctx context.Context, pl backupPlan, kinds []backupKind) error {
	// Image and backup, and on the way to the image its flat file.
	if err := needRoom(filepath.Dir(b.dir), int64(pl.disks+1)*extentsDiskSize); err != nil {
		return err
	}
	g, err := startGuest(ctx, filepath.Join(b.dir, "guest"), pl)
	if err != nil {
		return err
	}
	for _, k := range kinds {
		if err = b.compareBackups(ctx, g, k); err != nil {
			err = fmt.Errorf("%s: %w", k.name(""), err)
			break
		}
	}
	if stopErr := g.stop(); err == nil {
		err = stopErr
	}
	return err
}

// tally is what a program used in each round.
type tally struct {
	backuper
	uses   []usage
	failed error // it is left out then
}

// compareBackups runs the programs in turn, virtnb first in every second
// round.
func (b *bench) compareBackups(ctx context.Context, g *guest, k backupKind) error {
	parties := []*tally{{backuper: ourBackup}}
	for _, other := range k.others() {
		parties = append(parties, &tally{backuper: other})
	}
	var alone []float64
	for round := range min(b.rounds, k.rounds) {
		for i := range parties {
			if round%2 == 1 {
				i = len(parties) - 1 - i
			}
			if err := b.backOnce(ctx, parties[i], g, k, round); err != nil {
				return err
			}
		}
		if k.compress {
			took, err := g.compressAlone()
			if err != nil {
				return err
			}
			alone = append(alone, took*float64(k.disks))
		}
	}
	for _, other := range parties[1:] {
		b.addBackupRows(k, parties[0], other)
	}
	if k.compress {
		b.addAlone(k, parties[0], alone)
	}
	return nil
}

// backOnce is one party's part of a round. Only virtnb has to succeed.
func (b *bench) backOnce(ctx context.Context, p *tally, g *guest, k backupKind, round int) error {
	if p.failed != nil {
		return nil
	}
	u, err := b.back(ctx, p.backuper, g, k.compress, round == 0 && p.name != plainCopy.name)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && p.name == peerBackup.name:
		p.failed = err
		if running, _ := g.daemon.Virsh("domjobinfo", g.domain.Name); !strings.Contains(running, "None") {
			return g.endJob()
		}
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.uses = append(p.uses, u)
	return nil
}

// addBackupRows compares virtnb with another.
func (b *bench) addBackupRows(k backupKind, ours, other *tally) {
	for _, v := range backupValues {
		r := row{Name: k.name(v.name + "/" + other.name), Unit: v.unit}
		var mine, theirs, ratios []float64
		for i, u := range ours.uses {
			mine = append(mine, v.of(u))
			if i < len(other.uses) {
				theirs = append(theirs, v.of(other.uses[i]))
				ratios = append(ratios, v.of(other.uses[i])/v.of(u))
			}
		}
		r.Virtnb = median(mine)
		switch {
		case other.failed != nil && v.name != "time":
		case other.failed != nil:
			r.Note = other.name + " fails: " + reason(other.failed)
		default:
			r.File = median(theirs)
			if r.Virtnb > 0 {
				ratio := spreadOf(ratios)
				r.Ratio = &ratio
			}
		}
		r.Goal = k.goal(v.name, other.name, r)
		if r.Virtnb > 0 || r.File > 0 {
			b.report.add(r)
		}
	}
}

// goal is what is to be reached, nil for nothing.
func (k backupKind) goal(value, other string, r row) *goal {
	switch {
	case value == "memory" && other == peerBackup.name:
		return below(r.Virtnb, memoryBound>>20, "MiB")
	case value != "time" || r.Ratio == nil:
		return nil
	case other == plainCopy.name:
		return atLeast(r.Ratio.Median, 0.9)
	}
	return atLeast(r.Ratio.Median, 2)
}

// reason is the line that tells most of what a program said: that of libnbd, or
// the last one.
func reason(err error) (line string) {
	for text := range strings.Lines(err.Error()) {
		if text = strings.TrimSpace(text); text != "" && !strings.Contains(line, "nbd_") {
			line = text
		}
	}
	return line
}

// addAlone compares virtnb with LZ4 on all processors, and nothing else.
func (b *bench) addAlone(k backupKind, ours *tally, alone []float64) {
	var mine, ratios []float64
	for i, u := range ours.uses {
		mine = append(mine, u.wall)
		ratios = append(ratios, alone[i]/u.wall)
	}
	ratio := spreadOf(ratios)
	b.report.add(row{Name: k.name("time/lz4-alone"), Unit: "s", Virtnb: median(mine), File: median(alone), Ratio: &ratio})
}

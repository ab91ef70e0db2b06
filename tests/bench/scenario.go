// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"

	"virtnb/format"
)

// plan is a disk and the stages of its life at which it is measured.
type plan struct {
	size    int64
	layout  layout
	storage storage
	stages  []stage
}

// stage is a disk when it has had so many backups.
type stage struct {
	name   string
	points int
}

// plans are one disk each, so that no two need room at a time.
func plans() (list []plan) {
	for _, s := range []storage{plain, lz4} {
		for _, n := range []int{100, 10_000, 1_000_000} {
			size, l := alternating(n)
			list = append(list, plan{size, l, s, []stage{{fmt.Sprintf("extents=%d", n), 1}}})
		}
		size, l := changing()
		list = append(list, plan{size, l, s, []stage{{"incs=1", 2}, {"incs=10", 11}, {"incs=50", 51}, {"incs=200", 201}}})
	}
	size, l := large()
	return append(list, plan{size, l, peer, []stage{{"frames=32M", 1}}})
}

// scenario is a disk at one of its stages.
type scenario struct {
	*bench
	storage storage
	stage   string
	disk    *disk // nil as long as only names are asked for
}

// warmRegion is what random reads of compressed sets keep to, bytes: all
// frames that have a part in it fit into the plugin's default cache.
const warmRegion = 16 << 20

// region is where random reads go.
func (s *scenario) region() format.Extent {
	if s.storage == plain {
		return format.Extent{Start: 0, Length: s.disk.size}
	}
	return format.Extent{Start: 0, Length: warmRegion}
}

// trial is one measurement of a scenario, which may give several rows. It runs
// on the pair of servers that the scenario's trials share, or it starts its
// own; p is nil then.
type trial struct {
	name string
	run  func(ctx context.Context, p *pair) error
	own  bool
}

func (s *scenario) trials() []trial {
	var list []trial
	for _, w := range workloads {
		list = append(list, trial{w.name, func(ctx context.Context, p *pair) error { return s.load(ctx, p, w) }, false})
		if s.fio && s.storage == plain {
			list = append(list, trial{w.name + "/fio", func(ctx context.Context, p *pair) error { return s.runFio(ctx, p, w) }, false})
		}
	}
	if s.storage == peer {
		list = append(list, trial{"reread4k", s.reread, false})
	}
	list = append(list, trial{"memory", s.memory, false}, trial{"start", s.start, true})
	if s.storage == plain && s.stage == "incs=200" {
		list = append(list, trial{"fuse/list", s.listPoints, true})
	}
	if s.storage != plain {
		list = append(list, trial{"cold4k", s.cold, true})
	}
	return slices.DeleteFunc(list, func(t trial) bool { return !s.match(rowName(s.storage, s.stage, t.name)) })
}

func (s *scenario) add(what string, r row) {
	r.Name = rowName(s.storage, s.stage, what)
	s.report.add(r)
}

// measure runs the trials: those that share a pair of servers, then those with
// their own.
func (s *scenario) measure(ctx context.Context) error {
	shared, own := s.trials(), []trial(nil)
	for i, t := range shared {
		if t.own {
			shared, own = shared[:i], shared[i:]
			break
		}
	}
	if err := s.measureShared(ctx, shared); err != nil {
		return err
	}
	if err := s.runTrials(ctx, own, nil); err != nil {
		return err
	}
	return s.measureFuse(ctx)
}

// wanted says whether there is anything to measure.
func (s *scenario) wanted() bool { return len(s.trials()) > 0 || len(s.fuseLoads()) > 0 }

func (s *scenario) measureShared(ctx context.Context, list []trial) error {
	if len(list) == 0 {
		return nil
	}
	p, err := s.startPair(ctx, s.disk, connections)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.verify(s.disk); err != nil {
		return err
	}
	return s.runTrials(ctx, list, p)
}

func (s *scenario) runTrials(ctx context.Context, list []trial, p *pair) error {
	for _, t := range list {
		if err := t.run(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", rowName(s.storage, s.stage, t.name), err)
		}
	}
	return nil
}

// leastRatio is the target for a workload, 0 for none.
func (s *scenario) leastRatio(w workload) float64 {
	switch {
	case s.storage != plain && w.sequential:
		return 0
	case s.storage != plain:
		return 0.7
	case w.depth == 1 && !w.sequential:
		return 0.85
	}
	return 0.9
}

func (s *scenario) load(ctx context.Context, p *pair, w workload) error {
	region := s.region()
	if w.sequential {
		region.Length = s.disk.size
	} else if s.storage != plain {
		if err := p.warm(region); err != nil {
			return err
		}
	}
	r, err := s.compare(ctx, p, w, region)
	if err != nil {
		return err
	}
	if least := s.leastRatio(w); least > 0 {
		r.Goal = atLeast(r.Ratio.Median, least)
	}
	s.add(w.name, r)
	return nil
}

// warm reads the region once.
func (p *pair) warm(region format.Extent) error {
	const step = 256 << 10
	var offs []int64
	for off := region.Start; off < region.End(); off += step {
		offs = append(offs, off)
	}
	for _, s := range p.both() {
		if err := s.readAll(offs, step, 4, nil); err != nil {
			return err
		}
	}
	return nil
}

// memory is read when everything else was done with the servers.
func (s *scenario) memory(_ context.Context, p *pair) error {
	for _, f := range []struct{ what, field string }{{"memory/rss", "VmRSS"}, {"memory/peak", "VmHWM"}} {
		s.add(f.what, row{Unit: "MiB", Virtnb: p.virtnb.memory(f.field) / (1 << 20), File: p.file.memory(f.field) / (1 << 20)})
	}
	return nil
}

// runPlan makes a disk and measures it at those of its stages that have rows
// to measure.
func (b *bench) runPlan(ctx context.Context, number int, pl plan) error {
	var d *disk
	for _, st := range pl.stages {
		s := &scenario{b, pl.storage, st.name, nil}
		if !s.wanted() {
			continue
		}
		if d == nil {
			var err error
			if d, err = newDisk(filepath.Join(b.dir, fmt.Sprint(number)), pl.size, pl.layout, pl.storage); err != nil {
				return err
			}
			defer d.remove()
		}
		s.disk = d
		if err := d.grow(ctx, st.points); err != nil {
			return err
		}
		if err := s.measure(ctx); err != nil {
			return err
		}
	}
	return nil
}

// scatter gives one page in each stretch of the disk, in arbitrary order,
// where the newest content is data.
func (s *scenario) scatter(stretch, within int64, limit int) []int64 {
	r := rand.New(rand.NewPCG(5, 5))
	data := s.disk.layout(0)
	var offs []int64
	for start := int64(0); start+within <= s.disk.size; start += stretch {
		off := start + r.Int64N(within/page)*page
		i, found := slices.BinarySearchFunc(data, off, func(e format.Extent, off int64) int { return int(e.Start - off) })
		if !found {
			i--
		}
		if i >= 0 && off < data[i].End() {
			offs = append(offs, off)
		}
	}
	r.Shuffle(len(offs), func(i, j int) { offs[i], offs[j] = offs[j], offs[i] })
	return offs[:min(limit, len(offs))]
}

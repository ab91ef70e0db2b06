// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"virtnb/format"
)

// Reads of mounted disks, by fio.

// fuseWorkload is a kind of load on a file.
type fuseWorkload struct {
	name       string
	length     int64 // of each read, bytes
	readers    int   // each with one read at a time
	direct     bool  // past the page cache
	sequential bool
	least      float64 // to reach where the ceiling does: MB/s or reads/s; 0 for none
}

var fuseWorkloads = []fuseWorkload{
	{"seq1m/buffered", 1 << 20, 1, false, true, 1000},
	{"seq1m/direct", 1 << 20, 1, true, true, 0},
	{"rand4k/x1", 4 << 10, 1, true, false, 0},
	{"rand4k/x4", 4 << 10, 4, true, false, 50_000},
}

// fuseStages are those at which mounted disks are measured.
var fuseStages = map[string]bool{"extents=10000": true, "incs=10": true}

const (
	fuseRounds = 5 // one more warms up
	fuseSlice  = 200 * time.Millisecond
)

// fuseLoads are the loads of the scenario that were asked for.
func (s *scenario) fuseLoads() (list []fuseWorkload) {
	for _, w := range fuseWorkloads {
		if s.storage != peer && fuseStages[s.stage] && s.match(rowName(s.storage, s.stage, w.row(""))) {
			list = append(list, w)
		}
	}
	return list
}

func (w fuseWorkload) row(other string) string {
	if other != "" {
		other = "/" + other
	}
	return "fuse/" + w.name + other
}

// measureFuse compares virtnb's mount with the other parties.
func (s *scenario) measureFuse(ctx context.Context) error {
	loads := s.fuseLoads()
	if len(loads) == 0 {
		return nil
	}
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	ps, err := s.startParties(ctx, s.disk, names...)
	if err != nil {
		return err
	}
	defer ps.stop()
	if err := ps.verify(ctx, s.disk); err != nil {
		return err
	}
	for _, w := range loads {
		if err := s.compareFuse(ctx, ps, w); err != nil {
			return fmt.Errorf("%s: %w", rowName(s.storage, s.stage, w.row("")), err)
		}
	}
	return nil
}

// compareFuse loads the parties in turn and adds a row for each that virtnb is
// compared with.
func (s *scenario) compareFuse(ctx context.Context, ps parties, w fuseWorkload) error {
	if w.readers == 1 && !w.sequential && s.pin {
		unpin, err := pin(ps.processes())
		if err != nil {
			return err
		}
		defer unpin()
	}
	rates := map[string][]float64{}
	rounds := min(s.rounds, fuseRounds)
	for i := range rounds + 1 {
		for _, p := range ps.turn(i) {
			rate, err := p.load(ctx, w, s.fuseRegion(w))
			if err != nil {
				return realError(ctx, fmt.Errorf("%s: %w", p.name, err))
			}
			rates[p.name] = append(rates[p.name], rate)
		}
	}
	for name := range rates {
		rates[name] = rates[name][1:]
	}
	for _, p := range ps[1:] {
		s.add(w.row(p.name), s.fuseRow(w, p.name, rates))
	}
	return nil
}

// fuseRegion is where reads go.
func (s *scenario) fuseRegion(w fuseWorkload) format.Extent {
	if w.sequential {
		return format.Extent{Length: s.disk.size}
	}
	return s.region()
}

// load puts w on a file for a while, which reads no byte twice where reads are
// sequential and the kernel could remember it.
func (p *party) load(ctx context.Context, w fuseWorkload, region format.Extent) (float64, error) {
	if err := p.drop(); err != nil {
		return 0, err
	}
	direct := w.direct && (p.proc != nil || canDirect(p.path))
	return fioFile(ctx, p.path, w, direct, region)
}

// canDirect says whether a file can be read past the page cache. Where it is in
// memory, older kernels refuse.
func canDirect(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// fuseRow compares the rates of virtnb with those of another party.
func (s *scenario) fuseRow(w fuseWorkload, other string, rates map[string][]float64) row {
	var ratios []float64
	for i, rate := range rates["virtnb"] {
		ratios = append(ratios, rate/rates[other][i])
	}
	ratio := spreadOf(ratios)
	r := row{Unit: "reads/s", Virtnb: median(rates["virtnb"]), File: median(rates[other]), Ratio: &ratio}
	if w.sequential {
		r.Unit = "MB/s"
	}
	switch ceiling := median(rates["ceiling"]); {
	case other == "flat" && w.least > 0 && ceiling >= w.least:
		r.Goal = &goal{fmt.Sprintf(">= %g %s", w.least, r.Unit), r.Virtnb >= w.least}
	case other == "ceiling" && s.storage == plain:
		r.Goal = atLeast(ratio.Median, 0.9)
	case other == "qemu" || other == "nbdfuse":
		r.Goal = atLeast(ratio.Median, 1)
	}
	return r
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"virtnb/format"
)

// pair is the two servers that are compared, on the same content. Both run all
// the time, one at a time has something to do.
type pair struct {
	virtnb, file *server
}

// startPair starts both with n connections.
func (b *bench) startPair(ctx context.Context, d *disk, n int) (*pair, error) {
	p := &pair{}
	var err error
	if p.virtnb, err = startServer("virtnb", b.dir, b.plugin, d.set); err == nil {
		p.file, err = startServer("file", b.dir, "file", d.raw)
	}
	for _, s := range p.both() {
		if err == nil {
			err = s.connect(ctx, n)
		}
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *pair) both() (list []*server) {
	for _, s := range []*server{p.virtnb, p.file} {
		if s != nil {
			list = append(list, s)
		}
	}
	return list
}

// turn lists both, in another order each time.
func (p *pair) turn(i int) []*server {
	if i%2 == 0 {
		return []*server{p.virtnb, p.file}
	}
	return []*server{p.file, p.virtnb}
}

func (p *pair) stop() {
	for _, s := range p.both() {
		s.stop()
	}
}

// compare loads them in turn, in short rounds, so that what else the machine
// does hits both alike. The first round warms up.
func (b *bench) compare(ctx context.Context, p *pair, w workload, region format.Extent) (row, error) {
	if w.depth == 1 && b.pin {
		unpin, err := pin([]*process{p.virtnb.process, p.file.process})
		if err != nil {
			return row{}, err
		}
		defer unpin()
	}
	var virtnb, file []sample
	for i := range b.rounds + 1 {
		got := map[*server]sample{}
		for _, s := range p.turn(i) {
			var err error
			if got[s], err = s.load(w, region, uint64(i), b.slice); err != nil || ctx.Err() != nil {
				return row{}, realError(ctx, err)
			}
		}
		virtnb, file = append(virtnb, got[p.virtnb]), append(file, got[p.file])
	}
	return w.row(virtnb[1:], file[1:]), nil
}

// row is the outcome of the rounds.
func (w workload) row(virtnb, file []sample) row {
	of := func(list []sample, f func(sample) float64) float64 {
		var values []float64
		for _, s := range list {
			values = append(values, f(s))
		}
		return median(values)
	}
	var ratios []float64
	for i := range virtnb {
		ratios = append(ratios, virtnb[i].rate()/file[i].rate())
	}
	ratio := spreadOf(ratios)
	r := row{
		Unit: "reads/s", Virtnb: of(virtnb, sample.rate), File: of(file, sample.rate), Ratio: &ratio,
		CPUVirtnb: of(virtnb, sample.cpuPerRead), CPUFile: of(file, sample.cpuPerRead),
	}
	if w.sequential {
		mib := float64(w.length) / (1 << 20)
		r.Unit, r.Virtnb, r.File = "MiB/s", r.Virtnb*mib, r.File*mib
	}
	return r
}

// realError prefers the reason why everything ends.
func realError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// verifyReads is how many random reads of each length are compared with the
// flat file before anything is timed.
const verifyReads = 100

// verify makes sure that both serve the flat file.
func (p *pair) verify(d *disk) error {
	raw, err := os.Open(d.raw)
	if err != nil {
		return err
	}
	defer raw.Close()
	for _, s := range p.both() {
		if s.conns[0].size != d.size {
			return fmt.Errorf("%s serves a disk of %d bytes instead of %d", s.name, s.conns[0].size, d.size)
		}
		for i, length := range []int64{1, 4096, 70_001, 256 << 10} {
			if err := s.verify(raw, length, d.size, uint64(i)); err != nil {
				return s.failure(err)
			}
		}
	}
	return nil
}

func (s *server) verify(raw *os.File, length, size int64, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 9))
	left := verifyReads
	want := make([]byte, length)
	_, err := s.conns[0].run(flow{
		depth: 16, length: length,
		next: func() (int64, bool) { left--; return r.Int64N(size - length), left >= 0 },
		check: func(off int64, p []byte) error {
			if _, err := raw.ReadAt(want, off); err != nil {
				return err
			}
			if !bytes.Equal(p, want) {
				return fmt.Errorf("wrong bytes in the %d at %d", length, off)
			}
			return nil
		},
	})
	return err
}

// latency is what one read takes, in milliseconds.
type latency struct{ p50, p99 float64 }

// latencies are those of both servers.
type latencies struct{ virtnb, file latency }

// latency reads pages one by one from both.
func (p *pair) latency(offs []int64) (l latencies, err error) {
	if l.virtnb, err = p.virtnb.latency(offs); err != nil {
		return l, err
	}
	l.file, err = p.file.latency(offs)
	return l, err
}

func (s *server) latency(offs []int64) (latency, error) {
	took := make([]time.Duration, 0, len(offs))
	err := s.readAll(offs, page, 1, &took)
	ms := make([]float64, len(took))
	for i, d := range took {
		ms[i] = millis(d)
	}
	return latency{quantile(ms, 0.5), quantile(ms, 0.99)}, err
}

// addLatencies adds a row for each quantile, the medians of several series.
// A goal is for the 99th percentile.
func (s *scenario) addLatencies(what string, all []latencies, mostMillis float64) {
	var v50, v99, f50, f99 []float64
	for _, l := range all {
		v50, v99 = append(v50, l.virtnb.p50), append(v99, l.virtnb.p99)
		f50, f99 = append(f50, l.file.p50), append(f99, l.file.p99)
	}
	s.add(what+"/p50", row{Unit: "ms", Virtnb: median(v50), File: median(f50)})
	r := row{Unit: "ms", Virtnb: median(v99), File: median(f99)}
	if mostMillis > 0 {
		r.Goal = below(r.Virtnb, mostMillis, "ms")
	}
	s.add(what+"/p99", r)
}

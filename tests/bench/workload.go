// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"virtnb/format"
)

// workload is a kind of load on a server.
type workload struct {
	name       string
	length     int64 // of each read, bytes
	conns      int
	depth      int // requests in flight on each connection
	sequential bool
}

// workloads: sequential reads are one stream that the connections share, as
// nbdcopy reads, random ones are independent.
var workloads = []workload{
	{"seq256k/qd1", 256 << 10, 1, 1, true},
	{"seq256k/qd16", 256 << 10, connections, 16, true},
	{"rand4k/qd1", 4 << 10, 1, 1, false},
	{"rand4k/qd16", 4 << 10, connections, 16, false},
}

// offsets yields where to read; it may be called by several goroutines. Equal
// seeds give equal series.
func (w workload) offsets(region format.Extent, seed uint64, conn int) func() int64 {
	blocks := uint64(region.Length / w.length)
	r := rand.New(rand.NewPCG(seed, uint64(conn)))
	return func() int64 { return region.Start + int64(r.Uint64N(blocks))*w.length }
}

// stream yields the blocks of region one after the other, from a place that
// depends on the seed, to all connections together.
func (w workload) stream(region format.Extent, seed uint64) func() int64 {
	blocks := region.Length / w.length
	var at atomic.Int64
	at.Store(rand.New(rand.NewPCG(seed, 0)).Int64N(blocks))
	return func() int64 { return region.Start + (at.Add(1)-1)%blocks*w.length }
}

// sample is what a server did in a while.
type sample struct {
	reads int
	took  time.Duration
	cpu   time.Duration
}

func (s sample) rate() float64       { return float64(s.reads) / s.took.Seconds() }
func (s sample) cpuPerRead() float64 { return s.cpu.Seconds() * 1e6 / float64(max(s.reads, 1)) }

// load puts w on a server for a while.
func (s *server) load(w workload, region format.Extent, seed uint64, while time.Duration) (sample, error) {
	next := w.stream(region, seed)
	var wg sync.WaitGroup
	reads, errs := make([]int, w.conns), make([]error, w.conns)
	before, start := s.cpu(), time.Now()
	for i := range w.conns {
		offset := next
		if !w.sequential {
			offset = w.offsets(region, seed, i)
		}
		until := func() (int64, bool) { return offset(), time.Since(start) < while }
		wg.Go(func() { reads[i], errs[i] = s.conns[i].run(flow{depth: w.depth, length: w.length, next: until}) })
	}
	wg.Wait()
	out := sample{took: time.Since(start), cpu: s.cpu() - before}
	for _, n := range reads {
		out.reads += n
	}
	if err := errors.Join(errs...); err != nil {
		return out, s.failure(err)
	}
	return out, nil
}

// readAll reads the blocks at offs on the first connection, depth at a time.
func (s *server) readAll(offs []int64, length int64, depth int, took *[]time.Duration) error {
	next := func() (off int64, ok bool) {
		if len(offs) == 0 {
			return 0, false
		}
		off, offs = offs[0], offs[1:]
		return off, true
	}
	if _, err := s.conns[0].run(flow{depth: depth, length: length, next: next, took: took}); err != nil {
		return s.failure(err)
	}
	return nil
}

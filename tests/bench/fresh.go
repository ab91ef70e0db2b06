// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"math/rand/v2"
	"time"
)

// What is measured on servers that have just been started.

const (
	ownFrame  = 256 << 10 // the largest of format.Writer, bytes
	coldReads = 1000
)

// coldOffsets are pages of which no two lie in the same LZ4 frame.
func (s *scenario) coldOffsets() []int64 {
	if s.storage == peer {
		return s.scatter(peerFrameBytes, peerFrameBytes, coldReads)
	}
	return s.scatter(2*ownFrame, ownFrame, coldReads) // so two are a frame apart
}

// cold reads pages, each in a frame that was not touched before. The savesets
// are in the page cache.
func (s *scenario) cold(ctx context.Context, _ *pair) error {
	var all []latencies
	for range s.repeats {
		p, err := s.startPair(ctx, s.disk, 1)
		if err != nil {
			return err
		}
		l, err := p.latency(s.coldOffsets())
		p.stop()
		if err != nil {
			return err
		}
		all = append(all, l)
	}
	most := 1.0
	if s.storage == peer {
		most = 0
	}
	s.addLatencies("cold4k", all, most)
	return nil
}

// reread reads pages of large frames that were read to their ends before, but
// whose content is not in the cache any more.
func (s *scenario) reread(ctx context.Context, p *pair) error {
	var ends []int64
	for _, e := range s.disk.layout(0) {
		for off := e.Start; off < e.End(); off += peerFrameBytes {
			ends = append(ends, min(off+peerFrameBytes, e.End())-page)
		}
	}
	var all []latencies
	for i := range s.repeats {
		if err := p.virtnb.readAll(ends, page, 1, nil); err != nil {
			return err
		}
		r := rand.New(rand.NewPCG(6, uint64(i)))
		offs := make([]int64, coldReads)
		for j := range offs {
			offs[j] = r.Int64N(s.disk.size/page) * page
		}
		l, err := p.latency(offs)
		if err != nil {
			return err
		}
		all = append(all, l)
	}
	s.addLatencies("reread4k", all, 0)
	return nil
}

// start measures the time from exec of nbdkit to the first byte.
func (s *scenario) start(ctx context.Context, _ *pair) error {
	var virtnb, file []float64
	for range s.starts {
		t, err := firstByte(ctx, "virtnb", s.dir, s.plugin, s.disk.set)
		if err != nil {
			return err
		}
		u, err := firstByte(ctx, "file", s.dir, "file", s.disk.raw)
		if err != nil {
			return err
		}
		virtnb, file = append(virtnb, millis(t)), append(file, millis(u))
	}
	r := row{Unit: "ms", Virtnb: median(virtnb), File: median(file)}
	if s.stage == "extents=10000" {
		r.Goal = below(r.Virtnb, 50, "ms")
	}
	s.add("start", r)
	return nil
}

func firstByte(ctx context.Context, name, dir string, args ...string) (time.Duration, error) {
	s, err := startServer(name, dir, args...)
	if err != nil {
		return 0, err
	}
	defer s.stop()
	if err := s.connect(ctx, 1); err != nil {
		return 0, err
	}
	if err := s.readAll([]int64{0}, 1, 1, nil); err != nil {
		return 0, err
	}
	return time.Since(s.started), nil
}

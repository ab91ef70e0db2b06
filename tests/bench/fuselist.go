// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"time"
)

// listRepeats is how often a set is mounted and listed.
const listRepeats = 5

// listPoints measures how long it takes to list all restore points of a mount
// that nobody has looked at before, and all files in them.
func (s *scenario) listPoints(ctx context.Context, _ *pair) error {
	var names, files []float64
	for range listRepeats {
		n, f, err := s.listOnce(ctx)
		if err != nil {
			return realError(ctx, err)
		}
		names, files = append(names, millis(n)), append(files, millis(f))
	}
	for _, r := range []struct {
		what string
		took []float64
	}{{"fuse/list/ls", names}, {"fuse/list/ls-lR", files}} {
		s.add(r.what, row{Unit: "ms", Virtnb: median(r.took), Goal: below(median(r.took), 1000, "ms")})
	}
	return nil
}

func (s *scenario) listOnce(ctx context.Context) (names, files time.Duration, err error) {
	ps, err := s.startParties(ctx, s.disk, "virtnb")
	if err != nil {
		return 0, 0, err
	}
	defer ps.stop()
	at := ps[0].at
	if names, err = timed(ctx, "ls", at); err == nil {
		files, err = timed(ctx, "ls", "-lR", filepath.Clean(at))
	}
	return names, files, err
}

func timed(ctx context.Context, program string, args ...string) (time.Duration, error) {
	start := time.Now()
	err := exec.CommandContext(ctx, program, args...).Run()
	return time.Since(start), err
}

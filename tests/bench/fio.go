// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"

	"virtnb/format"
)

// A second opinion: the same loads by fio.

const fioRounds = 3

// runFio compares both servers under w as fio makes it.
func (s *scenario) runFio(ctx context.Context, p *pair, w workload) error {
	var rates [2][]float64
	var ratios []float64
	for i := range fioRounds {
		got := map[*server]float64{}
		for _, srv := range p.turn(i) {
			rate, err := fio(ctx, srv, w)
			if err != nil {
				return realError(ctx, err)
			}
			got[srv] = rate
		}
		rates[0], rates[1] = append(rates[0], got[p.virtnb]), append(rates[1], got[p.file])
		ratios = append(ratios, got[p.virtnb]/got[p.file])
	}
	r := spreadOf(ratios)
	s.add(w.name+"/fio", row{Unit: "reads/s", Virtnb: median(rates[0]), File: median(rates[1]), Ratio: &r})
	return nil
}

// fio returns the reads in a second.
func fio(ctx context.Context, s *server, w workload) (float64, error) {
	rw := "randread"
	if w.sequential {
		rw = "read"
	}
	return fioReads(ctx, "--ioengine=nbd", "--uri=nbd+unix:///?socket="+s.socket,
		"--rw="+rw, fmt.Sprint("--bs=", w.length), fmt.Sprint("--iodepth=", w.depth), fmt.Sprint("--numjobs=", w.conns),
		"--time_based", fmt.Sprint("--runtime=", time.Second))
}

// fioFile returns the reads of a file in a second, or MB/s where they are
// sequential: those end when the region does.
func fioFile(ctx context.Context, path string, w fuseWorkload, direct bool, region format.Extent) (float64, error) {
	args := []string{"--ioengine=psync", "--readonly", "--filename=" + path, fmt.Sprint("--runtime=", fuseSlice.Milliseconds(), "ms"),
		fmt.Sprint("--offset=", region.Start), fmt.Sprint("--size=", region.Length),
		fmt.Sprint("--bs=", w.length), fmt.Sprint("--numjobs=", w.readers), "--gtod_reduce=1", "--disk_util=0", "--clocksource=clock_gettime", "--eta=never"}
	if direct {
		args = append(args, "--direct=1")
	}
	if w.sequential {
		rate, err := fioReads(ctx, append(args, "--rw=read")...)
		return rate * float64(w.length) / 1e6, err
	}
	return fioReads(ctx, append(args, "--rw=randread", "--norandommap", "--time_based")...)
}

// fioReads runs fio and returns the reads in a second.
func fioReads(ctx context.Context, args ...string) (float64, error) {
	args = append([]string{"--name=bench", "--thread", "--group_reporting", "--output-format=json"}, args...)
	cmd := exec.CommandContext(ctx, "fio", args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%v: %w: %s", cmd.Args, err, &said)
	}
	var result struct {
		Jobs []struct {
			Read struct{ Iops float64 }
		}
	}
	// The engine talks before the object begins.
	if err := json.Unmarshal(out[max(0, bytes.IndexByte(out, '{')):], &result); err != nil || len(result.Jobs) == 0 {
		return 0, fmt.Errorf("%v: no result: %w", cmd.Args, err)
	}
	return result.Jobs[0].Read.Iops, nil
}

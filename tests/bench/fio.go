// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"
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
	cmd := exec.CommandContext(ctx, "fio", "--name=bench", "--ioengine=nbd", "--uri=nbd+unix:///?socket="+s.socket,
		"--rw="+rw, fmt.Sprint("--bs=", w.length), fmt.Sprint("--iodepth=", w.depth), fmt.Sprint("--numjobs=", w.conns),
		"--thread", "--group_reporting", "--time_based", fmt.Sprint("--runtime=", time.Second), "--output-format=json")
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%v: %w", cmd.Args, err)
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

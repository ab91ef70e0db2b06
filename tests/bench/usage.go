// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what programs took from start to end.
type usage struct {
	wall    float64 // seconds
	cpu     float64 // seconds of all processors, user and system
	started float64 // the same of programs that they started
	qemu    float64 // the same of the guest's QEMU meanwhile
	memory  float64 // bytes: the sum of the peaks
}

// memoryPoll is how often a program is asked for its peak: it is gone with the
// program. (The kernel keeps another one for who waits, which includes the
// peak of who started it.)
const memoryPoll = 10 * time.Millisecond

// run runs programs side by side, and says what they used. If one fails, its
// output is in the error.
func run(ctx context.Context, programs ...[]string) (usage, error) {
	type result struct {
		usage
		err error
	}
	results := make(chan result)
	start := time.Now()
	for _, args := range programs {
		go func() {
			u, err := runOne(ctx, args)
			results <- result{u, err}
		}()
	}
	var sum usage
	var errs []error
	for range programs {
		r := <-results
		sum.cpu, sum.started, sum.memory = sum.cpu+r.cpu, sum.started+r.started, sum.memory+r.memory
		errs = append(errs, r.err)
	}
	sum.wall = time.Since(start).Seconds()
	return sum, errors.Join(errs...)
}

func runOne(ctx context.Context, args []string) (usage, error) {
	p, err := launch(nil, args[0], args[1:]...)
	if err != nil {
		return usage{}, err
	}
	defer p.stop()
	var u usage
	tick := time.NewTicker(memoryPoll)
	defer tick.Stop()
	for {
		if hwm := processMemory(p.cmd.Process.Pid, "VmHWM"); hwm > 0 {
			u.memory = hwm
		}
		select {
		case <-p.exited:
			if !p.cmd.ProcessState.Success() {
				return u, p.failure(errors.New(p.cmd.ProcessState.String()))
			}
			u.cpu, u.started = p.own, p.children
			return u, nil
		case <-ctx.Done():
			return u, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// awaitEnd waits for the end of a process that is not collected yet.
func awaitEnd(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err
		}
	}
}

// ticksPerSecond is the unit of /proc/PID/stat, the same on all machines that
// Linux runs on today.
const ticksPerSecond = 100

// processTime is the time of the processors that a process used, in seconds,
// and of those that it started and collected.
func processTime(pid int) (own, children float64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	text := string(b)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const utime = 11 // counted from the state, behind the name
	if len(fields) < utime+4 {
		return 0, 0, fmt.Errorf("/proc/%d/stat is %q", pid, text)
	}
	var t [4]float64
	for i := range t {
		if t[i], err = strconv.ParseFloat(fields[utime+i], 64); err != nil {
			return 0, 0, err
		}
	}
	return (t[0] + t[1]) / ticksPerSecond, (t[2] + t[3]) / ticksPerSecond, nil
}

// processMemory reads a field of /proc/PID/status, in bytes.
func processMemory(pid int, field string) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return float64(kib << 10)
		}
	}
	return 0
}

// findProcess finds the one that has an argument which begins with prefix.
func findProcess(program, prefix string) (int, error) {
	lists, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		args := strings.Split(string(b), "\x00")
		if filepath.Base(args[0]) != program {
			continue
		}
		for _, arg := range args[1:] {
			if strings.HasPrefix(arg, prefix) {
				return strconv.Atoi(filepath.Base(filepath.Dir(list)))
			}
		}
	}
	return 0, fmt.Errorf("no process of %s with the argument %s: %w", program, prefix, exec.ErrNotFound)
}

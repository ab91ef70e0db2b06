// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// With one request in flight either client or server runs, never both. Where
// the scheduler leaves them on one core that goes eight times faster than
// where each reply has to wake the other core, on a virtual machine at least,
// and it changes its mind every few milliseconds. So these loads are pinned to
// one core: there the figure depends on the work that the server does.

// pin keeps this program and others to one core until the answer is called.
func pin(others []*process) (unpin func(), err error) {
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, err
	}
	for cpu := range len(all) * 64 {
		if all.IsSet(cpu) {
			one.Zero()
			one.Set(cpu) // the last one: interrupts like the first
		}
	}
	pids := []int{os.Getpid()}
	for _, p := range others {
		pids = append(pids, p.pids()...)
	}
	unpin = func() { _ = setAffinities(pids, &all) }
	if err := setAffinities(pids, &one); err != nil {
		unpin()
		return nil, err
	}
	return unpin, nil
}

func setAffinities(pids []int, set *unix.CPUSet) error {
	for _, pid := range pids {
		if err := setAffinity(pid, set); err != nil {
			return fmt.Errorf("pinning process %d: %w", pid, err)
		}
	}
	return nil
}

// setAffinity goes over all threads, twice as they may make others meanwhile.
func setAffinity(pid int, set *unix.CPUSet) error {
	for range 2 {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		for _, name := range tasks {
			tid, err := strconv.Atoi(filepath.Base(name))
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(tid, set); err != nil && err != unix.ESRCH {
				return err
			}
		}
	}
	return nil
}

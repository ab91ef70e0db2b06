// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is where the benchmark runs.
type machine struct {
	Cores  int    `json:"cores"`
	CPU    string `json:"cpu"`
	Kernel string `json:"kernel"`
	Nbdkit string `json:"nbdkit"`
	Dir    string `json:"dir"`
	Method string `json:"method"`
}

func thisMachine() (machine, error) {
	m := machine{Cores: runtime.NumCPU(), CPU: cpuModel()}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return m, err
	}
	m.Kernel = unix.ByteSliceToString(u.Release[:])
	out, err := exec.Command("nbdkit", "--version").Output()
	m.Nbdkit = strings.TrimSpace(string(out))
	return m, err
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range bytes.Lines(b) {
		if key, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}

func (m machine) String() string {
	return fmt.Sprintf("%d cores of %s, Linux %s, %s, files in %s\n%s\n", m.Cores, m.CPU, m.Kernel, m.Nbdkit, m.Dir, m.Method)
}

// room is the number of bytes that may be put into dir.
func room(dir string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	free := int64(st.Bavail) * st.Bsize
	if st.Type == unix.TMPFS_MAGIC {
		free = min(free, memoryAvailable())
	}
	return free
}

func memoryAvailable() (n int64) {
	b, _ := os.ReadFile("/proc/meminfo")
	for line := range bytes.Lines(b) {
		if _, err := fmt.Sscanf(string(line), "MemAvailable: %d kB", &n); err == nil {
			return n << 10
		}
	}
	return 0
}

// roomNeeded is what the largest disk takes, flat, in its set and as a qcow2, and memory for
// the servers.
const roomNeeded = 8 << 30

// workDir makes the folder for everything: below dir, or in memory where there
// is room, so that the storage of the machine is not what is measured.
func workDir(dir string) (string, error) {
	if dir == "" {
		dir = os.TempDir()
		if room("/dev/shm") >= roomNeeded {
			dir = "/dev/shm"
		}
	}
	if err := needRoom(dir, roomNeeded); err != nil {
		return "", err
	}
	return os.MkdirTemp(dir, "virtnb-bench-")
}

func needRoom(dir string, need int64) error {
	if free := room(dir); free < need {
		return fmt.Errorf("%s has room for %d MiB of the %d needed: give -dir", dir, free>>20, need>>20)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"virtnb/format"
)

func TestCheck(t *testing.T) {
	t.Setenv("LIBVIRT_DEFAULT_URI", "")
	for line, want := range map[string]string{
		"-o x":                 "",
		"-o x -l inc -r":       "",
		"-o x -t raw":          "",
		"-o x -t raw -l full":  "",
		"-o - -z -l inc":       "",
		"-o x -t raw -z":       "Compression not supported with raw output.",
		"-o x -t raw -z 0":     "Compression not supported with raw output.",
		"-o - -t raw":          "Output type raw not supported to stdout.",
		"-o - -r":              "Saving raw images to stdout is not supported.",
		"-o x -t raw -l inc":   "Stream format raw does not support incremental or differential backup.",
		"-o x -t raw -l diff":  "Stream format raw does not support incremental or differential backup.",
		"-o - --json":          "--json and the archive of -o - would both go to the standard output.",
		"-o x -s -k":           "-s starts a backup job and -k ends it: only one of them can be given.",
		"--output=":            "the name of the output folder is empty",
		"-o x -P 0":            "NBD port 0: must be 1 to 65535",
		"-o x --ssh-port 7777": "",
		"-o x --ssh-port -1":   "SSH port -1: must be 1 to 65535",
		"-o x --domain=":       "the name of the domain is empty",
	} {
		o := parse(t, "virtnb backup", append([]string{"-d", "vm"}, strings.Fields(line)...)...)
		if err := o.Check(o.Level); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// What auto becomes is known late; a raw image cannot hold changes then either.
func TestCheckAuto(t *testing.T) {
	o := parse(t, PeerName, "-d", "vm", "-o", "x", "-t", "raw", "-l", "auto")
	if err := o.Check(Auto); err != nil {
		t.Error(err)
	}
	if err := o.Check(format.Full); err != nil {
		t.Error(err)
	}
	if err := o.Check(format.Inc); err == nil {
		t.Error("raw increments are accepted")
	}
}

func TestCheckOffline(t *testing.T) {
	if err := parse(t, PeerName, "-d", "vm", "-o", "x").CheckOffline(); err != nil {
		t.Error(err)
	}
	err := parse(t, PeerName, "-d", "vm", "-o", "x", "-s").CheckOffline()
	if err == nil || err.Error() != "Domain is offline: must be active for this function." {
		t.Error(err)
	}
}

func TestWithRaw(t *testing.T) {
	o := parse(t, PeerName, "-d", "vm", "-o", "x", "-r")
	for level, want := range map[format.Level]bool{format.Copy: true, format.Full: true, format.Inc: false, format.Diff: false} {
		var log bytes.Buffer
		got := o.WithRaw(level, slog.New(slog.NewTextHandler(&log, nil)))
		if got != want || strings.Count(log.String(), "level=WARN") != map[bool]int{true: 0, false: 2}[want] {
			t.Errorf("%s: %v\n%s", level, got, &log)
		}
	}
	o.IncludeRaw = false
	if o.WithRaw(format.Inc, nil) || o.WithRaw(format.Full, nil) {
		t.Error("raw disks are included though nobody asked")
	}
}

func TestWorkers(t *testing.T) {
	for line, want := range map[string][3]int{ // with 0, 1 and 3 disks
		"-o x":       {1, 1, 3},
		"-o x -w 2":  {1, 1, 2},
		"-o x -w 9":  {1, 1, 3},
		"-o x -w 0":  {1, 1, 1},
		"-o x -w -4": {1, 1, 1},
		"-o -":       {1, 1, 1},
		"-o - -w 3":  {1, 1, 1},
	} {
		o := parse(t, PeerName, append([]string{"-d", "vm"}, strings.Fields(line)...)...)
		if got := [3]int{o.Workers(0), o.Workers(1), o.Workers(3)}; got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

func TestCompressLevel(t *testing.T) {
	for line, want := range map[string]int{"": 0, "-z": 2, "-z 0": 1, "-z 1": 1, "-z=-5": -5, "-z 16": 16} {
		if o := parse(t, PeerName, append([]string{"-d", "vm", "-o", "x"}, strings.Fields(line)...)...); o.CompressLevel() != want {
			t.Errorf("%s: %d", line, o.CompressLevel())
		}
	}
}

func TestPaths(t *testing.T) {
	start := time.Date(2026, 11, 27, 9, 5, 3, 0, time.Local)
	for line, want := range map[string][3]string{
		"-o /b -l auto":       {"/b", "/b/checkpoints", "/b/backup.auto.11272026090503.log"},
		"-o - -l inc":         {".", "checkpoints", "backup.inc.11272026090503.log"},
		"-o /b -C /elsewhere": {"/b", "/elsewhere", "/b/backup.copy.11272026090503.log"},
	} {
		o := parse(t, PeerName, append([]string{"-d", "vm"}, strings.Fields(line)...)...)
		if got := [3]string{o.Folder(), o.Checkpoints(), o.LogFile(start)}; got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

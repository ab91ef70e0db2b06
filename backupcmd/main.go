// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"virtnb/format"
	"virtnb/internal/archive"
	"virtnb/internal/logfile"
	"virtnb/internal/progress"
	"virtnb/internal/terminal"
)

// Exit statuses of the command. ParseArgs gives 2 for a wrong command line.
const (
	exitSuccess = 0
	exitFailure = 1
)

// Main is the command: prog is the name that it was called by, args are the
// words behind it. It returns the exit status: 0, 1 for a failure, 2 for a wrong
// command line or, with --strict, for a backup with warnings.
func Main(ctx context.Context, prog, version string, args []string, out, errOut *os.File) int {
	o, status, done := ParseArgs(prog, version, args, out, errOut)
	if done {
		return status
	}
	c := command{prog: prog, version: version, args: args, o: o, out: out, errOut: errOut}
	return c.run(ctx)
}

// command is a call of the command.
type command struct {
	prog, version string
	args          []string
	o             Options
	out, errOut   *os.File
}

func (c *command) run(ctx context.Context) int {
	start := time.Now()
	var zip *archive.Writer
	if c.o.Zip() && !c.o.KillOnly && !c.o.PrintOnly && !c.o.StartOnly {
		var err error
		if zip, err = archive.New(c.out); err != nil {
			fmt.Fprintf(c.errOut, "%s: %v\n", c.prog, err)
			return exitFailure
		}
	}
	t, err := openTarget(c.o.Folder(), c.o.Domain, c.o.CheckpointDir)
	if errors.Is(err, errBusy) && c.o.KillOnly {
		t, err = unlockedTarget(c.o.Folder(), c.o.Domain, c.o.CheckpointDir)
	}
	if err != nil {
		fmt.Fprintf(c.errOut, "%s: %v\n", c.prog, err)
		return exitFailure
	}
	defer t.close()
	ui := newUI(c.o, c.out, c.errOut)
	defer ui.close()
	log, err := c.openLog(start, ui)
	if err != nil {
		fmt.Fprintf(c.errOut, "%s: Failed to open logfile: [%v].\n", c.prog, err)
		return exitFailure
	}
	status := c.save(ctx, &run{o: c.o, log: slog.New(log), ui: ui, target: t, zip: zip, logPath: c.o.LogFile(start)}, log)
	if err := log.Close(); err != nil {
		fmt.Fprintf(c.errOut, "%s: log file: %v\n", c.prog, err)
		status = max(status, exitFailure)
	}
	return status
}

func (c *command) openLog(start time.Time, ui *ui) (*logfile.Log, error) {
	o := logfile.Options{
		Path: c.o.LogFile(start), Verbose: c.o.Verbose, Tag: c.prog, Secrets: c.o.Host.Secrets(),
		Color: !c.o.NoColor && terminal.Colors(c.errOut),
	}
	if !c.o.Quiet {
		o.Stderr = ui.display
	}
	if c.o.Syslog {
		o.Syslog = logfile.DevLog
	}
	return logfile.Open(o)
}

// save runs the backup and says how it went.
func (c *command) save(ctx context.Context, r *run, l *logfile.Log) int {
	r.log.Info(fmt.Sprintf("Version: %s Arguments: %s", c.version, strings.Join(append([]string{c.prog}, c.args...), " ")))
	r.log.Info(fmt.Sprintf("Backup level: [%s]", c.o.Level))
	err := c.o.Check(c.o.Level)
	if err == nil {
		err = r.connect(ctx)
		defer r.disconnect()
	}
	if err == nil {
		err = r.save(ctx)
	}
	if err != nil {
		r.log.Error(err.Error())
	}
	status := l.ExitStatus(c.o.Strict)
	switch status {
	case exitSuccess:
		r.log.Info("Finished successfully")
	case exitFailure:
		r.log.Error("Error during backup")
	default:
		r.log.Info(fmt.Sprintf("[%d] Warnings detected during backup operation, forcing exit code %d", l.Warnings(), status))
	}
	text := ""
	if err != nil {
		text = l.Redact(err.Error())
	}
	r.ui.result(r, status, text)
	return status
}

// ui is what a run shows beside its log.
type ui struct {
	display *progress.Display
	json    io.Writer // nil: none
	disks   []diskResult
	size    *int64
}

func newUI(o Options, out, errOut *os.File) *ui {
	u := &ui{}
	p := progress.Options{Label: "saving disk", Stderr: errOut, NoBars: o.NoProgress || o.Quiet}
	if o.JSON {
		p.JSON, u.json = out, out
	}
	u.display = progress.New(p)
	return u
}

func (u *ui) close() { u.display.Close() }

// estimate notes the size that --printonly prints.
func (u *ui) estimate(size int64) { u.size = &size }

// The last line of --json is an interface: programs rely on these names.
type (
	resultJSON struct {
		Type          string       `json:"type"` // "result"
		Status        int          `json:"status"`
		Error         string       `json:"error,omitempty"`
		Domain        string       `json:"domain"`
		Level         string       `json:"level,omitempty"`
		Point         string       `json:"point,omitempty"`         // the restore point that was made
		EstimatedSize *int64       `json:"estimatedSize,omitempty"` // bytes, with --printonly
		Disks         []diskResult `json:"disks"`
	}
	diskResult struct {
		Name        string  `json:"name"`
		File        string  `json:"file"`
		Incremental bool    `json:"incremental"`
		VirtualSize int64   `json:"virtualSize"` // bytes
		DataSize    int64   `json:"dataSize"`    // bytes of the disk in the saveset
		Extents     int64   `json:"extents"`
		Seconds     float64 `json:"seconds"`
	}
)

func (u *ui) result(r *run, status int, failure string) {
	if u.json == nil {
		return
	}
	u.display.Close()
	res := resultJSON{Type: "result", Status: status, Domain: r.o.Domain, EstimatedSize: u.size, Disks: u.disks, Level: string(r.plan.level)}
	if res.Disks == nil {
		res.Disks = []diskResult{}
	}
	if failure != "" {
		res.Error, res.Disks = failure, []diskResult{}
	} else if len(u.disks) > 0 {
		res.Point = r.plan.pointName()
	}
	enc := json.NewEncoder(u.json)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(res) // where the reader is gone, the status tells
}

// pointName is the name of the restore point.
func (p *plan) pointName() string {
	switch p.level {
	case format.Copy:
		return string(format.Copy)
	case format.Diff:
		return p.diffName()
	}
	return p.checkpoint
}

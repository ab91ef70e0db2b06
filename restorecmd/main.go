// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"virtnb/internal/host"
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
// words behind it. It returns the exit status: 0, 1 where anything is wrong, 2
// for a wrong command line.
func Main(ctx context.Context, prog, version string, args []string, out, errOut *os.File) int {
	o, status, done := ParseArgs(prog, version, args, out, errOut)
	if done {
		return status
	}
	c := command{prog: prog, version: version, args: args, o: o, out: out, errOut: errOut}
	return c.run(ctx)
}

// peersError is an error in the words of virtnbdrestore, which scripts look for.
func peersError(format string, args ...any) error { return fmt.Errorf(format, args...) }

// command is a call of the command.
type command struct {
	prog, version string
	args          []string
	o             Options
	out, errOut   *os.File
}

// run is what one of the actions works with.
type run struct {
	o   Options
	log *slog.Logger
	out *os.File // for what was asked for: the JSON of dump, a disk
	in  *os.File // for questions
	ui  *ui      // progress and results

	host host.Host // where the targets are
	far  string    // its name; "": this machine
}

func (c *command) run(ctx context.Context) int {
	ui := newUI(c.o, c.out, c.errOut)
	defer ui.close()
	log, err := c.openLog(ui)
	if err != nil {
		fmt.Fprintf(c.errOut, "%s: Failed to open logfile: [%v].\n", c.prog, err)
		return exitFailure
	}
	status := c.act(ctx, &run{o: c.o, log: slog.New(log), out: c.out, in: os.Stdin, ui: ui}, log)
	if err := log.Close(); err != nil {
		fmt.Fprintf(c.errOut, "%s: log file: %v\n", c.prog, err)
		status = max(status, exitFailure)
	}
	return status
}

func (c *command) openLog(ui *ui) (*logfile.Log, error) {
	return logfile.Open(logfile.Options{
		Path: c.o.LogFile, Verbose: c.o.Verbose, Tag: c.prog, Secrets: c.o.Host.Secrets(),
		Stderr: ui.display, Color: !c.o.NoColor && terminal.Colors(c.errOut),
	})
}

// act does what is asked for and says how it went. An error that was logged
// makes the status a failure, whatever was done besides.
func (c *command) act(ctx context.Context, r *run, l *logfile.Log) int {
	r.log.Info(fmt.Sprintf("Version: %s Arguments: %s", c.version, strings.Join(append([]string{c.prog}, c.args...), " ")))
	err := c.o.Check()
	if err == nil {
		switch c.o.Action {
		case Dump:
			err = runDump(ctx, r)
		case Verify:
			err = runVerify(ctx, r)
		default:
			err = runRestore(ctx, r)
		}
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("interrupted by a signal: %w", err)
	}
	text := ""
	if err != nil {
		r.log.Error(err.Error())
		text = l.Redact(err.Error())
	}
	status := l.ExitStatus(false)
	if c.o.Action == Restore {
		r.ui.result(status, text)
	}
	return status
}

// ui is what a run shows beside its log.
type ui struct {
	display *progress.Display
	json    io.Writer // nil: none
	answer  resultJSON
}

func newUI(o Options, out, errOut *os.File) *ui {
	u := &ui{}
	p := progress.Options{Label: labels[o.Action], Stderr: errOut, NoBars: o.NoProgress}
	if o.JSON {
		u.json = out
		if o.Action == Restore {
			p.JSON = out
		}
	}
	u.display = progress.New(p)
	return u
}

// labels stand before the name of a disk at its progress bar.
var labels = map[Action]string{Restore: "restoring disk", Verify: "verifying"}

func (u *ui) close() { u.display.Close() }

// The last line of --json is an interface: programs rely on these names.
type (
	resultJSON struct {
		Type    string       `json:"type"` // "result"
		Status  int          `json:"status"`
		Error   string       `json:"error,omitempty"`
		Domain  string       `json:"domain"`
		Point   string       `json:"point,omitempty"`   // "" with --sequence
		Defined string       `json:"defined,omitempty"` // name of the domain that was defined
		Config  string       `json:"config,omitempty"`  // path of the domain's configuration
		Disks   []diskResult `json:"disks"`
	}
	diskResult struct {
		Name        string  `json:"name"`
		Point       string  `json:"point,omitempty"`
		Target      string  `json:"target"`
		Format      string  `json:"format"`
		VirtualSize int64   `json:"virtualSize"`          // bytes
		Written     int64   `json:"written"`              // bytes
		Differing   *int64  `json:"differing,omitempty"`  // bytes, of --in-place
		Unreadable  *int64  `json:"unreadable,omitempty"` // bytes, of --salvage
		Seconds     float64 `json:"seconds"`
	}
)

func (u *ui) result(status int, failure string) {
	if u.json == nil {
		return
	}
	u.display.Close()
	res := u.answer
	res.Type, res.Status, res.Error = "result", status, failure
	if res.Disks == nil {
		res.Disks = []diskResult{}
	}
	enc := json.NewEncoder(u.json)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(res) // where the reader is gone, the status tells
}

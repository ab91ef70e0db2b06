// SPDX-License-Identifier: Apache-2.0

// Package restorecmd has the commands that read backup sets for people: list
// shows what a set can bring back.
package restorecmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"virtnb/format"
)

// ListOptions are the options of List.
type ListOptions struct {
	Set  string // a folder, an archive, or archives with commas between them
	JSON bool   // one JSON object instead of a table
	Out  io.Writer
}

// ErrProblems means that a set was listed and that something in it is damaged
// or missing.
var ErrProblems = errors.New("the backup set has problems")

// List writes the disks, restore points and problems of a set. It validates
// the structure of every saveset, without reading the data. If restore points
// are lost, the list is written all the same and the error is ErrProblems.
func List(ctx context.Context, o ListOptions) error {
	set, err := format.CheckSet(inputPaths(o.Set)...)
	if err != nil {
		return withHint(o.Set, err)
	}
	if o.JSON {
		err = writeJSON(o.Out, set)
	} else {
		err = writeTable(o.Out, set)
	}
	if err != nil {
		return err
	}
	lost := 0
	for _, p := range set.Problems {
		if !p.Harmless {
			lost++
		}
	}
	if lost > 0 {
		return fmt.Errorf("%s: %w: %d of its files cannot be used, see the list", o.Set, ErrProblems, lost)
	}
	return nil
}

// withHint helps those who named the folder above their sets.
func withHint(dir string, err error) error {
	if !errors.Is(err, format.ErrNotFound) {
		return err
	}
	sets, _, failed := format.Sets(dir)
	var names []string
	for _, s := range sets {
		names = append(names, filepath.Base(s.Dir))
	}
	if failed != nil || len(names) == 0 {
		return err
	}
	return fmt.Errorf("%w; there are sets below it: %s", err, strings.Join(names, ", "))
}

// The JSON of list is an interface: programs rely on these names.
type (
	setJSON struct {
		Set      string        `json:"set"`
		Domain   string        `json:"domain"`
		Disks    []diskJSON    `json:"disks"`
		Problems []problemJSON `json:"problems"`
	}
	diskJSON struct {
		Name        string      `json:"name"`
		VirtualSize int64       `json:"virtualSize"` // bytes, at the latest restore point
		Points      []pointJSON `json:"points"`      // oldest first
	}
	pointJSON struct {
		Name       string `json:"name"`
		Level      string `json:"level"`
		Date       string `json:"date"`     // local time of the backup host, ISO 8601 without zone, or ""
		File       string `json:"file"`     // base name
		DataSize   int64  `json:"dataSize"` // bytes of disk data, uncompressed
		FileSize   int64  `json:"fileSize"` // bytes of the file
		Compressed bool   `json:"compressed"`
		Parent     string `json:"parent"`   // restore point that this one holds changes of, or ""
		Complete   bool   `json:"complete"` // can be brought back
	}
	problemJSON struct {
		File    string `json:"file"` // base name
		Problem string `json:"problem"`
	}
)

func writeJSON(out io.Writer, set *format.Set) error {
	dir, err := filepath.Abs(set.Dir)
	if err != nil {
		return err
	}
	j := setJSON{Set: dir, Domain: set.Domain, Disks: []diskJSON{}, Problems: []problemJSON{}}
	for _, d := range set.Disks {
		dj := diskJSON{Name: d.Name, VirtualSize: d.Latest().Meta.VirtualSize}
		for _, p := range d.Points {
			dj.Points = append(dj.Points, toJSON(p))
		}
		j.Disks = append(j.Disks, dj)
	}
	for _, p := range set.Problems {
		j.Problems = append(j.Problems, problemJSON{p.File, p.Text})
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(j)
}

func toJSON(p *format.Point) pointJSON {
	return pointJSON{
		Name:       p.Name,
		Level:      string(p.Level),
		Date:       format.FormatDate(p.Meta.Date),
		File:       filepath.Base(p.File),
		DataSize:   p.Meta.DataSize,
		FileSize:   p.FileSize,
		Compressed: p.Meta.Compressed(),
		Parent:     parentName(p),
		Complete:   p.Err == nil,
	}
}

func parentName(p *format.Point) string {
	if p.Parent != nil {
		return p.Parent.Name
	}
	return p.Meta.ParentCheckpoint
}

func writeTable(out io.Writer, set *format.Set) error {
	title := set.Dir
	if set.Domain != "" {
		title += ", domain " + set.Domain
	}
	fmt.Fprintf(out, "Backup set %s\n", title)
	for _, d := range set.Disks {
		fmt.Fprintf(out, "\nDisk %s, %s\n\n", d.Name, size(d.Latest().Meta.VirtualSize))
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "RESTORE POINT\tDATE\tLEVEL\tDATA\tFILE SIZE\tCOMPRESSED\tSTATE")
		for _, p := range d.Points {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", orDash(p.Name), date(p), p.Level,
				size(p.Meta.DataSize), size(p.FileSize), compressed(p), state(p))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if len(set.Problems) > 0 {
		fmt.Fprint(out, "\nProblems\n\n")
	}
	for _, p := range set.Problems {
		if _, err := fmt.Fprintf(out, "%s: %s\n", p.File, p.Text); err != nil {
			return err
		}
	}
	return nil
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func date(p *format.Point) string {
	if p.Meta.Date.IsZero() {
		return "-"
	}
	return p.Meta.Date.Format("2006-01-02 15:04:05")
}

func compressed(p *format.Point) string {
	if p.Meta.Compressed() {
		return "lz4"
	}
	return "no"
}

func state(p *format.Point) string {
	switch {
	case p.Err == nil:
		return "complete"
	case !p.OwnFault():
		return "lost with an earlier one"
	case errors.Is(p.Err, format.ErrCorrupt):
		return "damaged"
	case errors.Is(p.Err, format.ErrChain):
		return "chain broken"
	}
	return "unreadable"
}

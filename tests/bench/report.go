// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// row is one line of the report.
type row struct {
	Name      string  `json:"name"`
	Unit      string  `json:"unit,omitempty"`
	Virtnb    float64 `json:"virtnb"`
	File      float64 `json:"file"`            // nbdkit's file plugin, or whom the name ends with
	Ratio     *spread `json:"ratio,omitempty"` // of each round, virtnb to file
	CPUVirtnb float64 `json:"cpuVirtnb,omitempty"`
	CPUFile   float64 `json:"cpuFile,omitempty"` // microseconds of server CPU a read
	Goal      *goal   `json:"target,omitempty"`
	Note      string  `json:"note,omitempty"`
}

// goal is a target, and whether it was met.
type goal struct {
	Text string `json:"text"`
	Met  bool   `json:"met"`
}

func atLeast(v, bound float64) *goal {
	return &goal{fmt.Sprintf(">= %.2f", bound), v >= bound}
}

func below(v, bound float64, unit string) *goal {
	return &goal{fmt.Sprintf("< %g %s", bound, unit), v < bound}
}

// report collects the rows and shows them as they come.
type report struct {
	Machine machine `json:"machine"`
	Rows    []row   `json:"rows"`

	out  io.Writer
	json bool
}

func (r *report) add(w row) {
	r.Rows = append(r.Rows, w)
	if !r.json {
		fmt.Fprintln(r.out, w)
	}
}

func (w row) String() string {
	goal, mark := "", ""
	if w.Goal != nil {
		goal, mark = w.Goal.Text, "MISS"
		if w.Goal.Met {
			mark = "ok"
		}
	}
	ratio := ""
	if w.Ratio != nil {
		ratio = fmt.Sprintf("%5.2f [%.2f %.2f]", w.Ratio.Median, w.Ratio.Q1, w.Ratio.Q3)
	}
	s := fmt.Sprintf("%-47s %9s %9s %-7s %-18s %7s %7s  %-8s %s %s", w.Name, number(w.Virtnb), number(w.File), w.Unit, ratio, number(w.CPUVirtnb), number(w.CPUFile), goal, mark, w.Note)
	return strings.TrimRight(s, " ")
}

// number in about four digits; nothing for none.
func number(v float64) string {
	switch {
	case v == 0:
		return ""
	case v < 10:
		return fmt.Sprintf("%.3f", v)
	case v < 1000:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func (r *report) head() {
	if r.json {
		return
	}
	fmt.Fprint(r.out, r.Machine, "\n")
	fmt.Fprintf(r.out, "%-47s %9s %9s %-7s %-18s %7s %7s  %s\n", "", "virtnb", "other", "", "ratio [quartiles]", "CPU us", "other", "target")
}

// finish adds the rows that compare others, and ends the report.
func (r *report) finish() error {
	for _, f := range flats {
		r.addFlat(f)
	}
	if r.json {
		enc := json.NewEncoder(r.out)
		enc.SetIndent("", " ")
		enc.SetEscapeHTML(false)
		return enc.Encode(r)
	}
	met, all := 0, 0
	for _, w := range r.Rows {
		if w.Goal != nil {
			all++
			if w.Goal.Met {
				met++
			}
		}
	}
	fmt.Fprintf(r.out, "%d of %d targets met\n", met, all)
	return nil
}

// flats are the rows in which more of something should cost nothing.
var flats = []struct{ few, many string }{
	{"extents=100", "extents=10000"}, {"extents=100", "extents=1000000"},
	{"incs=1", "incs=10"}, {"incs=1", "incs=50"}, {"incs=1", "incs=200"},
}

// addFlat compares the ratio with many to that with few.
func (r *report) addFlat(f struct{ few, many string }) {
	ratios := map[string]*spread{}
	for _, w := range r.Rows {
		ratios[w.Name] = w.Ratio
	}
	for _, s := range []storage{plain, lz4} {
		for _, w := range workloads {
			few, many := ratios[rowName(s, f.few, w.name)], ratios[rowName(s, f.many, w.name)]
			if few == nil || many == nil {
				continue
			}
			rel := spread{many.Median / few.Median, many.Q1 / few.Q3, many.Q3 / few.Q1}
			flat := row{Name: fmt.Sprintf("flat/%s/%s:%s/%s", s, f.few, strings.TrimLeft(f.many, "extincs="), w.name), Ratio: &rel}
			if s == plain || !w.sequential {
				flat.Goal = atLeast(rel.Median, 0.9)
			}
			r.add(flat)
		}
	}
}

func rowName(s storage, stage, what string) string {
	return string(s) + "/" + stage + "/" + what
}

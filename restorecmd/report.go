// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"virtnb/format"
)

// Report is what verify found. Its JSON is an interface: programs rely on these
// names.
type Report struct {
	Set      string       `json:"set"`
	Domain   string       `json:"domain"`
	OK       bool         `json:"ok"`       // no restore point is affected by anything
	Files    []FileReport `json:"files"`    // of each disk, oldest first
	Findings []Finding    `json:"findings"` // by file
	Points   []Verdict    `json:"points"`   // of each disk, oldest first
}

// FileReport is one saveset.
type FileReport struct {
	Name      string               `json:"name"` // base name
	Disk      string               `json:"disk"`
	Size      int64                `json:"size"`      // bytes
	Checksum  format.ChecksumState `json:"checksum"`  // missing, invalid, match, differs or unknown
	Algorithm string               `json:"algorithm"` // adler32, or crc32 in an archive
	Sum       string               `json:"sum"`       // of the file as it is; "" if it cannot be opened
	Stored    string               `json:"stored"`    // what it should be, or ""
}

// Finding is something wrong.
type Finding struct {
	File    string   `json:"file"`   // base name
	Kind    string   `json:"kind"`   // structure, lz4, checksum, read, chain; or note, which is harmless
	Offset  *int64   `json:"offset"` // in the file, bytes; null where it is not known
	Problem string   `json:"problem"`
	Ranges  []Range  `json:"ranges"` // of the disk: what can be wrong because of it
	Points  []string `json:"points"` // restore points that it affects
}

// Range is a part of a disk, in bytes.
type Range struct {
	Start  int64 `json:"start"`
	Length int64 `json:"length"`
}

// Verdict is one disk at one restore point.
type Verdict struct {
	Disk string `json:"disk"`
	Name string `json:"name"`
	OK   bool   `json:"ok"` // can be restored, and all of it is right as far as can be told
	// Restorable: a restore will not refuse it for its structure; it can fail on
	// the way all the same if OK is false.
	Restorable bool    `json:"restorable"`
	Lost       []Range `json:"lost"` // what can be wrong, or is not there

	nothing bool // is known of the disk, not even its size
}

// harmless is the kind of what takes nothing from any restore point.
const harmless = "note"

func ranges(e format.Extents) []Range {
	list := make([]Range, 0, len(e))
	for _, x := range e {
		list = append(list, Range{x.Start, x.Length})
	}
	return list
}

func (r *Report) finish() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(a.File, b.File) })
	r.OK = true
	for _, f := range r.Findings {
		r.OK = r.OK && f.Kind == harmless
	}
	for _, v := range r.Points {
		r.OK = r.OK && v.OK
	}
}

func (r *Report) write(out io.Writer, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	title := r.Set
	if r.Domain != "" {
		title += ", domain " + r.Domain
	}
	fmt.Fprintf(out, "Backup set %s\n", title)
	for _, write := range []func(io.Writer) error{r.writeFiles, r.writePoints, r.writeFindings} {
		if err := write(out); err != nil {
			return err
		}
	}
	return nil
}

func (r *Report) writeFiles(out io.Writer) error {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FILE\tSIZE\tCHECKSUM")
	for _, f := range r.Files {
		sum := string(f.Checksum)
		if f.Checksum == format.ChecksumMatch {
			sum = f.Algorithm + " " + f.Sum + " matches"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Name, size(f.Size), sum)
	}
	return w.Flush()
}

func (r *Report) writePoints(out io.Writer) error {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DISK\tRESTORE POINT\tSTATE")
	for _, v := range r.Points {
		state := "good"
		switch {
		case len(v.Lost) > 0:
			var n int64
			for _, l := range v.Lost {
				n += l.Length
			}
			state = fmt.Sprintf("damaged: %s in doubt", size(n))
		case v.nothing:
			state = "damaged: nothing of it can be read"
		case !v.Restorable:
			state = "damaged: all data can be had with restore --salvage"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", v.Disk, orDash(v.Name), state)
	}
	return w.Flush()
}

// maxRanges is how many ranges of a finding are shown to people.
const maxRanges = 20

func (r *Report) writeFindings(out io.Writer) error {
	if len(r.Findings) > 0 {
		fmt.Fprint(out, "\nFindings\n\n")
	}
	for _, f := range r.Findings {
		at := ""
		if f.Offset != nil {
			at = fmt.Sprintf("offset %d: ", *f.Offset)
		}
		if _, err := fmt.Fprintf(out, "%s: %s%s\n", f.File, at, f.Problem); err != nil {
			return err
		}
		for i, e := range f.Ranges {
			if i == maxRanges {
				fmt.Fprintf(out, "    and %d more\n", len(f.Ranges)-i)
				break
			}
			fmt.Fprintf(out, "    disk offset %d, %d bytes\n", e.Start, e.Length)
		}
		if len(f.Points) > 0 {
			fmt.Fprintf(out, "    affects %s\n", strings.Join(f.Points, ", "))
		}
	}
	return nil
}

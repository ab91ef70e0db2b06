// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"virtnb/format"
	"virtnb/internal/progress"
	"virtnb/overlay"
)

// To verify a set is to read every byte of it. The report says what of it can be
// relied on. A damaged range of a saveset concerns the restore points that read
// it: those that are based on the saveset, less the ones where a later saveset
// has written over the range. A damaged structure concerns all that are based on
// it, as no restore opens the saveset; the data that is sound nevertheless can be
// had with restore --salvage.

// VerifyOptions are the options of VerifySet.
type VerifyOptions struct {
	Set      string   // a folder, an archive, or archives with commas between them
	Disk     string   // only savesets whose name begins so
	Files    []string // only savesets of these names; nil: all
	JSON     bool     // one JSON object instead of tables
	Out      io.Writer
	Log      *slog.Logger      // what is done, for each file
	Progress *progress.Display // nil: none
}

// ErrDamaged means that a set was verified and that something in it is damaged.
var ErrDamaged = errors.New("the backup set is damaged")

// VerifySet reads a set, reports what it finds, and leaves the set as it is. If
// anything affects a restore point, the report is written all the same and the
// error is ErrDamaged.
func VerifySet(ctx context.Context, o VerifyOptions) error {
	r, err := verifySet(ctx, o)
	if err != nil {
		return err
	}
	if err := r.write(o.Out, o.JSON); err != nil {
		return err
	}
	return r.err()
}

// err is ErrDamaged with a number, where it has to be.
func (r *Report) err() error {
	if r.OK {
		return nil
	}
	bad := 0
	for _, v := range r.Points {
		if !v.OK {
			bad++
		}
	}
	if bad == 0 {
		return fmt.Errorf("%s: %w, though no restore point is affected", r.Set, ErrDamaged)
	}
	return fmt.Errorf("%s: %w: %d of %d restore points of its disks are affected", r.Set, ErrDamaged, bad, len(r.Points))
}

// runVerify is the action verify of the command restore.
func runVerify(ctx context.Context, r *run) error {
	report, err := verifySet(ctx, VerifyOptions{Set: r.o.Input, Disk: r.o.Disk, Files: r.o.Sequence, Log: r.log, Progress: r.ui.display})
	if err != nil {
		return err
	}
	if r.o.JSON {
		if err := report.write(r.out, true); err != nil {
			return err
		}
	}
	for _, f := range report.Findings {
		if f.Kind == harmless {
			r.log.Warn(f.File + ": " + f.Problem)
		} else {
			r.log.Error(f.text())
		}
	}
	return report.err()
}

// text is a finding on one line.
func (f *Finding) text() string {
	text := f.File + ": "
	if f.Offset != nil {
		text += fmt.Sprintf("offset %d: ", *f.Offset)
	}
	text += f.Problem
	if len(f.Ranges) > 0 {
		text += fmt.Sprintf("; disk offset %d, %d bytes", f.Ranges[0].Start, f.Ranges[0].Length)
	}
	if len(f.Ranges) > 1 {
		text += fmt.Sprintf(", and %d more ranges", len(f.Ranges)-1)
	}
	if len(f.Points) > 0 {
		text += "; affects " + strings.Join(f.Points, ", ")
	}
	return text
}

// verifier verifies a set.
type verifier struct {
	o      VerifyOptions
	report *Report
}

// verified is what was found out about a saveset.
type verified struct {
	point   *format.Point
	failure error // it cannot be opened at all
	damages []format.Damage
	told    *overlay.Told // once it is asked for
}

func verifySet(ctx context.Context, o VerifyOptions) (*Report, error) {
	set, err := readInput(o.Set)
	if err != nil {
		return nil, withHint(o.Set, err)
	}
	dir, err := filepath.Abs(set.Dir)
	if err != nil {
		return nil, err
	}
	v := &verifier{o: o, report: &Report{Set: dir, Domain: set.Domain, Files: []FileReport{}, Findings: []Finding{}, Points: []Verdict{}}}
	for _, p := range set.Problems {
		if p.Harmless && strings.HasPrefix(p.File, o.Disk) {
			v.add(Finding{File: p.File, Kind: harmless, Problem: p.Text})
		}
	}
	v.lostFiles(set)
	found := false
	for _, d := range set.Disks {
		if points := v.chosen(d); len(points) > 0 {
			found = true
			if err := v.disk(ctx, d, points); err != nil {
				return nil, err
			}
		}
	}
	if !found {
		return nil, fmt.Errorf("%s has no saveset of those that were asked for; its disks are %s", o.Set, strings.Join(set.DiskNames(), ", "))
	}
	v.report.finish()
	return v.report, nil
}

// lostFiles reports what is wrong with files that are no saveset of any point,
// such as an archive that cannot be read.
func (v *verifier) lostFiles(set *format.Set) {
	savesets := map[string]bool{}
	for _, d := range set.Disks {
		for _, p := range d.Points {
			savesets[filepath.Base(p.File)] = true
		}
	}
	for _, p := range set.Problems {
		if !p.Harmless && !savesets[p.File] {
			v.add(Finding{File: p.File, Kind: string(format.DamagedStructure), Problem: p.Text})
		}
	}
}

// chosen are the points whose savesets were asked for.
func (v *verifier) chosen(d *format.Disk) (points []*format.Point) {
	for _, p := range d.Points {
		base := filepath.Base(p.File)
		if strings.HasPrefix(base, v.o.Disk) && (v.o.Files == nil || slices.Contains(v.o.Files, base)) {
			points = append(points, p)
		}
	}
	return points
}

func (v *verifier) add(f Finding) {
	if f.Ranges == nil {
		f.Ranges = []Range{}
	}
	if f.Points == nil {
		f.Points = []string{}
	}
	v.report.Findings = append(v.report.Findings, f)
}

// disk verifies the savesets of a disk.
func (v *verifier) disk(ctx context.Context, d *format.Disk, points []*format.Point) error {
	var total int64
	for _, p := range points {
		total += fileSize(p)
	}
	var bar progress.Progress
	count := func(int64) {}
	if v.o.Progress != nil {
		bar = v.o.Progress.Disk(d.Name, total)
		count = bar.Add
	}
	files := map[*format.Point]*verified{}
	for _, p := range points {
		f, err := v.file(ctx, p, count)
		if err != nil {
			if bar != nil {
				bar.Fail()
			}
			return err
		}
		files[p] = f
	}
	if bar != nil {
		bar.Finish()
	}
	v.judge(d, points, files)
	return nil
}

// fileSize is the size of the saveset, also of one that cannot be used.
func fileSize(p *format.Point) int64 {
	if p.FileSize > 0 {
		return p.FileSize
	}
	st, err := os.Stat(p.File)
	if err != nil || !st.Mode().IsRegular() {
		return 0
	}
	return st.Size()
}

// file reads a saveset.
func (v *verifier) file(ctx context.Context, p *format.Point, count func(int64)) (*verified, error) {
	report := FileReport{Name: filepath.Base(p.File), Disk: p.Disk, Size: fileSize(p), Checksum: format.ChecksumUnknown, Algorithm: "adler32"}
	defer func() { v.report.Files = append(v.report.Files, report) }()
	v.o.Log.Info(fmt.Sprintf("Computing checksum for: %s", p.File))
	f := &verified{point: p}
	s, err := format.OpenDamaged(p.File)
	if err != nil {
		f.failure = err
		v.o.Log.Error(err.Error())
		return f, nil
	}
	defer s.Close()
	x, err := s.Examine(ctx, count)
	if err != nil {
		return nil, err
	}
	report.Size, report.Checksum, report.Sum, report.Stored = s.Size, x.Checksum, x.Sum, x.Stored
	if s.InArchive() {
		report.Algorithm = "crc32"
	}
	f.damages = condense(x.Damages)
	v.sayChecksum(p, s, x)
	return f, nil
}

// maxDamages is how many places in one saveset are reported one by one. More can
// only be listed, and nobody would read them.
const maxDamages = 1000

// condense makes one of all damages behind the first ones.
func condense(list []format.Damage) []format.Damage {
	if len(list) <= maxDamages {
		return list
	}
	more := list[maxDamages:]
	rest := more[0]
	for _, d := range more {
		if d.Kind == format.DamagedStructure {
			rest = d
		}
	}
	rest.Reason = fmt.Sprintf("%s; and %d more places are damaged", rest.Reason, len(more)-1)
	rest.Disk = format.LostIn(more)
	return append(slices.Clone(list[:maxDamages]), rest)
}

// sayChecksum says what came of the checksum.
func (v *verifier) sayChecksum(p *format.Point, s *format.Saveset, x *format.Examination) {
	note := ""
	v.o.Log.Info("Checksum result: " + x.Sum)
	switch x.Checksum {
	case format.ChecksumMatch:
		v.o.Log.Info("OK")
	case format.ChecksumDiffers:
		v.o.Log.Error(fmt.Sprintf("Stored sums do not match: [%s]!=[%s]", x.Sum, x.Stored))
	case format.ChecksumMissing:
		note = "there is no checksum of it"
		if s.Raw {
			note = "raw image, of which no checksum is stored"
		}
		note += ": its data was read, and cannot be compared"
		if s.Meta.Compressed() {
			note = "there is no checksum of it; its data was verified by the checksums of LZ4"
		}
		v.o.Log.Info(fmt.Sprintf("No checksum found, skipping: [%s.chksum]", p.File))
	case format.ChecksumInvalid:
		note = "the file with its checksum holds none"
	}
	if note != "" {
		v.add(Finding{File: filepath.Base(p.File), Kind: harmless, Problem: note})
	}
}

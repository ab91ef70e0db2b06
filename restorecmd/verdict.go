// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"virtnb/format"
	"virtnb/overlay"
)

// Which restore points do findings affect?

// judge turns what was found out about the savesets of a disk into findings and
// a verdict for each restore point.
func (v *verifier) judge(d *format.Disk, points []*format.Point, files map[*format.Point]*verified) {
	chains := map[*format.Point][]format.Remnant{}
	faulty := false
	for _, p := range points {
		f := files[p]
		faulty = faulty || f.failure != nil || len(f.damages) > 0 || p.Err != nil
	}
	if faulty {
		for _, p := range points {
			chains[p] = d.Remnants(p)
		}
	}
	j := &judgement{files: files, chains: chains, points: points}
	for _, p := range points {
		for _, f := range j.findings(p) {
			v.add(f)
		}
		v.report.Points = append(v.report.Points, j.verdict(p))
	}
}

// judgement is about one disk.
type judgement struct {
	files  map[*format.Point]*verified
	chains map[*format.Point][]format.Remnant // of each point; empty if nothing is wrong
	points []*format.Point
}

// based are the points that need the saveset of p.
func (j *judgement) based(p *format.Point) (points []*format.Point) {
	for _, q := range j.points {
		if slices.ContainsFunc(j.chains[q], func(r format.Remnant) bool { return r.Point == p }) {
			points = append(points, q)
		}
	}
	return points
}

func names(points []*format.Point) (list []string) {
	for _, p := range points {
		list = append(list, p.Name)
	}
	return list
}

// findings is all that is wrong with the saveset of p.
func (j *judgement) findings(p *format.Point) (list []Finding) {
	f := j.files[p]
	base := filepath.Base(p.File)
	based := j.based(p)
	if f.failure != nil {
		kind, reason, at := describe(f.failure)
		list = append(list, Finding{File: base, Kind: kind, Offset: at, Problem: reason, Points: names(based)})
	}
	if f.failure == nil && p.Err != nil && p.OwnFault() && errors.Is(p.Err, format.ErrChain) {
		reason := strings.TrimPrefix(strings.TrimSuffix(p.Err.Error(), ": "+format.ErrChain.Error()), base+" ")
		list = append(list, Finding{File: base, Kind: "chain", Problem: reason, Points: names(based)})
	}
	for _, d := range f.damages {
		list = append(list, j.finding(f, d, based))
	}
	return list
}

// describe says of what kind an error of opening a saveset is.
func describe(err error) (kind, reason string, at *int64) {
	var c *format.CorruptError
	if errors.As(err, &c) {
		return string(format.DamagedStructure), c.Reason, &c.Offset
	}
	return string(format.DamagedStorage), err.Error(), nil
}

func (j *judgement) finding(f *verified, d format.Damage, based []*format.Point) Finding {
	out := Finding{File: filepath.Base(f.point.File), Kind: string(d.Kind), Problem: d.Reason}
	if d.Offset >= 0 {
		out.Offset = &d.Offset
	}
	if told := j.tell(f.point); told != nil {
		out.Ranges = ranges(d.Disk.Intersect(format.Extents{{Start: 0, Length: told.Size}}))
	}
	for _, q := range based {
		if d.Kind == format.DamagedStructure || len(j.visible(q, f.point, d.Disk)) > 0 {
			out.Points = append(out.Points, q.Name)
		}
	}
	return out
}

// visible is the part of lost, a range of the saveset of p, that q shows: later
// savesets may have written over it.
func (j *judgement) visible(q, p *format.Point, lost format.Extents) format.Extents {
	i := slices.IndexFunc(j.chains[q], func(r format.Remnant) bool { return r.Point == p })
	only := func(x *format.Point) *overlay.Told {
		told := j.tell(x)
		if told == nil {
			return &overlay.Told{Size: math.MaxInt64}
		}
		now := *told
		if now.Lost = nil; x == p {
			now.Lost = lost
		}
		return &now
	}
	later := slices.Clone(j.chains[q][i:])
	for k := range later { // what is wrong with others is for others to say
		later[k].Missing, later[k].Doubt = "", ""
	}
	return overlay.Lost(later, only)
}

// tell is what the saveset of p tells; nil if it cannot be opened.
func (j *judgement) tell(p *format.Point) *overlay.Told {
	f := j.files[p]
	if f == nil { // not asked for
		f = &verified{point: p}
		j.files[p] = f
	}
	if f.told != nil || f.failure != nil {
		return f.told
	}
	s, err := format.OpenDamaged(p.File)
	if err != nil {
		f.failure = err
		return nil
	}
	defer s.Close()
	frames, _, err := s.Remains()
	if err != nil {
		f.failure = err
		return nil
	}
	f.told = overlay.Tell(s, frames, f.damages)
	return f.told
}

// size is the largest size that the disk is known to have had, in bytes: that of
// one whose saveset cannot be read is told by others.
func (j *judgement) size() (size int64) {
	for _, p := range j.points {
		size = max(size, p.Meta.VirtualSize)
	}
	return size
}

// verdict is what becomes of p.
func (j *judgement) verdict(p *format.Point) Verdict {
	v := Verdict{Disk: p.Disk, Name: p.Name, Restorable: p.Err == nil, Lost: []Range{}}
	damaged := p.Err != nil
	for _, r := range j.chains[p] {
		f := j.files[r.Point]
		damaged = damaged || f != nil && (f.failure != nil || len(f.damages) > 0)
		if f != nil {
			structure := slices.ContainsFunc(f.damages, func(d format.Damage) bool { return d.Kind == format.DamagedStructure })
			v.Restorable = v.Restorable && f.failure == nil && !structure
		}
	}
	if damaged {
		v.Lost = ranges(overlay.Lost(j.chains[p], j.tell).Intersect(format.Extents{{Start: 0, Length: j.size()}}))
	}
	v.nothing = damaged && j.size() == 0
	v.OK = v.Restorable && len(v.Lost) == 0
	return v
}

// SPDX-License-Identifier: Apache-2.0

package format

import (
	"fmt"
	"path/filepath"
	"sort"
	"time"
)

// How the savesets of a disk follow each other. Each incremental names the
// checkpoint that it holds changes of, so the savesets form trees:
//
//	virtnbdbackup.0 (full) ── virtnbdbackup.1 (inc) ── virtnbdbackup.2 (inc)
//	                      └── diff.1795399599         └── diff.1795399700
//	virtnbdbackup.3 (full in an inc-named file, after a bitmap was lost)
//
// A diff makes no checkpoint and has no children; as it names the newest
// checkpoint of its time, it is older than the incremental that goes on from
// there. That gives an order without looking at any clock: a parent, its
// diffs, then its incrementals. Dates of the metadata order only what no link
// and no number does; times of files are never looked at.

// maxClockStep is how much older than its parent a saveset may be dated. Dates
// are local times without a zone, so clocks go back an hour in autumn. More
// means that the saveset belongs to another chain whose checkpoints have the
// same names, for example left over from before a new full.
const maxClockStep = 2 * time.Hour

// identify gives the point its name, and checks the metadata against the name
// of the file.
func (p *Point) identify(name Name) {
	m := &p.Meta
	readable := m.DiskName != ""
	switch {
	case name.Level == Copy:
		p.Name = string(Copy)
	case name.Level == Diff:
		p.Name = string(Diff) + "." + name.ID
	case name.Level == Inc:
		p.Name = name.ID
		if !readable {
			m.CheckpointName = name.ID
		}
		if p.offline() { // its checkpoint's own name is taken
			p.Name = string(Inc) + "." + name.ID
		}
	default:
		p.Name = m.CheckpointName
	}
	if readable && !m.Incremental && name.Level != Copy {
		p.Level = Full
	}
	if p.Err == nil {
		p.Err = p.misnamed(name)
	}
}

func (p *Point) misnamed(name Name) error {
	m := &p.Meta
	switch {
	case m.DiskName != name.Disk:
		return fmt.Errorf("%s is named for disk %s but holds disk %s: %w", name, name.Disk, m.DiskName, ErrChain)
	case m.Incremental && (name.Level == Full || name.Level == Copy):
		return fmt.Errorf("%s is named %s but holds an incremental: %w", name, name.Level, ErrChain)
	case name.Level == Inc && m.CheckpointName != name.ID:
		return fmt.Errorf("%s is named for checkpoint %s but holds %s: %w", name, name.ID, m.CheckpointName, ErrChain)
	case name.Level == Full && m.CheckpointName == "":
		return fmt.Errorf("%s has no checkpoint name: %w", name, ErrChain)
	}
	return nil
}

// offline says whether the point is an incremental of a domain that was off:
// it makes no checkpoint, and names the last one as itself and as its parent.
func (p *Point) offline() bool {
	return p.Level == Inc && p.Meta.Incremental && p.Meta.ParentCheckpoint == p.Meta.CheckpointName
}

// isLink says whether other points can name this one as their parent.
func (p *Point) isLink() bool {
	return p.Level != Copy && !p.offline() && (p.Level != Diff || !p.Meta.Incremental && p.Meta.DiskName != "")
}

// link finds the parent of each point, marks those that cannot be brought
// back, and sorts them, oldest first.
func (d *Disk) link() {
	links := map[string][]*Point{}
	for _, p := range d.Points {
		if p.isLink() {
			links[p.Meta.CheckpointName] = append(links[p.Meta.CheckpointName], p)
		}
	}
	for _, same := range links {
		markDoubled(same)
	}
	for _, p := range d.Points {
		if p.Meta.Incremental {
			p.Parent, p.Err = p.findParent(links[p.Meta.ParentCheckpoint])
		}
	}
	for _, p := range d.Points {
		p.inheritError()
	}
	d.sort()
}

func markDoubled(same []*Point) {
	for i, p := range same {
		if len(same) > 1 && p.Err == nil {
			other := same[(i+1)%len(same)]
			p.Err = fmt.Errorf("%s and %s are both of checkpoint %s: move the one that does not belong here away: %w",
				filepath.Base(p.File), filepath.Base(other.File), p.Meta.CheckpointName, ErrChain)
		}
	}
}

// findParent returns the parent among candidates, the points of the checkpoint
// that p names, and p's error with what is wrong about the link.
func (p *Point) findParent(candidates []*Point) (*Point, error) {
	base, want := filepath.Base(p.File), p.Meta.ParentCheckpoint
	switch {
	case p.Err != nil && len(candidates) != 1:
		return nil, p.Err
	case len(candidates) == 0 && p.offline():
		return nil, fmt.Errorf("%s holds changes since %s and was written over the saveset of that checkpoint: the changes before are lost: %w", base, want, ErrChain)
	case len(candidates) == 0:
		return nil, fmt.Errorf("%s holds changes since %q, of which there is no saveset: %w", base, want, ErrChain)
	case len(candidates) > 1:
		return nil, fmt.Errorf("%s holds changes since %s, of which there are several savesets: %w", base, want, ErrChain)
	}
	parent := candidates[0]
	for q := parent; q != nil; q = q.Parent {
		if q == p {
			return nil, fmt.Errorf("%s is its own ancestor: %w", base, ErrChain)
		}
	}
	if p.Err == nil && tooOld(p.Meta.Date, parent.Meta.Date) {
		return parent, fmt.Errorf("%s is dated %s, before %s (%s) that it should follow: it belongs to another chain; to read it all the same, name the files one by one: %w",
			base, FormatDate(p.Meta.Date), filepath.Base(parent.File), FormatDate(parent.Meta.Date), ErrChain)
	}
	return parent, p.Err
}

func tooOld(child, parent time.Time) bool {
	return !child.IsZero() && !parent.IsZero() && parent.Sub(child) > maxClockStep
}

// inheritedError is the Err of a point whose own saveset is sound.
type inheritedError struct {
	point, file string
	err         error
}

func (e *inheritedError) Error() string {
	return fmt.Sprintf("restore point %s needs %s: %v", e.point, e.file, e.err)
}

func (e *inheritedError) Unwrap() error { return e.err }

// inheritError marks a point that depends on one that cannot be used.
func (p *Point) inheritError() {
	if p.Err != nil {
		return
	}
	for q := p.Parent; q != nil; q = q.Parent {
		if q.OwnFault() {
			p.Err = &inheritedError{p.Name, filepath.Base(q.File), q.Err}
			return
		}
	}
}

// OwnFault says whether Err is about the point's own saveset, and not about
// one before it in the chain.
func (p *Point) OwnFault() bool {
	_, inherited := p.Err.(*inheritedError)
	return p.Err != nil && !inherited
}

// sort orders the points, oldest first: trees one after the other, and inside
// a tree as the comment at the top says.
func (d *Disk) sort() {
	children := map[*Point][]*Point{}
	for _, p := range d.Points {
		children[p.Parent] = append(children[p.Parent], p)
	}
	for _, c := range children {
		sort.Slice(c, func(i, j int) bool { return olderSibling(c[i], c[j]) })
	}
	ordered := make([]*Point, 0, len(d.Points))
	stack := reversed(children[nil])
	for len(stack) > 0 {
		p := stack[len(stack)-1]
		stack = append(stack[:len(stack)-1], reversed(children[p])...)
		ordered = append(ordered, p)
	}
	d.Points = ordered
}

func reversed(points []*Point) []*Point {
	r := make([]*Point, 0, len(points))
	for i := len(points) - 1; i >= 0; i-- {
		r = append(r, points[i])
	}
	return r
}

// olderSibling orders two points of the same parent, or two without one.
func olderSibling(a, b *Point) bool {
	if a.Parent != nil && a.isLink() != b.isLink() {
		return b.isLink()
	}
	seriesA, na, oka := a.number()
	seriesB, nb, okb := b.number()
	switch {
	case oka && okb && seriesA == seriesB && na != nb:
		return na < nb
	case !a.Meta.Date.Equal(b.Meta.Date):
		return a.Meta.Date.Before(b.Meta.Date)
	}
	return a.File < b.File
}

// number is what orders a point by its name among those of the same series:
// "virtnbdbackup" and the number of its checkpoint, or "diff" and its time.
func (p *Point) number() (series string, n int64, ok bool) {
	if p.Level == Copy || !p.isLink() && p.Level != Diff {
		return "", 0, false
	}
	name := p.Meta.CheckpointName
	if p.Level == Diff && !p.isLink() {
		name = p.Name
	}
	return splitNumber(name)
}

// SPDX-License-Identifier: Apache-2.0

package format

import (
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A chain that is broken still has its parts. Which of them could belong to a
// restore point is told by links where there are links, else by the numbers of
// checkpoints.

// Remnant is a saveset of a chain that may be broken.
type Remnant struct {
	*Point
	// Missing says why savesets are missing before this one, or why the one
	// before it is perhaps not the right one; "" if the two follow each other.
	Missing string
	// Doubt says why this saveset itself is perhaps not the right one.
	Doubt string
}

// Remnants returns what there is of the chain of p, a point of d, whatever is
// wrong with it, the oldest first. Each saveset has to be looked at by itself.
func (d *Disk) Remnants(p *Point) []Remnant {
	var chain []Remnant
	seen := map[*Point]bool{}
	for p != nil && !seen[p] {
		seen[p] = true
		older, missing := d.before(p)
		if seen[older] {
			older = nil
		}
		chain = append(chain, Remnant{p, missing, d.doubt(p)})
		p = older
	}
	slices.Reverse(chain)
	return chain
}

// before finds the point that p goes on from, and says if that is in doubt. nil
// without a doubt is before a full.
func (d *Disk) before(p *Point) (older *Point, missing string) {
	m := p.Meta
	known := m.DiskName != ""
	if s, err := OpenDamaged(p.File); err == nil {
		known, m = true, s.Meta
		s.Close()
	}
	name, _ := ParseName(filepath.Base(p.File))
	switch {
	case known && !m.Incremental && (p.Err == nil || !errors.Is(p.Err, ErrChain)):
		return nil, ""
	case !known && (name.Level == Full || name.Level == Copy):
		return nil, ""
	case known && m.Incremental && p.Parent != nil && (p.Err == nil || !errors.Is(p.Err, ErrChain) || !p.OwnFault()):
		return p.Parent, ""
	}
	missing = filepath.Base(p.File) + " cannot be read"
	if p.Err != nil && errors.Is(p.Err, ErrChain) {
		missing = strings.TrimSuffix(p.Err.Error(), ": "+ErrChain.Error())
	}
	if known {
		if same := d.linksOf(m.ParentCheckpoint, p); len(same) == 1 && errors.Is(p.Err, ErrCorrupt) {
			return same[0], ""
		}
		return d.newestUpTo(m.ParentCheckpoint, p), missing
	}
	return d.newestUpTo(numberBefore(p.Meta.CheckpointName), p), missing
}

// doubt says why p is perhaps not what its name says.
func (d *Disk) doubt(p *Point) string {
	name, _ := ParseName(filepath.Base(p.File))
	if p.Meta.DiskName == "" {
		return ""
	}
	if err := p.misnamed(name); err != nil {
		return err.Error()
	}
	if p.isLink() && len(d.linksOf(p.Meta.CheckpointName, p)) > 0 {
		return filepath.Base(p.File) + " is not the only saveset of checkpoint " + p.Meta.CheckpointName
	}
	return ""
}

// linksOf are the points of a checkpoint, without p.
func (d *Disk) linksOf(checkpoint string, p *Point) (same []*Point) {
	for _, q := range d.Points {
		if q != p && q.isLink() && q.Meta.CheckpointName == checkpoint {
			same = append(same, q)
		}
	}
	return same
}

// newestUpTo is the point with the highest number of a checkpoint that is not
// above that of the named one; nil if there is none.
func (d *Disk) newestUpTo(checkpoint string, p *Point) (newest *Point) {
	series, limit, ok := splitNumber(checkpoint)
	best := int64(-1)
	for _, q := range d.Points {
		s, n, isNumber := splitNumber(q.Meta.CheckpointName)
		if ok && isNumber && q != p && q.isLink() && s == series && n <= limit && n > best {
			newest, best = q, n
		}
	}
	return newest
}

// numberBefore is the name of the checkpoint that was made before this one.
func numberBefore(checkpoint string) string {
	series, n, ok := splitNumber(checkpoint)
	if !ok {
		return ""
	}
	return series + "." + strconv.FormatInt(n-1, 10)
}

func splitNumber(checkpoint string) (series string, n int64, ok bool) {
	dot := strings.LastIndexByte(checkpoint, '.')
	n, err := strconv.ParseInt(checkpoint[dot+1:], 10, 64)
	return checkpoint[:max(dot, 0)], n, err == nil
}

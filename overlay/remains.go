// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"virtnb/format"
)

// Reading what is left of a damaged chain.
//
// Two things are kept apart: what is known of the disk, and what can be shown.
// Known is a byte only if nothing that is missing or damaged could have changed
// it. So where a saveset is missing in the middle of a chain, all of the disk is
// in doubt except what later savesets tell. Shown is the best that there is,
// also for bytes in doubt: what an older saveset has there, else zeroes. To
// someone who wants files back an old block is worth more than none, as long as
// the two are told apart; Lost is there for that.

// Told is what one saveset tells of a disk.
type Told struct {
	Size int64          // of the disk, bytes
	Says format.Extents // the part that it tells of
	Lost format.Extents // the part that can be wrong or missing in that
}

// Tell sums up what a saveset tells; frames and damages are what is left of it.
func Tell(s *format.Saveset, frames []format.Frame, damages []format.Damage) *Told {
	t := &Told{Size: s.Meta.VirtualSize}
	if s.Meta.Incremental {
		list := make([]format.Extent, len(frames))
		for i, f := range frames {
			list[i] = f.Extent
		}
		t.Says = format.ExtentsOf(list...)
	} else {
		t.Says = format.WholeDisk
	}
	t.Lost = format.LostIn(damages)
	return t
}

// over is what is lost once t is laid over savesets of which lost is.
func (t *Told) over(lost format.Extents) format.Extents {
	disk := format.Extents{{Start: 0, Length: t.Size}}
	return lost.Intersect(disk).Without(t.Says).Union(t.Lost)
}

// Lost is what cannot be known of a restore point, given the remnants of its
// chain. tell is called for each; its answer is nil if nothing of the saveset can
// be read.
func Lost(chain []format.Remnant, tell func(p *format.Point) *Told) (lost format.Extents) {
	size := int64(math.MaxInt64)
	for _, r := range chain {
		if r.Missing != "" {
			lost = format.WholeDisk
		}
		t := tell(r.Point)
		if t == nil {
			lost = format.WholeDisk
			continue
		}
		lost, size = t.over(lost), t.Size
		if r.Doubt != "" {
			lost = format.WholeDisk
		}
	}
	return lost.Intersect(format.Extents{{Start: 0, Length: size}})
}

// Remains is the image of a damaged or broken chain. Its content is the best
// there is; only outside of Lost is it known to be that of the restore point.
type Remains struct {
	*Chain
	Lost     format.Extents
	Problems []string // what is wrong with the chain, for people
}

// OpenRemains opens what is left of a chain, after reading all of it. progress
// is called with the number of bytes read since the call before. There is an
// error if nothing at all can be shown.
func OpenRemains(ctx context.Context, chain []format.Remnant, opts Options, progress func(n int64)) (*Remains, error) {
	if len(chain) > math.MaxUint16-1 {
		return nil, fmt.Errorf("chain of %d savesets is longer than %d: %w", len(chain), math.MaxUint16-1, format.ErrChain)
	}
	c := &Chain{cache: opts.Cache}
	if c.cache == nil {
		c.cache = NewCache(DefaultCacheSize)
	}
	r := &Remains{Chain: c}
	if err := r.open(ctx, chain, progress); err != nil {
		c.Close()
		return nil, err
	}
	return r, nil
}

func (r *Remains) open(ctx context.Context, chain []format.Remnant, progress func(n int64)) error {
	var layers []layer
	var failed error
	told := map[*format.Point]*Told{}
	for _, remnant := range chain {
		for _, doubt := range []string{remnant.Missing, remnant.Doubt} {
			if doubt != "" {
				r.Problems = append(r.Problems, doubt)
			}
		}
		l, t, err := r.add(ctx, remnant.Point, progress)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failed = err
			r.Problems = append(r.Problems, err.Error())
			continue
		}
		told[remnant.Point] = t
		layers = append(layers, l)
	}
	if len(layers) == 0 {
		return fmt.Errorf("nothing of the restore point can be read: %w", failed)
	}
	r.index = newIndex(flatten(layers))
	r.Lost = Lost(chain, func(p *format.Point) *Told { return told[p] })
	return nil
}

// maxProblems is how many places in one saveset are named one by one.
const maxProblems = 100

// add opens the saveset of p as a source.
func (r *Remains) add(ctx context.Context, p *format.Point, progress func(n int64)) (l layer, t *Told, err error) {
	s, err := format.OpenDamaged(p.File)
	if err != nil {
		return l, nil, err
	}
	r.sources = append(r.sources, &source{Saveset: s, id: r.cache.sourceID(s)})
	x, err := s.Examine(ctx, progress)
	if err != nil {
		return l, nil, err
	}
	frames, _, err := s.Remains()
	if err != nil {
		return l, nil, err
	}
	for i, d := range x.Damages {
		if i == maxProblems {
			r.Problems = append(r.Problems, fmt.Sprintf("%s: %d more places are damaged", filepath.Base(p.File), len(x.Damages)-i))
			break
		}
		at := ""
		if d.Offset >= 0 {
			at = fmt.Sprintf("offset %d: ", d.Offset)
		}
		r.Problems = append(r.Problems, fmt.Sprintf("%s: %s%s", filepath.Base(p.File), at, d.Reason))
	}
	l, err = r.readable(frames, x.Damages)
	return l, Tell(s, frames, x.Damages), err
}

// readable is the layer of the last source without what of it cannot be read.
func (r *Remains) readable(frames []format.Frame, damages []format.Damage) (layer, error) {
	damages = slices.DeleteFunc(slices.Clone(damages), func(d format.Damage) bool { return d.Readable })
	unreadable := format.LostIn(damages)
	src := r.sources[len(r.sources)-1]
	l := layer{size: src.Meta.VirtualSize, least: src.Meta.VirtualSize}
	for _, f := range frames {
		whole, err := runOf(src.Saveset, f, uint16(len(r.sources)))
		if err != nil {
			return l, err
		}
		sound := format.Extents{f.Extent}.Without(unreadable)
		if whole.frame.length > 0 && (len(sound) != 1 || sound[0] != f.Extent) {
			src.damaged = append(src.damaged, f.Pos)
		}
		for _, e := range sound {
			part := whole.after(e.Start - f.Start)
			part.length = e.Length
			l.add(part)
		}
	}
	return l, nil
}

// SPDX-License-Identifier: Apache-2.0

package fusefs

import (
	"fmt"
	"slices"

	"virtnb/format"
	"virtnb/overlay"
)

// Listing a set asks for the attributes of every image, and those tell how much
// of it is data. To open all chains for that would read n savesets for the n-th
// point. So the facts of a point come from those of its parent and its own
// saveset: an overlay.Survey, of which the last one of each disk is kept, as
// points are mostly asked for in order. What is between the kept one and the
// point that somebody asks for is surveyed on the way. The image itself is
// opened where its partition table has to be read: at the full, and where a
// backup has changed it.

// surveyed is where the survey of a disk stands.
type surveyed struct {
	catalogue *catalogue
	disk      string
	point     *format.Point
	*overlay.Survey
}

// maxSurveys bounds the memory of the surveys that are kept, bytes.
const maxSurveys = 32 << 20

// surveys are the kept ones, last used first.
type surveys []surveyed

// find returns the survey of a disk.
func (s surveys) find(c *catalogue, disk string) (surveyed, bool) {
	for _, v := range s {
		if v.catalogue == c && v.disk == disk {
			return v, true
		}
	}
	return surveyed{}, false
}

// keep puts v in the place of the survey that the disk had.
func (s surveys) keep(v surveyed) surveys {
	others := slices.DeleteFunc(s, func(o surveyed) bool {
		return o.disk == v.disk && o.catalogue.Dir == v.catalogue.Dir
	})
	kept, memory := surveys{v}, v.Memory()
	for _, o := range others {
		if memory += o.Memory(); memory <= maxSurveys {
			kept = append(kept, o)
		}
	}
	return kept
}

// survey finds the facts of a point, and of those of its ancestors that it
// comes by. c.mu is held.
func (l *library) survey(c *catalogue, p *format.Point) (*facts, error) {
	l.mu.Lock()
	at, known := l.surveys.find(c, p.Disk)
	l.mu.Unlock()
	var todo []*format.Point // newest first
	q := p
	for ; q != nil && !(known && q == at.point && l.identity(q) == at.Identity()); q = q.Parent {
		todo = append(todo, q)
	}
	if q == nil {
		at = surveyed{catalogue: c, disk: p.Disk}
	}
	for _, q := range slices.Backward(todo) {
		next, err := l.surveyNext(c, at, q)
		if err != nil {
			return nil, err
		}
		if q.Level != format.Diff { // of which the next point does not hold the changes
			l.mu.Lock()
			l.surveys = l.surveys.keep(next)
			l.mu.Unlock()
		}
		at = next
	}
	f := c.disks[p]
	if f == nil || f.content != at.Identity() {
		return nil, fmt.Errorf("%s changed while it was looked at", p.File)
	}
	return f, nil
}

// surveyNext surveys the point after the one where the survey stands, and notes
// its facts.
func (l *library) surveyNext(c *catalogue, at surveyed, p *format.Point) (surveyed, error) {
	l.walked.Add(1)
	v, err := l.pool.Survey(at.Survey, p.File)
	if err != nil {
		return at, err
	}
	var before *facts
	if at.point != nil {
		before = c.disks[at.point]
	}
	f := &facts{content: v.Identity(), size: v.Size(), allocated: v.Allocated(format.Extent{Length: v.Size()})}
	if before != nil && before.content == at.Identity() && before.table != nil && !slices.ContainsFunc(before.table, v.Changed) {
		f.parts, f.table = slices.Clone(before.parts), before.table
	} else if f.parts, f.table, err = l.readTable(p, v.Identity()); err != nil {
		return at, err
	}
	for i := range f.parts {
		f.parts[i].allocated = v.Allocated(f.parts[i].Extent)
	}
	c.disks[p] = f
	return surveyed{c, p.Disk, p, v}, nil
}

// readTable reads the partition table at a point whose chain has that identity.
// It tells also what it read of the disk.
func (l *library) readTable(p *format.Point, content uint64) ([]partition, []format.Extent, error) {
	img, err := l.open(p)
	if err != nil {
		return nil, nil, err
	}
	defer l.pool.Release(img)
	if img.Identity() != content {
		return nil, nil, fmt.Errorf("%s changed while it was looked at", p.File)
	}
	seen := &witness{Image: img}
	return partitions(seen), seen.read, nil
}

// witness notes what is read of an image. It is for one reader.
type witness struct {
	overlay.Image
	read []format.Extent
}

func (w *witness) ReadAt(p []byte, off int64) (int, error) {
	w.read = append(w.read, format.Extent{Start: off, Length: int64(len(p))})
	return w.Image.ReadAt(p, off)
}

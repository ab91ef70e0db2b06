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
// opened where its partition table has to be read: who lists a folder has to
// know the partitions, at the full and wherever a backup has changed the table.

// surveyed is where the survey of a disk stands.
type surveyed struct {
	dir, disk string
	file      string // of the point; "" before the first
	*overlay.Survey
}

// maxSurveys bounds the memory of the surveys that are kept, bytes.
const maxSurveys = 32 << 20

// surveys are the kept ones, last used first.
type surveys []surveyed

// find returns the survey of a disk.
func (s surveys) find(dir, disk string) (surveyed, bool) {
	for _, v := range s {
		if v.dir == dir && v.disk == disk {
			return v, true
		}
	}
	return surveyed{}, false
}

// keep puts v in the place of the survey that the disk had.
func (s surveys) keep(v surveyed) surveys {
	others := slices.DeleteFunc(s, func(o surveyed) bool {
		return o.disk == v.disk && o.dir == v.dir
	})
	kept, memory := surveys{v}, v.Memory()
	for _, o := range others {
		if memory += o.Memory(); memory <= maxSurveys {
			kept = append(kept, o)
		}
	}
	return kept
}

// tablesOnTheWay is how many partition tables are read for points that somebody
// may ask for later.
const tablesOnTheWay = 4

// survey finds the facts of a point, and those of its ancestors that it comes
// by; the partitions are among them where parts says so, if few backups on the
// way changed them. c.mu is held.
func (l *library) survey(c *catalogue, p *format.Point, parts bool) (*facts, error) {
	l.mu.Lock()
	at, known := l.surveys.find(c.Dir, p.Disk)
	l.mu.Unlock()
	var todo []*format.Point // newest first
	q := p
	for ; q != nil && !(known && q.File == at.file && l.identity(q) == at.Identity()); q = q.Parent {
		todo = append(todo, q)
	}
	if q == nil {
		at = surveyed{dir: c.Dir, disk: p.Disk}
	}
	tables := 0 // to read
	if parts {
		tables = tablesOnTheWay
	}
	for _, q := range slices.Backward(todo) {
		next, err := l.surveyNext(at, q)
		if err != nil {
			return nil, err
		}
		f := c.factsAfter(at, next)
		if old := c.disks[q.File]; old != nil && old.content == f.content && old.table != nil {
			f = old
		}
		if f.table == nil && tables > 0 {
			tables--
			if err := l.readTable(q, f); err != nil {
				return nil, err
			}
		}
		c.note(q, f)
		if q.Level != format.Diff { // of which the next point does not hold the changes
			l.mu.Lock()
			l.surveys = l.surveys.keep(next)
			l.mu.Unlock()
		}
		at = next
	}
	f := c.disks[p.File]
	if f == nil || f.content != at.Identity() {
		return nil, errChangedMeanwhile(p)
	}
	return f, nil
}

func errChangedMeanwhile(p *format.Point) error {
	return fmt.Errorf("%s changed while it was looked at", p.File)
}

// surveyNext surveys the point after the one where the survey stands.
func (l *library) surveyNext(at surveyed, p *format.Point) (surveyed, error) {
	l.walked.Add(1)
	v, err := l.pool.Survey(at.Survey, p.File)
	return surveyed{at.dir, at.disk, p.File, v}, err
}

// factsAfter are those at a point, with the partitions if those of the point
// before are known and were left as they are. c.mu is held.
func (c *catalogue) factsAfter(before, at surveyed) *facts {
	f := &facts{content: at.Identity(), size: at.Size(), allocated: at.Allocated(format.Extent{Length: at.Size()})}
	old := c.disks[before.file]
	if old == nil || old.table == nil || old.content != before.Identity() || slices.ContainsFunc(old.table, at.Changed) {
		return f
	}
	f.parts, f.table = slices.Clone(old.parts), old.table
	for i := range f.parts {
		f.parts[i].allocated = at.Allocated(f.parts[i].Extent)
	}
	return f
}

// readTable adds the partitions to the facts of a point.
func (l *library) readTable(p *format.Point, f *facts) error {
	img, err := l.open(p)
	if err != nil {
		return err
	}
	defer l.pool.Release(img)
	if img.Identity() != f.content {
		return errChangedMeanwhile(p)
	}
	return f.findPartitions(img)
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

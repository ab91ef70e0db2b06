// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"

	"virtnb/format"
	"virtnb/internal/host"
	"virtnb/overlay"
)

// Restoring what is left. The image gets the best content that there is, and a
// map beside it says which bytes are known to be those of the restore point.
// The others can be what an older restore point had there, or zeroes; a map of
// GNU ddrescue calls them bad. Whatever comes of it, a restore that has to
// salvage anything does not end with success.

// ErrSalvaged means that disks were restored from a damaged set.
var ErrSalvaged = errors.New("restored from a damaged backup set")

// salvage opens what is left of all disks, after reading all of it.
func (p *plan) salvage(ctx context.Context, r *run) error {
	if err := p.checkMaps(r); err != nil {
		return err
	}
	cache := overlay.NewCache(overlay.DefaultCacheSize)
	for _, j := range p.jobs {
		chain := j.remnants(p)
		var total int64
		j.files = nil
		for _, q := range chain {
			total += fileSize(q.Point)
			j.files = append(j.files, q.File)
		}
		bar := r.ui.display.Disk(j.disk+" (examination)", total)
		img, err := overlay.OpenRemains(ctx, chain, overlay.Options{Cache: cache}, bar.Add)
		if err != nil {
			bar.Fail()
			return fmt.Errorf("disk %s: %w", j.disk, err)
		}
		bar.Finish()
		j.image, j.remains, j.close = img, img, func() { img.Close() }
		for _, problem := range img.Problems {
			r.log.Warn(fmt.Sprintf("Disk [%s]: %s", j.disk, problem))
		}
	}
	return nil
}

// remnants are the savesets of a disk, the oldest first.
func (j *job) remnants(p *plan) []format.Remnant {
	if j.files == nil {
		return p.set.Disk(j.disk).Remnants(j.point)
	}
	var chain []format.Remnant
	before := ""
	for i, file := range j.files { // of --sequence
		r := format.Remnant{Point: &format.Point{Disk: j.disk, File: file}}
		if s, err := format.OpenDamaged(file); err == nil {
			if m := s.Meta; m.Incremental && (i == 0 || m.ParentCheckpoint != before) {
				r.Missing = fmt.Sprintf("%s holds changes since %q, which is not what it follows", filepath.Base(file), m.ParentCheckpoint)
			}
			before = s.Meta.CheckpointName
			s.Close()
		}
		chain = append(chain, r)
	}
	return chain
}

// mapPlace is where the map of a disk goes to, and the host of that.
func (r *run) mapPlace(j *job) (host.Host, string) {
	switch {
	case r.o.MapFile != "":
		return host.Local{}, r.o.MapFile
	case j.place.kind == file:
		return r.host, j.place.path + ".map"
	}
	return nil, ""
}

// checkMaps refuses a restore whose maps have no place.
func (p *plan) checkMaps(r *run) error {
	if r.o.MapFile != "" && len(p.jobs) > 1 {
		return fmt.Errorf("--map-file is of one disk, and there are %s; choose one with -d", strings.Join(p.diskNames(), ", "))
	}
	for _, j := range p.jobs {
		h, path := r.mapPlace(j)
		if h == nil {
			return fmt.Errorf("disk %s: beside %s there is no place for the map of what is lost: name one with --map-file", j.disk, j.place)
		}
		if err := vacant(h, path); err != nil {
			return err
		}
	}
	return nil
}

// keepMap writes the map of a disk, before there is an image that could be taken
// for a sound one. undo takes it back where there will be none.
func (r *run) keepMap(j *job) (undo func(), err error) {
	h, path := r.mapPlace(j)
	if err := writeMap(h, path, j); err != nil {
		return nil, fmt.Errorf("map of what is lost: %w", err)
	}
	r.log.Info(fmt.Sprintf("Map of what is lost of disk [%s]: [%s]", j.disk, path))
	return func() { _ = h.Remove(path) }, nil
}

// salvaged is the error that a restore ends with, nil if nothing is wrong with
// any of the disks.
func (r *run) salvaged(p *plan) error {
	var errs []error
	for _, j := range p.jobs {
		if j.remains == nil || len(j.remains.Problems) == 0 {
			continue
		}
		_, path := r.mapPlace(j)
		lost, all := uint64(j.remains.Lost.Length()), uint64(j.image.Size())
		errs = append(errs, fmt.Errorf("disk %s: %w: %s of %s are in doubt, see %s", j.disk, ErrSalvaged, humanize.IBytes(lost), humanize.IBytes(all), path))
	}
	return errors.Join(errs...)
}

func writeMap(h host.Host, path string, j *job) error {
	up, err := h.Create(path, 0o644)
	if err != nil {
		return err
	}
	defer up.Close()
	if err := WriteMap(up, j.image.Size(), j.remains.Lost, j.remains.Problems); err != nil {
		return err
	}
	return up.Commit()
}

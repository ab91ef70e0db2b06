// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"virtnb/format"
	"virtnb/internal/domainxml"
	"virtnb/internal/qemu"
	"virtnb/overlay"
)

// What is to be restored is decided before anything is made: which restore
// point, which of its disks, from which files, and where to. Everything that
// can be known to fail fails here.

// plan is what a restore does.
type plan struct {
	set    *format.Set // nil with --sequence, where the folder is no set
	point  string      // "" with --sequence
	config string      // path of the saved configuration; "": none
	text   []byte      // its content
	domain *domainxml.Domain
	jobs   []*job
	boot   []savedBoot        // files that the domain boots with
	xml    domainxml.Restored // the adjusted configuration
	out    place              // of all that has no other one
}

// folder is the folder of the restored files; "" if there is none.
func (p *plan) folder() string {
	if p.out.kind == inFolder {
		return p.out.path
	}
	return ""
}

// job is a disk to restore.
type job struct {
	disk    string
	point   *format.Point // nil with --sequence
	files   []string      // the savesets, a full first
	old     domainxml.Disk
	format  string // of the target
	place   place
	image   overlay.Image
	remains *overlay.Remains // the image, with --salvage
	close   func()

	create qemu.CreateOptions // of an image file, but for its size
}

// makePlan decides.
func (r *run) makePlan() (*plan, error) {
	for _, input := range inputPaths(r.o.Input) {
		if _, err := os.Stat(input); errors.Is(err, fs.ErrNotExist) {
			return nil, peersError("Backup source [%s] does not exist.", input)
		}
	}
	p := &plan{}
	var err error
	if r.o.Sequence != nil {
		err = p.chooseFiles(r)
	} else {
		err = p.choosePoint(r)
	}
	if err != nil {
		return nil, err
	}
	if err := p.findPlaces(r); err != nil {
		return nil, err
	}
	return p, p.openImages(r)
}

// chooseFiles takes the files of --sequence.
func (p *plan) chooseFiles(r *run) error {
	r.log.Info("Using manual specified sequence of files.")
	if r.o.Define || r.o.AdjustConfig {
		r.log.Info("Disabling redefine and config adjust options.")
		r.o.Define, r.o.AdjustConfig = false, false
	}
	if first := r.o.Sequence[0]; !strings.Contains(first, "full") && !strings.Contains(first, "copy") {
		return peersError("Sequence must start with full or copy backup.")
	}
	j := &job{}
	for _, name := range r.o.Sequence {
		j.files = append(j.files, savesetPath(r.o.Input, name))
	}
	newest, err := format.OpenSaveset(j.files[len(j.files)-1])
	if err != nil {
		return err
	}
	j.disk, j.format = newest.Meta.DiskName, newest.Meta.DiskFormat
	newest.Close()
	if err := domainxml.CheckTarget(j.disk); err != nil {
		return fmt.Errorf("%s: %w", j.files[0], err)
	}
	p.jobs = []*job{j}
	// The set helps with the options of the image, where there is one.
	if set, err := readInput(r.o.Input); err == nil {
		p.set = set
		j.point = pointOf(set, j.files[len(j.files)-1])
		return p.readConfig(r)
	}
	return nil
}

// pointOf is the restore point whose saveset is the file.
func pointOf(set *format.Set, file string) *format.Point {
	for _, d := range set.Disks {
		for _, p := range d.Points {
			if filepath.Base(p.File) == filepath.Base(file) {
				return p
			}
		}
	}
	return nil
}

// choosePoint takes the disks of a restore point.
func (p *plan) choosePoint(r *run) error {
	var err error
	if p.set, err = readInput(r.o.Input); err != nil {
		if errors.Is(err, format.ErrNotFound) {
			r.log.Error(fmt.Sprintf("No data files found in directory: [%s]", r.o.Input))
		}
		return withHint(r.o.Input, err)
	}
	names := p.set.PointNames()
	p.point = names[len(names)-1]
	if r.o.Until != "" && r.o.Until != latest {
		p.point = r.o.Until
		if !slices.Contains(names, p.point) {
			return fmt.Errorf("%s has no restore point %s; it has %s", r.o.Input, p.point, strings.Join(names, ", "))
		}
	}
	if err := p.readConfig(r); err != nil {
		return err
	}
	if r.o.Disk != "" && p.set.Disk(r.o.Disk) == nil {
		return fmt.Errorf("%s has no disk %s; it has %s", r.o.Input, r.o.Disk, strings.Join(p.set.DiskNames(), ", "))
	}
	if err := p.chooseDisks(r); err != nil {
		return err
	}
	if len(p.jobs) == 0 {
		return fmt.Errorf("nothing to restore: no disk of %s that was asked for has data at restore point %s", r.o.Input, p.point)
	}
	return nil
}

// latest is another name of the newest restore point.
const latest = "latest"

// chooseDisks decides on the disks that the domain had, and on those that it
// does not name.
func (p *plan) chooseDisks(r *run) error {
	seen := map[string]bool{}
	if p.domain != nil {
		for _, d := range p.domain.Disks() {
			seen[d.Target] = true
			if d.Removable() {
				continue
			}
			if err := p.chooseDisk(r, d); err != nil {
				return err
			}
		}
	}
	for _, d := range p.set.Disks {
		if _, err := d.Find(p.point); err != nil || seen[d.Name] {
			continue
		}
		if p.domain != nil {
			r.log.Info(fmt.Sprintf("Disk [%s] is not in the configuration of the domain.", d.Name))
		}
		if err := p.chooseDisk(r, domainxml.Disk{Target: d.Name}); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) chooseDisk(r *run, d domainxml.Disk) error {
	if r.o.Disk != "" && d.Target != r.o.Disk {
		r.log.Info(fmt.Sprintf("Skipping disk [%s] for restore", d.Target))
		return nil
	}
	point, err := p.pointFor(r, d.Target)
	if err != nil {
		return err
	}
	if point == nil {
		r.log.Warn(fmt.Sprintf("No backup file for disk [%s] found, assuming it has been excluded.", d.Target))
		return nil
	}
	j := &job{disk: d.Target, point: point, old: d, format: point.Meta.DiskFormat}
	if point.Raw {
		j.format = "raw"
	}
	if j.format == "raw" && !r.o.Raw {
		r.log.Warn(fmt.Sprintf("Disk [%s] is of raw format and not restored: option --raw includes it.", d.Target))
		return nil
	}
	if j.files, err = p.filesOf(r, point); err != nil {
		return err
	}
	p.jobs = append(p.jobs, j)
	return nil
}

// pointFor is the restore point of a disk, nil if it has none. Without one of
// the name, a disk that is saved as a whole only is as it was saved; and where
// no restore point was asked for, any disk is as it was saved last. It is an
// error if there are signs that the disk was saved.
func (p *plan) pointFor(r *run, disk string) (*format.Point, error) {
	d := p.set.Disk(disk)
	if d != nil {
		if point, err := d.Find(p.point); err == nil {
			return point, nil
		}
	}
	if _, saved := p.set.SavedFiles(p.point)[disk+".qcow.json"]; saved {
		return nil, fmt.Errorf("disk %s was saved at restore point %s, and its saveset is missing: choose another point with --until, or leave the disk out with -d", disk, p.point)
	}
	if d == nil {
		return nil, nil
	}
	last := d.Latest()
	if asked := r.o.Until != "" && r.o.Until != latest; asked && !last.Raw {
		return nil, nil
	}
	level := slog.LevelWarn
	if last.Raw {
		level = slog.LevelInfo
	}
	r.log.Log(context.Background(), level, fmt.Sprintf("Disk [%s] has no restore point [%s], using [%s].", disk, p.point, last.Name))
	return last, nil
}

// filesOf lists the savesets of a restore point. Where some are damaged, it
// says which points are not concerned.
func (p *plan) filesOf(r *run, point *format.Point) ([]string, error) {
	files, err := point.Files()
	if err == nil && !r.o.Salvage {
		return files, nil
	}
	if r.o.Salvage { // what there is of them is looked for later
		return nil, nil
	}
	var good []string
	for _, other := range p.set.Disk(point.Disk).Points {
		if other.Err == nil {
			good = append(good, other.Name)
		}
	}
	if len(good) == 0 {
		return nil, fmt.Errorf("disk %s at restore point %s: %w; no other restore point of it is complete either", point.Disk, point.Name, err)
	}
	return nil, fmt.Errorf("disk %s at restore point %s: %w; complete are %s, see --until", point.Disk, point.Name, err, strings.Join(good, ", "))
}

// openImages opens the images of all disks, which validates their savesets.
func (p *plan) openImages(r *run) error {
	if r.o.Salvage {
		return nil // that takes long, and comes when all else is decided
	}
	cache := overlay.NewCache(overlay.DefaultCacheSize)
	for _, j := range p.jobs {
		img, err := overlay.Open(j.files, overlay.Options{Cache: cache})
		if err != nil {
			p.close()
			return fmt.Errorf("disk %s: %w", j.disk, err)
		}
		j.image, j.close = img, func() { img.Close() }
	}
	return nil
}

// close closes the images.
func (p *plan) close() {
	for _, j := range p.jobs {
		if j.close != nil {
			j.close()
		}
	}
}

// findPlaces decides where the disks go to, and refuses what is there.
func (p *plan) findPlaces(r *run) (err error) {
	for _, disk := range slices.Sorted(maps.Keys(r.o.Targets)) {
		if !slices.Contains(p.diskNames(), disk) {
			return fmt.Errorf("--target %s=%s: no such disk is to be restored", disk, r.o.Targets[disk])
		}
	}
	if p.out, err = r.placeOf(r.o.Output); err != nil {
		return err
	}
	if err := p.checkOutput(r); err != nil {
		return err
	}
	taken := map[string]bool{}
	if p.folder() != "" {
		taken[r.configPath(p)] = true
	}
	for _, j := range p.jobs {
		j.findFormat(r)
		if j.place, err = j.findPlace(r, p.out, taken); err != nil {
			return err
		}
		if err := r.checkPlace(j); err != nil {
			return fmt.Errorf("disk %s: %w", j.disk, err)
		}
		if j.place.kind == file && j.format == "qcow2" {
			j.create = r.imageOptions(p, j, taken)
		}
		if j.create.DataFile != "" {
			if err := r.vacant(j.create.DataFile); err != nil {
				return fmt.Errorf("disk %s: %w", j.disk, err)
			}
		}
	}
	return p.checkFiles(r)
}

// checkOutput refuses an output that cannot take what is asked for.
func (p *plan) checkOutput(r *run) error {
	switch {
	case p.out.kind == inFolder:
	case len(p.jobs) != 1:
		return fmt.Errorf("%s takes one disk, and there are %s; choose one with -d", p.out, strings.Join(p.diskNames(), ", "))
	case r.o.AdjustConfig:
		return fmt.Errorf("there is no place for the configuration beside %s: name a folder with -o, and the target of the disk with --target", p.out)
	}
	return nil
}

// checkFiles refuses to replace files that will be written beside the disks.
func (p *plan) checkFiles(r *run) error {
	if p.config == "" || p.folder() == "" {
		return nil
	}
	if err := p.checkConfig(r); err != nil {
		return fmt.Errorf("%w; choose another name with -C", err)
	}
	p.boot = r.bootFiles(p)
	if r.o.AdjustConfig {
		var err error
		if p.xml, err = domainxml.Rewrite(p.domain, r.rewriteOptions(p)); err != nil {
			return err
		}
	}
	for _, f := range p.boot {
		if r.o.BootFiles == original || !exists(r.host, f.to) {
			continue
		}
		from, err := openSaved(f.from)
		if err != nil {
			return err
		}
		err = r.same(f.to, from)
		from.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) checkConfig(r *run) error {
	to := r.configPath(p)
	switch {
	case !exists(r.host, to):
		return nil
	case r.o.AdjustConfig:
		return fmt.Errorf("%s is there already and stays", to)
	}
	return r.same(to, bytes.NewReader(p.text))
}

func (p *plan) diskNames() (names []string) {
	for _, j := range p.jobs {
		names = append(names, j.disk)
	}
	return names
}

// findFormat decides on the format of the target.
func (j *job) findFormat(r *run) {
	switch {
	case r.o.Format != "":
		j.format = r.o.Format
	case j.format == "": // of a saveset from before the key was written
		j.format = "qcow2"
	case j.format != "raw" && j.format != "qcow2":
		r.log.Warn(fmt.Sprintf("Disk [%s] was of format [%s], its restored image is of format [qcow2].", j.disk, j.format))
		j.format = "qcow2"
	}
}

// findPlace decides where the disk goes to: out, or a file of its own there.
// No two go to the same place.
func (j *job) findPlace(r *run, out place, taken map[string]bool) (place, error) {
	to := out
	if text, ok := r.o.Targets[j.disk]; ok {
		var err error
		if to, err = r.placeOf(text); err != nil {
			return place{}, err
		}
		if to.kind == inFolder {
			to.kind = file
		}
	}
	if to.kind == inFolder {
		return place{kind: file, path: free(out.path, j.fileName(r), j.disk, taken)}, nil
	}
	if to.kind != file && r.o.Format == "" {
		j.format = "raw" // there is no other one on a device, an export or a stream
	}
	if taken[to.path] {
		return place{}, fmt.Errorf("disk %s: %s is the target of something else, too", j.disk, to)
	}
	taken[to.path] = true
	return to, nil
}

// free is the path of a file in dir that is not taken yet, and now is.
func free(dir, name, disk string, taken map[string]bool) string {
	at := path.Join(dir, name)
	for taken[at] || taken[at+partialSuffix] || taken[strings.TrimSuffix(at, partialSuffix)] {
		name = disk + "-" + name
		at = path.Join(dir, name)
	}
	taken[at] = true
	return at
}

// fileName is the name that the image had, as far as it is fit to be one here.
func (j *job) fileName(r *run) string {
	if r.o.Sequence != nil {
		return j.disk
	}
	d := j.old
	for _, from := range []string{d.Path, d.Volume, d.Network.Name} {
		if base := path.Base(from); from != "" && plainName(base) {
			return j.withFormat(base)
		}
	}
	return j.disk + "." + j.format
}

// withFormat gives a name that says a format the one of the new image.
func (j *job) withFormat(name string) string {
	stem, said := strings.CutSuffix(name, ".qcow2")
	if !said {
		stem, said = strings.CutSuffix(name, ".raw")
	}
	if said && stem != "" {
		return stem + "." + j.format
	}
	return name
}

// plainName says whether a base name is fit to be one of a file.
func plainName(base string) bool {
	return base != "" && base != "." && base != ".." && !strings.ContainsAny(base, "/\x00\n")
}

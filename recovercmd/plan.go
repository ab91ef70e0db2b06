// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"virtnb/format"
	"virtnb/internal/domainxml"
)

// plan is what a set has for a boot.
type plan struct {
	set    *format.Set
	dir    string // of the set, absolute and without symbolic links
	point  string
	points []*format.Point // of the disks to boot with
	xml    *domainxml.Domain
	saved  map[string]string // the files saved at the point
}

// newPlan looks for all that a boot needs. It changes nothing.
func newPlan(dir, point string) (*plan, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	set, err := format.ReadSet(dir)
	if err != nil {
		return nil, err
	}
	p := &plan{set: set, dir: dir}
	if p.point, err = choosePoint(set, point); err != nil {
		return nil, err
	}
	p.points = set.PointsOf(p.point)
	p.saved = set.SavedFiles(p.point)
	config := p.saved["vmconfig.xml"]
	if config == "" {
		return nil, fmt.Errorf("%s has no vmconfig of restore point %s, and so no machine to boot; virtnb map serves its disks alone", dir, p.point)
	}
	text, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	if p.xml, err = domainxml.Parse(text); err != nil {
		return nil, fmt.Errorf("%s: %w", config, err)
	}
	return p, p.addLoneCopies()
}

// choosePoint finds a restore point by its name.
func choosePoint(set *format.Set, point string) (string, error) {
	names := set.PointNames()
	if point == "" || point == "latest" {
		return names[len(names)-1], nil
	}
	if !slices.Contains(names, point) {
		return "", fmt.Errorf("%s has no restore point %s; there are: %s", set.Dir, point, strings.Join(names, ", "))
	}
	return point, nil
}

// addLoneCopies adds the disks that the machine has and the restore point has
// not, because a backup of a raw disk is always a copy. One that cannot be
// brought back is an error: a machine without one of its disks is another one.
func (p *plan) addLoneCopies() error {
	for _, d := range p.set.Disks {
		if _, used := p.xml.Disk(d.Name); !used || slices.ContainsFunc(p.points, func(q *format.Point) bool { return q.Disk == d.Name }) {
			continue
		}
		if last := d.Latest(); last.Raw {
			p.points = append(p.points, last)
		}
	}
	for _, q := range p.points {
		if q.Err != nil {
			return fmt.Errorf("disk %s at restore point %s cannot be brought back: %w; virtnb list shows what can", q.Disk, q.Name, q.Err)
		}
	}
	return nil
}

// warnings tell what of the machine does not come back.
func (p *plan) warnings() (list []string) {
	for _, q := range p.points {
		if q.Name != p.point {
			list = append(list, fmt.Sprintf("disk %s has no restore point %s; it is booted as of its copy", q.Disk, p.point))
		}
	}
	for _, d := range p.xml.Disks() {
		if !d.Removable() && !slices.ContainsFunc(p.points, func(q *format.Point) bool { return q.Disk == d.Target }) {
			list = append(list, fmt.Sprintf("the backup has no disk %s: the machine boots without it", d.Target))
		}
	}
	return list
}

// files are all savesets that are read.
func (p *plan) files() (all []string, err error) {
	for _, q := range p.points {
		files, err := q.Files()
		if err != nil {
			return nil, err
		}
		all = append(all, files...)
	}
	return all, nil
}

// disks are the disks of the recovery, with overlays in a folder.
func (p *plan) disks(images string) (list []Disk) {
	for _, q := range p.points {
		list = append(list, Disk{
			Target: q.Disk, Export: q.Disk + "@" + q.Name, Size: q.Meta.VirtualSize,
			Overlay: filepath.Join(images, q.Disk+".qcow2"),
		})
	}
	return list
}

// bootFile is a file that the machine boots with, and the place for its copy.
type bootFile struct {
	role     domainxml.BootRole
	from, to string
}

// bootFiles are those that are in the set. The others are taken from the host,
// where the XML says, except for firmware variables: those are the original's.
func (p *plan) bootFiles(images string) (list []bootFile, err error) {
	for _, f := range p.xml.BootFiles() {
		from := p.savedBootFile(f)
		if from == "" {
			from, err = hostBootFile(f)
			if err != nil {
				return nil, err
			}
			if from == "" {
				continue
			}
		}
		list = append(list, bootFile{f.Role, from, filepath.Join(images, string(f.Role)+"-"+filepath.Base(f.Path))})
	}
	return list, nil
}

// savedBootFile is the copy in the set; a copy (the level) has files without an
// addition to their names.
func (p *plan) savedBootFile(f domainxml.BootFile) string {
	base := filepath.Base(f.Path)
	for _, name := range []string{string(f.Role) + "-" + base, base} {
		if path := p.saved[name]; path != "" {
			return path
		}
		if path := filepath.Join(p.dir, name); p.point == string(format.Copy) && isFile(path) {
			return path
		}
	}
	return ""
}

// hostBootFile is what takes the place of a file that is not in the set: nothing
// for those that are read only and there; what variables are made from for
// variables.
func hostBootFile(f domainxml.BootFile) (string, error) {
	switch {
	case f.Role == domainxml.NVRAM && isFile(f.Template):
		return f.Template, nil
	case f.Role != domainxml.NVRAM && isFile(f.Path):
		return "", nil
	}
	return "", fmt.Errorf("the machine boots with %s, the %s, which is neither in the backup set nor here", f.Path, f.Role)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// machine makes the domain XML of the recovery, and tells what had to go.
func (p *plan) machine(o BootOptions, s *State, files []bootFile) (domainxml.Restored, error) {
	r := domainxml.RecoverOptions{
		Name: s.Name, Disks: map[string]domainxml.RecoveredDisk{}, BootFiles: map[domainxml.BootRole]string{},
		IsolatedNetwork: o.IsolatedNetwork, KeepMACs: o.KeepMACs, Memory: o.Memory, VCPUs: o.VCPUs,
	}
	switch o.Network {
	case "", "none":
		r.Network = domainxml.NetworkNone
	case "isolated":
		r.Network = domainxml.NetworkIsolated
	case "keep":
		r.Network = domainxml.NetworkKeep
	default:
		return domainxml.Restored{}, fmt.Errorf("network %q: it is none, isolated or keep", o.Network)
	}
	for _, d := range s.Disks {
		if _, ok := p.xml.Disk(d.Target); !ok {
			return domainxml.Restored{}, fmt.Errorf("disk %s is in the backup, and not in the machine's configuration", d.Target)
		}
		r.Disks[d.Target] = domainxml.RecoveredDisk{Overlay: d.Overlay, Export: d.Export, Socket: s.Socket}
	}
	for _, f := range files {
		r.BootFiles[f.role] = f.to
	}
	return domainxml.Recover(p.xml, r)
}

// losses are what the rewriting of the XML warns of.
func losses(list []domainxml.Message) (warnings []string) {
	for _, m := range list {
		if m.Level >= slog.LevelWarn {
			warnings = append(warnings, m.Text)
		}
	}
	return warnings
}

// recoveredName is the name of the recovery where none is given.
func (p *plan) recoveredName() (string, error) {
	name := "recovered-" + p.xml.Name()
	if err := domainxml.CheckName(name); err != nil {
		return "", errors.Join(err, errors.New("give another with --name"))
	}
	return name, nil
}

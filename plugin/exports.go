// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"

	"virtnb/format"
)

// Names of exports: DISK and DISK@POINT, and with root= SET/DISK and
// SET/DISK@POINT, SET being a folder's name. The catalogue of the set is read
// anew for each connection, so what is in the folder by then is served.

// errAmbiguous is for a default export that nobody chose.
var errAmbiguous = errors.New("no default export: connect to one of")

// resolve finds the restore point behind the name of an export.
func (p *Plugin) resolve(name string) (*format.Point, error) {
	if p.params.root != "" {
		return p.resolveBelowRoot(name)
	}
	set, err := format.ReadSet(p.params.set)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return p.defaultOf(set)
	}
	return find(set, name)
}

// find looks up DISK or DISK@POINT.
func find(set *format.Set, name string) (*format.Point, error) {
	disk, point, at := strings.Cut(name, "@")
	if at && point == "" {
		return nil, fmt.Errorf("export name %q has no restore point behind the @: %w", name, format.ErrNotFound)
	}
	return set.Find(disk, point)
}

// defaultOf is the restore point of the empty name.
func (p *Plugin) defaultOf(set *format.Set) (*format.Point, error) {
	disk := p.params.disk
	if disk == "" {
		if len(set.Disks) > 1 {
			return nil, fmt.Errorf("%w %s, or give disk=: %w", errAmbiguous, strings.Join(set.DiskNames(), ", "), format.ErrNotFound)
		}
		disk = set.Disks[0].Name
	}
	return set.Find(disk, p.params.point)
}

func (p *Plugin) resolveBelowRoot(name string) (*format.Point, error) {
	if name == "" {
		return p.defaultBelowRoot()
	}
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return nil, fmt.Errorf("export name %q is not of the form SET/DISK or SET/DISK@POINT: %w", name, format.ErrNotFound)
	}
	set, err := p.setBelowRoot(name[:i])
	if err != nil {
		return nil, err
	}
	return find(set, name[i+1:])
}

// setBelowRoot reads the set in the folder of that name, which cannot lead out
// of the root.
func (p *Plugin) setBelowRoot(name string) (*format.Set, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return nil, fmt.Errorf("%q is no name of a backup set: %w", name, format.ErrNotFound)
	}
	return format.ReadSet(filepath.Join(p.params.root, name))
}

// chosenBelowRoot is the name of the export that disk= and point= choose
// together with root=, or "".
func (p *Plugin) chosenBelowRoot() string {
	if p.params.point != "" {
		return p.params.disk + "@" + p.params.point
	}
	return p.params.disk
}

func (p *Plugin) defaultBelowRoot() (*format.Point, error) {
	if name := p.chosenBelowRoot(); name != "" {
		return p.resolveBelowRoot(name)
	}
	sets, _, err := format.Sets(p.params.root)
	if err != nil {
		return nil, err
	}
	var names []string
	var only *format.Disk
	for _, set := range sets {
		for _, d := range set.Disks {
			only = d
			names = append(names, filepath.Base(set.Dir)+"/"+d.Name)
		}
	}
	switch len(names) {
	case 0:
		return nil, fmt.Errorf("no backup set in %s: %w", p.params.root, format.ErrNotFound)
	case 1:
		return only.Latest(), nil
	}
	return nil, fmt.Errorf("%w %s, or give disk=: %w", errAmbiguous, strings.Join(names, ", "), format.ErrNotFound)
}

// ListExports tells clients the names of all exports that can be opened, as
// far as the ends of the savesets tell.
func (p *Plugin) ListExports(readonly, tls bool, add func(name, description string) error) error {
	if p.params.files != nil {
		name, err := p.openFiles()
		if err != nil {
			return errno(err)
		}
		return add(name, "")
	}
	if p.params.root == "" {
		set, err := format.ReadSet(p.params.set)
		if err != nil {
			return errno(err)
		}
		return listSet(set, "", add)
	}
	sets, failed, err := format.Sets(p.params.root)
	if err != nil {
		return errno(err)
	}
	for name, err := range failed {
		logf("folder %s is left out: %v", name, err)
	}
	for _, set := range sets {
		if err := listSet(set, filepath.Base(set.Dir)+"/", add); err != nil {
			return err
		}
	}
	return nil
}

func listSet(set *format.Set, prefix string, add func(name, description string) error) error {
	for _, d := range set.Disks {
		if latest := d.Latest(); latest.Err == nil {
			if err := add(prefix+d.Name, "latest: "+latest.Name+", "+describe(latest)); err != nil {
				return err
			}
		}
		for _, point := range d.Points {
			if point.Err != nil {
				logf("%s%s@%s is left out: %v", prefix, d.Name, point.Name, point.Err)
				continue
			}
			if err := add(prefix+d.Name+"@"+point.Name, describe(point)); err != nil {
				return err
			}
		}
	}
	return nil
}

// describe says level, date and size of a restore point.
func describe(p *format.Point) string {
	parts := []string{string(p.Level)}
	if !p.Meta.Date.IsZero() {
		parts = append(parts, p.Meta.Date.Format("2006-01-02 15:04:05"))
	}
	return strings.Join(append(parts, humanize.IBytes(uint64(p.Meta.VirtualSize))), ", ")
}

// DefaultExport is the name behind the empty one, or the empty one where
// connecting to it is to fail, with a message that lists the names.
func (p *Plugin) DefaultExport(readonly, tls bool) (string, error) {
	if p.params.files != nil || p.params.root != "" {
		return p.chosenBelowRoot(), nil
	}
	set, err := format.ReadSet(p.params.set)
	if err != nil {
		return "", nil
	}
	point, err := p.defaultOf(set)
	switch {
	case err != nil:
		return "", nil
	case p.params.point == "":
		return point.Disk, nil
	}
	return point.Disk + "@" + point.Name, nil
}

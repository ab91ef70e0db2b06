// SPDX-License-Identifier: Apache-2.0

package format

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Set is the catalogue of a backup set: what the files in one folder can bring
// back. It holds no open files and does not follow later changes of the folder.
type Set struct {
	Dir         string    // as given to ReadSet; of several archives the first
	Domain      string    // name of the domain, "" if nothing in the folder tells
	Checkpoints []string  // names of the checkpoints made, oldest first, from DOMAIN.cpt
	Disks       []*Disk   // sda before sdb before sdaa
	Problems    []Problem // sorted by file

	files []string // paths of all files in the folder, or in the archives
}

// Disk is one disk of a set.
type Disk struct {
	Name   string   // target dev, "vda"
	Points []*Point // oldest first; never empty
}

// Point is one disk at one restore point, and the saveset that was made for
// it.
type Point struct {
	Name     string // of the restore point: checkpoint, "copy", or "diff.TIME"
	Disk     string
	Level    Level  // of the content: a full in an inc-named file is Full
	File     string // path of the saveset
	FileSize int64
	Meta     Metadata // zero where the saveset cannot be read
	Raw      bool
	Parent   *Point // the point that this one holds changes of; nil for a full
	// Err says why the point cannot be brought back, nil if nothing is known
	// against it. It is ErrCorrupt, ErrChain, or an error of reading.
	Err error
}

// Problem is something wrong with a file of a set.
type Problem struct {
	File string // base name
	Text string
	// Harmless problems take nothing from what the set can bring back.
	Harmless bool
}

// ReadSet reads the catalogue of a set: names, metadata, and the ends of files,
// which shows savesets that are cut. The set is a folder, or one zip archive or
// several that a backup to the standard output made; in a folder without
// savesets all its archives are read.
//
// Damaged savesets and broken chains are listed as problems, and are the Err of
// their points. The error is for the set itself: not readable, or without any
// saveset (ErrNotFound).
func ReadSet(paths ...string) (*Set, error) { return readSet(paths, false) }

// CheckSet is ReadSet with a validation of the whole structure of each
// saveset, as [Saveset.Frames] does it.
func CheckSet(paths ...string) (*Set, error) { return readSet(paths, true) }

func readSet(paths []string, check bool) (*Set, error) {
	set := &Set{}
	var err error
	switch {
	case len(paths) == 0:
		err = errors.New("no path was given")
	case len(paths) == 1 && !isFile(paths[0]):
		err = set.addFolder(paths[0])
	default:
		err = set.addArchives(paths)
	}
	if err != nil {
		return nil, fmt.Errorf("backup set: %w", err)
	}
	return set.read(check)
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

// addFolder adds the files in a folder and, if there is no saveset among them,
// those in its archives.
func (s *Set) addFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	s.Dir = dir
	found := false
	for _, e := range entries {
		s.files = append(s.files, filepath.Join(dir, e.Name()))
		_, ok := ParseName(e.Name())
		found = found || ok
	}
	if found {
		return nil
	}
	for _, path := range s.archives() {
		if err := s.addArchive(path); err != nil {
			s.Problems = append(s.Problems, Problem{File: filepath.Base(path), Text: err.Error()})
		}
	}
	return nil
}

// archives are the files that are named like zip archives.
func (s *Set) archives() (paths []string) {
	for _, path := range s.files {
		if strings.EqualFold(filepath.Ext(path), ".zip") {
			paths = append(paths, path)
		}
	}
	return paths
}

func (s *Set) addArchives(paths []string) error {
	s.Dir = paths[0]
	for _, path := range paths {
		if err := s.addArchive(path); err != nil {
			return err
		}
	}
	return nil
}

// addArchive adds the files at the top of an archive.
func (s *Set) addArchive(path string) error {
	a, err := openArchive(path)
	if err != nil {
		return err
	}
	defer a.f.Close()
	for _, m := range a.members {
		if !strings.Contains(m.name, "/") {
			s.files = append(s.files, filepath.Join(path, m.name))
		}
	}
	return nil
}

// read reads the files of the set.
func (s *Set) read(check bool) (*Set, error) {
	s.readSideFiles()
	disks := map[string]*Disk{}
	from := map[string]string{} // path of each saveset's name
	for _, path := range s.files {
		base := filepath.Base(path)
		name, ok := ParseName(base)
		if !ok {
			s.oddName(base)
			continue
		}
		if other := from[base]; other != "" {
			return nil, fmt.Errorf("backup set: %s and %s are of different backups: name the archives that belong to one chain: %w", other, path, ErrChain)
		}
		from[base] = path
		p := s.readPoint(path, name, check)
		if disks[p.Disk] == nil {
			disks[p.Disk] = &Disk{Name: p.Disk}
			s.Disks = append(s.Disks, disks[p.Disk])
		}
		disks[p.Disk].Points = append(disks[p.Disk].Points, p)
	}
	if len(s.Disks) == 0 {
		return nil, s.nothingFound()
	}
	s.finish()
	return s, nil
}

func (s *Set) nothingFound() error {
	hint := "no file is named like a saveset (DISK.full.data)"
	if len(s.Problems) > 0 {
		hint = fmt.Sprintf("%s: %s", s.Problems[0].File, s.Problems[0].Text)
	}
	return fmt.Errorf("folder %s is no backup set: %s: %w", s.Dir, hint, ErrNotFound)
}

// finish links and sorts what was collected.
func (s *Set) finish() {
	sort.Slice(s.Disks, func(i, j int) bool { return lessDisk(s.Disks[i].Name, s.Disks[j].Name) })
	saved := map[string]bool{}
	for _, d := range s.Disks {
		d.link()
		for _, p := range d.Points {
			saved[p.Meta.CheckpointName] = true
			if p.OwnFault() {
				s.problem(p.File, p.Err)
			}
		}
	}
	for _, c := range s.Checkpoints {
		if !saved[c] {
			s.note(s.Domain+".cpt", fmt.Sprintf("checkpoint %s has no saveset: that backup failed, or its files were removed", c))
		}
	}
	sort.SliceStable(s.Problems, func(i, j int) bool { return s.Problems[i].File < s.Problems[j].File })
}

// lessDisk orders disks as the kernel names them.
func lessDisk(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

// oddName lists files that look like savesets and are not used.
func (s *Set) oddName(base string) {
	whole, partial := strings.CutSuffix(base, partialSuffix)
	if _, ok := ParseName(whole); ok && partial {
		s.note(base, "unfinished saveset of a backup that runs or failed; it is not used")
	} else if strings.HasSuffix(base, dataSuffix) {
		s.note(base, "not named like a saveset (DISK.full.data, DISK.inc.CHECKPOINT.data); it is not used")
	}
}

func (s *Set) note(base, text string) {
	s.Problems = append(s.Problems, Problem{File: base, Text: text, Harmless: true})
}

func (s *Set) problem(path string, err error) {
	base := filepath.Base(path)
	text := strings.TrimPrefix(strings.TrimSuffix(err.Error(), ": "+ErrChain.Error()), base+" ")
	var c *CorruptError
	var p *os.PathError
	switch {
	case errors.As(err, &c):
		text = fmt.Sprintf("offset %d: %s", c.Offset, c.Reason)
	case errors.As(err, &p):
		text = p.Err.Error()
	}
	s.Problems = append(s.Problems, Problem{File: base, Text: text})
}

// readPoint reads one saveset. What is wrong with it becomes the point's Err.
func (s *Set) readPoint(path string, name Name, check bool) *Point {
	p := &Point{Disk: name.Disk, Level: name.Level, File: path}
	p.Err = p.read(check)
	if (p.Raw || p.Err != nil && p.Meta.CheckpointName == "") && name.Level == Full {
		p.Meta.CheckpointName = s.firstCheckpoint()
	}
	p.identify(name)
	return p
}

func (p *Point) read(check bool) error {
	if st, err := os.Stat(p.File); isMember(err) {
		// of an archive, which is open for reading: it was looked at
	} else if err != nil {
		return fmt.Errorf("saveset: %w", err)
	} else if !st.Mode().IsRegular() {
		return &CorruptError{p.File, 0, "not a regular file but a " + typeName(st.Mode())}
	}
	sv, err := OpenSaveset(p.File)
	if err != nil {
		return err
	}
	defer sv.Close()
	p.Meta, p.Raw, p.FileSize = sv.Meta, sv.Raw, sv.Size
	if !check {
		return nil
	}
	for _, err := range sv.Frames() {
		if err != nil {
			return err
		}
	}
	return nil
}

// firstCheckpoint is the checkpoint of a full that cannot say it itself.
func (s *Set) firstCheckpoint() string {
	if len(s.Checkpoints) > 0 {
		return s.Checkpoints[0]
	}
	return "virtnbdbackup.0"
}

// Limits of the side files, far above what real ones have.
const (
	maxCheckpointList = 16 << 20
	maxDomainXML      = 16 << 20
)

// readSideFiles learns the domain's name and its checkpoints.
func (s *Set) readSideFiles() {
	for _, path := range s.files {
		base := filepath.Base(path)
		switch {
		case strings.HasSuffix(base, ".cpt"):
			s.Domain = strings.TrimSuffix(base, ".cpt")
			s.readCheckpoints(path)
		case s.Domain == "" && strings.HasPrefix(base, "vmconfig") && strings.HasSuffix(base, ".xml"):
			var domain struct {
				Name string `xml:"name"`
			}
			if b, err := readSmall(path, maxDomainXML); err == nil && xml.Unmarshal(b, &domain) == nil {
				s.Domain = domain.Name
			}
		}
	}
}

// readCheckpoints takes the list of checkpoints in a file, if it has more of
// them than the list of another archive.
func (s *Set) readCheckpoints(path string) {
	var list []string
	if err := readJSON(path, &list); err != nil {
		s.note(filepath.Base(path), err.Error())
	} else if len(list) > len(s.Checkpoints) {
		s.Checkpoints = list
	}
}

func readJSON(path string, v any) error {
	b, err := readSmall(path, maxCheckpointList)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("no list of checkpoint names: %w", err)
	}
	return nil
}

// readSmall reads a regular file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := OpenSideFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Size() > limit {
		return nil, fmt.Errorf("%s is no file of a sane size", path)
	}
	return io.ReadAll(f)
}

// Disk returns the disk of that exact name, or nil.
func (s *Set) Disk(name string) *Disk {
	for _, d := range s.Disks {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// Find returns a disk at a restore point; point "" or "latest" is the latest.
// The error is ErrNotFound and lists what there is. A point that is found may
// still have an Err.
func (s *Set) Find(disk, point string) (*Point, error) {
	d := s.Disk(disk)
	if d == nil {
		return nil, fmt.Errorf("backup set %s has no disk %q, it has %s: %w", s.Dir, disk, strings.Join(s.DiskNames(), ", "), ErrNotFound)
	}
	return d.Find(point)
}

// DiskNames lists the names of the disks.
func (s *Set) DiskNames() []string {
	var names []string
	for _, d := range s.Disks {
		names = append(names, d.Name)
	}
	return names
}

// Find returns the disk at a restore point; "" or "latest" is the latest.
func (d *Disk) Find(point string) (*Point, error) {
	if point == "" || point == "latest" {
		return d.Latest(), nil
	}
	var names []string
	for _, p := range d.Points {
		if p.Name == point {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return nil, fmt.Errorf("disk %s has no restore point %q, it has %s: %w", d.Name, point, strings.Join(names, ", "), ErrNotFound)
}

// Latest is the newest restore point of the disk, which may have an Err.
func (d *Disk) Latest() *Point { return d.Points[len(d.Points)-1] }

// Files returns the paths of the savesets that make up the point, the full
// first, or the reason why it cannot be brought back.
func (p *Point) Files() ([]string, error) {
	if p.Err != nil {
		return nil, p.Err
	}
	var files []string
	for q := p; q != nil; q = q.Parent {
		files = append(files, q.File)
	}
	for i, j := 0, len(files)-1; i < j; i, j = i+1, j-1 {
		files[i], files[j] = files[j], files[i]
	}
	return files, nil
}

// Sets reads the catalogues of every set in the folders directly below root.
// Folders without savesets are left out; a folder that cannot be read is an
// error under its name in failed.
func Sets(root string) (sets []*Set, failed map[string]error, err error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, nil, fmt.Errorf("folder of backup sets: %w", err)
	}
	failed = map[string]error{}
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			continue
		}
		set, err := ReadSet(dir)
		switch {
		case err == nil:
			sets = append(sets, set)
		case !errors.Is(err, ErrNotFound):
			failed[e.Name()] = err
		}
	}
	return sets, failed, nil
}

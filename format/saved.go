// SPDX-License-Identifier: Apache-2.0

package format

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// PointNames lists the restore points of all disks, oldest first. Not every
// disk has each: disks are added and removed, and a raw one has only a copy.
func (s *Set) PointNames() []string {
	var names []string
	for _, d := range s.Disks {
		after := 0 // where a point that only this disk has belongs
		for _, p := range d.Points {
			i := slices.Index(names, p.Name)
			if i < 0 {
				i = after
				names = slices.Insert(names, i, p.Name)
			}
			after = i + 1
		}
	}
	return names
}

// PointsOf returns the disks at the restore point of that name.
func (s *Set) PointsOf(name string) (points []*Point) {
	for _, d := range s.Disks {
		for _, p := range d.Points {
			if p.Name == name {
				points = append(points, p)
			}
		}
	}
	return points
}

// File returns the path, for [OpenSideFile] or [OpenSaveset], of a file of the
// set by its base name. In several archives it is that of the last one.
func (s *Set) File(name string) (path string, ok bool) {
	for _, f := range s.files {
		if filepath.Base(f) == name {
			path, ok = f, true
		}
	}
	return path, ok
}

// diffSeconds is how far apart, in seconds, the times in the names of files
// can be that one diff made: each takes the time anew.
const diffSeconds = 60

// SavedFiles returns the files that were saved together with a restore point:
// the domain's configuration, image options, firmware. The keys are their names
// without what stands for the point ("vmconfig.xml"), the values paths for
// [OpenSideFile]. Of several that can be of a diff, it is the one whose time is closest.
func (s *Set) SavedFiles(point string) map[string]string {
	saved := map[string]string{}
	apart := map[string]int64{}
	for _, f := range s.files {
		short, n, ok := withoutPoint(filepath.Base(f), point)
		if best, taken := apart[short]; ok && (!taken || n < best) {
			saved[short], apart[short] = f, n
		}
	}
	return saved
}

// withoutPoint takes the part that stands for the point out of the name of a
// file: ".virtnbdbackup.1", ".copy" or, for a diff, a time close to its own,
// which is apart seconds from it.
func withoutPoint(file, point string) (short string, apart int64, ok bool) {
	at, isDiff := strings.CutPrefix(point, string(Diff)+".")
	if !isDiff && !strings.Contains(file, point) { // most files: say so before looking closer
		return "", 0, false
	}
	if _, isData := ParseName(strings.TrimSuffix(strings.TrimSuffix(file, chksumSuffix), partialSuffix)); isData {
		return "", 0, false
	}
	end := ""
	for _, e := range []string{".xml", ".qcow.json"} {
		if strings.HasSuffix(file, e) {
			end = e
		}
	}
	stem := strings.TrimSuffix(file, end)
	if short, ok = strings.CutSuffix(stem, "."+point); ok && short != "" {
		return short + end, 0, true
	}
	dot := strings.LastIndexByte(stem, '.')
	if !isDiff || dot <= 0 {
		return "", 0, false
	}
	apart, ok = secondsApart(stem[dot+1:], at)
	return stem[:dot] + end, apart, ok && apart <= diffSeconds
}

func secondsApart(a, b string) (int64, bool) {
	x, err1 := strconv.ParseInt(a, 10, 64)
	y, err2 := strconv.ParseInt(b, 10, 64)
	apart := max(x-y, y-x)
	return apart, err1 == nil && err2 == nil && apart >= 0 // no overflow
}

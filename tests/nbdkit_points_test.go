// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"virtnb/format"
)

// servedPoint is a line of points.txt.
type servedPoint struct {
	export, sha256, param string
}

func readPoints(t *testing.T) (points []servedPoint) {
	t.Helper()
	text, err := os.ReadFile("points.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		switch f := strings.Fields(line); len(f) {
		case 0:
		case 3:
			points = append(points, servedPoint{f[0], f[1], f[2]})
		default:
			t.Fatalf("points.txt: %q", line)
		}
	}
	return points
}

// vectors is the absolute path of the folder of vectors.
func vectors(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("vectors")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// inVectors makes the paths of a parameter absolute.
func inVectors(t testing.TB, param string) string {
	t.Helper()
	key, value, _ := strings.Cut(param, "=")
	paths := strings.Split(value, ",")
	for i := range paths {
		paths[i] = filepath.Join(vectors(t), paths[i])
	}
	return key + "=" + strings.Join(paths, ",")
}

func TestNbdkitServesEveryPoint(t *testing.T) {
	byParam := map[string][]servedPoint{}
	for _, p := range readPoints(t) {
		byParam[p.param] = append(byParam[p.param], p)
	}
	for param, points := range byParam {
		name := strings.ReplaceAll(param, "/", "|")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantPoints(t, serve(t, inVectors(t, param)), "", points)
		})
	}
}

func TestNbdkitServesEveryPointBelowRoot(t *testing.T) {
	t.Parallel()
	s := serve(t, "root="+vectors(t))
	for _, p := range readPoints(t) {
		if dir, ok := strings.CutPrefix(p.param, "set="); ok {
			wantPoints(t, s, dir+"/", []servedPoint{p})
		}
	}
}

func wantPoints(t *testing.T, s *nbdkit, prefix string, points []servedPoint) {
	t.Helper()
	for _, p := range points {
		if got := sha256Of(copyOf(t, s, prefix+p.export)); got != p.sha256 {
			t.Errorf("%s%s of %s has SHA-256 %s, want %s", prefix, p.export, p.param, got, p.sha256)
		}
	}
}

// The list has every restore point of every vector.
func TestPointsListIsWhole(t *testing.T) {
	listed := map[string]bool{}
	for _, p := range readPoints(t) {
		listed[p.param+" "+p.export] = true
	}
	sets, failed, err := format.Sets(vectors(t))
	if err != nil || len(failed) > 0 || len(sets) == 0 {
		t.Fatalf("%d vectors, %v %v", len(sets), failed, err)
	}
	for _, set := range sets {
		for _, d := range set.Disks {
			for _, p := range d.Points {
				key := "set=" + filepath.Base(set.Dir) + " " + d.Name + "@" + p.Name
				if !listed[key] {
					t.Errorf("points.txt lacks %s", key)
				}
			}
		}
	}
}

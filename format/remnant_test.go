// SPDX-License-Identifier: Apache-2.0

package format

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// remnants describes the remnants of a point: "|" before one stands for what is
// missing there, "?" behind one for a doubt about it.
func remnants(d *Disk, p *Point) string {
	var parts []string
	for _, r := range d.Remnants(p) {
		text := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(r.File), "vda."), ".data")
		text = strings.ReplaceAll(text, "virtnbdbackup.", "")
		if r.Missing != "" {
			text = "| " + text
		}
		if r.Doubt != "" {
			text += "?"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

func TestRemnants(t *testing.T) {
	chain := []saved{full("vda"), inc("vda", 1), inc("vda", 2), inc("vda", 3)}
	without := func(n int) []saved { return append(append([]saved{}, chain[:n]...), chain[n+1:]...) }
	doubled := saved{file: "vda.full.data", checkpoint: cp(1), full: true}
	old := func(n int, date string) []saved {
		all := append([]saved{}, chain...)
		all[n] = all[n].dated(date)
		return all
	}
	tests := []struct {
		name   string
		files  []saved
		damage func(path string) error // of the saveset of the second incremental
		want   string                  // of the last point
	}{
		{"sound", chain, nil, "full inc.1 inc.2 inc.3"},
		{"full missing", without(0), nil, "| inc.1 inc.2 inc.3"},
		{"one missing", without(2), nil, "full inc.1 | inc.3"},
		{"two missing", []saved{chain[0], chain[3]}, nil, "full | inc.3"},
		{"unreadable", chain, func(p string) error { return os.WriteFile(p, []byte("hello"), 0o600) }, "full inc.1 | inc.2 inc.3"},
		{"cut", chain, func(p string) error { return os.Truncate(p, 300) }, "full inc.1 inc.2 inc.3"},
		{"of another chain", old(2, "2026-11-01T00:00:00"), nil, "full inc.1 | inc.2 inc.3"},
		{"of another disk", []saved{chain[0], chain[1], {file: chain[2].file, checkpoint: cp(2), parent: cp(1), disk: "vdb"}, chain[3]}, nil, "full inc.1 | inc.2? inc.3"},
		{"full in an inc-named file", []saved{chain[0], chain[1], {file: chain[2].file, checkpoint: cp(2), full: true}, chain[3]}, nil, "inc.2 inc.3"},
		{"doubled", []saved{doubled, chain[1], chain[2], chain[3]}, nil, "| full? | inc.2 inc.3"},
		{"diff", []saved{chain[0], chain[1], diff("vda", 1700000001, 1)}, nil, "full inc.1 diff.1700000001"},
		{"diff of what is missing", []saved{chain[0], diff("vda", 1700000001, 1)}, nil, "full | diff.1700000001"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, dir := set(t, test.files...)
			if test.damage != nil {
				if err := test.damage(filepath.Join(dir, chain[2].file)); err != nil {
					t.Fatal(err)
				}
				var err error
				if s, err = ReadSet(dir); err != nil {
					t.Fatal(err)
				}
			}
			d := s.Disk("vda")
			last := test.files[len(test.files)-1].file
			for _, p := range d.Points {
				if filepath.Base(p.File) != last {
					continue
				}
				if got := remnants(d, p); got != test.want {
					t.Errorf("remnants are %s, want %s", got, test.want)
				}
			}
		})
	}
}

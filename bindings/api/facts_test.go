// SPDX-License-Identifier: Apache-2.0

package api

import (
	"go/build"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestBindings: a binding has no exported fact that upstream lacks, and where
// it is whole it lacks none. libnbd.txt is upstream 1.14.2; libnbd-newer.txt is
// what we have of its newer versions.
func TestBindings(t *testing.T) {
	build.Default.CgoEnabled = true // also where the rest builds without cgo
	for _, binding := range []struct {
		dir   string
		lists []string
		whole bool
	}{
		{"../nbdkit", []string{"nbdkit.txt"}, true},
		{"../libnbd", []string{"libnbd.txt", "libnbd-newer.txt"}, true},
		{"../libvirt", []string{"libvirt.txt"}, false},
	} {
		t.Run(binding.dir, func(t *testing.T) {
			upstream := readFacts(t, binding.lists)
			own, err := Facts(binding.dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, fact := range without(own, upstream) {
				t.Errorf("not in upstream: %s", fact)
			}
			if missing := without(upstream, own); binding.whole {
				for _, fact := range missing {
					t.Errorf("missing: %s", fact)
				}
			}
		})
	}
}

// readFacts returns the facts of all the lists, sorted.
func readFacts(t *testing.T, lists []string) []string {
	t.Helper()
	var facts []string
	for _, name := range lists {
		list, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		facts = append(facts, strings.Split(strings.TrimSuffix(string(list), "\n"), "\n")...)
	}
	slices.Sort(facts)
	return facts
}

// without returns what a has and b, which is sorted, does not.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(fact string) bool {
		_, found := slices.BinarySearch(b, fact)
		return found
	})
}

// TestFacts prints each kind of fact.
func TestFacts(t *testing.T) {
	got, err := Facts("testdata/kinds")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"const Big untyped int",
		"const Red Colour",
		"field Disk.Next *Disk",
		"field Disk.Reader io.Reader",
		"func Open(name string, flags ...uint32) (*Disk, error)",
		"imethod Seeker.Seek(off int64) error",
		"method (*Colour).String() string",
		"method (*Disk).Close()",
		"method (*Disk).Read(p []byte) (n int, err error)",
		"method (*Disk).Size() _Ctype_size",
		"type Colour int",
		"type Disk struct",
		"type Hook func(d *Disk) bool",
		"type Seeker interface",
		"var Default *Disk",
	}
	if !slices.Equal(got, want) {
		t.Errorf("facts are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// SPDX-License-Identifier: Apache-2.0

package format

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestPointNamesOfSeveralDisks(t *testing.T) {
	raw := saved{file: "vdb.copy.data", checkpoint: cp(0), full: true}
	s, _ := set(t, full("vda"), diff("vda", 1700000001, 0), inc("vda", 1), inc("vda", 2),
		raw, saved{file: "vdc.inc.virtnbdbackup.1.data", checkpoint: cp(1), full: true}, inc("vdc", 2), inc("vdc", 3))
	if got, want := strings.Join(s.PointNames(), " "), "copy virtnbdbackup.0 diff.1700000001 virtnbdbackup.1 virtnbdbackup.2 virtnbdbackup.3"; got != want {
		t.Errorf("points are %s, want %s", got, want)
	}
	if got := s.PointsOf("virtnbdbackup.1"); len(got) != 2 || got[0].Disk != "vda" || got[1].Disk != "vdc" {
		t.Errorf("virtnbdbackup.1 has %v", got)
	}
}

func TestSavedFiles(t *testing.T) {
	s := &Set{Dir: "/b", files: []string{
		"/b/vda.full.data", "/b/vda.inc.virtnbdbackup.1.data", "/b/vda.inc.virtnbdbackup.1.data.chksum", "/b/vda.diff.1700000001.data",
		"/b/vmconfig.virtnbdbackup.1.xml", "/b/vmconfig.virtnbdbackup.11.xml", "/b/vmconfig.1700000004.xml", "/b/vda.virtnbdbackup.1.qcow.json",
		"/b/OVMF_CODE.fd.virtnbdbackup.1", "/b/autostart.virtnbdbackup.1", "/b/vmconfig.copy.xml", "/b/vm1.cpt", "/b/backup.inc.11232026020641.log",
	}}
	for point, want := range map[string]string{
		"virtnbdbackup.1":  "OVMF_CODE.fd autostart vda.qcow.json vmconfig.xml",
		"virtnbdbackup.11": "vmconfig.xml",
		"copy":             "vmconfig.xml",
		"diff.1700000001":  "vmconfig.xml",
		"diff.1700009999":  "",
		"virtnbdbackup.2":  "",
	} {
		got := s.SavedFiles(point)
		if names := strings.Join(slices.Sorted(maps.Keys(got)), " "); names != want {
			t.Errorf("%s: %s, want %s", point, names, want)
		}
		if point == "virtnbdbackup.1" && got["vmconfig.xml"] != "/b/vmconfig.virtnbdbackup.1.xml" {
			t.Errorf("vmconfig.xml is %s", got["vmconfig.xml"])
		}
	}
}

// Diffs that were made one after the other have each its own file.
func TestSavedFilesOfNeighbouringDiffs(t *testing.T) {
	s := &Set{Dir: "/b", files: []string{"/b/vmconfig.1700000002.xml", "/b/vmconfig.1700000012.xml", "/b/vmconfig.1700000022.xml"}}
	for point, want := range map[string]string{
		"diff.1700000001": "/b/vmconfig.1700000002.xml",
		"diff.1700000012": "/b/vmconfig.1700000012.xml",
		"diff.1700000020": "/b/vmconfig.1700000022.xml",
	} {
		if got := s.SavedFiles(point)["vmconfig.xml"]; got != want {
			t.Errorf("%s has %s, want %s", point, got, want)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"virtnb/format"
	"virtnb/internal/domainxml"
)

// Domains of many kinds are restored and defined: whatever their disks were,
// the new ones are the restored files.
func TestRestoreAndDefineManyDomains(t *testing.T) {
	files, err := filepath.Glob("../internal/domainxml/testdata/*.xml")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		if strings.HasSuffix(file, ".golden.xml") {
			continue
		}
		n++
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			restoreAndDefine(t, readFile(t, file))
		})
	}
	if n < 12 {
		t.Errorf("%d domains", n)
	}
}

func restoreAndDefine(t *testing.T, xml []byte) {
	d, err := domainxml.Parse(xml)
	if err != nil {
		t.Fatal(err)
	}
	s := newInteropSet(t)
	s.side(t, "vmconfig.virtnbdbackup.0.xml", string(xml))
	s.side(t, "autostart.virtnbdbackup.0", "True")
	for _, f := range d.BootFiles() {
		s.side(t, filepath.Base(f.Path)+".virtnbdbackup.0", "boot")
	}
	content := map[string][]byte{}
	for _, disk := range d.Disks() {
		if disk.Removable() {
			continue
		}
		content[disk.Target] = bytes.Repeat([]byte(disk.Target+"."), 32<<10)[:64<<10]
		meta := format.Metadata{VirtualSize: 64 << 10, DataSize: 64 << 10, DiskName: disk.Target, DiskFormat: disk.Format, CheckpointName: "virtnbdbackup.0"}
		name := format.Name{Disk: disk.Target, Level: format.Full}
		s.write(t, name.String(), meta, []format.Extent{{Start: 0, Length: 64 << 10}}, content[disk.Target])
	}
	out := t.TempDir()
	mustRestore(t, "-i", s.dir, "-o", out, "-r", "-D", "-N", "restored", "-U", "test:///default")
	restored, err := domainxml.Parse(readFile(t, filepath.Join(out, "vmconfig.xml")))
	if err != nil {
		t.Fatal(err)
	}
	if restored.Name() != "restored" || restored.UUID() != "" {
		t.Errorf("name %s, UUID %q", restored.Name(), restored.UUID())
	}
	for _, disk := range restored.Disks() {
		want, ok := content[disk.Target]
		if !ok || filepath.Dir(disk.Path) != out || disk.Type != "file" || disk.HasBacking() {
			t.Errorf("disk %s is %+v", disk.Target, disk)
			continue
		}
		wantSame(t, disk.Target, contentOf(t, disk.Path, disk.Format), want)
		delete(content, disk.Target)
	}
	for target := range content {
		t.Errorf("disk %s is not there", target)
	}
	for _, f := range restored.BootFiles() {
		if _, err := os.Stat(f.Path); err != nil {
			t.Errorf("%s: %v", f.Role, err)
		}
	}
	run(t, "virt-xml-validate", filepath.Join(out, "vmconfig.xml"), "domain")
}

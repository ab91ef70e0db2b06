// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Sets that somebody made to do harm. Whatever they say, nothing is written
// outside the target folder, and nothing is read outside the set.

const hostileOS = `<os><type arch='x86_64' machine='pc'>hvm</type>
  <loader readonly='yes' type='pflash'>%[1]s/loader.fd</loader>
  <nvram>%[1]s/vars.fd</nvram>
  <kernel>%[1]s/secret</kernel></os>`

func TestRestoreStaysInsideItsFolder(t *testing.T) {
	elsewhere := t.TempDir()
	writeFile(t, filepath.Join(elsewhere, "secret"), []byte("secret"))
	writeFile(t, filepath.Join(elsewhere, "victim.qcow2"), []byte("victim"))
	kept(t, elsewhere)
	s := restoreSet(t)
	xml := fmt.Sprintf(interopDomain, fmt.Sprintf(interopDiskXML, "vda")+fmt.Sprintf(interopDiskXML, "vdb"))
	xml = strings.ReplaceAll(xml, "/nonexistent/vda.qcow2", elsewhere+"/victim.qcow2")
	xml = strings.ReplaceAll(xml, "/nonexistent/vdb.qcow2", elsewhere+"/../../..")
	xml = strings.ReplaceAll(xml, "<os><type>hvm</type></os>", fmt.Sprintf(hostileOS, elsewhere))
	s.side(t, "vmconfig.virtnbdbackup.3.xml", xml)
	s.side(t, "vars.fd.virtnbdbackup.3", "variables")
	s.side(t, "loader.fd.virtnbdbackup.3", "firmware")
	info := fmt.Sprintf(`{"format": "qcow2", "cluster-size": 65536, "format-specific": {"type": "qcow2", "data": {"compat": "1.1", "data-file": "%s/secret"}}}`, elsewhere)
	s.side(t, "vda.virtnbdbackup.3.qcow.json", info)
	s.side(t, "vdb.virtnbdbackup.3.qcow.json", `{"format": "qcow2", "cluster-size": 7, "format-specific": {"type": "qcow2", "data": {"compat": "1.1,backing_file=/etc/passwd"}}}`)

	out := filepath.Join(t.TempDir(), "out")
	r := mustRestore(t, "-i", s.dir, "-o", out, "-c")
	wantText(t, r.log, "clusters of 7 bytes", "File ["+elsewhere+"/secret] for boot option [kernel] is not in the backup.")
	if names := namesIn(t, out); !slices.Equal(names, []string{"loader.fd", "secret", "vars.fd", "vdb.qcow2", "victim.qcow2", "vmconfig.xml"}) {
		t.Errorf("there are %q", names)
	}
	wantSame(t, "vda", contentOf(t, filepath.Join(out, "victim.qcow2"), "qcow2"), s.disks[0].now)
	wantSame(t, "vdb", contentOf(t, filepath.Join(out, "vdb.qcow2"), "qcow2"), s.disks[1].now)
	wantText(t, string(readFile(t, filepath.Join(out, "vmconfig.xml"))), out+"/vars.fd</nvram>", out+"/loader.fd</loader>")
	if string(readFile(t, filepath.Join(out, "vars.fd"))) != "variables" {
		t.Error("the variables of the firmware are others")
	}
}

// Two disks of one name, and of the names of other files, get their own.
func TestRestoreNamesThatMeet(t *testing.T) {
	s := restoreSet(t)
	for _, name := range []string{"disk.qcow2", "vmconfig.xml", "x.partial"} {
		xml := fmt.Sprintf(interopDomain, fmt.Sprintf(interopDiskXML, "vda")+fmt.Sprintf(interopDiskXML, "vdb"))
		xml = strings.ReplaceAll(xml, "/nonexistent/vda.qcow2", "/a/"+name)
		xml = strings.ReplaceAll(xml, "/nonexistent/vdb.qcow2", "/b/"+strings.TrimSuffix(name, ".partial"))
		s.side(t, "vmconfig.virtnbdbackup.3.xml", xml)
		out := t.TempDir()
		mustRestore(t, "-i", s.dir, "-o", out, "-c")
		names := namesIn(t, out)
		if len(names) != 3 || !slices.Contains(names, "vmconfig.xml") {
			t.Errorf("%s: there are %q", name, names)
		}
	}
}

func TestRestoreWithHostileConfiguration(t *testing.T) {
	s := restoreSet(t)
	for what, text := range map[string]string{
		"entity":     `<!DOCTYPE domain [<!ENTITY x SYSTEM "file:///etc/passwd">]><domain type='kvm'><name>&x;</name></domain>`,
		"no XML":     "\x00\x01",
		"cut":        "<domain type='kvm'><name>vm1</name>",
		"name":       "<domain type='kvm'><name>../../x</name></domain>",
		"empty":      "",
		"large":      "<domain type='kvm'><name>" + strings.Repeat("x", 17<<20) + "</name></domain>",
		"other root": "<network><name>vm1</name></network>",
	} {
		s.side(t, "vmconfig.virtnbdbackup.3.xml", text)
		out := filepath.Join(t.TempDir(), "out")
		mustFail(t, "Cant read config file", "-i", s.dir, "-o", out, "-c")
		out = t.TempDir()
		r := mustRestore(t, "-i", s.dir, "-o", out) // the disks are there all the same
		wantText(t, r.log, "Cant read config file")
		if names := namesIn(t, out); !slices.Equal(names, []string{"vda.qcow2", "vdb.qcow2"}) {
			t.Errorf("%s: there are %q", what, names)
		}
	}
}

func TestRestoreBootFilesElsewhere(t *testing.T) {
	s := restoreSet(t)
	was := t.TempDir()
	xml := fmt.Sprintf(interopDomain, fmt.Sprintf(interopDiskXML, "vda"))
	xml = strings.ReplaceAll(xml, "<os><type>hvm</type></os>", fmt.Sprintf(hostileOS, was))
	s.side(t, "vmconfig.virtnbdbackup.3.xml", xml)
	s.side(t, "vars.fd.virtnbdbackup.3", "variables")
	s.side(t, "secret.virtnbdbackup.3", "kernel")
	to := filepath.Join(t.TempDir(), "boot")
	out := t.TempDir()
	mustRestore(t, "-i", s.dir, "-o", out, "-c", "--boot-files", to)
	if names := namesIn(t, to); !slices.Equal(names, []string{"secret", "vars.fd"}) {
		t.Errorf("there are %q", names)
	}
	wantText(t, string(readFile(t, filepath.Join(out, "vmconfig.xml"))), to+"/vars.fd</nvram>", to+"/secret</kernel>")

	// What is there and has another content is refused before anything is made.
	writeFile(t, filepath.Join(to, "vars.fd"), []byte("mine"))
	out = filepath.Join(t.TempDir(), "out")
	mustFail(t, to+"/vars.fd is there already, with another content", "-i", s.dir, "-o", out, "-c", "--boot-files", to)
	if exists(out) {
		t.Error("there is a folder")
	}

	// As virtnbdrestore does it: to the old places, where nothing is there.
	writeFile(t, filepath.Join(was, "secret"), []byte("mine"))
	mustRestore(t, "-i", s.dir, "-o", t.TempDir(), "-c", "--boot-files", "original")
	if string(readFile(t, filepath.Join(was, "vars.fd"))) != "variables" || string(readFile(t, filepath.Join(was, "secret"))) != "mine" {
		t.Error("the boot files are not what they have to be")
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

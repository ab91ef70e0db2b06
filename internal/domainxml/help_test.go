// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// validate asks libvirt's own schema about a document: domain, domainbackup or
// domaincheckpoint.
func validate(t *testing.T, schema string, xml []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), schema+".xml")
	if err := os.WriteFile(file, xml, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("virt-xml-validate", file, schema).CombinedOutput()
	if err != nil {
		t.Errorf("virt-xml-validate: %v\n%s\n%s", err, out, xml)
	}
}

// virsh runs commands, one an argument, in a libvirt of their own that forgets
// everything at its end.
func virsh(t *testing.T, commands ...string) string {
	t.Helper()
	cmd := exec.Command("virsh", append([]string{"-q", "-c", "test:///default"}, commands...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Errorf("virsh %v: %v: %s", commands, err, &stderr)
	}
	return stdout.String()
}

func parse(t *testing.T, xml string) *Domain {
	t.Helper()
	d, err := Parse([]byte(xml))
	if err != nil {
		t.Fatalf("%v\n%s", err, xml)
	}
	return d
}

// domain is the smallest XML with these devices.
func domain(devices string) string {
	return "<domain type='kvm'><name>vm1</name><memory>1024</memory><os><type>hvm</type></os><devices>" + devices + "</devices></domain>"
}

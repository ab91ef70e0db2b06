// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"strings"
	"testing"
)

func TestWithoutParent(t *testing.T) {
	const text = `<domaincheckpoint><name>a.1</name><parent><name>a.0</name></parent><creationTime>7</creationTime><domain type="kvm"><name>vm</name></domain></domaincheckpoint>`
	out, err := WithoutParent([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if s := string(out); strings.Contains(s, "parent") || !strings.Contains(s, "<name>vm</name>") {
		t.Errorf("%s", out)
	}
	if _, err := WithoutParent([]byte("<domain/>")); err == nil {
		t.Error("not a checkpoint, and accepted")
	}
}

func TestBackupServer(t *testing.T) {
	for text, want := range map[string]string{
		`<domainbackup mode='pull'><server transport='unix' socket='/var/tmp/x'/></domainbackup>`:              "/var/tmp/x",
		`<domainbackup mode='pull'><server transport='tcp' tls='no' name='host' port='10809'/></domainbackup>`: "host:10809",
		`<domainbackup mode='push'><disks/></domainbackup>`:                                                    "",
		`<other/>`: "",
		``:         "",
	} {
		if got := BackupServer([]byte(text)); got != want {
			t.Errorf("%s: %q", text, got)
		}
	}
}

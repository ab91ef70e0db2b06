// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func createCheckpoint(t *testing.T, dom *Domain, name string) *DomainCheckpoint {
	t.Helper()
	c := must(dom.CreateCheckpointXML(fmt.Sprintf("<domaincheckpoint><name>%s</name></domaincheckpoint>", name), 0))(t)
	t.Cleanup(func() { free(t, c) })
	return c
}

// checkpointNames takes a list that a call gave away.
func checkpointNames(t *testing.T, list []DomainCheckpoint) []string {
	t.Helper()
	var names []string
	for i := range list {
		names = append(names, must(list[i].GetName())(t))
		free(t, &list[i])
	}
	return names
}

func TestCheckpoints(t *testing.T) {
	conn := openTest(t)
	dom := define(t, conn, "vm1")
	ok(t, dom.Create())
	first := createCheckpoint(t, dom, "virtnbdbackup.0")
	second := createCheckpoint(t, dom, "virtnbdbackup.1")
	createCheckpoint(t, dom, "virtnbdbackup.2")

	all := []string{"virtnbdbackup.0", "virtnbdbackup.1", "virtnbdbackup.2"}
	if got := checkpointNames(t, must(dom.ListAllCheckpoints(DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL))(t)); !slices.Equal(got, all) {
		t.Errorf("the checkpoints are %q", got)
	}
	if got := checkpointNames(t, must(dom.ListAllCheckpoints(DOMAIN_CHECKPOINT_LIST_ROOTS))(t)); !slices.Equal(got, all[:1]) {
		t.Errorf("the roots are %q", got)
	}
	if got := checkpointNames(t, must(second.ListAllChildren(0))(t)); !slices.Equal(got, all[2:]) {
		t.Errorf("the children are %q", got)
	}
	parent := must(second.GetParent(0))(t)
	if name := must(parent.GetName())(t); name != all[0] {
		t.Errorf("the parent is %s", name)
	}
	free(t, parent)
	_, err := first.GetParent(0)
	wantCode(t, err, ERR_NO_DOMAIN_CHECKPOINT)
	if xml := must(second.GetXMLDesc(DOMAIN_CHECKPOINT_XML_SIZE | DOMAIN_CHECKPOINT_XML_NO_DOMAIN))(t); !strings.Contains(xml, "<name>virtnbdbackup.1</name>") {
		t.Errorf("the XML is %s", xml)
	}
}

func TestCheckpointIsDeletedAndRedefined(t *testing.T) {
	conn := openTest(t)
	dom := define(t, conn, "vm1")
	ok(t, dom.Create())
	createCheckpoint(t, dom, "one")
	xml := must(createCheckpoint(t, dom, "two").GetXMLDesc(DOMAIN_CHECKPOINT_XML_SECURE))(t)

	found := must(dom.CheckpointLookupByName("two", 0))(t)
	ok(t, found.Ref())
	free(t, found)
	ok(t, found.Delete(0))
	free(t, found)
	_, err := dom.CheckpointLookupByName("two", 0)
	wantCode(t, err, ERR_NO_DOMAIN_CHECKPOINT)

	again := must(dom.CreateCheckpointXML(xml, DOMAIN_CHECKPOINT_CREATE_REDEFINE))(t)
	defer free(t, again)
	if got := checkpointNames(t, must(dom.ListAllCheckpoints(0))(t)); len(got) != 2 {
		t.Errorf("the checkpoints are %q", got)
	}
	ok(t, again.Delete(DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY))
}

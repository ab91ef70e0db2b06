// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"strings"

	"github.com/beevik/etree"
)

// qemuNamespace is the one of <qemu:commandline> and <qemu:capabilities>,
// whatever prefix a document gives it.
const qemuNamespace = "http://libvirt.org/schemas/domain/qemu/1.0"

// Domain is a domain XML. It does not change: rewriting gives a new text. All
// methods may be called in parallel.
type Domain struct {
	doc   *etree.Document
	root  *etree.Element
	name  string
	uuid  string
	disks []Disk
}

// Parse reads a domain XML, live or inactive. Errors are ErrXML.
func Parse(data []byte) (*Domain, error) {
	doc, err := parseDocument(data, "domain")
	if err != nil {
		return nil, err
	}
	return newDomain(doc)
}

func newDomain(doc *etree.Document) (*Domain, error) {
	d := &Domain{doc: doc, root: doc.Root()}
	if err := once(d.root, "name", "uuid", "os", "devices"); err != nil {
		return nil, err
	}
	d.name = text(child(d.root, "name"))
	if err := CheckName(d.name); err != nil {
		return nil, xmlError("%v", err)
	}
	if u := child(d.root, "uuid"); u != nil {
		var err error
		if d.uuid, err = canonicalUUID(strings.TrimSpace(text(u))); err != nil {
			return nil, xmlError("%v", err)
		}
	}
	var err error
	if d.disks, err = readDisks(d.root); err != nil {
		return nil, err
	}
	return d, nil
}

// once refuses elements that come twice: which of them counts is not the same
// for every reader, and we must not rewrite one while libvirt takes the other.
func once(e *etree.Element, tags ...string) error {
	for _, tag := range tags {
		if len(children(e, tag)) > 1 {
			return xmlError("two <%s> elements in <%s>", tag, e.FullTag())
		}
	}
	return nil
}

// Name is the domain's name: not empty, and fit to be a file's name.
func (d *Domain) Name() string { return d.name }

// UUID is the domain's UUID in lower case with dashes; "" if it has none.
func (d *Domain) UUID() string { return d.uuid }

// Disks are the domain's disks in the order of the XML, cdrom and floppy
// included. Each has a valid target, and no two have the same.
func (d *Domain) Disks() []Disk { return append([]Disk(nil), d.disks...) }

// Disk is the disk with this target.
func (d *Domain) Disk(target string) (Disk, bool) {
	for _, disk := range d.disks {
		if disk.Target == target {
			return disk, true
		}
	}
	return Disk{}, false
}

// XML is the domain's text. It differs from what was parsed in nothing that a
// parser of XML can see.
func (d *Domain) XML() ([]byte, error) { return writeDocument(d.doc) }

// QemuCapability tells whether the XML switches on a capability of QEMU that
// libvirt did not have by default when it was written, such as
// "incremental-backup" before libvirt 7.6.0.
func (d *Domain) QemuCapability(name string) bool {
	for _, list := range d.root.ChildElements() {
		if list.Tag != "capabilities" || list.NamespaceURI() != qemuNamespace {
			continue
		}
		for _, add := range list.ChildElements() {
			if add.Tag == "add" && add.NamespaceURI() == qemuNamespace && attr(add, "capability") == name {
				return true
			}
		}
	}
	return false
}

// TPM is a trusted platform module of a domain.
type TPM struct {
	Model   string // tpm-crb, tpm-tis, ...
	Backend string // emulator, passthrough, external
	Version string // "1.2", "2.0"; "" if the XML leaves it open
	Source  string // where an emulator keeps its state, if the XML says so
	// Encrypted state needs a secret of libvirt, which no backup has.
	Encrypted bool
}

// Emulated tells whether the TPM has a state on the host that a backup can
// take: by default in /var/lib/libvirt/swtpm/UUID.
func (t TPM) Emulated() bool { return t.Backend == "emulator" }

// TPMs are the domain's trusted platform modules.
func (d *Domain) TPMs() []TPM {
	var all []TPM
	for _, e := range children(child(d.root, "devices"), "tpm") {
		b := child(e, "backend")
		all = append(all, TPM{
			Model:     attr(e, "model"),
			Backend:   attr(b, "type"),
			Version:   attr(b, "version"),
			Source:    attr(child(b, "source"), "path"),
			Encrypted: child(b, "encryption") != nil,
		})
	}
	return all
}

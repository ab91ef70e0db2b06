// SPDX-License-Identifier: Apache-2.0

package domainxml

import "github.com/beevik/etree"

// WithoutParent is the XML of a checkpoint as the first one of its domain, for
// where the ones before it are gone. All else is kept. Errors are ErrXML.
func WithoutParent(checkpoint []byte) ([]byte, error) {
	doc, err := parseDocument(checkpoint, "domaincheckpoint")
	if err != nil {
		return nil, err
	}
	if e := child(doc.Root(), "parent"); e != nil {
		doc.Root().RemoveChild(e)
	}
	return writeDocument(doc)
}

// WithDomain is the XML of a checkpoint with that of its domain in it, which
// libvirt wants where it is told of a checkpoint. Errors are ErrXML.
func WithDomain(checkpoint []byte, d *Domain) (string, error) {
	doc, err := parseDocument(checkpoint, "domaincheckpoint")
	if err != nil {
		return "", err
	}
	if e := child(doc.Root(), "domain"); e != nil {
		doc.Root().RemoveChild(e)
	}
	doc.Root().AddChild(d.root.Copy())
	return newXML(doc)
}

// BackupServer says where the NBD server of a backup job is, by the job's XML
// as virDomainBackupGetXMLDesc gives it: the path of a socket or "HOST:PORT".
// It is "" where the XML does not say.
func BackupServer(job []byte) string {
	doc, err := parseDocument(job, "domainbackup")
	if err != nil {
		return ""
	}
	return serverAddress(child(doc.Root(), "server"))
}

func serverAddress(e *etree.Element) string {
	if socket := attr(e, "socket"); socket != "" {
		return socket
	}
	if host := attr(e, "name"); host != "" {
		return host + ":" + attr(e, "port")
	}
	return ""
}

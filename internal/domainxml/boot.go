// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"path/filepath"
	"strings"

	"github.com/beevik/etree"
)

// BootRole is what a boot file is for; the words are those of the XML.
type BootRole string

const (
	Loader BootRole = "loader" // firmware
	NVRAM  BootRole = "nvram"  // the firmware's variables, which the guest writes
	Kernel BootRole = "kernel"
	Initrd BootRole = "initrd"
)

var bootRoles = []BootRole{Loader, NVRAM, Kernel, Initrd}

// BootFile is a file of the host that a domain boots with.
type BootFile struct {
	Role     BootRole
	Path     string // absolute
	ReadOnly bool   // of a loader: the XML says that the guest cannot write it
	Type     string // of a loader: "rom" or "pflash"; "" if not said
	Format   string // "raw" or "qcow2"; "" if not said
	Template string // of an nvram: what a missing one is made from
}

// BootFiles are the files that the <os> element names, as far as they are files
// of the host: an nvram in the network is none. What the XML names is not to be
// read or written without a look at who wrote the XML.
func (d *Domain) BootFiles() []BootFile {
	var all []BootFile
	for _, role := range bootRoles {
		e := child(d.root, "os", string(role))
		path := bootPath(e)
		if !filepath.IsAbs(path) {
			continue
		}
		all = append(all, BootFile{
			Role:     role,
			Path:     path,
			ReadOnly: attr(e, "readonly") == "yes",
			Type:     attr(e, "type"),
			Format:   attr(e, "format"),
			Template: attr(e, "template"),
		})
	}
	return all
}

// bootPath reads both forms of an nvram: a path as text, and a <source>.
func bootPath(e *etree.Element) string {
	if source := child(e, "source"); source != nil {
		if attr(e, "type") == "block" {
			return attr(source, "dev")
		}
		return attr(source, "file")
	}
	return strings.TrimSpace(text(e))
}

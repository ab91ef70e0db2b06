// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"github.com/beevik/etree"
)

// Disk is a disk of a domain, with what a backup or restore decides on.
type Disk struct {
	Target string // vda, sdb; valid by CheckTarget
	Bus    string // virtio, scsi, sata, ...
	Device string // disk, lun, cdrom, floppy
	Type   string // of the source: file, block, volume, network, nvme, dir, vhostuser, vdpa

	// TargetType is the attribute type of <target>, which the schema does not
	// have and virtnbdbackup looks at.
	TargetType string

	Path         string  // of types file, block and dir; "" without a medium
	Pool, Volume string  // of type volume
	Network      Network // of type network

	Format    string   // raw, qcow2, ...: raw where the XML does not say, as libvirt has it
	DataFile  string   // path of the external data file of a qcow2
	Backing   []string // paths or names of the backing images, the next one first
	Encrypted bool     // libvirt decrypts the image itself

	ReadOnly, Shareable, Transient bool

	Discard string // unmap, ignore; "" where the XML does not say
	// Mirror is, in a live XML, the path that a block job copies the disk to, and
	// MirrorReady tells that the copy has all that the disk has and goes on to get it.
	Mirror      string
	MirrorReady bool
}

// Network is the source of a disk that is not on the host.
type Network struct {
	Protocol string // nbd, rbd, iscsi, https, ...
	Name     string // export, pool/image, target/lun, path
	TLS      bool
	Hosts    []NetworkHost
}

// NetworkHost is one of the servers of a network disk.
type NetworkHost struct {
	Name, Port string
	Transport  string // tcp (also where the XML does not say), unix, rdma
	Socket     string // of transport unix
}

// HasBacking tells whether the disk is an overlay on other images.
func (d Disk) HasBacking() bool { return len(d.Backing) > 0 }

// Removable tells whether the disk is a drive for media: no backup takes them.
func (d Disk) Removable() bool { return d.Device == "cdrom" || d.Device == "floppy" }

func readDisks(root *etree.Element) ([]Disk, error) {
	var all []Disk
	seen := map[string]bool{}
	elements := children(child(root, "devices"), "disk")
	if len(elements) > maxDisks {
		return nil, xmlError("%d disks, the limit is %d", len(elements), maxDisks)
	}
	for i, e := range elements {
		if err := once(e, "target", "driver", "source"); err != nil {
			return nil, err
		}
		d := readDisk(e)
		if err := CheckTarget(d.Target); err != nil {
			return nil, xmlError("disk %d: %v", i+1, err)
		}
		if seen[d.Target] {
			return nil, xmlError("two disks have the target %s", d.Target)
		}
		seen[d.Target] = true
		all = append(all, d)
	}
	return all, nil
}

func readDisk(e *etree.Element) Disk {
	target, source := child(e, "target"), child(e, "source")
	d := Disk{
		Target:     attr(target, "dev"),
		Bus:        attr(target, "bus"),
		TargetType: attr(target, "type"),
		Device:     or(attr(e, "device"), "disk"),
		Type:       or(attr(e, "type"), "file"),
		Format:     or(attr(child(e, "driver"), "type"), "raw"),
		Encrypted:  child(source, "encryption") != nil || child(e, "encryption") != nil,
		DataFile:   dataFile(source),
		Backing:    readBacking(e),
		ReadOnly:   child(e, "readonly") != nil,
		Shareable:  child(e, "shareable") != nil,
		Transient:  child(e, "transient") != nil,

		Discard:     attr(child(e, "driver"), "discard"),
		Mirror:      attr(child(e, "mirror", "source"), "file"),
		MirrorReady: attr(child(e, "mirror"), "ready") == "yes",
	}
	switch d.Type {
	case "file", "block", "dir":
		d.Path = attr(source, sourceAttr[d.Type])
	case "volume":
		d.Pool, d.Volume = attr(source, "pool"), attr(source, "volume")
	case "network":
		d.Network = readNetwork(source)
	}
	return d
}

// sourceAttr is the attribute of <source> that holds the path.
var sourceAttr = map[string]string{"file": "file", "block": "dev", "dir": "dir"}

func dataFile(source *etree.Element) string {
	s := child(source, "dataStore", "source")
	return or(attr(s, "file"), attr(s, "dev"))
}

// readBacking follows the chain that a live XML lists. The last backingStore of
// a chain is empty.
func readBacking(e *etree.Element) []string {
	var all []string
	for b := child(e, "backingStore"); b != nil; b = child(b, "backingStore") {
		s := child(b, "source")
		if s == nil {
			break
		}
		name := or(attr(s, "file"), or(attr(s, "dev"), attr(s, "name")))
		if pool := attr(s, "pool"); pool != "" {
			name = pool + "/" + attr(s, "volume")
		}
		all = append(all, name)
	}
	return all
}

func readNetwork(source *etree.Element) Network {
	n := Network{Protocol: attr(source, "protocol"), Name: attr(source, "name"), TLS: attr(source, "tls") == "yes"}
	for _, h := range children(source, "host") {
		n.Hosts = append(n.Hosts, NetworkHost{
			Name:      attr(h, "name"),
			Port:      attr(h, "port"),
			Transport: or(attr(h, "transport"), "tcp"),
			Socket:    attr(h, "socket"),
		})
	}
	return n
}

func or(s, instead string) string {
	if s != "" {
		return s
	}
	return instead
}

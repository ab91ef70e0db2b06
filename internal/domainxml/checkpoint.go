// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// Checkpoint is a checkpoint of a domain: the point in time since which its
// bitmaps note what the guest writes.
type Checkpoint struct {
	Name        string
	Parent      string // "" for the first one
	Description string
	Created     time.Time // full seconds; zero if unknown: libvirt sets it
	Disks       []CheckpointDisk
}

// CheckpointDisk is a disk's part of a checkpoint.
type CheckpointDisk struct {
	Name   string // target
	Skip   bool   // has no bitmap: not saved, or raw
	Bitmap string // always the checkpoint's name: libvirt has it no other way
	Size   int64  // bytes changed since; 0 if libvirt was not asked
}

// CheckpointXML is the second argument of virDomainBackupBegin, and what
// virDomainCheckpointCreateXML takes. Disks that are not listed get no bitmap,
// as those with Skip. Bitmap and Size are not written.
func CheckpointXML(c Checkpoint) (string, error) {
	if err := c.check(); err != nil {
		return "", err
	}
	doc, root := newDocument("domaincheckpoint")
	root.CreateElement("name").SetText(c.Name)
	if c.Description != "" {
		root.CreateElement("description").SetText(c.Description)
	}
	if c.Parent != "" {
		root.CreateElement("parent").CreateElement("name").SetText(c.Parent)
	}
	if !c.Created.IsZero() {
		root.CreateElement("creationTime").SetText(strconv.FormatInt(c.Created.Unix(), 10))
	}
	list := root.CreateElement("disks")
	for _, d := range c.Disks {
		e := list.CreateElement("disk")
		e.CreateAttr("name", d.Name)
		if d.Skip {
			e.CreateAttr("checkpoint", "no")
		} else {
			e.CreateAttr("checkpoint", "bitmap")
		}
	}
	return newXML(doc)
}

// check is for checkpoints that we make: one without a bitmap would be of no
// use, and libvirt gives every disk a bitmap where none is listed.
func (c Checkpoint) check() error {
	bitmaps := 0
	for _, d := range c.Disks {
		if !d.Skip {
			bitmaps++
		}
		if d.Bitmap != "" && d.Bitmap != c.Name {
			return fmt.Errorf("checkpoint %s: disk %s: the bitmap cannot be called %q", c.Name, d.Name, d.Bitmap)
		}
	}
	if bitmaps == 0 {
		return fmt.Errorf("checkpoint %s: no disk to make a bitmap for", c.Name)
	}
	return c.checkNames()
}

func (c Checkpoint) checkNames() error {
	if err := CheckCheckpoint(c.Name); err != nil {
		return err
	}
	if c.Parent != "" {
		if err := CheckCheckpoint(c.Parent); err != nil {
			return fmt.Errorf("checkpoint %s: parent: %w", c.Name, err)
		}
		if c.Parent == c.Name {
			return fmt.Errorf("checkpoint %s: is its own parent", c.Name)
		}
	}
	seen := map[string]bool{}
	for _, d := range c.Disks {
		if err := CheckTarget(d.Name); err != nil {
			return fmt.Errorf("checkpoint %s: %w", c.Name, err)
		}
		if seen[d.Name] {
			return fmt.Errorf("checkpoint %s: disk %s is listed twice", c.Name, d.Name)
		}
		seen[d.Name] = true
	}
	return nil
}

// ParseCheckpoint reads the XML of a checkpoint, as virDomainCheckpointGetXMLDesc
// gives it and backup sets keep it. Errors are ErrXML.
func ParseCheckpoint(data []byte) (Checkpoint, error) {
	doc, err := parseDocument(data, "domaincheckpoint")
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := readCheckpoint(doc.Root())
	if err != nil {
		return Checkpoint{}, xmlError("%v", err)
	}
	return c, nil
}

func readCheckpoint(root *etree.Element) (Checkpoint, error) {
	c := Checkpoint{
		Name:        text(child(root, "name")),
		Parent:      text(child(root, "parent", "name")),
		Description: text(child(root, "description")),
	}
	if s := strings.TrimSpace(text(child(root, "creationTime"))); s != "" {
		sec, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return c, fmt.Errorf("checkpoint %s: creation time %q", c.Name, s)
		}
		c.Created = time.Unix(sec, 0)
	}
	for _, e := range children(child(root, "disks"), "disk") {
		d, err := readCheckpointDisk(e, c.Name)
		if err != nil {
			return c, fmt.Errorf("checkpoint %s: %w", c.Name, err)
		}
		c.Disks = append(c.Disks, d)
	}
	return c, c.checkNames()
}

func readCheckpointDisk(e *etree.Element, checkpoint string) (CheckpointDisk, error) {
	d := CheckpointDisk{Name: attr(e, "name"), Skip: attr(e, "checkpoint") == "no"}
	if !d.Skip {
		d.Bitmap = or(attr(e, "bitmap"), checkpoint)
	}
	s := attr(e, "size")
	if s == "" {
		return d, nil
	}
	var err error
	if d.Size, err = strconv.ParseInt(s, 10, 64); err != nil || d.Size < 0 {
		return d, fmt.Errorf("disk %q: size %q", d.Name, s)
	}
	return d, nil
}

// ErrNoDomain means that a checkpoint's XML does not hold the domain's.
var ErrNoDomain = errors.New("the checkpoint has no domain XML")

// CheckpointDomain is the domain as it was when the checkpoint was made, which
// libvirt keeps inside the checkpoint's XML. Errors are ErrXML or ErrNoDomain.
func CheckpointDomain(data []byte) (*Domain, error) {
	doc, err := parseDocument(data, "domaincheckpoint")
	if err != nil {
		return nil, err
	}
	e := child(doc.Root(), "domain")
	if e == nil {
		return nil, ErrNoDomain
	}
	return newDomain(etree.NewDocumentWithRoot(e.Copy()))
}

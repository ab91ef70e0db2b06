// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"
	"github.com/google/uuid"
)

// RestoreOptions say how a restored domain differs from the one that was
// backed up.
type RestoreOptions struct {
	Name string // "": RestoredName of the old one

	// The UUID is removed, and libvirt makes a new one when the domain is
	// defined; or it is made here, or kept: a host can have a UUID once.
	NewUUID  bool
	KeepUUID bool

	// NewMACs gives every network card an address of its own, so that the domain
	// can run beside the one that was backed up.
	NewMACs bool

	// Disks says where the disks are now, by target. Others are removed, unless
	// they are to be kept: a kept disk is the original one, and the restored
	// domain writes to it. Drives for media are removed in any case.
	Disks          map[string]RestoredDisk
	KeepUnrestored bool

	// BootFiles are the new paths of loader, nvram, kernel and initrd. What is
	// not listed stays where it was.
	BootFiles map[BootRole]string
}

// RestoredDisk is the new place of a disk: a path, a volume, or something in
// the network.
type RestoredDisk struct {
	Path  string // absolute
	Block bool   // the path is that of a block device

	Pool, Volume string
	Network      *Network

	Format string // raw, qcow2

	// DataFile is the path of the external data file of a qcow2. It is named in
	// the XML only if the old one was: before 10.10 libvirt has no place for it,
	// and all versions find it in the image.
	DataFile string
}

// Restored is a rewritten domain XML.
type Restored struct {
	XML  []byte
	Name string
	UUID string // "" if libvirt is to make one
	Log  []Message
}

// Message is for the log. Those about things that the peer does too have its
// wording.
type Message struct {
	Level slog.Level
	Text  string
}

// rewriter holds what one rewriting works on.
type rewriter struct {
	RestoreOptions
	doc  *etree.Document
	root *etree.Element
	out  Restored
}

func (r *rewriter) say(level slog.Level, format string, args ...any) {
	r.out.Log = append(r.out.Log, Message{level, fmt.Sprintf(format, args...)})
}

// Rewrite makes the XML of a restored domain. The old disks are not named in it
// any more, except in what we cannot know the meaning of (QEMU arguments), which
// a warning tells. What a live XML has beside a domain's configuration is gone.
// Anything else is as it was.
func Rewrite(d *Domain, o RestoreOptions) (Restored, error) {
	r, err := newRewriter(d, o)
	if err != nil {
		return Restored{}, err
	}
	return r.write(d)
}

// newRewriter does all of the rewriting; the document can be changed further.
func newRewriter(d *Domain, o RestoreOptions) (*rewriter, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	doc := d.doc.Copy()
	r := &rewriter{RestoreOptions: o, doc: doc, root: doc.Root()}
	if err := r.rename(d.name); err != nil {
		return nil, err
	}
	if err := r.changeUUID(d.uuid); err != nil {
		return nil, err
	}
	r.rewriteDisks(d.disks)
	r.rewriteBootFiles(d.BootFiles())
	dropLive(r.root)
	if o.NewMACs {
		newMACs(r.root)
	}
	return r, nil
}

// write ends the rewriting of d.
func (r *rewriter) write(d *Domain) (Restored, error) {
	r.warn(d)
	var err error
	r.out.XML, err = writeDocument(r.doc)
	return r.out, err
}

func (o RestoreOptions) check() error {
	if o.NewUUID && o.KeepUUID {
		return errors.New("a new UUID and the old one cannot both be had")
	}
	for _, target := range slices.Sorted(maps.Keys(o.Disks)) {
		if err := o.Disks[target].check(); err != nil {
			return fmt.Errorf("disk %s: %w", target, err)
		}
	}
	for role, path := range o.BootFiles {
		if !slices.Contains(bootRoles, role) {
			return fmt.Errorf("%q is not a boot file", role)
		}
		if err := checkPath(string(role), path); err != nil {
			return err
		}
	}
	return nil
}

func (d RestoredDisk) check() error {
	if d.Format == "" {
		return errors.New("no image format given")
	}
	if d.DataFile != "" {
		if err := checkPath("data file", d.DataFile); err != nil {
			return err
		}
	}
	switch {
	case d.Path != "" && d.Pool+d.Volume == "" && d.Network == nil:
		return checkPath("image", d.Path)
	case d.Pool != "" && d.Volume != "" && d.Path == "" && d.Network == nil && !d.Block:
		return nil
	case d.Network != nil && d.Network.Protocol != "" && d.Path+d.Pool+d.Volume == "" && !d.Block:
		return nil
	}
	return errors.New("needs one new place: a path, a volume of a pool, or a network source")
}

// place is the new source in words.
func (d RestoredDisk) place() string {
	switch {
	case d.Network != nil:
		return d.Network.Protocol + ":" + d.Network.Name
	case d.Pool != "":
		return d.Pool + "/" + d.Volume
	}
	return d.Path
}

func (r *rewriter) rename(old string) error {
	name := or(r.Name, RestoredName(old))
	if err := CheckName(name); err != nil {
		return fmt.Errorf("%w: choose another name", err)
	}
	r.say(slog.LevelInfo, "Changing name from [%s] to [%s]", old, name)
	setText(child(r.root, "name"), name)
	r.out.Name = name
	return nil
}

const restoredPrefix = "restore_"

var numbered = regexp.MustCompile(`^` + restoredPrefix + `(.*)_([0-9]{1,6})$`)

// RestoredName is the name that a restored domain gets unless the user chooses
// one: restore_vm1, and for the backup of such a one restore_vm1_2.
func RestoredName(old string) string {
	if m := numbered.FindStringSubmatch(old); m != nil {
		n, _ := strconv.Atoi(m[2])
		return fmt.Sprintf("%s%s_%d", restoredPrefix, m[1], n+1)
	}
	if len(old) > len(restoredPrefix) && old[:len(restoredPrefix)] == restoredPrefix {
		return old + "_2"
	}
	return restoredPrefix + old
}

// changeUUID also changes what must be equal to the UUID, and the generation
// id, by which Windows knows that it was set back in time.
func (r *rewriter) changeUUID(old string) error {
	if g := child(r.root, "genid"); g != nil {
		g.Child = nil
	}
	e := child(r.root, "uuid")
	if r.KeepUUID {
		r.out.UUID = old
		return nil
	}
	if r.NewUUID {
		u, err := uuid.NewRandom()
		if err != nil {
			return err
		}
		r.out.UUID = u.String()
		if e == nil {
			e = insertAfter(child(r.root, "name"), "uuid")
		}
		setText(e, r.out.UUID)
	} else if e != nil {
		r.say(slog.LevelInfo, "Removing uuid setting from vm config.")
		remove(e)
	}
	r.changeSystemUUID()
	return nil
}

// changeSystemUUID: libvirt refuses a domain whose SMBIOS has another UUID.
func (r *rewriter) changeSystemUUID() {
	var gone []*etree.Element
	for _, info := range children(r.root, "sysinfo") {
		for _, entry := range children(child(info, "system"), "entry") {
			if attr(entry, "name") != "uuid" {
				continue
			}
			if r.out.UUID == "" {
				gone = append(gone, entry)
			} else {
				setText(entry, r.out.UUID)
			}
		}
	}
	remove(gone...)
}

func (r *rewriter) rewriteBootFiles(old []BootFile) {
	pinFirmware(child(r.root, "os"))
	for _, f := range old {
		path, ok := r.BootFiles[f.Role]
		if !ok {
			if f.Role == NVRAM {
				r.say(slog.LevelWarn, "The nvram of the restored domain is the file of the original one: [%s]", f.Path)
			}
			continue
		}
		r.say(slog.LevelInfo, "Change path of [%s] from [%s] to [%s]", f.Role, f.Path, path)
		setBootPath(child(r.root, "os", string(f.Role)), path)
	}
}

// pinFirmware: where a live XML still says firmware='efi' beside the loader that
// libvirt found for it, libvirt 9.0 refuses the one with the other. The loader
// stays: the nvram belongs to it.
func pinFirmware(os *etree.Element) {
	if strings.TrimSpace(text(child(os, "loader"))) != "" {
		removeAttrs(os, "firmware")
		remove(child(os, "firmware"))
	}
}

func setBootPath(e *etree.Element, path string) {
	source := child(e, "source")
	if source == nil {
		setText(e, path)
		return
	}
	setAttr(e, "type", "file")
	source.Attr, source.Child = nil, nil
	source.CreateAttr("file", path)
}

// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/beevik/etree"
)

func (r *rewriter) rewriteDisks(old []Disk) {
	known := map[string]bool{}
	var gone []*etree.Element
	for i, e := range children(child(r.root, "devices"), "disk") {
		d := old[i]
		known[d.Target] = true
		switch restored, ok := r.Disks[d.Target]; {
		case d.Removable():
			r.say(slog.LevelInfo, "Removing [%s] device from vm config", d.Device)
			gone = append(gone, e)
		case ok:
			r.rewriteDisk(e, d, restored)
		case r.KeepUnrestored:
			r.say(slog.LevelWarn, "Disk [%s] was not restored and stays the original one: [%s]", d.Target, d.place())
			dropChain(e)
		case d.Format == "raw":
			r.say(slog.LevelWarn, "Removing raw disk [%s] from vm config.", d.Target)
			gone = append(gone, e)
		default:
			r.say(slog.LevelInfo, "Removing excluded disk [%s] from vm config.", d.Target)
			gone = append(gone, e)
		}
	}
	remove(gone...)
	for _, target := range slices.Sorted(maps.Keys(r.Disks)) {
		if !known[target] {
			r.say(slog.LevelWarn, "Disk [%s] was restored, but the domain has no such disk.", target)
		}
	}
}

// place is the source of a disk in words.
func (d Disk) place() string {
	switch d.Type {
	case "volume":
		return d.Pool + "/" + d.Volume
	case "network":
		return d.Network.Protocol + ":" + d.Network.Name
	}
	return d.Path
}

// rewriteDisk points a disk at its new place. What the guest sees of the disk
// stays: bus, address, serial, limits, boot order.
func (r *rewriter) rewriteDisk(e *etree.Element, old Disk, d RestoredDisk) {
	r.say(slog.LevelInfo, "Change target file for disk [%s] from [%s] to [%s]", old.Target, old.place(), d.place())
	if old.HasBacking() {
		r.say(slog.LevelInfo, "Removing existant backing store settings")
	}
	if old.Encrypted {
		r.say(slog.LevelWarn, "Disk [%s] was encrypted, its restored image is not.", old.Target)
	}
	dropChain(e)
	// These are of the old source, or of its host: credentials, keys.
	remove(children(e, "auth")...)
	remove(children(e, "encryption")...)
	setDriver(e, d.Format)
	setSource(e, d, old.DataFile != "")
	if old.Device == "lun" { // only real SCSI devices can be passed through
		setAttr(e, "device", "disk")
	}
	removeAttrs(e, "rawio", "sgio")
	if old.Shareable && d.Format != "raw" { // QEMU refuses the combination
		r.say(slog.LevelWarn, "Disk [%s] was shareable, its restored image cannot be.", old.Target)
		remove(children(e, "shareable")...)
	}
}

// dropChain removes what describes a disk's images beside the first one, and
// what a live XML adds.
func dropChain(e *etree.Element) {
	remove(children(e, "backingStore")...)
	remove(children(e, "mirror")...)
	removeAttrs(child(e, "source"), "index")
}

func setDriver(e *etree.Element, format string) {
	driver := child(e, "driver")
	if driver == nil {
		driver = insertFirst(e, "driver")
		driver.CreateAttr("name", "qemu")
	}
	setAttr(driver, "type", format)
	if format != "qcow2" {
		remove(children(driver, "metadata_cache")...)
		removeAttrs(driver, "discard_no_unref")
	}
}

// setSource writes a new source over the old one, of which nothing stays:
// slices, reservations, security labels, cookies and keys are all its own.
func setSource(e *etree.Element, d RestoredDisk, dataStore bool) {
	source := child(e, "source")
	if source == nil {
		source = insertAfter(child(e, "driver"), "source")
	}
	source.Attr, source.Child = nil, nil
	switch {
	case d.Network != nil:
		setAttr(e, "type", "network")
		setNetwork(source, *d.Network)
	case d.Pool != "":
		setAttr(e, "type", "volume")
		source.CreateAttr("pool", d.Pool)
		source.CreateAttr("volume", d.Volume)
	case d.Block:
		setAttr(e, "type", "block")
		source.CreateAttr("dev", d.Path)
	default:
		setAttr(e, "type", "file")
		source.CreateAttr("file", d.Path)
	}
	if dataStore && d.DataFile != "" {
		setDataStore(source, d.DataFile)
	}
}

func setDataStore(source *etree.Element, path string) {
	store := insertFirst(source, "dataStore")
	store.CreateAttr("type", "file")
	format := insertFirst(store, "format")
	format.CreateAttr("type", "raw")
	insertAfter(format, "source").CreateAttr("file", path)
}

func setNetwork(source *etree.Element, n Network) {
	source.CreateAttr("protocol", n.Protocol)
	if n.Name != "" {
		source.CreateAttr("name", n.Name)
	}
	if n.TLS {
		source.CreateAttr("tls", "yes")
	}
	for _, h := range slices.Backward(n.Hosts) {
		host := insertFirst(source, "host")
		for _, a := range [][2]string{{"transport", h.Transport}, {"name", h.Name}, {"port", h.Port}, {"socket", h.Socket}} {
			if a[1] != "" && a != [2]string{"transport", "tcp"} {
				host.CreateAttr(a[0], a[1])
			}
		}
	}
}

// warn tells what of the rewritten domain still has to do with the original
// one: a guest that is restored while the original runs must not share it.
func (r *rewriter) warn(d *Domain) {
	r.warnOfMentions(d.disks)
	for _, e := range children(child(r.root, "devices"), "hostdev") {
		r.say(slog.LevelWarn, "A host device of type [%s] is passed through to the domain; its content is not part of the backup.", attr(e, "type"))
	}
	for _, tpm := range d.TPMs() {
		if tpm.Source != "" {
			r.say(slog.LevelWarn, "The TPM of the restored domain keeps its state where the original one does: [%s]", tpm.Source)
		}
	}
}

// maxMentions bounds the work and the log where a document is made to mention
// everything everywhere.
const maxMentions = 100

// warnOfMentions looks for the images that the domain does not use any more in
// all of the document, except in the metadata, which QEMU does not see.
func (r *rewriter) warnOfMentions(old []Disk) {
	var found []mention
	var all strings.Builder
	for _, c := range r.root.ChildElements() {
		if c.Tag != "metadata" {
			found = collect(c, found, &all)
		}
	}
	said := 0
	for _, path := range r.leftBehind(old) {
		if !strings.Contains(all.String(), path) {
			continue
		}
		for _, m := range found {
			if said < maxMentions && mentions(m.value, path) {
				r.say(slog.LevelWarn, "The original image [%s] is still named in <%s>.", path, m.element)
				said++
			}
		}
	}
}

// leftBehind are the paths of images that the restored domain has not.
func (r *rewriter) leftBehind(old []Disk) []string {
	gone := map[string]bool{}
	for _, disk := range old {
		restored, ok := r.Disks[disk.Target]
		if r.KeepUnrestored && !ok || disk.Removable() {
			continue
		}
		for _, path := range append([]string{disk.Path, disk.DataFile}, disk.Backing...) {
			if strings.HasPrefix(path, "/") && path != restored.Path && path != restored.DataFile {
				gone[path] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(gone))
}

// mention is a value that may name a file, and the element that has it.
type mention struct{ element, value string }

// collect lists the values of an element and its children that have a slash in
// them, and joins them.
func collect(e *etree.Element, found []mention, all *strings.Builder) []mention {
	add := func(value string) {
		if strings.Contains(value, "/") {
			found = append(found, mention{e.FullTag(), value})
			all.WriteString(value)
			all.WriteByte('\n')
		}
	}
	add(text(e))
	for _, a := range e.Attr {
		add(a.Value)
	}
	for _, c := range e.ChildElements() {
		found = collect(c, found, all)
	}
	return found
}

// mentions tells whether a path is in a value, as a whole and not as a part of a
// longer one.
func mentions(value, path string) bool {
	for from := 0; ; {
		i := strings.Index(value[from:], path)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(path)
		if !(start > 0 && inPath(value[start-1])) && !(end < len(value) && inPath(value[end])) {
			return true
		}
		from = end
	}
}

// inPath tells of characters that make a path longer, and do not separate it
// from something else as a comma or an equals sign does.
func inPath(c byte) bool {
	return c == '/' || c == '.' || c == '_' || c == '-' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

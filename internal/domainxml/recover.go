// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"

	"github.com/beevik/etree"
)

// Instant recovery runs a domain whose disks are overlays on NBD exports of a
// backup, perhaps on another host, perhaps while the original still runs, and
// goes on to be a normal domain. So the XML must start anywhere, must not touch
// what is the original's, and must lose nothing that the guest writes.

// NetworkMode says what the cards of a recovered domain are plugged into.
type NetworkMode int

const (
	// NetworkNone unplugs the cards: the guest finds its hardware without a
	// link, and the host needs no network for it.
	NetworkNone NetworkMode = iota
	// NetworkIsolated plugs them into the libvirt network that IsolatedNetwork
	// names; the caller sees to it that it leads nowhere.
	NetworkIsolated
	// NetworkKeep leaves them in the networks of the original.
	NetworkKeep
)

// RecoverOptions say how a recovered domain runs.
type RecoverOptions struct {
	Name      string // "": RestoredName of the old one
	Disks     map[string]RecoveredDisk
	BootFiles map[BootRole]string

	Network         NetworkMode
	IsolatedNetwork string
	KeepMACs        bool // with the original gone, a guest may need its addresses

	Memory   int64  // bytes; 0: as it was
	VCPUs    int    // 0: as it was
	Emulator string // "": as it was

	// HostResources keeps what is the host's: devices and folders that are passed
	// through, pinning of CPUs, placement of memory, huge pages. Another host has
	// them not, and the original may be using them.
	HostResources bool
}

// RecoveredDisk is a qcow2 overlay whose backing image is an NBD export on a
// Unix socket.
type RecoveredDisk struct {
	Overlay string // absolute path
	Export  string
	Socket  string // absolute path
}

// Recover makes the XML of a domain that runs from a backup. It has a UUID of
// its own. Disks stop the guest on errors instead of passing them on: it goes on
// when the server of the backup is back, and does not know.
func Recover(d *Domain, o RecoverOptions) (Restored, error) {
	if err := o.check(); err != nil {
		return Restored{}, err
	}
	r, err := newRewriter(d, o.restore())
	if err != nil {
		return Restored{}, err
	}
	devices := child(r.root, "devices")
	for _, e := range children(devices, "disk") {
		runFromBackup(e, o.Disks[attr(child(e, "target"), "dev")])
	}
	r.replug(devices, o)
	if !o.HostResources {
		r.dropHostDevices(devices)
		r.dropPlacement()
	}
	freeEndpoints(devices)
	if o.Emulator != "" {
		setEmulator(devices, o.Emulator)
	}
	setMemory(r.root, o.Memory)
	setVCPUs(r.root, o.VCPUs)
	return r.write(d)
}

// restore is the part that a restore has too.
func (o RecoverOptions) restore() RestoreOptions {
	disks := map[string]RestoredDisk{}
	for target, disk := range o.Disks {
		disks[target] = RestoredDisk{Path: disk.Overlay, Format: "qcow2"}
	}
	return RestoreOptions{Name: o.Name, NewUUID: true, NewMACs: !o.KeepMACs, Disks: disks, BootFiles: o.BootFiles}
}

func (o RecoverOptions) check() error {
	if o.Network == NetworkIsolated && o.IsolatedNetwork == "" {
		return errors.New("no isolated network given")
	}
	if o.Memory < 0 || o.Memory%1024 != 0 {
		return fmt.Errorf("memory of %d bytes: must be full KiB", o.Memory)
	}
	if o.VCPUs < 0 {
		return fmt.Errorf("%d CPUs", o.VCPUs)
	}
	if o.Emulator != "" {
		if err := checkPath("emulator", o.Emulator); err != nil {
			return err
		}
	}
	for _, target := range slices.Sorted(maps.Keys(o.Disks)) {
		disk := o.Disks[target]
		if err := checkPath("socket", disk.Socket); err != nil {
			return fmt.Errorf("disk %s: %w", target, err)
		}
		if disk.Export == "" {
			return fmt.Errorf("disk %s: no export given", target)
		}
	}
	return nil
}

// runFromBackup names the backing image, and sees to it that what the guest
// writes is kept. The overlay may be on a filesystem without direct I/O.
func runFromBackup(e *etree.Element, d RecoveredDisk) {
	driver := child(e, "driver")
	removeAttrs(driver, "cache", "io", "copy_on_read")
	setAttr(driver, "error_policy", "stop")
	setAttr(driver, "rerror_policy", "stop")
	remove(children(e, "transient")...)
	backing := insertAfter(child(e, "source"), "backingStore")
	backing.CreateAttr("type", "network")
	format := insertFirst(backing, "format")
	format.CreateAttr("type", "raw")
	source := insertAfter(format, "source")
	setNetwork(source, Network{Protocol: "nbd", Name: d.Export, Hosts: []NetworkHost{{Transport: "unix", Socket: d.Socket}}})
	insertAfter(source, "backingStore")
}

// replug changes the other end of the network cards.
func (r *rewriter) replug(devices *etree.Element, o RecoverOptions) {
	if o.Network == NetworkKeep {
		return
	}
	var gone []*etree.Element
	for _, e := range children(devices, "interface") {
		if attr(e, "type") == "hostdev" || attr(e, "type") == "vdpa" {
			r.say(slog.LevelWarn, "Removing network card [%s]: it is a device of the host.", attr(child(e, "mac"), "address"))
			gone = append(gone, e)
			continue
		}
		unplug(e)
		if o.Network == NetworkNone {
			setAttr(e, "type", "user")
			setLink(e, "down")
			continue
		}
		setAttr(e, "type", "network")
		insertFirst(e, "source").CreateAttr("network", o.IsolatedNetwork)
		setLink(e, "up")
	}
	remove(gone...)
}

// unplug removes what belongs to the other end: how it is found, limited,
// filtered and tagged there.
func unplug(e *etree.Element) {
	for _, tag := range []string{"source", "target", "virtualport", "filterref", "bandwidth", "vlan", "port", "portForward", "script", "downscript", "backend", "ip", "route", "tune", "teaming"} {
		remove(children(e, tag)...)
	}
	removeAttrs(e, "trustGuestRxFilters", "managed")
	removeDriverTuning(child(e, "driver"))
}

// removeDriverTuning: vhost needs a tap.
func removeDriverTuning(driver *etree.Element) {
	removeAttrs(driver, "name", "queues", "txmode")
}

func setLink(e *etree.Element, state string) {
	link := child(e, "link")
	if link == nil {
		last := e.ChildElements()
		if len(last) == 0 {
			link = insertFirst(e, "link")
		} else {
			link = insertAfter(last[len(last)-1], "link")
		}
	}
	setAttr(link, "state", state)
}

// dropHostDevices removes what is passed through from the host.
func (r *rewriter) dropHostDevices(devices *etree.Element) {
	var gone []*etree.Element
	for _, e := range devices.NotNil().ChildElements() {
		switch e.FullTag() {
		case "hostdev", "filesystem", "shmem":
			r.say(slog.LevelWarn, "Removing [%s] of type [%s]: it is the host's.", e.FullTag(), attr(e, "type"))
			gone = append(gone, e)
		}
	}
	remove(gone...)
}

// dropPlacement removes what binds the domain to parts of the host.
func (r *rewriter) dropPlacement() {
	remove(defaultPartition(r.root)...)
	gone := children(r.root, "numatune")
	gone = append(gone, children(r.root, "resource")...)
	gone = append(gone, children(child(r.root, "memoryBacking"), "hugepages")...)
	gone = append(gone, children(child(r.root, "blkiotune"), "device")...)
	gone = append(gone, tuning(r.root, "vcpupin", "emulatorpin", "iothreadpin", "vcpusched", "emulatorsched", "iothreadsched", "cachetune", "memorytune")...)
	for _, e := range gone {
		r.say(slog.LevelWarn, "Removing [%s]: it depends on the host.", e.FullTag())
	}
	remove(gone...)
	removeAttrs(child(r.root, "vcpu"), "cpuset")
}

// defaultPartition is the <resource> that every live XML has.
func defaultPartition(root *etree.Element) []*etree.Element {
	return slices.DeleteFunc(children(root, "resource"), func(e *etree.Element) bool {
		return len(e.ChildElements()) != 1 || text(child(e, "partition")) != "/machine"
	})
}

// tuning are the elements of <cputune> with these names.
func tuning(root *etree.Element, tags ...string) []*etree.Element {
	var all []*etree.Element
	for _, tag := range tags {
		all = append(all, children(child(root, "cputune"), tag)...)
	}
	return all
}

// freeEndpoints has libvirt choose the ports, sockets and terminals that the
// original may be holding, or another host has no place for.
func freeEndpoints(devices *etree.Element) {
	for _, e := range devices.NotNil().ChildElements() {
		switch e.FullTag() {
		case "serial", "console", "parallel":
			freeTerminal(e)
		case "channel":
			if attr(e, "type") == "unix" {
				remove(children(e, "source")...)
			}
		case "graphics":
			freeGraphics(e)
		case "vsock":
			if cid := child(e, "cid"); cid != nil {
				removeAttrs(cid, "address")
				setAttr(cid, "auto", "yes")
			}
		}
	}
}

func freeTerminal(e *etree.Element) {
	switch attr(e, "type") {
	case "null", "vc", "spicevmc", "spiceport", "qemu-vdagent", "dbus":
		return
	}
	setAttr(e, "type", "pty")
	removeAttrs(e, "tty")
	for _, tag := range []string{"source", "protocol", "log"} {
		remove(children(e, tag)...)
	}
}

func freeGraphics(e *etree.Element) {
	switch attr(e, "type") {
	case "vnc", "spice":
	default:
		return
	}
	removeAttrs(e, "socket", "websocket", "port", "tlsPort")
	onSocket := false
	for _, l := range children(e, "listen") {
		removeAttrs(l, "socket")
		onSocket = onSocket || attr(l, "type") == "socket"
	}
	if !onSocket {
		setAttr(e, "autoport", "yes")
	}
}

func setEmulator(devices *etree.Element, path string) {
	e := child(devices, "emulator")
	if e == nil {
		e = insertFirst(devices, "emulator")
	}
	setText(e, path)
}

// setMemory gives the guest one piece of memory.
func setMemory(root *etree.Element, bytes int64) {
	if bytes == 0 {
		return
	}
	dropNUMA(root)
	remove(children(root, "currentMemory")...)
	memory := child(root, "memory")
	if memory == nil {
		memory = insertAfter(child(root, "name"), "memory")
	}
	setAttr(memory, "unit", "KiB")
	setText(memory, strconv.FormatInt(bytes/1024, 10))
}

// setVCPUs gives the guest so many CPUs, all in sockets of their own, on any
// CPUs of the host.
func setVCPUs(root *etree.Element, n int) {
	if n == 0 {
		return
	}
	dropNUMA(root)
	remove(children(child(root, "cpu"), "topology")...)
	remove(children(root, "vcpus")...)
	remove(tuning(root, "vcpupin", "vcpusched", "cachetune", "memorytune")...)
	vcpu := child(root, "vcpu")
	if vcpu == nil {
		vcpu = insertAfter(child(root, "name"), "vcpu")
	}
	removeAttrs(vcpu, "current", "cpuset")
	setText(vcpu, strconv.Itoa(n))
}

// dropNUMA removes the cells among which memory and CPUs are divided, and what
// cannot be without them.
func dropNUMA(root *etree.Element) {
	remove(children(child(root, "cpu"), "numa")...)
	remove(children(root, "numatune")...)
	remove(children(root, "maxMemory")...)
	remove(children(child(root, "devices"), "memory")...)
	pages := children(child(root, "memoryBacking", "hugepages"), "page")
	remove(slices.DeleteFunc(pages, func(p *etree.Element) bool { return attr(p, "nodeset") == "" })...)
}

// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// State is how far a guest is started.
type State int

const (
	Paused State = iota // QEMU runs and executes nothing: the light guest
	Booted              // Linux runs, with a shell and a guest agent
	Off                 // defined only
)

// GuestOptions describe a guest. The zero value is a paused one without disks.
type GuestOptions struct {
	Name    string // default: a new one
	Disks   []Disk
	Memory  int // MiB; default 32, and 256 where Linux boots
	Start   State
	Kernel  bool   // has a kernel and an initrd of its own, as one that is Booted has
	UEFI    bool   // has a loader and an NVRAM, which hold no firmware: not for Booted
	OSXML   string // more elements of <os>
	XML     string // more elements of <domain>
	Devices string // more elements of <devices>
}

// Disk describes a disk. Its image is made, unless there is a Source.
type Disk struct {
	Target  string // such as vda
	Bus     string // default: by Target, vd* virtio, sd* scsi, hd* ide, fd* fdc
	Size    int64  // bytes
	Format  string // default qcow2
	Cluster int64  // bytes; default that of qemu-img
	Options string // more of qemu-img create -o, such as compat=0.10
	Source  string // an image that is there already
	XML     string // more elements of <disk>
	Driver  string // more attributes of <driver>, such as cache='none'
	Device  string // default disk; cdrom, floppy, lun
	Whole   string // the <disk> element as a whole, in place of all others but Target
}

// Guest is a domain of a Daemon. Its methods may be called from several
// goroutines.
type Guest struct {
	Name string

	daemon *Daemon
	opts   GuestOptions
	dir    string

	mu      sync.Mutex        // guards what follows, and the log of QEMU, in which answers are looked for
	devices map[string]string // QEMU's names of the disks' devices
}

// Guest makes a guest and starts it as far as the options say.
func (d *Daemon) Guest(opts GuestOptions) (*Guest, error) {
	dir, err := os.MkdirTemp(filepath.Join(d.root, "img"), "")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // QEMU may be another user
		return nil, err
	}
	if opts.Name == "" {
		opts.Name = "vm" + filepath.Base(dir)
	}
	g := &Guest{Name: opts.Name, daemon: d, opts: opts, dir: dir, devices: map[string]string{}}
	if err := g.define(); err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.Name, err)
	}
	return g, g.StartAgain()
}

// define makes the images and the domain.
func (g *Guest) define() error {
	for _, disk := range g.opts.Disks {
		if err := g.makeImage(disk); err != nil {
			return err
		}
	}
	xml, err := g.domainXML()
	if err != nil {
		return err
	}
	path := filepath.Join(g.dir, "domain.xml")
	if err := os.WriteFile(path, []byte(xml), 0o644); err != nil {
		return err
	}
	_, err = g.virsh("define", "--file", path)
	return err
}

func (g *Guest) makeImage(disk Disk) error {
	if disk.Source != "" || disk.Whole != "" {
		return nil
	}
	args := []string{"create", "-q", "-f", disk.format()}
	if disk.Cluster > 0 {
		args = append(args, "-o", "cluster_size="+strconv.FormatInt(disk.Cluster, 10))
	}
	if disk.Options != "" {
		args = append(args, "-o", disk.Options)
	}
	_, err := output("qemu-img", append(args, g.Image(disk.Target), strconv.FormatInt(disk.Size, 10))...)
	return err
}

// Image is the path of the disk's image.
func (g *Guest) Image(target string) string {
	for _, disk := range g.opts.Disks {
		if disk.Target == target && disk.Source != "" {
			return disk.Source
		}
	}
	return filepath.Join(g.dir, g.Name+"-"+target+".img")
}

func (g *Guest) format(target string) string {
	for _, disk := range g.opts.Disks {
		if disk.Target == target {
			return disk.format()
		}
	}
	return "qcow2"
}

// StartAgain starts a guest that is off, as far as it was started at first.
func (g *Guest) StartAgain() error {
	g.mu.Lock()
	clear(g.devices)
	g.mu.Unlock()
	var err error
	switch g.opts.Start {
	case Paused:
		_, err = g.virsh("start", "--paused", g.Name)
	case Booted:
		if _, err = g.virsh("start", g.Name); err == nil {
			err = g.waitAgent()
		}
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, g.Log())
	}
	return nil
}

// Destroy ends the guest as pulling the plug does. It stays defined.
func (g *Guest) Destroy() error {
	_, err := g.virsh("destroy", g.Name)
	return err
}

// Remove destroys the guest if it runs, and its definition, checkpoints and
// images.
func (g *Guest) Remove() error {
	state, err := g.State()
	if err != nil {
		return err
	}
	if state != "shut off" {
		if err := g.Destroy(); err != nil {
			return err
		}
	}
	_, err = g.virsh("undefine", "--checkpoints-metadata", "--snapshots-metadata", "--nvram", g.Name)
	return errors.Join(err, os.RemoveAll(g.dir))
}

// State is what virsh domstate says, such as "paused", "running", "shut off".
func (g *Guest) State() (string, error) {
	out, err := g.virsh("domstate", g.Name)
	return strings.TrimSpace(out), err
}

// XML is the live domain XML, or that of the next start where the guest is off.
func (g *Guest) XML() (string, error) { return g.virsh("dumpxml", g.Name) }

// Checkpoints lists the domain's checkpoints, parents first.
func (g *Guest) Checkpoints() ([]string, error) {
	out, err := g.virsh("checkpoint-list", "--topological", "--name", g.Name)
	return strings.Fields(out), err
}

// Log is what the guest's console and QEMU said.
func (g *Guest) Log() string {
	console, _ := os.ReadFile(g.consolePath())
	qemu, _ := os.ReadFile(g.qemuLogPath())
	return fmt.Sprintf("console of %s:\n%s\nits QEMU:\n%s", g.Name, console, qemu)
}

func (g *Guest) consolePath() string { return filepath.Join(g.dir, "console.log") }

func (g *Guest) qemuLogPath() string {
	return filepath.Join(g.daemon.root, "log/qemu", g.Name+".log")
}

func (g *Guest) virsh(args ...string) (string, error) { return g.daemon.Virsh(args...) }

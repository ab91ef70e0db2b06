// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"libvirt.org/go/libvirt"

	"virtnb/internal/domainxml"
	"virtnb/internal/virt"
)

// machine is the domain of a recovery.
type machine struct {
	conn *virt.Connection
	dom  *libvirt.Domain // nil: not defined
}

// connect connects to libvirt. The overlays and the server are on this host, so
// the hypervisor has to be.
func connect(ctx context.Context, uri string) (*virt.Connection, error) {
	conn, err := virt.Connect(ctx, virt.Options{URI: uri})
	if err != nil {
		return nil, err
	}
	if r, remote := conn.Remote(); remote && r.Host != "localhost" {
		return nil, errors.Join(fmt.Errorf("%s is another machine, and a backup is booted on the one that has it: run virtnb there", r.Host), conn.Close())
	}
	return conn, nil
}

// find connects and finds the domain of a recovery by its UUID: its name may
// have been changed, or be that of another by now.
func (s *State) find(ctx context.Context) (*machine, error) {
	conn, err := connect(ctx, s.URI)
	if err != nil {
		return nil, err
	}
	dom, err := conn.LookupDomainByUUIDString(s.UUID)
	if err != nil && !errors.Is(err, libvirt.ERR_NO_DOMAIN) {
		return nil, errors.Join(virt.Failed("domain "+s.Name, err), conn.Close())
	}
	if err != nil {
		dom = nil
	}
	return &machine{conn, dom}, nil
}

func (m *machine) close() {
	if m.dom != nil {
		_ = m.dom.Free() // of a reference that we have
	}
	_ = m.conn.Close() // nothing is to be lost in it
}

// wantFree says whether a domain of that name can be defined.
func wantFree(conn *virt.Connection, name string) error {
	dom, err := conn.LookupDomainByName(name)
	if errors.Is(err, libvirt.ERR_NO_DOMAIN) {
		return nil
	}
	if err != nil {
		return virt.Failed("domain "+name, err)
	}
	_ = dom.Free()
	return fmt.Errorf("there is a domain %s already: choose another name with --name, or undefine it", name)
}

func (m *machine) define(text []byte) error {
	dom, err := m.conn.DomainDefineXML(string(text))
	if err != nil {
		return virt.Failed("define the domain", err)
	}
	if m.dom != nil {
		_ = m.dom.Free()
	}
	m.dom = dom
	return nil
}

// startPaused starts the machine without its CPUs.
func (m *machine) startPaused() error {
	return virt.Failed("start the domain", m.dom.CreateWithFlags(libvirt.DOMAIN_START_PAUSED))
}

func (m *machine) resume() error { return virt.Failed("let the guest run", m.dom.Resume()) }

// off says that no QEMU runs for the machine.
func (m *machine) off() (bool, error) {
	if m.dom == nil {
		return true, nil
	}
	state, err := virt.StateOf(m.dom)
	return state.Off(), err
}

// remove ends the machine and its definition. The files of its firmware are
// removed by whoever made them.
func (m *machine) remove() error {
	if m.dom == nil {
		return nil
	}
	off, err := m.off()
	if err != nil {
		return err
	}
	if !off {
		if err := m.dom.Destroy(); err != nil && !errors.Is(err, libvirt.ERR_OPERATION_INVALID) {
			return virt.Failed("end the domain", err)
		}
	}
	const flags = libvirt.DOMAIN_UNDEFINE_KEEP_NVRAM | libvirt.DOMAIN_UNDEFINE_MANAGED_SAVE |
		libvirt.DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | libvirt.DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
	err = m.dom.UndefineFlags(flags)
	if errors.Is(err, libvirt.ERR_NO_DOMAIN) {
		return nil
	}
	return virt.Failed("undefine the domain", err)
}

// disks are the disks as they are now, by target.
func (m *machine) disks() (map[string]domainxml.Disk, error) {
	text, err := m.dom.GetXMLDesc(0)
	if err != nil {
		return nil, virt.Failed("read the domain", err)
	}
	d, err := domainxml.Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	disks := map[string]domainxml.Disk{}
	for _, disk := range d.Disks() {
		disks[disk.Target] = disk
	}
	return disks, nil
}

// capabilities is what we need of libvirt's.
type capabilities struct {
	Models []struct {
		Model  string `xml:"model"`
		Labels []struct {
			Type  string `xml:"type,attr"`
			Label string `xml:",chardata"`
		} `xml:"baselabel"`
	} `xml:"host>secmodel"`
}

// qemuOwner is the user that libvirt runs QEMU as. Root may use all there is.
func qemuOwner(conn *virt.Connection) (Owner, error) {
	text, err := conn.GetCapabilities()
	if err != nil {
		return Owner{}, virt.Failed("ask libvirt what it can do", err)
	}
	var c capabilities
	if err := xml.Unmarshal([]byte(text), &c); err != nil {
		return Owner{}, fmt.Errorf("libvirt's capabilities: %w", err)
	}
	for _, model := range c.Models {
		if model.Model != "dac" || len(model.Labels) == 0 {
			continue
		}
		uid, gid, err := ids(model.Labels[0].Label)
		if err != nil {
			return Owner{}, err
		}
		return Owner{Other: uid != 0 && uid != os.Geteuid(), GID: gid}, nil
	}
	return Owner{}, nil
}

// ids reads "+64055:+64055".
func ids(label string) (uid, gid int, err error) {
	user, group, _ := strings.Cut(label, ":")
	uid, err1 := strconv.Atoi(strings.TrimPrefix(user, "+"))
	gid, err2 := strconv.Atoi(strings.TrimPrefix(group, "+"))
	if err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("libvirt runs QEMU as %q, which is no user and group", label)
	}
	return uid, gid, nil
}

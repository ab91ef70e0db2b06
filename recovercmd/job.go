// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"libvirt.org/go/libvirt"

	"virtnb/internal/domainxml"
	"virtnb/internal/virt"
)

// job is the job of a disk, nil if there is none.
func (m *machine) job(target string) (*libvirt.DomainBlockJobInfo, error) {
	info, err := m.dom.GetBlockJobInfo(target, 0)
	if err != nil {
		return nil, virt.Failed("ask for the job of disk "+target, err)
	}
	if info == nil || info.Type == libvirt.DOMAIN_BLOCK_JOB_TYPE_UNKNOWN {
		return nil, nil
	}
	return info, nil
}

// running says whether a job of ours is at work on the disk already, and gives
// it the bandwidth that is wanted now.
func (p *promotion) running(d *Disk, kind libvirt.DomainBlockJobType) (bool, error) {
	job, err := p.machine.job(d.Target)
	if err != nil || job == nil {
		return false, err
	}
	if job.Type != kind {
		return false, errors.New("another job is at work on it, such as a backup: wait for its end")
	}
	err = p.machine.dom.BlockJobSetSpeed(d.Target, uint64(p.o.Bandwidth), libvirt.DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES)
	return true, virt.Failed("limit the bandwidth", err)
}

func (p *promotion) startPull(d *Disk) error {
	if found, err := p.running(d, libvirt.DOMAIN_BLOCK_JOB_TYPE_PULL); found || err != nil {
		return err
	}
	err := p.machine.dom.BlockPull(d.Target, uint64(p.o.Bandwidth), libvirt.DOMAIN_BLOCK_PULL_BANDWIDTH_BYTES)
	return virt.Failed("start the job", err)
}

// copyXML is the destination of a copy.
type copyXML struct {
	XMLName xml.Name `xml:"disk"`
	Type    string   `xml:"type,attr"`
	Driver  struct {
		Name string `xml:"name,attr"`
		Type string `xml:"type,attr"`
	} `xml:"driver"`
	Source struct {
		File string `xml:"file,attr"`
	} `xml:"source"`
}

func (p *promotion) startCopy(d *Disk) error {
	found, err := p.running(d, libvirt.DOMAIN_BLOCK_JOB_TYPE_COPY)
	if err != nil {
		return err
	}
	if found {
		return p.wantOurs(d)
	}
	path, err := p.newCopy(d)
	if err != nil {
		return err
	}
	dest := copyXML{Type: "file"}
	dest.Driver.Name, dest.Driver.Type, dest.Source.File = "qemu", "qcow2", path
	text, err := xml.Marshal(dest)
	if err != nil {
		return err
	}
	params := &libvirt.DomainBlockCopyParameters{BandwidthSet: p.o.Bandwidth > 0, Bandwidth: uint64(p.o.Bandwidth)}
	err = p.machine.dom.BlockCopy(d.Target, string(text), params, libvirt.DOMAIN_BLOCK_COPY_TRANSIENT_JOB)
	return virt.Failed("start the job", err)
}

// wantOurs says whether the copy that is being made is one of ours.
func (p *promotion) wantOurs(d *Disk) error {
	disks, err := p.machine.disks()
	if err != nil {
		return err
	}
	if path := disks[d.Target].Mirror; path != "" && !slices.Contains(d.Copies, path) {
		return fmt.Errorf("somebody else copies it to %s: wait for the end of that", path)
	}
	return nil
}

// pivot has the guest use the copy. Until the definition says so too, the guest
// does not write.
func (p *promotion) pivot(d *Disk) (err error) {
	state, err := virt.StateOf(p.machine.dom)
	if err != nil {
		return err
	}
	if state.Running() {
		p.state.Stopped = true
		if err := p.state.save(); err != nil {
			return err
		}
		if err := p.machine.dom.Suspend(); err != nil {
			return virt.Failed("stop the guest for a moment", err)
		}
	}
	defer func() { err = errors.Join(err, p.goOn()) }()
	if err := p.machine.dom.BlockJobAbort(d.Target, libvirt.DOMAIN_BLOCK_JOB_ABORT_PIVOT); err != nil {
		return virt.Failed("use the copy", err)
	}
	done, err := p.done(d)
	if err != nil {
		return err
	}
	if !done {
		return errors.New("libvirt did not take the copy")
	}
	images, err := p.images(*d)
	if err != nil {
		return err
	}
	return p.machine.settle(images)
}

// images are the paths that the running machine has for disks.
func (p *promotion) images(disks ...Disk) (map[string]string, error) {
	now, err := p.machine.disks()
	if err != nil {
		return nil, err
	}
	images := map[string]string{}
	for _, d := range disks {
		images[d.Target] = now[d.Target].Path
	}
	return images, nil
}

// settle writes into the definition where disks are now.
func (m *machine) settle(images map[string]string) error {
	text, err := m.dom.GetXMLDesc(libvirt.DOMAIN_XML_INACTIVE | libvirt.DOMAIN_XML_SECURE)
	if err != nil {
		return virt.Failed("read the domain", err)
	}
	d, err := domainxml.Parse([]byte(text))
	if err != nil {
		return err
	}
	xml, err := domainxml.Settle(d, images)
	if err != nil {
		return err
	}
	return m.define(xml)
}

// finish takes away what was there for the backup. It may be called again.
func (p *promotion) finish() (images map[string]string, err error) {
	s, m := p.state, p.machine
	if images, err = p.images(s.Disks...); err != nil {
		return nil, err
	}
	if err := m.settle(images); err != nil {
		return nil, err
	}
	if err := m.flush(images); err != nil {
		return nil, err
	}
	m.dropClients(s)
	if err := s.server().stop(); err != nil {
		return nil, err
	}
	if s.Target != "" {
		if err := p.removeOverlays(images); err != nil {
			return nil, err
		}
	}
	return images, s.remove()
}

// removeOverlays removes the overlays of a machine that was copied, and copies
// that came to no end, and has
// libvirt see what is new in its pool.
func (p *promotion) removeOverlays(images map[string]string) error {
	s := p.state
	for _, d := range s.Disks {
		for _, path := range append(slices.Clone(d.Copies), d.Overlay) {
			if path == images[d.Target] {
				continue
			}
			if err := removeFile(path); err != nil {
				return err
			}
		}
	}
	if s.OwnImages {
		removeEmpty(s.Images) // unless firmware variables are there
	}
	if s.Pool == "" {
		return nil
	}
	pool, err := p.machine.conn.LookupStoragePoolByName(s.Pool)
	if err != nil {
		return virt.Failed("storage pool "+s.Pool, err)
	}
	defer pool.Free()
	return virt.Failed("refresh the storage pool", pool.Refresh(0))
}

// flush makes what the guest wrote, and what was pulled, durable: the backup is
// let go of next.
func (m *machine) flush(images map[string]string) error {
	var blocks []struct {
		Device   string `json:"qdev"`
		Inserted *node  `json:"inserted"`
	}
	if err := m.qmp("query-block", nil, &blocks); err != nil {
		return err
	}
	for _, path := range images {
		for _, b := range blocks {
			if b.Inserted == nil || !strings.Contains(b.Inserted.File, path) {
				continue
			}
			command := fmt.Sprintf(`qemu-io -d %s "flush"`, b.Device)
			if _, err := m.dom.QemuMonitorCommand(command, libvirt.DOMAIN_QEMU_MONITOR_COMMAND_HMP); err != nil {
				return virt.Failed("flush "+path, err)
			}
		}
	}
	return nil
}

// targetFolder is the folder that --target names, and the pool if it is one.
func (p *promotion) targetFolder() (dir, pool string, err error) {
	if info, err := os.Stat(p.o.Target); err == nil && info.IsDir() {
		dir, err = filepath.Abs(p.o.Target)
		return dir, "", err
	}
	if strings.Contains(p.o.Target, "/") {
		return "", "", fmt.Errorf("target %s is not a folder", p.o.Target)
	}
	found, err := p.machine.conn.LookupStoragePoolByName(p.o.Target)
	if err != nil {
		return "", "", fmt.Errorf("target %s is neither a folder nor a storage pool: %w", p.o.Target, err)
	}
	defer found.Free()
	text, err := found.GetXMLDesc(0)
	if err != nil {
		return "", "", virt.Failed("storage pool "+p.o.Target, err)
	}
	var x struct {
		Type string `xml:"type,attr"`
		Path string `xml:"target>path"`
	}
	if err := xml.Unmarshal([]byte(text), &x); err != nil {
		return "", "", fmt.Errorf("storage pool %s: %w", p.o.Target, err)
	}
	switch x.Type {
	case "dir", "fs", "netfs":
		return x.Path, p.o.Target, nil
	}
	return "", "", fmt.Errorf("storage pool %s is of type %s; only those that are folders can be promoted to", p.o.Target, x.Type)
}

func freeSpace(dir string) (int64, error) {
	var st syscall.Statfs_t
	err := syscall.Statfs(dir, &st)
	return int64(st.Bavail) * st.Bsize, err
}

// writeLine writes a line of JSON.
func writeLine(out io.Writer, value any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(value)
}

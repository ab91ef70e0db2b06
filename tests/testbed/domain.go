// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Without hardware virtualisation, which not every machine has, and which is
// not always faster: Linux boots in some seconds.
const domainXML = `<domain type='qemu'>
  <name>%[1]s</name>
  <memory unit='MiB'>%[2]d</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
%[3]s
  </os>
  <features><acpi/></features>
%[4]s
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
%[5]s
    <controller type='scsi' model='virtio-scsi'/>
    <controller type='usb' model='none'/>
    <serial type='file'><source path='%[6]s'/></serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <memballoon model='none'/>
  </devices>
</domain>
`

// domainXML is the definition of the guest. It makes the files of a UEFI guest.
func (g *Guest) domainXML() (string, error) {
	osXML, err := g.osXML()
	if err != nil {
		return "", err
	}
	var devices strings.Builder
	for _, disk := range g.opts.Disks {
		devices.WriteString(disk.xml(g.Image(disk.Target)))
	}
	devices.WriteString(g.opts.Devices)
	return fmt.Sprintf(domainXML, g.Name, g.memory(), osXML, g.opts.XML, devices.String(), g.consolePath()), nil
}

func (g *Guest) memory() int {
	switch {
	case g.opts.Memory > 0:
		return g.opts.Memory
	case g.opts.Start == Booted:
		return 256
	default:
		return 32
	}
}

func (g *Guest) osXML() (string, error) {
	var xml string
	if g.opts.Kernel || g.opts.Start == Booted {
		image, err := guestImage()
		if err != nil {
			return "", err
		}
		xml += fmt.Sprintf("<kernel>%s/vmlinuz</kernel><initrd>%[1]s/initrd.gz</initrd><cmdline>console=ttyS0 quiet panic=-1</cmdline>", image)
	}
	if g.opts.UEFI {
		loader, nvram := filepath.Join(g.dir, "loader.fd"), g.NVRAM()
		for _, path := range []string{loader, nvram} { // which differ
			content := make([]byte, 1<<20)
			copy(content, path)
			if err := os.WriteFile(path, content, 0o644); err != nil {
				return "", err
			}
		}
		xml += fmt.Sprintf("<loader readonly='yes' type='pflash'>%s</loader><nvram>%s</nvram>", loader, nvram)
	}
	return xml + g.opts.OSXML, nil
}

// NVRAM is the path of the NVRAM of a guest with UEFI.
func (g *Guest) NVRAM() string { return filepath.Join(g.dir, g.Name+"_VARS.fd") }

func (d Disk) xml(image string) string {
	if d.Whole != "" {
		return d.Whole
	}
	device := d.Device
	if device == "" {
		device = "disk"
	}
	return fmt.Sprintf(`    <disk type='file' device='%s'>
      <driver name='qemu' type='%s' discard='unmap' %s/>
      <source file='%s'/>
      <target dev='%s' bus='%s'/>
%s
    </disk>
`, device, d.format(), d.Driver, image, d.Target, d.bus(), d.XML)
}

func (d Disk) format() string {
	if d.Format == "" {
		return "qcow2"
	}
	return d.Format
}

func (d Disk) bus() string {
	if d.Bus != "" {
		return d.Bus
	}
	switch d.Target[:1] {
	case "s":
		return "scsi"
	case "h":
		return "ide"
	case "f":
		return "fdc"
	default:
		return "virtio"
	}
}

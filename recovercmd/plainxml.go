// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// domain is as much of a domain XML as QEMU is started by without libvirt:
// memory, CPUs, what it boots with, disks, and a channel for the guest agent.
type domain struct {
	Type   string `xml:"type,attr"`
	Name   string `xml:"name"`
	UUID   string `xml:"uuid"`
	Memory struct {
		Unit  string `xml:"unit,attr"`
		Value int64  `xml:",chardata"`
	} `xml:"memory"`
	VCPU int `xml:"vcpu"`
	OS   struct {
		Type struct {
			Arch    string `xml:"arch,attr"`
			Machine string `xml:"machine,attr"`
		} `xml:"type"`
		Loader struct {
			Type string `xml:"type,attr"`
			Path string `xml:",chardata"`
		} `xml:"loader"`
		NVRAM   string `xml:"nvram"`
		Kernel  string `xml:"kernel"`
		Initrd  string `xml:"initrd"`
		Cmdline string `xml:"cmdline"`
	} `xml:"os"`
	Emulator string       `xml:"devices>emulator"`
	Disks    []domainDisk `xml:"devices>disk"`
}

type domainDisk struct {
	Target struct {
		Dev string `xml:"dev,attr"`
		Bus string `xml:"bus,attr"`
	} `xml:"target"`
}

// units of <memory>, in bytes; libvirt writes KiB.
var units = map[string]int64{"": 1 << 10, "k": 1 << 10, "KiB": 1 << 10, "M": 1 << 20, "MiB": 1 << 20, "G": 1 << 30, "GiB": 1 << 30, "b": 1, "bytes": 1}

// qemuCommand is the command line of a machine without libvirt, whose CPUs do
// not run at first. Its sockets are in the folder of the server's: qmp for the
// monitor, serial for the console, vnc for the display, agent for the guest agent.
func qemuCommand(text []byte, s *State) ([]string, error) {
	var d domain
	if err := xml.Unmarshal(text, &d); err != nil {
		return nil, err
	}
	unit, known := units[d.Memory.Unit]
	if !known {
		return nil, fmt.Errorf("memory in %q: give --memory", d.Memory.Unit)
	}
	accel := "tcg"
	if d.Type == "kvm" {
		accel = "kvm"
	}
	dir := filepath.Dir(s.Socket)
	socket := func(name string) string {
		return "socket,id=" + name + ",server=on,wait=off,path=" + comma(filepath.Join(dir, name))
	}
	argv := []string{d.program(), "-name", "guest=" + comma(d.Name), "-uuid", d.UUID, "-no-user-config", "-nodefaults", "-S",
		"-machine", d.OS.Type.Machine + ",accel=" + accel, "-m", strconv.FormatInt(max(1, d.Memory.Value*unit>>20), 10) + "M", "-smp", strconv.Itoa(max(1, d.VCPU)),
		"-daemonize", "-pidfile", filepath.Join(dir, qemuPID), "-chardev", socket("qmp"), "-mon", "chardev=qmp,mode=control",
		"-chardev", socket("serial"), "-serial", "chardev:serial", "-vga", "std", "-display", "vnc=unix:" + comma(filepath.Join(dir, "vnc")),
		"-device", "virtio-serial-pci", "-chardev", socket("agent"), "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
	}
	if accel == "kvm" {
		argv = append(argv, "-cpu", "host")
	}
	disks, err := d.disks(s)
	return append(append(argv, d.boot()...), disks...), err
}

// program is the emulator that the XML names, if it is here.
func (d domain) program() string {
	if isFile(d.Emulator) {
		return d.Emulator
	}
	arch := d.OS.Type.Arch
	if arch == "" {
		arch = "x86_64"
	}
	return "qemu-system-" + arch
}

// boot is what the machine boots with.
func (d domain) boot() (argv []string) {
	switch loader := strings.TrimSpace(d.OS.Loader.Path); {
	case loader != "" && d.OS.Loader.Type == "pflash":
		argv = append(argv, "-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+comma(loader))
		if nvram := strings.TrimSpace(d.OS.NVRAM); nvram != "" {
			argv = append(argv, "-drive", "if=pflash,format=raw,unit=1,file="+comma(nvram))
		}
	case loader != "":
		argv = append(argv, "-bios", loader)
	}
	for _, f := range [][2]string{{"-kernel", d.OS.Kernel}, {"-initrd", d.OS.Initrd}, {"-append", d.OS.Cmdline}} {
		if f[1] != "" {
			argv = append(argv, f[0], f[1])
		}
	}
	return argv
}

// disks are the overlays, on clients that wait for a server that is gone, and
// the devices that the guest has.
func (d domain) disks(s *State) (argv []string, err error) {
	controllers := map[string]string{"scsi": "virtio-scsi-pci,id=scsi", "sata": "ahci,id=sata", "usb": "qemu-xhci,id=usb"}
	devices := map[string]string{"virtio": "virtio-blk-pci", "scsi": "scsi-hd,bus=scsi.0", "sata": "ide-hd,bus=sata.%d", "ide": "ide-hd", "usb": "usb-storage,bus=usb.0"}
	count := map[string]int{}
	for i, disk := range s.Disks {
		bus, place := d.find(disk.Target)
		device, known := devices[bus]
		if !known {
			return nil, fmt.Errorf("disk %s is at bus %q, which --qemu does not know: boot it with libvirt", disk.Target, bus)
		}
		if c := controllers[bus]; c != "" && count[bus] == 0 {
			argv = append(argv, "-device", c)
		}
		if strings.Contains(device, "%d") {
			device = fmt.Sprintf(device, count[bus])
		}
		count[bus]++
		client, err1 := json.Marshal(clientOptions(s, i))
		node, err2 := json.Marshal(map[string]any{
			"driver": "qcow2", "node-name": fmt.Sprint("disk", i), "discard": "unmap", "backing": clientNode(i),
			"file": map[string]any{"driver": "file", "filename": disk.Overlay},
		})
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		argv = append(argv, "-blockdev", string(client), "-blockdev", string(node), "-device", fmt.Sprintf("%s,drive=disk%d,rerror=stop,werror=stop,bootindex=%d", device, i, place))
	}
	return argv, nil
}

// find is the bus of a disk, and its place in the order of booting, which is
// that of the XML; the kernel of -kernel has place 0.
func (d domain) find(target string) (bus string, place int) {
	for i, disk := range d.Disks {
		if disk.Target.Dev == target {
			return disk.Target.Bus, i + 1
		}
	}
	return "", 0
}

// comma makes a value part of an option of QEMU.
func comma(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// saveCommand keeps the command line for the next start.
func (s *State) saveCommand(argv []string) error {
	text, err := json.Marshal(argv)
	return errors.Join(err, writeFile(filepath.Join(s.folder, commandFile), text))
}

func (s *State) command() (argv []string, err error) {
	text, err := os.ReadFile(filepath.Join(s.folder, commandFile))
	if err == nil {
		err = json.Unmarshal(text, &argv)
	}
	if err == nil && len(argv) == 0 {
		err = errors.New("the command line of QEMU is empty")
	}
	return argv, err
}

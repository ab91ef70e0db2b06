// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"bytes"
	"errors"
	"testing"
)

func addSamples(f *testing.F) {
	f.Helper()
	for _, xml := range []string{
		domain(`<disk><target dev='vda'/></disk>`),
		domain(`<disk type='block'><driver type='qcow2'/><source dev='/dev/v/l' index='1'><dataStore type='file'><source file='/d'/></dataStore></source><backingStore><source file='/b'/><backingStore/></backingStore><target dev='vda'/></disk>`),
		domain(`<disk type='network' device='lun'><source protocol='nbd' name='x'><host name='h'/></source><target dev='sda'/><shareable/></disk><disk device='cdrom'><target dev='hdc'/></disk>`),
		domain(`<interface type='bridge'><mac address='52:54:00:00:00:01'/><source network='n' bridge='b'/><target dev='vnet0'/></interface><graphics autoport='yes' port='1'><listen type='network'/></graphics>`),
		`<domain id='1'><name>restore_a</name><uuid>4dea22b31d52d8f32516782e98ab3fa0</uuid><genid>x</genid><sysinfo><system><entry name='uuid'>x</entry></system></sysinfo><os firmware='efi'><loader>/l</loader><nvram>/n</nvram></os><seclabel type='dynamic'><label/></seclabel></domain>`,
	} {
		f.Add([]byte(xml))
	}
}

func FuzzRewrite(f *testing.F) {
	addSamples(f)
	f.Fuzz(func(t *testing.T, xml []byte) {
		d, err := Parse(xml)
		if err != nil {
			if !errors.Is(err, ErrXML) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		for _, disk := range d.Disks() {
			Select([]Disk{disk}, SelectOptions{Raw: true})
		}
		d.BootFiles()
		d.TPMs()
		checkRewrite(t, d)
		checkRecover(t, d)
	})
}

// checkRewrite restores the first disk and keeps the UUID, so that the result
// can be compared.
func checkRewrite(t *testing.T, d *Domain) {
	t.Helper()
	o := RestoreOptions{Name: "fuzz", KeepUUID: true, Disks: map[string]RestoredDisk{}, BootFiles: map[BootRole]string{NVRAM: "/restore/nvram"}}
	for _, disk := range d.Disks() {
		if !disk.Removable() && len(o.Disks) == 0 {
			o.Disks[disk.Target] = qcow2(disk.Target)
		}
	}
	r := rewrite(t, d, o)
	got, err := Parse(r.XML)
	if err != nil {
		t.Fatalf("%v\n%s", err, r.XML)
	}
	if got.Name() != "fuzz" || got.UUID() != d.UUID() || len(got.Disks()) != len(o.Disks) {
		t.Fatalf("name %q, UUID %q, disks %+v", got.Name(), got.UUID(), got.Disks())
	}
	for _, disk := range got.Disks() {
		if disk.Type != "file" || disk.Path != o.Disks[disk.Target].Path || disk.Format != "qcow2" || disk.HasBacking() || disk.Encrypted || disk.DataFile != "" {
			t.Fatalf("%+v", disk)
		}
	}
	for _, b := range got.BootFiles() {
		if b.Role == NVRAM && b.Path != "/restore/nvram" {
			t.Fatalf("%+v", b)
		}
	}
	if again := rewrite(t, got, o); !bytes.Equal(again.XML, r.XML) {
		t.Fatalf("a second time is not the same:\n%s\n%s", r.XML, again.XML)
	}
}

// checkRecover gives a backup to the first disk.
func checkRecover(t *testing.T, d *Domain) {
	t.Helper()
	o := RecoverOptions{Memory: 1 << 20, VCPUs: 1, Disks: map[string]RecoveredDisk{}}
	for _, disk := range d.Disks() {
		if !disk.Removable() && len(o.Disks) == 0 {
			o.Disks[disk.Target] = RecoveredDisk{Overlay: "/overlay", Export: "vda@copy", Socket: "/nbd.sock"}
		}
	}
	r, err := Recover(d, o)
	if err != nil {
		return // a name that gets too long
	}
	got, err := Parse(r.XML)
	if err != nil || got.Name() != r.Name || got.UUID() != r.UUID || len(got.Disks()) != len(o.Disks) {
		t.Fatalf("name %q, UUID %q, disks %+v: %v", r.Name, r.UUID, o.Disks, err)
	}
	for _, disk := range got.Disks() {
		if disk.Path != "/overlay" || len(disk.Backing) != 1 || disk.Backing[0] != "vda@copy" || disk.Transient {
			t.Fatalf("%+v", disk)
		}
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	f.Add([]byte(`<domaincheckpoint><name>a</name><parent><name>b</name></parent><creationTime>1</creationTime><disks><disk name='vda' size='1'/><disk name='vdb' checkpoint='no'/></disks><domain><name>x</name></domain></domaincheckpoint>`))
	f.Fuzz(func(t *testing.T, xml []byte) {
		c, err := ParseCheckpoint(xml)
		if err != nil {
			if !errors.Is(err, ErrXML) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if d, err := CheckpointDomain(xml); (d == nil) == (err == nil) {
			t.Fatalf("domain %v, error %v", d, err)
		}
		written, err := CheckpointXML(c)
		if err != nil {
			return // libvirt's, but none that we would make
		}
		back, err := ParseCheckpoint([]byte(written))
		if err != nil || back.Name != c.Name || back.Parent != c.Parent || len(back.Disks) != len(c.Disks) || !back.Created.Equal(c.Created) {
			t.Fatalf("%+v became %+v, %v", c, back, err)
		}
	})
}

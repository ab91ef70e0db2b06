// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestBackupXML(t *testing.T) {
	unix := BackupJob{Socket: "/var/tmp/virtnb.1", Disks: []BackupDisk{
		{Name: "vda", Scratch: "/var/tmp/backup.A1.vda"},
		{Name: "vdb", Skip: true},
	}}
	inc := unix
	inc.Incremental = "virtnbdbackup.3"
	inc.Disks = []BackupDisk{
		{Name: "vda", Scratch: "/s/a & b"},
		{Name: "vdb", Scratch: "/s/b", Full: true},
		{Name: "vdc", Scratch: "/s/c", Incremental: "virtnbdbackup.1", ExportName: "disk <c>", Bitmap: "dirty"},
		{Name: "hdc", Skip: true},
	}
	tcp := BackupJob{Host: "fe80::1", Port: 10809, TLS: true, Disks: []BackupDisk{{Name: "vda", Scratch: "/s/a"}}}

	for name, c := range map[string]struct {
		job  BackupJob
		want string
	}{
		"unix": {unix, `<domainbackup mode="pull">
  <server transport="unix" socket="/var/tmp/virtnb.1"/>
  <disks>
    <disk name="vda" backup="yes" type="file">
      <scratch file="/var/tmp/backup.A1.vda"/>
    </disk>
    <disk name="vdb" backup="no"/>
  </disks>
</domainbackup>
`},
		"incremental": {inc, `<domainbackup mode="pull">
  <incremental>virtnbdbackup.3</incremental>
  <server transport="unix" socket="/var/tmp/virtnb.1"/>
  <disks>
    <disk name="vda" backup="yes" type="file">
      <scratch file="/s/a &amp; b"/>
    </disk>
    <disk name="vdb" backup="yes" type="file" backupmode="full">
      <scratch file="/s/b"/>
    </disk>
    <disk name="vdc" backup="yes" type="file" backupmode="incremental" incremental="virtnbdbackup.1" exportname="disk &lt;c>" exportbitmap="dirty">
      <scratch file="/s/c"/>
    </disk>
    <disk name="hdc" backup="no"/>
  </disks>
</domainbackup>
`},
		"tcp": {tcp, `<domainbackup mode="pull">
  <server transport="tcp" tls="yes" name="fe80::1" port="10809"/>
  <disks>
    <disk name="vda" backup="yes" type="file">
      <scratch file="/s/a"/>
    </disk>
  </disks>
</domainbackup>
`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := BackupXML(c.job)
			if err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			validate(t, "domainbackup", []byte(got))
		})
	}
}

func TestBackupXMLRefuses(t *testing.T) {
	disk := []BackupDisk{{Name: "vda", Scratch: "/s"}}
	for want, job := range map[string]BackupJob{
		"cannot listen":        {Disks: disk},
		"port 70000":           {Host: "h", Port: 70000, Disks: disk},
		"no host and no TLS":   {Socket: "/s", TLS: true, Disks: disk},
		"absolute path":        {Socket: "s", Disks: disk},
		"no disk to save":      {Socket: "/s", Disks: []BackupDisk{{Name: "vda", Skip: true}}},
		"listed twice":         {Socket: "/s", Disks: append(disk, disk...)},
		`disk target "../vda"`: {Socket: "/s", Disks: []BackupDisk{{Name: "../vda"}}},
		`checkpoint name "a/"`: {Socket: "/s", Disks: disk, Incremental: "a/"},
		"scratch file":         {Socket: "/s", Disks: []BackupDisk{{Name: "vda", Scratch: "s"}}},
		"scratch file \"\"":    {Socket: "/s", Disks: []BackupDisk{{Name: "vda"}}},
		"control characters":   {Socket: "/s", Disks: []BackupDisk{{Name: "vda", Scratch: "/s\n"}}},
		"as a whole and since": {Socket: "/s", Disks: []BackupDisk{{Name: "vda", Full: true, Incremental: "a"}}},
		`checkpoint name ".a"`: {Socket: "/s", Disks: []BackupDisk{{Name: "vda", Incremental: ".a"}}},
	} {
		if got, err := BackupXML(job); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v\n%s", want, err, got)
		}
	}
}

func TestCheckpointXML(t *testing.T) {
	c := Checkpoint{
		Name: "virtnbdbackup.1", Parent: "virtnbdbackup.0", Description: "Backup checkpoint",
		Created: time.Unix(1764000000, 0),
		Disks:   []CheckpointDisk{{Name: "vda", Bitmap: "virtnbdbackup.1"}, {Name: "vdb", Skip: true}},
	}
	got, err := CheckpointXML(c)
	if err != nil {
		t.Fatal(err)
	}
	want := `<domaincheckpoint>
  <name>virtnbdbackup.1</name>
  <description>Backup checkpoint</description>
  <parent>
    <name>virtnbdbackup.0</name>
  </parent>
  <creationTime>1764000000</creationTime>
  <disks>
    <disk name="vda" checkpoint="bitmap"/>
    <disk name="vdb" checkpoint="no"/>
  </disks>
</domaincheckpoint>
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	validate(t, "domaincheckpoint", []byte(got))
	back, err := ParseCheckpoint([]byte(got))
	if err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("parsed: %+v, %v; want %+v", back, err, c)
	}
}

// libvirt's test driver has checkpoints: it must take ours, and we must
// understand what it makes of them.
func TestCheckpointRoundTripThroughLibvirt(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []Checkpoint{
		{Name: "virtnbdbackup.0", Description: "Backup checkpoint", Disks: []CheckpointDisk{{Name: "vda"}}},
		{Name: "virtnbdbackup.1", Description: "a <b> & c", Parent: "virtnbdbackup.0", Disks: []CheckpointDisk{{Name: "vda"}, {Name: "hdc", Skip: true}}},
	} {
		xml, err := CheckpointXML(c)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, c.Name)
		if err := os.WriteFile(file, []byte(xml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	vm := filepath.Join(dir, "vm1.xml")
	xml := domain(`<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/images/a.qcow2'/><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>`)
	xml = strings.Replace(xml, "type='kvm'", "type='test'", 1)
	if err := os.WriteFile(vm, []byte(xml), 0o600); err != nil {
		t.Fatal(err)
	}
	out := virsh(t, "define "+vm+"; start vm1; checkpoint-create vm1 "+filepath.Join(dir, "virtnbdbackup.0")+
		"; checkpoint-create vm1 "+filepath.Join(dir, "virtnbdbackup.1")+"; checkpoint-dumpxml vm1 virtnbdbackup.1")
	_, out, _ = strings.Cut(out, "<domaincheckpoint>")
	data := []byte("<domaincheckpoint>" + out)

	c, err := ParseCheckpoint(data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	want := []CheckpointDisk{{Name: "vda", Bitmap: "virtnbdbackup.1"}, {Name: "hdc", Skip: true}}
	if c.Name != "virtnbdbackup.1" || c.Parent != "virtnbdbackup.0" || c.Description != "a <b> & c" || time.Since(c.Created) > time.Hour || !reflect.DeepEqual(c.Disks, want) {
		t.Errorf("parsed: %+v\n%s", c, data)
	}
	d, err := CheckpointDomain(data)
	if err != nil {
		t.Fatal(err)
	}
	if disk, ok := d.Disk("vda"); !ok || d.Name() != "vm1" || disk.Path != "/images/a.qcow2" {
		t.Errorf("domain: %q, %+v", d.Name(), disk)
	}
}

func TestCheckpointXMLRefuses(t *testing.T) {
	disks := []CheckpointDisk{{Name: "vda"}}
	for want, c := range map[string]Checkpoint{
		"checkpoint name":  {Name: "../x", Disks: disks},
		"parent":           {Name: "a", Parent: "b/c", Disks: disks},
		"its own parent":   {Name: "a", Parent: "a", Disks: disks},
		"no disk":          {Name: "a", Disks: []CheckpointDisk{{Name: "vda", Skip: true}}},
		"disk target":      {Name: "a", Disks: []CheckpointDisk{{Name: "v/da"}}},
		"listed twice":     {Name: "a", Disks: append(disks, disks...)},
		"cannot be called": {Name: "a", Disks: []CheckpointDisk{{Name: "vda", Bitmap: "b"}}},
	} {
		if got, err := CheckpointXML(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v\n%s", want, err, got)
		}
	}
}

func TestParseCheckpointRefuses(t *testing.T) {
	for _, xml := range []string{
		`<domain/>`,
		`<domaincheckpoint/>`,
		`<domaincheckpoint><name>../a</name></domaincheckpoint>`,
		`<domaincheckpoint><name>a</name><parent><name>a</name></parent></domaincheckpoint>`,
		`<domaincheckpoint><name>a</name><creationTime>now</creationTime></domaincheckpoint>`,
		`<domaincheckpoint><name>a</name><disks><disk name='vda' size='-1'/></disks></domaincheckpoint>`,
		`<domaincheckpoint><name>a</name><disks><disk name='/dev/vda'/></disks></domaincheckpoint>`,
	} {
		if c, err := ParseCheckpoint([]byte(xml)); err == nil {
			t.Errorf("%s: parsed as %+v", xml, c)
		}
	}
	if _, err := CheckpointDomain([]byte(`<domaincheckpoint><name>a</name></domaincheckpoint>`)); err != ErrNoDomain {
		t.Errorf("no domain: %v", err)
	}
}

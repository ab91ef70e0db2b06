// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseReadsDisks(t *testing.T) {
	d := parse(t, domain(`
<disk type='file' device='disk'>
  <driver name='qemu' type='qcow2' discard='unmap'/>
  <source file='/images/top.qcow2' index='3'>
    <dataStore type='file'><format type='raw'/><source file='/images/top.data'/></dataStore>
  </source>
  <backingStore type='file' index='4'>
    <format type='qcow2'/><source file='/images/mid.qcow2'/>
    <backingStore type='volume' index='5'>
      <format type='raw'/><source pool='default' volume='base'/>
      <backingStore/>
    </backingStore>
  </backingStore>
  <target dev='vda' bus='virtio'/><shareable/><transient/>
</disk>
<disk type='block' device='lun'><source dev='/dev/sdx'/><target dev='sda' bus='scsi'/><readonly/></disk>
<disk type='network'>
  <driver type='raw'/>
  <source protocol='nbd' name='export' tls='yes'>
    <host name='h1' port='10809'/><host transport='unix' socket='/s'/>
  </source>
  <target dev='vdb' type='block'/>
</disk>
<disk type='volume'><source pool='p' volume='v'><encryption format='luks'/></source><target dev='vdc'/></disk>
<disk device='cdrom'><target dev='hdc'/></disk>`))
	want := []Disk{
		{Target: "vda", Bus: "virtio", Device: "disk", Type: "file", Path: "/images/top.qcow2", Format: "qcow2",
			DataFile: "/images/top.data", Backing: []string{"/images/mid.qcow2", "default/base"}, Shareable: true, Transient: true, Discard: "unmap"},
		{Target: "sda", Bus: "scsi", Device: "lun", Type: "block", Path: "/dev/sdx", Format: "raw", ReadOnly: true},
		{Target: "vdb", Device: "disk", Type: "network", TargetType: "block", Format: "raw",
			Network: Network{Protocol: "nbd", Name: "export", TLS: true, Hosts: []NetworkHost{
				{Name: "h1", Port: "10809", Transport: "tcp"}, {Transport: "unix", Socket: "/s"}}}},
		{Target: "vdc", Device: "disk", Type: "volume", Pool: "p", Volume: "v", Format: "raw", Encrypted: true},
		{Target: "hdc", Device: "cdrom", Type: "file", Format: "raw"},
	}
	if got := d.Disks(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseReadsIdentity(t *testing.T) {
	const u = "c7a5fdbd-cdaf-9455-926a-d65c16db1809"
	for _, xml := range []string{
		"<?xml version='1.0' encoding='utf8'?>\n<!-- WARNING: edited -->\n<domain><name>vm1</name><uuid>" + u + "</uuid></domain>",
		"<domain><metadata><x:name xmlns:x='u'>no</x:name></metadata><x:name xmlns:x='u'>no</x:name><name>v<!-- -->m<![CDATA[1]]></name><uuid> C7A5FDBDCDAF9455926AD65C16DB1809\n</uuid></domain>",
	} {
		d := parse(t, xml)
		if d.Name() != "vm1" || d.UUID() != u {
			t.Errorf("%s: name %q, uuid %q", xml, d.Name(), d.UUID())
		}
	}
}

func TestBootFilesAndTPM(t *testing.T) {
	d := parse(t, `<domain><name>vm1</name><os>
<loader readonly='yes' secure='yes' type='pflash' format='qcow2'>/usr/share/OVMF/CODE.fd</loader>
<nvram template='/usr/share/OVMF/VARS.fd' type='file' format='raw'><source file='/var/lib/libvirt/qemu/nvram/vm1.fd'/></nvram>
<kernel>/boot/vmlinuz</kernel><initrd>relative/initrd</initrd></os>
<devices><tpm model='tpm-crb'><backend type='emulator' version='2.0'><encryption secret='u'/></backend></tpm>
<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm></devices></domain>`)
	want := []BootFile{
		{Role: Loader, Path: "/usr/share/OVMF/CODE.fd", ReadOnly: true, Type: "pflash", Format: "qcow2"},
		{Role: NVRAM, Path: "/var/lib/libvirt/qemu/nvram/vm1.fd", Type: "file", Format: "raw", Template: "/usr/share/OVMF/VARS.fd"},
		{Role: Kernel, Path: "/boot/vmlinuz"},
	}
	if got := d.BootFiles(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	tpms := []TPM{{Model: "tpm-crb", Backend: "emulator", Version: "2.0", Encrypted: true}, {Model: "tpm-tis", Backend: "passthrough"}}
	if got := d.TPMs(); !reflect.DeepEqual(got, tpms) || !got[0].Emulated() || got[1].Emulated() {
		t.Errorf("got  %+v\nwant %+v", got, tpms)
	}
	old := parse(t, "<domain><name>vm1</name><os><nvram>/nvram/vm1.fd</nvram></os></domain>")
	if got := old.BootFiles(); len(got) != 1 || got[0].Path != "/nvram/vm1.fd" {
		t.Errorf("nvram as text: %+v", got)
	}
}

func TestQemuCapability(t *testing.T) {
	const ns = " xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'"
	for xml, want := range map[string]bool{
		"<domain" + ns + "><name>a</name><q:capabilities><q:add capability='incremental-backup'/></q:capabilities></domain>":       true,
		"<domain" + ns + "><name>a</name><q:capabilities><q:del capability='incremental-backup'/></q:capabilities></domain>":       false,
		"<domain" + ns + "><name>a</name><q:capabilities><q:add capability='blockdev'/></q:capabilities></domain>":                 false,
		"<domain xmlns:q='other'><name>a</name><q:capabilities><q:add capability='incremental-backup'/></q:capabilities></domain>": false,
		"<domain><name>a</name><capabilities><add capability='incremental-backup'/></capabilities></domain>":                       false,
		"<domain><name>a</name><metadata><q:add" + ns + " capability='incremental-backup'/></metadata></domain>":                   false,
		"<domain" + ns + "><name>a</name><q:commandline><q:arg value='incremental-backup'/></q:commandline></domain>":              false,
		"<domain><name>a</name><q:capabilities" + ns + "><q:add capability='incremental-backup'/></q:capabilities></domain>":       true,
	} {
		if got := parse(t, xml).QemuCapability("incremental-backup"); got != want {
			t.Errorf("%s: got %v", xml, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	deep := strings.Repeat("<a>", 600)
	for want, xml := range map[string]string{
		"EOF":                      "<domain>",
		"no <domain> element":      "<network><name>a</name></network>",
		"at its root":              "",
		"second root":              "<domain><name>a</name></domain><domain/>",
		"document type":            `<!DOCTYPE domain [<!ENTITY a "b">]><domain><name>&a;</name></domain>`,
		"invalid character entity": "<domain><name>&a;</name></domain>",
		"UTF-8":                    "<domain><name>\xff</name></domain>",
		"UTF-16":                   "<?xml version='1.0' encoding='UTF-16'?><domain><name>a</name></domain>",
		"given twice":              "<domain id='1' id='2'><name>a</name></domain>",
		"inside each other":        "<domain>" + deep + strings.ReplaceAll(deep, "<", "</") + "</domain>",
		"elements and texts":       "<domain>" + strings.Repeat("<a/>", 150_000) + "</domain>",
		"the limit is 4194304":     "<domain><name>a</name>" + strings.Repeat(" ", maxSize) + "</domain>",
		"is empty":                 "<domain><devices/></domain>",
		"would be a path":          "<domain><name>../../etc/a</name></domain>",
		`".."`:                     "<domain><name>..</name></domain>",
		"control characters":       "<domain><name>a\nb</name></domain>",
		"only spaces":              "<domain><name> </name></domain>",
		"limit is 251":             "<domain><name>" + strings.Repeat("a", 252) + "</name></domain>",
		"not a UUID":               "<domain><name>a</name><uuid>../../x</uuid></domain>",
		`disk target ""`:           domain("<disk/>"),
		`"../../a"`:                domain("<disk><target dev='../../a'/></disk>"),
		`"vda.x"`:                  domain("<disk><target dev='vda.x'/></disk>"),
		"two <devices>":            "<domain><name>a</name><devices/><devices/></domain>",
		"two <name>":               "<domain><name>a</name><name>b</name></domain>",
		"two <source>":             domain("<disk><target dev='vda'/><source file='/a'/><source file='/b'/></disk>"),
		"1025 disks":               domain(strings.Repeat("<disk/>", 1025)),
		"two disks":                domain("<disk><target dev='vda'/></disk><disk><target dev='vda'/></disk>"),
	} {
		d, err := Parse([]byte(xml))
		if !errors.Is(err, ErrXML) || !strings.Contains(err.Error(), want) || d != nil {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestXMLGivesBackWhatWasParsed(t *testing.T) {
	const xml = `<domain type="kvm" xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">
  <!-- a - comment -->
  <name>a &amp; b's "c"</name>
  <metadata><x:y xmlns:x="u" z="1" a="&#xA;&quot;'&amp;&lt;>"><![CDATA[<raw>]]></x:y></metadata>
  <?pi text?>
  <empty/>
</domain>
`
	got, err := parse(t, "<?xml version='1.0'?>\n"+xml).XML()
	if err != nil || string(got) != xml {
		t.Errorf("%v\n%s", err, got)
	}
}

// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The XML in testdata is what virsh dumpxml of libvirt 9.0 prints of running
// guests. Those of which the hardware was not at hand are put together from
// pieces of such, and from libvirt's documentation.
type sample struct {
	disks map[string]RestoredDisk // default: DISK.qcow2 for all that are not raw
	boot  map[BootRole]string
	// schema is false for XML that is newer than the schema of libvirt 9.0.
	newer bool
	// named are original images that must be warned of: they are in QEMU's
	// arguments.
	named []string
}

var samples = map[string]sample{
	"uefi-tpm":       {boot: map[BootRole]string{NVRAM: "/restore/web01_VARS.fd"}},
	"windows":        {boot: map[BootRole]string{NVRAM: "/restore/win VARS.fd", Loader: "/restore/CODE.fd"}},
	"snapshots":      {},
	"volume":         {disks: map[string]RestoredDisk{"vdc": {Pool: "restored", Volume: "vol1.qcow2", Format: "qcow2"}}},
	"encrypted":      {disks: map[string]RestoredDisk{"vde": qcow2("vde"), "vdf": {Path: "/restore/vdf.img", Format: "raw"}}},
	"datafile":       {disks: map[string]RestoredDisk{"vdf": {Path: "/restore/vdf.qcow2", Format: "qcow2", DataFile: "/restore/vdf.data"}}},
	"datafile-10.10": {disks: map[string]RestoredDisk{"vdf": {Path: "/restore/vdf.qcow2", Format: "qcow2", DataFile: "/restore/vdf.data"}}, newer: true},
	"network": {disks: map[string]RestoredDisk{"vda": qcow2("vda"), "sda": {Path: "/restore/sda.raw", Format: "raw"},
		"vdg": {Network: &Network{Protocol: "nbd", Name: "new", Hosts: []NetworkHost{{Transport: "unix", Socket: "/restore/nbd.sock"}}}, Format: "raw"}}},
	"block": {disks: map[string]RestoredDisk{"vda": {Path: "/dev/vg1/restored", Block: true, Format: "raw"}, "vdb": qcow2("vdb")}},
	"lun":   {disks: map[string]RestoredDisk{"vda": qcow2("vda"), "sda": {Path: "/dev/vg1/lun", Block: true, Format: "raw"}}},
	"qemu-arguments": {disks: map[string]RestoredDisk{"vda": {Path: "/restore/vda.raw", Format: "raw"}}, boot: map[BootRole]string{NVRAM: "/restore/VARS.fd"},
		named: []string{"/var/lib/libvirt/images/web01.qcow2"}},
	"aarch64":    {boot: map[BootRole]string{NVRAM: "/restore/arm_VARS.fd"}},
	"hostdev":    {},
	"multi-disk": {boot: map[BootRole]string{Kernel: "/restore/vmlinuz", Initrd: "/restore/initrd.img"}},
	"session":    {boot: map[BootRole]string{NVRAM: "/restore/VARS.fd"}, disks: map[string]RestoredDisk{"sda": {Path: "/restore/sda.img", Format: "raw"}}},
}

func qcow2(name string) RestoredDisk {
	return RestoredDisk{Path: "/restore/" + name + ".qcow2", Format: "qcow2"}
}

func (s sample) options(d *Domain) RestoreOptions {
	o := RestoreOptions{Disks: s.disks, BootFiles: s.boot}
	if o.Disks != nil {
		return o
	}
	o.Disks = map[string]RestoredDisk{}
	for _, disk := range d.Disks() {
		if !disk.Removable() && disk.Format != "raw" {
			o.Disks[disk.Target] = qcow2(disk.Target)
		}
	}
	return o
}

func readSample(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".xml"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func rewrite(t *testing.T, d *Domain, o RestoreOptions) Restored {
	t.Helper()
	r, err := Rewrite(d, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRewriteSamples(t *testing.T) {
	for name, s := range samples {
		t.Run(name, func(t *testing.T) {
			d := parse(t, string(readSample(t, name)))
			r := rewrite(t, d, s.options(d))
			golden(t, name, r)
			if !s.newer {
				validate(t, "domain", r.XML)
			}
			define(t, r)
			forgotten(t, d, s, r)
			again(t, s, r)
		})
	}
	files, err := filepath.Glob("testdata/*[a-z0-9].xml")
	if err != nil || len(files) != 2*len(samples) {
		t.Errorf("%d files for %d samples: %v", len(files), len(samples), err)
	}
}

func golden(t *testing.T, name string, r Restored) {
	t.Helper()
	var want bytes.Buffer
	want.Write(r.XML)
	for _, m := range r.Log {
		want.WriteString("<!-- " + m.Level.String() + " " + m.Text + " -->\n")
	}
	file := filepath.Join("testdata", name+".golden.xml")
	if *update {
		if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s differs; look at the difference after: go test -update", file)
	}
}

var hypervisor = regexp.MustCompile(`^<domain type="[a-z]*"`)

// define has libvirt's test driver define a domain.
func define(t *testing.T, r Restored) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "domain.xml")
	if err := os.WriteFile(file, hypervisor.ReplaceAll(r.XML, []byte(`<domain type="test"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := virsh(t, "define "+file+"; list --all --name"); !slices.Contains(strings.Split(out, "\n"), r.Name) {
		t.Errorf("libvirt has these domains: %q, not %q", out, r.Name)
	}
}

// forgotten looks for what was the original's in the text.
func forgotten(t *testing.T, d *Domain, s sample, r Restored) {
	t.Helper()
	var originals []string
	for _, disk := range d.Disks() {
		originals = append(originals, disk.Path, disk.DataFile, disk.Volume, disk.Network.Name)
		originals = append(originals, disk.Backing...)
	}
	for _, f := range d.BootFiles() {
		if _, ok := s.boot[f.Role]; ok {
			originals = append(originals, f.Path)
		}
	}
	originals = append(originals, d.UUID(), "<backingStore", "<mirror", "<encryption", "domain-", "/dev/pts", "vnet", "macvtap", "portid")
	for _, o := range originals {
		if o == "" || !bytes.Contains(r.XML, []byte(o)) || o == "vol1.qcow2" {
			continue
		}
		warned := slices.ContainsFunc(r.Log, func(m Message) bool { return m.Level == slog.LevelWarn && strings.Contains(m.Text, "["+o+"]") })
		if !warned || !slices.Contains(s.named, o) {
			t.Errorf("%q is still there", o)
		}
	}
}

// again rewrites the result: nothing may be left to do.
func again(t *testing.T, s sample, r Restored) {
	t.Helper()
	d := parse(t, string(r.XML))
	if d.Name() != r.Name || d.UUID() != r.UUID {
		t.Errorf("name %q, UUID %q", d.Name(), d.UUID())
	}
	o := s.options(d)
	o.Name, o.KeepUUID = r.Name, true
	if r2 := rewrite(t, d, o); !bytes.Equal(r2.XML, r.XML) {
		t.Errorf("a second time is not the same:\n%s", r2.XML)
	}
}

func TestRewriteKeepsWhatItDoesNotKnow(t *testing.T) {
	const in = `<?xml version='1.0' encoding='UTF-8'?>
<!-- edited by hand -->
<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' type='kvm' id='7' future='1'>
  <name>vm1</name>
  <future:x xmlns:future='urn:x' b='2' a='1'>text &lt;&amp; <![CDATA[<raw>&]]></future:x>
  <?pi some thing?>
  <devices>
    <!-- the root disk -->
    <disk device='disk' type='block' future='2'>
      <future z='1' y='2'/>
      <driver type='raw' name='qemu' future='3'><future/></driver>
      <source dev='/dev/vg0/root'/>
      <target bus='virtio' dev='vda'/>
      <alias name='virtio-disk0'/>
    </disk>
    <disk type='file' device='cdrom'><target dev='hdc'/></disk>
    <unknown><alias name='unknown0'/><alias name='ua-mine'/>  </unknown>
  </devices>
  <qemu:commandline>
    <qemu:arg value='a&#10;b'/>
  </qemu:commandline>
</domain>
<!-- end -->
`
	const want = `<!-- edited by hand -->
<domain xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0" type="kvm" future="1">
  <name>restore_vm1</name>
  <future:x xmlns:future="urn:x" b="2" a="1">text &lt;&amp; <![CDATA[<raw>&]]></future:x>
  <?pi some thing?>
  <devices>
    <!-- the root disk -->
    <disk device="disk" type="file" future="2">
      <future z="1" y="2"/>
      <driver type="qcow2" name="qemu" future="3"><future/></driver>
      <source file="/restore/vda.qcow2"/>
      <target bus="virtio" dev="vda"/>
    </disk>
    <unknown><alias name="ua-mine"/>  </unknown>
  </devices>
  <qemu:commandline>
    <qemu:arg value="a&#xA;b"/>
  </qemu:commandline>
</domain>
<!-- end -->
`
	r := rewrite(t, parse(t, in), RestoreOptions{Disks: map[string]RestoredDisk{"vda": qcow2("vda")}})
	if string(r.XML) != want {
		t.Errorf("got\n%s", r.XML)
	}
}

func TestRewriteAddsWhatIsMissing(t *testing.T) {
	d := parse(t, "<domain>\n  <name>vm1</name>\n  <devices>\n    <disk>\n      <target dev='vda'/>\n    </disk><disk><target dev='vdb'/></disk>\n  </devices>\n</domain>\n")
	r := rewrite(t, d, RestoreOptions{NewUUID: true, Disks: map[string]RestoredDisk{"vda": qcow2("vda"), "vdb": qcow2("vdb")}})
	want := `<domain>
  <name>restore_vm1</name>
  <uuid>` + r.UUID + `</uuid>
  <devices>
    <disk type="file">
      <driver name="qemu" type="qcow2"/>
      <source file="/restore/vda.qcow2"/>
      <target dev="vda"/>
    </disk><disk type="file"><driver name="qemu" type="qcow2"/><source file="/restore/vdb.qcow2"/><target dev="vdb"/></disk>
  </devices>
</domain>
`
	if string(r.XML) != want {
		t.Errorf("got\n%s", r.XML)
	}
}

func TestRewriteUUID(t *testing.T) {
	const old = "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"
	d := parse(t, string(readSample(t, "uefi-tpm")))
	system := regexp.MustCompile(`<entry name="uuid">(.*)</entry>`)
	for _, c := range []struct {
		o    RestoreOptions
		want string // empty: a new one
		sys  int
	}{
		{RestoreOptions{}, "", 0},
		{RestoreOptions{KeepUUID: true}, old, 1},
		{RestoreOptions{NewUUID: true}, "", 1},
	} {
		r := rewrite(t, d, c.o)
		again := parse(t, string(r.XML))
		if again.UUID() != r.UUID || c.want != "" && r.UUID != c.want || c.want == "" && bytes.Contains(r.XML, []byte(old)) || c.o.NewUUID != (r.UUID != "" && r.UUID != old) {
			t.Errorf("%+v: UUID %q, in the XML %q", c.o, r.UUID, again.UUID())
		}
		m := system.FindAllStringSubmatch(string(r.XML), -1)
		if len(m) != c.sys || c.sys == 1 && m[0][1] != r.UUID {
			t.Errorf("%+v: SMBIOS %q", c.o, m)
		}
		if !bytes.Contains(r.XML, []byte("<genid/>")) {
			t.Errorf("%+v: the generation id of the original", c.o)
		}
		define(t, r)
	}
	if a, b := rewrite(t, d, RestoreOptions{NewUUID: true}), rewrite(t, d, RestoreOptions{NewUUID: true}); a.UUID == b.UUID {
		t.Error("the same UUID twice")
	}
	if _, err := Rewrite(d, RestoreOptions{NewUUID: true, KeepUUID: true}); err == nil {
		t.Error("new and old UUID at once")
	}
}

func TestRewriteMACs(t *testing.T) {
	address := regexp.MustCompile(`<mac address="([^"]*)"`)
	d := parse(t, string(readSample(t, "hostdev")))
	macs := func(r Restored) (all []string) {
		for _, m := range address.FindAllStringSubmatch(string(r.XML), -1) {
			all = append(all, m[1])
		}
		return all
	}
	old := macs(rewrite(t, d, RestoreOptions{}))
	r := rewrite(t, d, RestoreOptions{NewMACs: true})
	got := macs(r)
	if len(old) != 5 || len(got) != 5 {
		t.Fatalf("%q became %q", old, got)
	}
	seen := map[string]bool{}
	for _, m := range append(old, got...) {
		m = strings.ToLower(m)
		if seen[m] || !regexp.MustCompile(`^52:54:00(:[0-9a-f]{2}){3}$`).MatchString(m) {
			t.Errorf("address %s in %q, %q", m, old, got)
		}
		seen[m] = true
	}
	for _, gone := range []string{old[1], strings.ToLower(old[1]), "interfaceid", "ovs-hostdev"} {
		if bytes.Contains(r.XML, []byte(gone)) {
			t.Errorf("%s is still there:\n%s", gone, r.XML)
		}
	}
	for _, kept := range []string{`value="` + got[1] + `"`, `profileid="menial"`, `dev="mytap1" managed="no"`} {
		if !bytes.Contains(r.XML, []byte(kept)) {
			t.Errorf("%s is not there:\n%s", kept, r.XML)
		}
	}
	validate(t, "domain", r.XML)
	define(t, r)
}

// What a hostile document costs must not grow with the square of its size: this
// one took minutes.
func TestRewriteManyElements(t *testing.T) {
	disks := strings.Builder{}
	for i := range maxDisks {
		fmt.Fprintf(&disks, "<disk><source file='/%d'/><target dev='vd%d'/></disk>", i, i)
	}
	d := parse(t, domain(disks.String()+"<x>"+strings.Repeat("<alias name='a'/>", 90_000)+"</x>"))
	r := rewrite(t, d, RestoreOptions{})
	if got := parse(t, string(r.XML)); len(got.Disks()) != 0 || bytes.Contains(r.XML, []byte("alias")) {
		t.Errorf("%d disks are left, or aliases", len(got.Disks()))
	}
}

func TestRewriteKeepsUnrestoredDisksWhenAsked(t *testing.T) {
	d := parse(t, string(readSample(t, "block")))
	r := rewrite(t, d, RestoreOptions{KeepUnrestored: true, Disks: map[string]RestoredDisk{"vda": qcow2("vda")}})
	kept, ok := parse(t, string(r.XML)).Disk("vdb")
	if !ok || kept.Path != "/dev/vg0/data" || bytes.Contains(r.XML, []byte("mirror")) || bytes.Contains(r.XML, []byte(`data" index`)) {
		t.Errorf("%+v\n%s", kept, r.XML)
	}
	if !slices.Contains(r.Log, Message{slog.LevelWarn, "Disk [vdb] was not restored and stays the original one: [/dev/vg0/data]"}) {
		t.Errorf("%+v", r.Log)
	}
	validate(t, "domain", r.XML)
}

func TestRewriteWarns(t *testing.T) {
	d := parse(t, `<domain><name>a</name><os><nvram>/nvram/a</nvram></os><devices>
<disk><driver type='raw'/><source file='/a'/><target dev='vda'/><shareable/></disk><disk><source file='/ab'/><target dev='vdb'/></disk>
<tpm><backend type='emulator'><source type='dir' path='/tpm'/></backend></tpm></devices><x>/ab/c /b</x></domain>`)
	r := rewrite(t, d, RestoreOptions{Disks: map[string]RestoredDisk{"vda": qcow2("vda"), "vdz": qcow2("vdz")}})
	var got []string
	for _, m := range r.Log {
		if m.Level == slog.LevelWarn {
			got = append(got, m.Text)
		}
	}
	want := []string{
		"Disk [vda] was shareable, its restored image cannot be.",
		"Removing raw disk [vdb] from vm config.",
		"Disk [vdz] was restored, but the domain has no such disk.",
		"The nvram of the restored domain is the file of the original one: [/nvram/a]",
		"The TPM of the restored domain keeps its state where the original one does: [/tpm]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestRestoredName(t *testing.T) {
	for old, want := range map[string]string{
		"vm1":           "restore_vm1",
		"restore_vm1":   "restore_vm1_2",
		"restore_vm1_2": "restore_vm1_3",
		"restore_vm1_9": "restore_vm1_10",
		"restore_":      "restore_restore_",
		"restore":       "restore_restore",
		"restored":      "restore_restored",
		"restore_a_b":   "restore_a_b_2",
	} {
		if got := RestoredName(old); got != want {
			t.Errorf("%s: got %s, want %s", old, got, want)
		}
	}
}

func TestRewriteRefuses(t *testing.T) {
	d := parse(t, domain("<disk><target dev='vda'/></disk>"))
	disk := func(r RestoredDisk) RestoreOptions {
		return RestoreOptions{Disks: map[string]RestoredDisk{"vda": r}}
	}
	for want, o := range map[string]RestoreOptions{
		"choose another name":    {Name: "a/b"},
		"absolute path":          disk(RestoredDisk{Path: "a", Format: "raw"}),
		"control characters":     disk(RestoredDisk{Path: "/a\n", Format: "raw"}),
		"no image format":        disk(RestoredDisk{Path: "/a"}),
		"needs one new place":    disk(RestoredDisk{Format: "raw"}),
		"disk vda: needs one":    disk(RestoredDisk{Path: "/a", Pool: "p", Volume: "v", Format: "raw"}),
		"path, a volume":         disk(RestoredDisk{Pool: "p", Format: "raw"}),
		"a network source":       disk(RestoredDisk{Network: &Network{}, Format: "raw"}),
		"data file":              disk(RestoredDisk{Path: "/a", Format: "qcow2", DataFile: "a"}),
		"is not a boot file":     {BootFiles: map[BootRole]string{"dtb": "/a"}},
		`nvram "a": must be an `: {BootFiles: map[BootRole]string{NVRAM: "a"}},
	} {
		if r, err := Rewrite(d, o); err == nil || !strings.Contains(err.Error(), want) || r.XML != nil {
			t.Errorf("%s: got %v", want, err)
		}
	}
	long := parse(t, "<domain><name>"+strings.Repeat("a", 251)+"</name></domain>")
	if _, err := Rewrite(long, RestoreOptions{}); err == nil || !strings.Contains(err.Error(), "choose another name") {
		t.Errorf("a name that gets too long: %v", err)
	}
}

func TestRewriteLeavesTheDomain(t *testing.T) {
	in := readSample(t, "hostdev")
	d := parse(t, string(in))
	before, _ := d.XML()
	rewrite(t, d, RestoreOptions{NewMACs: true, NewUUID: true})
	if after, _ := d.XML(); !bytes.Equal(before, after) {
		t.Error("the domain changed")
	}
}

// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func recovered(t *testing.T, d *Domain, o RecoverOptions) Restored {
	t.Helper()
	o.Disks = map[string]RecoveredDisk{}
	for _, disk := range d.Disks() {
		if !disk.Removable() {
			o.Disks[disk.Target] = RecoveredDisk{Overlay: "/recovery/" + disk.Target + ".qcow2", Export: disk.Target + "@virtnbdbackup.2", Socket: "/run/virtnb/nbd.sock"}
		}
	}
	r, err := Recover(d, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRecoverSamples(t *testing.T) {
	all := map[string]RecoverOptions{
		"none":     {BootFiles: map[BootRole]string{NVRAM: "/recovery/nvram"}},
		"isolated": {Network: NetworkIsolated, IsolatedNetwork: "virtnb-isolated", Memory: 1 << 30, VCPUs: 3, Emulator: "/usr/bin/kvm"},
		"keep":     {Network: NetworkKeep, HostResources: true, KeepMACs: true},
	}
	for name, s := range samples {
		for kind, o := range all {
			t.Run(name+"/"+kind, func(t *testing.T) {
				d := parse(t, string(readSample(t, name)))
				r := recovered(t, d, o)
				validate(t, "domain", r.XML)
				define(t, r)
				checkRecovered(t, d, s, r, o)
			})
		}
	}
}

func checkRecovered(t *testing.T, d *Domain, s sample, r Restored, o RecoverOptions) {
	t.Helper()
	got := parse(t, string(r.XML))
	if got.UUID() == "" || got.UUID() == d.UUID() || got.UUID() != r.UUID || got.Name() == d.Name() {
		t.Errorf("name %q, UUID %q", got.Name(), got.UUID())
	}
	for _, disk := range d.Disks() {
		if disk.Removable() {
			continue
		}
		now, _ := got.Disk(disk.Target)
		if now.Path != "/recovery/"+disk.Target+".qcow2" || now.Format != "qcow2" || now.Type != "file" || now.Device != "disk" ||
			!slices.Equal(now.Backing, []string{disk.Target + "@virtnbdbackup.2"}) || now.Transient || now.Shareable {
			t.Errorf("%+v", now)
		}
		if disk.Path != "" && bytes.Contains(r.XML, []byte(`"`+disk.Path+`"`)) && len(s.named) == 0 {
			t.Errorf("%s is still there", disk.Path)
		}
	}
	if n := len(got.Disks()); bytes.Count(r.XML, []byte(` error_policy="stop" rerror_policy="stop"`)) != n {
		t.Errorf("not all of %d disks stop on errors:\n%s", n, r.XML)
	}
	xml := string(r.XML)
	for _, gone := range []string{"app-serial.log", "own.sock", `port="59`, " cache=", " io="} {
		if strings.Contains(xml, gone) {
			t.Errorf("%s is still there", gone)
		}
	}
	if o.Network != NetworkKeep {
		for _, gone := range []string{"<hostdev", "<filesystem", "bridge=", "br0", "tap-", "eth2", "uplink", "filterref", `network="lan"`} {
			if strings.Contains(xml, gone) {
				t.Errorf("%s is still there", gone)
			}
		}
	}
}

func TestRecoverNetwork(t *testing.T) {
	d := parse(t, string(readSample(t, "hostdev")))
	link := regexp.MustCompile(`<interface type="([^"]*)"|<link state="([^"]*)"`)
	for want, o := range map[string]RecoverOptions{
		strings.Repeat("user down ", 4):              {},
		strings.Repeat("network up ", 4):             {Network: NetworkIsolated, IsolatedNetwork: "n"},
		"hostdev network direct bridge up ethernet ": {Network: NetworkKeep},
	} {
		var got string
		for _, m := range link.FindAllStringSubmatch(string(recovered(t, d, o).XML), -1) {
			got += m[1] + m[2] + " "
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	old := regexp.MustCompile(`52:54:00:6d:90:0[1-9]`)
	if n := len(old.FindAllString(string(recovered(t, d, RecoverOptions{Network: NetworkKeep}).XML), -1)); n != 0 {
		t.Errorf("%d old addresses", n)
	}
	if n := len(old.FindAllString(strings.ToLower(string(recovered(t, d, RecoverOptions{KeepMACs: true}).XML)), -1)); n != 4 {
		t.Errorf("%d of 4 addresses were kept", n)
	}
}

func TestRecoverResources(t *testing.T) {
	d := parse(t, `<domain><name>a</name><maxMemory slots='2' unit='GiB'>8</maxMemory><memory unit='GiB'>4</memory><currentMemory unit='GiB'>2</currentMemory>
<memoryBacking><hugepages/><locked/></memoryBacking><vcpu placement='static' cpuset='4-7' current='2'>4</vcpu><vcpus><vcpu id='0' enabled='yes'/></vcpus>
<cputune><shares>10</shares><vcpupin vcpu='3' cpuset='7'/><emulatorpin cpuset='6'/></cputune><numatune><memory mode='strict' nodeset='1'/></numatune>
<cpu><topology sockets='1' cores='4' threads='1'/><numa><cell id='0' cpus='0-3' memory='4' unit='GiB'/></numa></cpu>
<devices><emulator>/usr/libexec/qemu-kvm</emulator><memory model='dimm'/></devices></domain>`)
	r := recovered(t, d, RecoverOptions{Memory: 512 << 20, VCPUs: 1, Emulator: "/usr/bin/kvm"})
	want := `<domain><name>restore_a</name><uuid>` + r.UUID + `</uuid><memory unit="KiB">524288</memory>
<memoryBacking><locked/></memoryBacking><vcpu placement="static">1</vcpu>
<cputune><shares>10</shares></cputune>
<cpu/>
<devices><emulator>/usr/bin/kvm</emulator></devices></domain>`
	if string(r.XML) != want {
		t.Errorf("got\n%s", r.XML)
	}
	kept := string(recovered(t, d, RecoverOptions{HostResources: true}).XML)
	for _, want := range []string{"hugepages", "numatune", "vcpupin", "emulatorpin", "cpuset=\"4-7\""} {
		if !strings.Contains(kept, want) {
			t.Errorf("%s was not kept", want)
		}
	}
	r = recovered(t, parse(t, "<domain><name>a</name></domain>"), RecoverOptions{Memory: 1024, VCPUs: 2})
	if want := `<domain><name>restore_a</name><vcpu>2</vcpu><memory unit="KiB">1</memory><uuid>` + r.UUID + `</uuid></domain>`; string(r.XML) != want {
		t.Errorf("got\n%s", r.XML)
	}
}

func TestRecoverRefuses(t *testing.T) {
	d := parse(t, domain("<disk><target dev='vda'/></disk>"))
	disk := RecoveredDisk{Overlay: "/o", Export: "e", Socket: "/s"}
	with := func(change func(*RecoveredDisk)) RecoverOptions {
		changed := disk
		change(&changed)
		return RecoverOptions{Disks: map[string]RecoveredDisk{"vda": changed}}
	}
	refused := map[string]RecoverOptions{
		"no isolated network": {Network: NetworkIsolated},
		"full KiB":            {Memory: 1000},
		"-1 CPUs":             {VCPUs: -1},
		"emulator":            {Emulator: "kvm"},
		"domain name":         {Name: "../a"},
		"socket":              with(func(d *RecoveredDisk) { d.Socket = "s" }),
		"no export":           with(func(d *RecoveredDisk) { d.Export = "" }),
		"image":               with(func(d *RecoveredDisk) { d.Overlay = "o" }),
	}
	for _, want := range slices.Sorted(maps.Keys(refused)) {
		if _, err := Recover(d, refused[want]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// define makes a domain of the test driver that goes with the test.
func define(t *testing.T, conn *Connect, name string) *Domain {
	t.Helper()
	dom := must(conn.DomainDefineXML(fmt.Sprintf(`<domain type='test'>
  <name>%s</name><memory unit='KiB'>2048</memory><vcpu>2</vcpu><os><type>hvm</type></os>
  <devices><disk type='file'><source file='/nosuch/%s.img'/><target dev='vda'/></disk></devices>
</domain>`, name, name)))(t)
	t.Cleanup(func() { free(t, dom) })
	return dom
}

func TestDomainIsFound(t *testing.T) {
	conn := openTest(t)
	dom := lookup(t, conn, "test")
	text, raw, id := must(dom.GetUUIDString())(t), must(dom.GetUUID())(t), must(dom.GetID())(t)
	if compact := fmt.Sprintf("%x", raw); compact != strings.ReplaceAll(text, "-", "") {
		t.Errorf("the UUID is %s and %s", text, compact)
	}
	for name, find := range map[string]func() (*Domain, error){
		"by UUID string": func() (*Domain, error) { return conn.LookupDomainByUUIDString(text) },
		"by UUID":        func() (*Domain, error) { return conn.LookupDomainByUUID(raw) },
		"by ID":          func() (*Domain, error) { return conn.LookupDomainById(uint32(id)) },
	} {
		same := must(find())(t)
		if got := must(same.GetName())(t); got != "test" {
			t.Errorf("%s: it is %s", name, got)
		}
		free(t, same)
	}
	_, err := conn.LookupDomainByUUID(raw[:4])
	wantCode(t, err, ERR_INVALID_ARG)
	_, err = conn.LookupDomainByUUIDString("nonsense")
	wantCode(t, err, ERR_INVALID_ARG)
	_, err = conn.LookupDomainById(9999)
	wantCode(t, err, ERR_NO_DOMAIN)
}

func domainNames(t *testing.T, conn *Connect, flags ConnectListAllDomainsFlags) []string {
	t.Helper()
	var names []string
	doms := must(conn.ListAllDomains(flags))(t)
	for i := range doms {
		names = append(names, must(doms[i].GetName())(t))
		free(t, &doms[i])
	}
	slices.Sort(names)
	return names
}

func TestDomainsAreListed(t *testing.T) {
	conn := openTest(t)
	define(t, conn, "vm1")
	define(t, conn, "vm2")
	for flags, want := range map[ConnectListAllDomainsFlags][]string{
		0:                             {"test", "vm1", "vm2"},
		CONNECT_LIST_DOMAINS_ACTIVE:   {"test"},
		CONNECT_LIST_DOMAINS_INACTIVE: {"vm1", "vm2"},
		CONNECT_LIST_DOMAINS_PAUSED:   nil,
	} {
		if got := domainNames(t, conn, flags); !slices.Equal(got, want) {
			t.Errorf("with flags %d there are %q, want %q", flags, got, want)
		}
	}
}

func wantState(t *testing.T, dom *Domain, state DomainState, reason int) {
	t.Helper()
	s, r, err := dom.GetState()
	if err != nil || s != state || r != reason {
		t.Errorf("the state is %d for %d (%v), want %d for %d", s, r, err, state, reason)
	}
}

func TestDomainLives(t *testing.T) {
	conn := openTest(t)
	dom := define(t, conn, "vm1")
	if must(dom.IsActive())(t) || !must(dom.IsPersistent())(t) || must(dom.IsUpdated())(t) {
		t.Error("a defined domain is off and persistent")
	}
	_, err := dom.GetID()
	if err == nil {
		t.Error("a domain that is off has a number")
	}
	wantState(t, dom, DOMAIN_SHUTOFF, int(DOMAIN_SHUTOFF_UNKNOWN))

	ok(t, dom.CreateWithFlags(DOMAIN_NONE))
	wantState(t, dom, DOMAIN_RUNNING, int(DOMAIN_RUNNING_BOOTED))
	ok(t, dom.Suspend())
	wantState(t, dom, DOMAIN_PAUSED, int(DOMAIN_PAUSED_USER))
	ok(t, dom.Resume())
	wantState(t, dom, DOMAIN_RUNNING, int(DOMAIN_RUNNING_UNPAUSED))
	ok(t, dom.Destroy())
	wantState(t, dom, DOMAIN_SHUTOFF, int(DOMAIN_SHUTOFF_DESTROYED))

	ok(t, dom.Create())
	if err := dom.Create(); err == nil {
		t.Error("it was started twice")
	}
	ok(t, dom.Shutdown())
	wantState(t, dom, DOMAIN_SHUTOFF, int(DOMAIN_SHUTOFF_SHUTDOWN))
	ok(t, dom.Create())
	ok(t, dom.DestroyFlags(DOMAIN_DESTROY_GRACEFUL))
	ok(t, dom.UndefineFlags(DOMAIN_UNDEFINE_SNAPSHOTS_METADATA|DOMAIN_UNDEFINE_MANAGED_SAVE))
	_, err = conn.LookupDomainByName("vm1")
	wantCode(t, err, ERR_NO_DOMAIN)
}

func TestDomainIsTransient(t *testing.T) {
	conn := openTest(t)
	dom := must(conn.DomainCreateXML(`<domain type='test'><name>brief</name><memory>1024</memory><os><type>hvm</type></os></domain>`, DOMAIN_NONE))(t)
	defer free(t, dom)
	if must(dom.IsPersistent())(t) || !must(dom.IsActive())(t) {
		t.Error("a created domain is transient and running")
	}
	ok(t, dom.Destroy())
	_, err := conn.LookupDomainByName("brief")
	wantCode(t, err, ERR_NO_DOMAIN)
}

func TestDomainIsRead(t *testing.T) {
	conn := openTest(t)
	dom := define(t, conn, "vm1")
	xml := must(dom.GetXMLDesc(DOMAIN_XML_SECURE | DOMAIN_XML_INACTIVE))(t)
	if !strings.Contains(xml, "<name>vm1</name>") {
		t.Errorf("the XML is %s", xml)
	}
	if info := must(dom.GetInfo())(t); info.State != DOMAIN_SHUTOFF || info.MaxMem != 2048 || info.Memory != 2048 || info.NrVirtCpu != 2 {
		t.Errorf("the info is %+v", info)
	}
	if n := must(dom.GetMaxMemory())(t); n != 2048 {
		t.Errorf("the memory is %d KiB", n)
	}
	if n := must(dom.GetVcpusFlags(DOMAIN_VCPU_CONFIG))(t); n != 2 {
		t.Errorf("there are %d CPUs", n)
	}
	if os := must(dom.GetOSType())(t); os != "linux" { // whatever the XML says
		t.Errorf("the OS type is %s", os)
	}
	if must(dom.HasManagedSaveImage(0))(t) {
		t.Error("there is a saved state")
	}
	running := lookup(t, conn, "test")
	if n := must(running.GetMaxVcpus())(t); n == 0 {
		t.Error("no CPU is possible")
	}
	_, err := dom.GetMaxVcpus()
	if err == nil {
		t.Error("it is off")
	}
}

func TestDomainIsChanged(t *testing.T) {
	conn := openTest(t)
	dom := define(t, conn, "vm1")
	for _, on := range []bool{true, false} {
		ok(t, dom.SetAutostart(on))
		if must(dom.GetAutostart())(t) != on {
			t.Errorf("autostart is not %v", on)
		}
	}
	const uri = "http://example.com/virtnb"
	ok(t, dom.SetMetadata(DOMAIN_METADATA_ELEMENT, "<recovery/>", "v", uri, DOMAIN_AFFECT_CONFIG))
	if got := must(dom.GetMetadata(DOMAIN_METADATA_ELEMENT, uri, DOMAIN_AFFECT_CONFIG))(t); got != "<recovery/>" {
		t.Errorf("the metadata is %s", got)
	}
	ok(t, dom.SetMetadata(DOMAIN_METADATA_ELEMENT, "", "v", uri, DOMAIN_AFFECT_CONFIG))
	_, err := dom.GetMetadata(DOMAIN_METADATA_ELEMENT, uri, DOMAIN_AFFECT_CONFIG)
	wantCode(t, err, ERR_NO_DOMAIN_METADATA)
	ok(t, dom.SetMetadata(DOMAIN_METADATA_TITLE, "a title", "", "", DOMAIN_AFFECT_CONFIG))

	ok(t, dom.Rename("vm9", 0))
	lookup(t, conn, "vm9")
	again, err := conn.DomainDefineXMLFlags("<domain/>", DOMAIN_DEFINE_VALIDATE)
	if err == nil {
		free(t, again)
		t.Error("an empty domain is valid")
	}
}

func TestDomainBlockInfo(t *testing.T) {
	conn := openTest(t)
	dom := define(t, conn, "vm1")
	ok(t, dom.Create())
	if info := must(dom.GetBlockInfo("vda", 0))(t); info.Capacity == 0 || info.Physical == 0 {
		t.Errorf("the disk is %+v", info)
	}
	_, err := dom.GetBlockInfo("vdz", 0)
	wantCode(t, err, ERR_INVALID_ARG)
}

func TestDomainDiskErrors(t *testing.T) {
	conn := openTest(t)
	dom := define(t, conn, "vm1")
	ok(t, dom.Create())
	errors := must(dom.GetDiskErrors(0))(t)
	for _, e := range errors {
		if e.Disk != "vda" || e.Error == DOMAIN_DISK_ERROR_NONE {
			t.Errorf("the errors are %+v", errors)
		}
	}
}

// TestDomainRef: one more Free than Ref, and the domain is usable until then.
func TestDomainRef(t *testing.T) {
	conn := openTest(t)
	for range 1000 {
		dom := must(conn.LookupDomainByName("test"))(t)
		ok(t, dom.Ref())
		ok(t, dom.Free())
		must(dom.GetName())(t)
		ok(t, dom.Free())
	}
}

// TestUnsupportedByDriver: calls that reach a driver without them.
func TestUnsupportedByDriver(t *testing.T) {
	conn := openTest(t)
	dom := lookup(t, conn, "test")
	for name, call := range map[string]func() error{
		"BackupBegin":      func() error { return dom.BackupBegin("<domainbackup/>", "", 0) },
		"BackupGetXMLDesc": func() error { _, err := dom.BackupGetXMLDesc(0); return err },
		"AbortJob":         dom.AbortJob,
		"GetJobStats":      func() error { _, err := dom.GetJobStats(0); return err },
		"BlockCopy":        func() error { return dom.BlockCopy("vda", "<disk/>", nil, 0) },
		"BlockPull":        func() error { return dom.BlockPull("vda", 0, 0) },
		"monitor":          func() error { _, err := dom.QemuMonitorCommand("info", DOMAIN_QEMU_MONITOR_COMMAND_HMP); return err },
		"agent":            func() error { _, err := dom.QemuAgentCommand("{}", DOMAIN_QEMU_AGENT_COMMAND_DEFAULT, 0); return err },
		"guest info":       func() error { _, err := dom.GetGuestInfo(0, 0); return err },
	} {
		if err := call(); err == nil {
			t.Errorf("%s worked", name)
		} else if e := err.(Error); e.Code != ERR_NO_SUPPORT && e.Code != ERR_INVALID_ARG {
			t.Errorf("%s: %v", name, err)
		}
	}
}

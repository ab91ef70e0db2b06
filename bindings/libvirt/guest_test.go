// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"reflect"
	"testing"
)

func TestFreezeAndThaw(t *testing.T) {
	conn := openTest(t)
	dom := lookup(t, conn, "test")
	for _, mounts := range [][]string{nil, {"/"}} {
		ok(t, dom.FSFreeze(mounts, 0))
		ok(t, dom.FSThaw(nil, 0))
	}
	wantCode(t, dom.FSFreeze([]string{"/", "/nosuch"}, 0), ERR_OPERATION_INVALID)
	off := define(t, conn, "vm1")
	wantCode(t, off.FSFreeze(nil, 0), ERR_OPERATION_INVALID)
}

func TestFSInfo(t *testing.T) {
	conn := openTest(t)
	dom := lookup(t, conn, "test")
	infos := must(dom.GetFSInfo(0))(t)
	if len(infos) == 0 {
		t.Fatal("no filesystem is there")
	}
	for _, info := range infos {
		if info.MountPoint == "" || info.Name == "" || info.FSType == "" || len(info.DevAlias) == 0 || info.DevAlias[0] == "" {
			t.Errorf("a filesystem is %+v", info)
		}
	}
}

// TestGuestInfoIsRead from the names that virDomainGetGuestInfo documents.
func TestGuestInfoIsRead(t *testing.T) {
	got := newGuestInfo(params{
		"hostname":                 "web1",
		"os.id":                    "debian",
		"os.pretty-name":           "Debian GNU/Linux 12",
		"timezone.name":            "CET",
		"timezone.offset":          int64(3600),
		"user.count":               uint64(1),
		"user.0.name":              "root",
		"user.0.login-time":        uint64(1700000000000),
		"fs.count":                 uint64(2),
		"fs.0.name":                "vda1",
		"fs.0.mountpoint":          "/",
		"fs.0.fstype":              "ext4",
		"fs.0.total-bytes":         uint64(1 << 30),
		"fs.0.disk.count":          uint64(1),
		"fs.0.disk.0.alias":        "vda",
		"fs.1.name":                "vdb1",
		"disk.count":               uint64(1),
		"disk.0.name":              "/dev/vda1",
		"disk.0.partition":         true,
		"disk.0.guest_alias":       "sda",
		"disk.0.dependency.count":  uint64(1),
		"disk.0.dependency.0.name": "/dev/vda",
		"if.count":                 uint64(1),
		"if.0.name":                "eth0",
		"if.0.addr.count":          uint64(1),
		"if.0.addr.0.type":         "ipv4",
		"if.0.addr.0.prefix":       uint64(24),
		"load.1m":                  0.5,
		"something.new":            nil,
	})
	want := &DomainGuestInfo{
		HostnameSet: true, Hostname: "web1",
		OS:       &DomainGuestInfoOS{IDSet: true, ID: "debian", PrettyNameSet: true, PrettyName: "Debian GNU/Linux 12"},
		TimeZone: &DomainGuestInfoTimeZone{NameSet: true, Name: "CET", OffsetSet: true, Offset: 3600},
		Users:    []DomainGuestInfoUser{{NameSet: true, Name: "root", LoginTimeSet: true, LoginTime: 1700000000000}},
		FileSystems: []DomainGuestInfoFileSystem{{
			NameSet: true, Name: "vda1", MountPointSet: true, MountPoint: "/", FSTypeSet: true, FSType: "ext4",
			TotalBytesSet: true, TotalBytes: 1 << 30,
			Disks: []DomainGuestInfoFileSystemDisk{{AliasSet: true, Alias: "vda"}},
		}, {NameSet: true, Name: "vdb1"}},
		Disks: []DomainGuestInfoDisk{{
			NameSet: true, Name: "/dev/vda1", PartitionSet: true, Partition: true, GuestAliasSet: true, GuestAlias: "sda",
			Dependencies: []DomainGuestInfoDiskDependency{{NameSet: true, Name: "/dev/vda"}},
		}},
		Interfaces: []DomainGuestInfoInterface{{
			NameSet: true, Name: "eth0",
			Addrs: []DomainGuestInfoIPAddress{{TypeSet: true, Type: "ipv4", PrefixSet: true, Prefix: 24}},
		}},
		Load: &DomainGuestInfoLoad{Load1MSet: true, Load1M: 0.5},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the info is\n%+v\nwant\n%+v", got, want)
	}
	if got := newGuestInfo(params{}); !reflect.DeepEqual(got, &DomainGuestInfo{}) {
		t.Errorf("without anything it is %+v", got)
	}
	if n := len(newGuestInfo(params{"fs.count": uint64(1) << 60}).FileSystems); n > 1 {
		t.Errorf("a count of nonsense gives %d", n)
	}
}

// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"slices"
	"strings"
	"testing"
)

func TestPools(t *testing.T) {
	conn := openTest(t)
	pools := must(conn.ListAllStoragePools(CONNECT_LIST_STORAGE_POOLS_ACTIVE))(t)
	if len(pools) != 1 {
		t.Fatalf("there are %d pools", len(pools))
	}
	pool := &pools[0]
	defer free(t, pool)
	if name := must(pool.GetName())(t); name != "default-pool" {
		t.Errorf("the pool is %s", name)
	}
	if !must(pool.IsActive())(t) || !must(pool.IsPersistent())(t) {
		t.Error("the pool is not active and persistent")
	}
	same := must(conn.LookupStoragePoolByUUIDString(must(pool.GetUUIDString())(t)))(t)
	ok(t, same.Ref())
	free(t, same)
	ok(t, same.Refresh(0))
	free(t, same)
	_, err := conn.LookupStoragePoolByName("nosuch")
	wantCode(t, err, ERR_NO_STORAGE_POOL)
	if info := must(pool.GetInfo())(t); info.State != STORAGE_POOL_RUNNING || info.Capacity == 0 || info.Capacity != info.Allocation+info.Available {
		t.Errorf("the pool is %+v", info)
	}
	if xml := must(pool.GetXMLDesc(0))(t); !strings.Contains(xml, "<name>default-pool</name>") {
		t.Errorf("the XML is %s", xml)
	}
}

func TestPoolLives(t *testing.T) {
	conn := openTest(t)
	pool := must(conn.StoragePoolDefineXML("<pool type='dir'><name>p</name><target><path>/p</path></target></pool>", 0))(t)
	defer free(t, pool)
	if must(pool.IsActive())(t) {
		t.Error("a defined pool is active")
	}
	ok(t, pool.SetAutostart(true))
	if !must(pool.GetAutostart())(t) {
		t.Error("it does not start with the host")
	}
	ok(t, pool.Build(STORAGE_POOL_BUILD_NEW))
	ok(t, pool.Create(STORAGE_POOL_CREATE_NORMAL))
	ok(t, pool.Destroy())
	ok(t, pool.Delete(STORAGE_POOL_DELETE_NORMAL))
	ok(t, pool.Undefine())
	_, err := conn.LookupStoragePoolByName("p")
	wantCode(t, err, ERR_NO_STORAGE_POOL)

	brief := must(conn.StoragePoolCreateXML("<pool type='dir'><name>q</name><target><path>/q</path></target></pool>", 0))(t)
	defer free(t, brief)
	ok(t, brief.Destroy())
}

const volumeXML = "<volume><name>NAME</name><capacity>1048576</capacity><target><format type='qcow2'/></target></volume>"

func TestVolumes(t *testing.T) {
	conn := openTest(t)
	pool := must(conn.LookupStoragePoolByName("default-pool"))(t)
	defer free(t, pool)
	vol := must(pool.StorageVolCreateXML(strings.Replace(volumeXML, "NAME", "vm1.qcow2", 1), 0))(t)
	defer free(t, vol)
	path, key := must(vol.GetPath())(t), must(vol.GetKey())(t)
	if name := must(vol.GetName())(t); name != "vm1.qcow2" || path != "/default-pool/vm1.qcow2" {
		t.Errorf("the volume is %s at %s", name, path)
	}
	if info := must(vol.GetInfo())(t); info.Type != STORAGE_VOL_FILE || info.Capacity != 1<<20 {
		t.Errorf("the volume is %+v", info)
	}
	if xml := must(vol.GetXMLDesc(0))(t); !strings.Contains(xml, "vm1.qcow2") {
		t.Errorf("the XML is %s", xml)
	}
	for _, find := range []func() (*StorageVol, error){
		func() (*StorageVol, error) { return conn.LookupStorageVolByPath(path) },
		func() (*StorageVol, error) { return conn.LookupStorageVolByKey(key) },
		func() (*StorageVol, error) { return pool.LookupStorageVolByName("vm1.qcow2") },
	} {
		same := must(find())(t)
		ok(t, same.Ref())
		free(t, same)
		if got := must(same.GetKey())(t); got != key {
			t.Errorf("it is %s", got)
		}
		free(t, same)
	}
	owner := must(vol.LookupPoolByVolume())(t)
	free(t, owner)

	clone := must(pool.StorageVolCreateXMLFrom(strings.Replace(volumeXML, "NAME", "vm2.qcow2", 1), vol, 0))(t)
	defer free(t, clone)
	if got := volumeNames(t, pool); !slices.Equal(got, []string{"vm1.qcow2", "vm2.qcow2"}) {
		t.Errorf("the volumes are %q", got)
	}
	ok(t, clone.Delete(STORAGE_VOL_DELETE_NORMAL))
	ok(t, vol.Delete(STORAGE_VOL_DELETE_NORMAL))
	_, err := conn.LookupStorageVolByPath(path)
	wantCode(t, err, ERR_NO_STORAGE_VOL)
}

func volumeNames(t *testing.T, pool *StoragePool) []string {
	t.Helper()
	var names []string
	vols := must(pool.ListAllStorageVolumes(0))(t)
	for i := range vols {
		names = append(names, must(vols[i].GetName())(t))
		free(t, &vols[i])
	}
	slices.Sort(names)
	return names
}

func TestStreamIsEmpty(t *testing.T) {
	conn := openTest(t)
	stream := must(conn.NewStream(0))(t)
	ok(t, stream.Ref())
	free(t, stream)
	if err := stream.Finish(); err == nil {
		t.Error("a stream without a transfer was finished")
	}
	free(t, stream)
}

// SPDX-License-Identifier: Apache-2.0

package recover

import (
	"encoding/json"
	"fmt"
	"testing"

	"virtnb/tests/testbed"
)

const smallDisk = 32 << 20

// Three disks, one of them compressed into the set by an incremental, come back as
// they were at each restore point, and what the machine writes does not reach the backup.
func TestBootRestorePoints(t *testing.T) {
	t.Parallel()
	targets := []string{"vda", "sda", "vdb"}
	s := newSite(t, testbed.GuestOptions{Disks: []testbed.Disk{
		{Target: "vda", Size: smallDisk}, {Target: "sda", Size: smallDisk, Cluster: 4096}, {Target: "vdb", Size: smallDisk},
	}})
	want := map[string]string{}
	for i, args := range [][]string{{"-l", "full"}, {"-l", "inc", "-z"}, {"-l", "inc"}} {
		for _, target := range targets {
			if err := s.guest.HostWrite(target, fmt.Sprintf("write -P %d %d 300k", 0x11*(i+1), i*1<<20+12345/512*512)); err != nil {
				t.Fatal(err)
			}
			want[fmt.Sprint(target, "@virtnbdbackup.", i)] = s.read(s.guest, target)
		}
		s.backUp(args...)
	}
	for i, args := range [][]string{{"--until", "virtnbdbackup.1"}, {}} {
		r := s.boot(append(args, "--name", fmt.Sprint("again", i), "--paused")...)
		for j, d := range r.Disks {
			s.wantSame(d.Export, s.read(r.Guest, d.Name), want[d.Export])
			if d.Export != fmt.Sprint(targets[j], "@virtnbdbackup.", i+1) && len(r.Disks) != 3 {
				t.Errorf("disks: %v", r.Disks)
			}
			if err := r.HostWrite(d.Name, "write -P 0xee 5M 1M"); err != nil {
				t.Fatal(err)
			}
		}
		var list []struct {
			Name    string
			Server  bool
			Written int64
		}
		if err := json.Unmarshal([]byte(s.run("recoveries", "--json")), &list); err != nil {
			t.Fatal(err)
		}
		if len(list) != 1 || list[0].Name != r.Name || !list[0].Server || list[0].Written < 3<<20 {
			t.Errorf("recoveries: %+v", list)
		}
		s.run("discard", r.Name)
		r.wantGone()
	}
}

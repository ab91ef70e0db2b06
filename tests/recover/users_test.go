// SPDX-License-Identifier: Apache-2.0

package recover

import (
	"os"
	"path/filepath"
	"testing"

	"virtnb/tests/testbed"
)

// Where libvirt runs QEMU as another user, that one gets at the socket and the
// overlays, and nobody else does.
func TestQEMUIsAnotherUser(t *testing.T) {
	t.Parallel()
	daemon := testbed.New(t, testbed.Options{QemuUser: "libvirt-qemu"})
	if err := os.Chmod(filepath.Dir(t.TempDir()), 0o711); err != nil { // QEMU has to get through
		t.Fatal(err)
	}
	s := newSiteAt(t, daemon, testbed.GuestOptions{Disks: []testbed.Disk{{Target: "vda", Size: smallDisk}}})
	fill(t, s.guest, "vda", 3)
	want := s.read(s.guest, "vda")
	s.backUp("-l", "full")
	r := s.boot("--paused")
	for path, mode := range map[string]os.FileMode{filepath.Dir(r.Socket): 0o710, r.Socket: 0o660, filepath.Dir(r.Disks[0].Overlay): 0o711} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want mode %o", path, info.Mode(), err, mode)
		}
	}
	s.wantSame("vda", s.read(r.Guest, "vda"), want)
	r.write(7)
	contents := r.contents()
	r.killServer()
	s.run("promote", r.Name)
	r.wantPromoted(contents, "")
}

// SPDX-License-Identifier: Apache-2.0

package recover

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"virtnb/tests/testbed"
)

// fill writes different bytes all over a disk, so that there is something to copy.
func fill(t *testing.T, g *testbed.Guest, target string, seed int) {
	t.Helper()
	var commands []string
	for i := range 30 {
		commands = append(commands, fmt.Sprintf("write -P %d %d %dk", (seed+i)%255+1, i<<20, 700+i))
	}
	if err := g.HostWrite(target, commands...); err != nil {
		t.Fatal(err)
	}
}

// newPausedSite has a light guest with two disks and a backup of them.
func newPausedSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, testbed.GuestOptions{Disks: []testbed.Disk{{Target: "vda", Size: smallDisk}, {Target: "sda", Size: smallDisk}}})
	fill(t, s.guest, "vda", 1)
	fill(t, s.guest, "sda", 77)
	s.backUp("-l", "full", "-z")
	return s
}

// write writes what must survive.
func (r *recovery) write(seed int) {
	r.site.t.Helper()
	for _, d := range r.Disks {
		if err := r.HostWrite(d.Name, fmt.Sprintf("write -P %d 3M 2M", seed), fmt.Sprintf("write -P %d %d 5k", seed+1, seed*4096), "write -z 9M 64k", "discard 12M 1M"); err != nil {
			r.site.t.Fatal(err)
		}
	}
}

// contents are flat copies of the disks.
func (r *recovery) contents() map[string]string {
	r.site.t.Helper()
	all := map[string]string{}
	for _, d := range r.Disks {
		all[d.Name] = r.site.read(r.Guest, d.Name)
	}
	return all
}

// wantPromoted fails unless the machine is a normal one with these disks.
func (r *recovery) wantPromoted(want map[string]string, folder string) {
	t := r.site.t
	t.Helper()
	r.wantNoTrace()
	for _, what := range []string{"", "--inactive"} {
		xml, err := r.site.daemon.Virsh(strings.Fields("dumpxml " + r.Name + " " + what)...)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(xml, "nbd") || strings.Contains(xml, r.Socket) {
			t.Errorf("the machine still has to do with its backup (%s):\n%s", what, xml)
		}
	}
	if out, err := r.site.daemon.Virsh("qemu-monitor-command", r.Name, `{"execute":"query-named-block-nodes"}`); err != nil || strings.Contains(out, "nbd") {
		t.Errorf("QEMU is still connected to the backup: %s, %v", out, err)
	}
	if out, err := r.site.daemon.Virsh("qemu-monitor-command", r.Name, `{"execute":"query-block-jobs"}`); err != nil || !strings.Contains(out, `"return":[]`) {
		t.Errorf("QEMU still has jobs: %s, %v", out, err)
	}
	images := map[string]string{}
	var disks []testbed.Disk
	for _, d := range r.Disks {
		path := d.Overlay
		if folder != "" {
			path = r.copyOf(d.Name, folder)
			if _, err := os.Stat(d.Overlay); err == nil {
				t.Errorf("%s is still there", d.Overlay)
			}
		}
		images[d.Name] = path
		disks = append(disks, testbed.Disk{Target: d.Name, Source: path})
	}
	r.Guest = r.site.daemon.Adopt(r.Name, disks...)
	if out, err := r.site.daemon.Virsh("dominfo", r.Name); err != nil || !strings.Contains(out, "Persistent:     yes") {
		t.Errorf("dominfo: %s, %v", out, err)
	}
	for target, path := range want {
		r.site.wantSame(target, r.site.read(r.Guest, target), path)
	}
	// It starts again without the server, and is what it was.
	if err := r.Destroy(); err != nil {
		t.Fatal(err)
	}
	if out, err := r.site.daemon.Virsh("start", "--paused", r.Name); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for target, path := range want {
		if err := testbed.SameImages(images[target], "qcow2", path, "raw"); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
}

// copyOf is the only image of a disk in the folder.
func (r *recovery) copyOf(target, folder string) string {
	r.site.t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, r.Name+"-"+target+".*"))
	if err != nil || len(found) != 1 {
		r.site.t.Fatalf("copies of %s: %q, %v", target, found, err)
	}
	return found[0]
}

func TestPromoteInPlace(t *testing.T) {
	t.Parallel()
	s := newPausedSite(t)
	r := s.boot("--paused")
	r.write(5)
	want := r.contents()
	s.run("promote", r.Name)
	r.wantPromoted(want, "")
}

func TestPromoteToFolder(t *testing.T) {
	t.Parallel()
	s := newPausedSite(t)
	r := s.boot("--paused")
	r.write(5)
	want := r.contents()
	target := t.TempDir()
	lines := strings.Split(strings.TrimSpace(s.run("promote", "--json", "--target", target, r.Name)), "\n")
	var result struct{ Type, State string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &result); err != nil || result.Type != "result" || result.State != "promoted" {
		t.Errorf("the last line is %q: %v", lines[len(lines)-1], err)
	}
	r.wantPromoted(want, target)
}

// Promotions that are interrupted lose nothing, and go on.
func TestPromoteInterrupted(t *testing.T) {
	t.Parallel()
	s := newPausedSite(t)
	for i, args := range [][]string{nil, {"--target"}} {
		folder := ""
		if args != nil {
			folder = t.TempDir()
			args = append(args, folder)
		}
		r := s.boot("--paused", "--name", fmt.Sprint("interrupted", i))
		r.write(5)

		t.Log("QEMU is killed")
		s.killPromotion(r, append(args, "--bandwidth", "1M")...)
		r.write(40)
		r.killQEMU()
		if out, err := s.try("promote", r.Name); err == nil {
			t.Errorf("a machine that is off is promoted: %s", out)
		}
		s.run("resume", r.Name)
		r.Guest = s.daemon.Adopt(r.Name, disksOf(r)...)
		r.write(60)

		t.Log("libvirtd is killed")
		cmd := s.command("promote", r.Name, "--bandwidth", "1M")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		r.waitJob()
		if err := s.daemon.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("a promotion without libvirtd succeeds")
		}
		if err := s.daemon.Restart(); err != nil {
			t.Fatal(err)
		}
		r.write(90)

		t.Log("virtnb is killed at any time")
		want := r.contents()
		for _, delay := range []time.Duration{50, 200, 400} {
			cmd := s.command("promote", r.Name)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(delay * time.Millisecond)
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
		}
		if _, err := os.Stat(filepath.Join(s.state, r.Name)); err == nil {
			s.run("promote", r.Name)
		}
		r.wantPromoted(want, folder)
	}
}

func disksOf(r *recovery) (disks []testbed.Disk) {
	for _, d := range r.Disks {
		disks = append(disks, testbed.Disk{Target: d.Name, Source: d.Overlay})
	}
	return disks
}

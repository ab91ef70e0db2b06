// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"virtnb/format"
)

// Images that are brought back where they are.

// inPlaceResult is what --json tells of such a run.
func inPlaceResult(t testing.TB, r restored) (written, differing int64) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(string(r.out)), "\n")
	var got struct {
		Disks []struct{ Written, Differing int64 }
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil || len(got.Disks) != 1 {
		t.Fatalf("%v in\n%s", err, r.out)
	}
	return got.Disks[0].Written, got.Disks[0].Differing
}

// differing counts the bytes of the blocks of 4 KiB in which two disks differ.
func differing(a, b []byte) (n int64) {
	for at := 0; at < len(a); at += 4096 {
		end := min(at+4096, len(a))
		if !bytes.Equal(a[at:end], b[at:end]) {
			n += int64(end - at)
		}
	}
	return n
}

func TestRestoreInPlace(t *testing.T) {
	s := restoreSet(t)
	kept(t, s.dir)
	for _, f := range []string{"qcow2", "raw"} {
		for _, d := range s.disks {
			t.Run(d.name+"/"+f, func(t *testing.T) {
				t.Parallel()
				out := t.TempDir()
				mustRestore(t, "-i", s.dir, "-o", out, "-d", d.name, "--format", f)
				image := filepath.Join(out, d.name+"."+f)
				now := d.now
				for _, n := range []int{0, 3, 1, 1} {
					args := []string{"-i", s.dir, "-d", d.name, "-u", s.names[n], "--in-place", image, "--format", f, "--json"}
					before := sha256Of(readFile(t, image))
					want := differing(now, d.points[n])
					if written, differ := inPlaceResult(t, mustRestore(t, append(args, "--dry-run")...)); written != 0 || differ != want {
						t.Errorf("dry run to %d: %d written, %d differ, want 0 and %d", n, written, differ, want)
					}
					if sha256Of(readFile(t, image)) != before {
						t.Fatal("a dry run changed the image")
					}
					if written, differ := inPlaceResult(t, mustRestore(t, args...)); written != want || differ != want {
						t.Errorf("to %d: %d written, %d differ, want %d", n, written, differ, want)
					}
					now = d.points[n]
					wantSame(t, fmt.Sprint("to ", n), contentOf(t, image, f), now)
				}
			})
		}
	}
}

func TestRestoreInPlaceRefuses(t *testing.T) {
	s := restoreSet(t)
	out := t.TempDir()
	mustRestore(t, "-i", s.dir, "-o", out)
	image := filepath.Join(out, "vda.qcow2")
	before := sha256Of(readFile(t, image))
	mustFail(t, "choose one with -d", "-i", s.dir, "--in-place", image)
	mustFail(t, "the disk in the backup 5243392", "-i", s.dir, "--in-place", image, "-d", "vdb")
	mustFail(t, "-o has no meaning", "-i", s.dir, "--in-place", image, "-o", out)
	mustFail(t, "no such file", "-i", s.dir, "--in-place", image+".not", "-d", "vda")
	raw := filepath.Join(out, "raw")
	run(t, "qemu-img", "convert", "-O", "raw", image, raw)
	mustFail(t, "is not of format qcow2", "-i", s.dir, "--in-place", raw, "-d", "vda")

	// A domain that runs holds the image as this program does.
	stop := holdImage(t, image)
	for _, more := range []string{"--dry-run", "-n"} {
		mustFail(t, "is in use; is the domain off?", "-i", s.dir, "--in-place", image, "-d", "vda", "-u", s.names[0], more)
	}
	stop()
	if sha256Of(readFile(t, image)) != before {
		t.Error("the image has changed")
	}
}

// holdImage has another program open a qcow2 for writing until stop is called.
func holdImage(t testing.TB, image string) (stop func()) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "sock")
	holder := exec.Command("qemu-nbd", "-f", "qcow2", "-t", "-k", socket, image)
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			_ = holder.Process.Signal(syscall.SIGTERM)
			_ = holder.Wait()
		})
	}
	t.Cleanup(stop)
	eventually(t, func() error { _, err := os.Stat(socket); return err })
	return stop
}

// The whole backup of the disk is read before the first byte is written.
func TestRestoreInPlaceFromDamagedSet(t *testing.T) {
	s := restoreSet(t)
	out := t.TempDir()
	mustRestore(t, "-i", s.dir, "-o", out, "-u", s.names[0])
	image := filepath.Join(out, "vda.qcow2")
	before := sha256Of(readFile(t, image))
	path := filepath.Join(s.dir, "vda.inc.virtnbdbackup.1.data")
	b := readFile(t, path)
	at := bytes.LastIndex(b, []byte{4, 0x22, 0x4d, 0x18}) + 40 // in the last frame
	b[at] ^= 0x55
	writeFile(t, path, b)
	r := mustFail(t, "vda.inc.virtnbdbackup.1.data", "-i", s.dir, "--in-place", image, "-d", "vda")
	wantText(t, r.log, "image "+image+" is as it was")
	if sha256Of(readFile(t, image)) != before {
		t.Error("the image has changed")
	}
}

// The next incremental backup of the domain has what was written.
func TestRestoreInPlaceIsInDirtyBitmaps(t *testing.T) {
	s := restoreSet(t)
	out := t.TempDir()
	mustRestore(t, "-i", s.dir, "-o", out, "-d", "vda")
	image := filepath.Join(out, "vda.qcow2")
	run(t, "qemu-img", "bitmap", "-f", "qcow2", "--add", image, "virtnbdbackup.3")
	mustRestore(t, "-i", s.dir, "--in-place", image, "-d", "vda", "-u", s.names[1])
	socket := filepath.Join(t.TempDir(), "sock")
	run(t, "qemu-nbd", "-r", "-f", "qcow2", "--fork", "-B", "virtnbdbackup.3", "-k", socket, image)
	var dirty []struct{ Offset, Length, Type int64 }
	text := run(t, "nbdinfo", "--json", "--map=qemu:dirty-bitmap:virtnbdbackup.3", "nbd+unix:///?socket="+socket)
	if err := json.Unmarshal([]byte(text), &dirty); err != nil {
		t.Fatal(err)
	}
	d := s.disks[0]
	clean := bytes.Clone(d.points[1])
	for _, e := range dirty {
		if e.Type == 1 {
			copy(clean[e.Offset:][:e.Length], d.now[e.Offset:])
		}
	}
	wantSame(t, "what is not dirty", clean, d.now)
}

func TestRestoreInPlaceOfDevice(t *testing.T) {
	s := restoreSet(t)
	dev, behind := loopDevice(t, 8<<20)
	args := []string{"-i", s.dir, "--in-place", dev, "-d", "vda", "--format", "raw"}
	mustFail(t, "give --force if none does", args...)
	mustRestore(t, append(args, "--force")...)
	wantSame(t, "the device", readFile(t, behind), s.disks[0].now)
}

// A run that is killed while it writes is followed by one that goes on.
func TestRestoreInPlaceKilled(t *testing.T) {
	s := newInteropSet(t, 64<<20)
	d := s.disks[0]
	s.noise(d.now)
	s.full(t, 0)
	s.point(t, 0, true, func(d *interopDisk) []format.Extent {
		s.noise(d.now)
		return []format.Extent{{Start: 0, Length: int64(len(d.now))}}
	})
	out := t.TempDir()
	mustRestore(t, "-i", s.dir, "-o", out)
	image := filepath.Join(out, "vda.qcow2")
	for _, sig := range []os.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		cmd := restoreCommand(t, "-i", s.dir, "--in-place", image, "-u", s.names[0])
		log, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var said []string
		for scan := bufio.NewScanner(log); scan.Scan(); {
			said = append(said, scan.Text())
			if strings.Contains(scan.Text(), "Writing [") {
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatalf("%v: it succeeded\n%s", sig, strings.Join(said, "\n"))
		}
		if text := strings.Join(said, "\n"); sig == syscall.SIGTERM && !strings.Contains(text, "is as it was") {
			wantText(t, text, "do not start the domain, run the same command again")
		}
		eventually(t, func() error { // the server ends with it, and gives the lock up
			return exec.Command("qemu-img", "info", image).Run()
		})
		mustRestore(t, "-i", s.dir, "--in-place", image, "-u", s.names[0])
		wantSame(t, "vda", contentOf(t, image, "qcow2"), d.points[0])
		mustRestore(t, "-i", s.dir, "--in-place", image)
		wantSame(t, "vda", contentOf(t, image, "qcow2"), d.points[1])
		checkImage(t, image)
	}
}

// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"virtnb/format"
)

// What a disk can be restored to, and what the target is like afterwards.

// imageInfo is what qemu-img tells of an image.
type imageInfo struct {
	VirtualSize int64 `json:"virtual-size"`
	ActualSize  int64 `json:"actual-size"`
	ClusterSize int64 `json:"cluster-size"`
	Format      string
	Specific    struct{ Data map[string]any } `json:"format-specific"`
}

func infoOf(t testing.TB, image string) (info imageInfo, text string) {
	t.Helper()
	text = run(t, "qemu-img", "info", "--output=json", "-U", image)
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		t.Fatal(err)
	}
	return info, text
}

// original makes a qcow2 with options, and a set of one disk with what qemu-img
// says of it.
func original(t *testing.T, options string) (s *interopSet, want imageInfo) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "vda.qcow2")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", options, image, "4M")
	want, text := infoOf(t, image)
	s = newInteropSet(t, 4<<20)
	s.full(t, 0)
	s.side(t, "vda.virtnbdbackup.0.qcow.json", text)
	return s, want
}

func TestRestoreKeepsOptionsOfTheImage(t *testing.T) {
	dataFile := filepath.Join(t.TempDir(), "vda.data")
	for _, options := range []string{
		"compat=0.10",
		"cluster_size=4k",
		"cluster_size=2M",
		"lazy_refcounts=on",
		"refcount_bits=1",
		"refcount_bits=64,cluster_size=512",
		"extended_l2=on,cluster_size=128k",
		"compression_type=zstd",
		"data_file=" + dataFile,
		"data_file_raw=on,data_file=" + dataFile + ".raw",
	} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			s, want := original(t, options)
			out := t.TempDir()
			mustRestore(t, "-i", s.dir, "-o", out)
			image := filepath.Join(out, "vda.qcow2")
			got, _ := infoOf(t, image)
			if at, ok := want.Specific.Data["data-file"]; ok {
				now := filepath.Join(out, filepath.Base(at.(string)))
				want.Specific.Data["data-file"] = now
				if _, err := os.Stat(now); err != nil {
					t.Error(err)
				}
			}
			if fmt.Sprint(got.Specific) != fmt.Sprint(want.Specific) || got.ClusterSize != want.ClusterSize || got.VirtualSize != want.VirtualSize {
				t.Errorf("restored %+v, the original was %+v", got, want)
			}
			checkImage(t, image)
			wantSame(t, "vda", contentOf(t, image, "qcow2"), s.disks[0].now)
			if names := namesIn(t, out); slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, ".partial") }) {
				t.Errorf("there are %q", names)
			}
		})
	}
}

// A zero takes no space, whether the backup has it as a hole or as data.
func TestRestoreIsThin(t *testing.T) {
	s := newInteropSet(t, 64<<20)
	d := s.disks[0]
	clear(d.now)
	s.noise(d.now[1<<20 : 2<<20])
	s.noise(d.now[60<<20 : 60<<20+512])
	s.names = []string{"virtnbdbackup.0"}
	for level, meta := range []format.Metadata{{}, {Compression: 1}} {
		meta.VirtualSize, meta.DataSize, meta.DiskName, meta.DiskFormat, meta.CheckpointName = 64<<20, 64<<20, "vda", "qcow2", "virtnbdbackup.0"
		dir := t.TempDir()
		s.dir = dir
		s.write(t, "vda.full.data", meta, []format.Extent{{Start: 0, Length: 64 << 20}}, d.now)
		for _, f := range []string{"qcow2", "raw"} {
			out := t.TempDir()
			mustRestore(t, "-i", dir, "-o", out, "--format", f)
			image := filepath.Join(out, "vda."+f)
			wantSame(t, f, contentOf(t, image, f), d.now)
			if taken := statOf(t, image).Blocks * 512; taken > 2<<20 {
				t.Errorf("level %d: %s takes %d bytes for 1 MiB of data", level, f, taken)
			}
		}
	}
}

func TestRestorePreallocatesAndCompresses(t *testing.T) {
	s := restoreSet(t)
	for _, f := range []string{"qcow2", "raw"} {
		out := t.TempDir()
		mustRestore(t, "-i", s.dir, "-o", out, "-A", "--format", f, "-d", "vda")
		image := filepath.Join(out, "vda."+f)
		if taken := statOf(t, image).Blocks * 512; taken < 8<<20 {
			t.Errorf("%s takes %d bytes", f, taken)
		}
		wantSame(t, f, contentOf(t, image, f), s.disks[0].now)
	}
	out := t.TempDir()
	mustRestore(t, "-i", s.dir, "-o", out, "--compress")
	for _, d := range s.disks {
		image := filepath.Join(out, d.name+".qcow2")
		wantSame(t, d.name, contentOf(t, image, "qcow2"), d.now)
		checkImage(t, image)
	}
	// Clusters of noise are stored as they are.
	if c := run(t, "qemu-img", "check", "--output=json", filepath.Join(out, "vda.qcow2")); !strings.Contains(c, `"compressed-clusters"`) || strings.Contains(c, `"compressed-clusters": 0`) {
		t.Errorf("nothing is compressed:\n%s", c)
	}
}

// loopDevice is a block device of so many bytes with old data all over it, and
// the file behind it.
func loopDevice(t testing.TB, size int) (dev, behind string) {
	t.Helper()
	behind = filepath.Join(t.TempDir(), "behind")
	writeFile(t, behind, bytes.Repeat([]byte{0xee}, size))
	dev = strings.TrimSpace(run(t, "losetup", "--find", "--show", behind))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", dev).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v\n%s", err, out)
		}
	})
	return dev, behind
}

func TestRestoreToBlockDevice(t *testing.T) {
	s := restoreSet(t)
	d := s.disks[0]
	dev, behind := loopDevice(t, 9<<20)
	mustFail(t, "give --force", "-i", s.dir, "-o", dev, "-d", "vda")
	mustFail(t, "takes one disk", "-i", s.dir, "-o", dev, "--force")
	if got := readFile(t, behind); !bytes.Equal(got, bytes.Repeat([]byte{0xee}, 9<<20)) {
		t.Error("the device was written to")
	}
	mustRestore(t, "-i", s.dir, "-o", dev, "-d", "vda", "--force")
	got := readFile(t, behind)
	wantSame(t, "the disk", got[:len(d.now)], d.now)
	wantSame(t, "behind the disk", got[len(d.now):], bytes.Repeat([]byte{0xee}, 1<<20))
	small, _ := loopDevice(t, 1<<20)
	mustFail(t, "fewer than the disk", "-i", s.dir, "-o", small, "-d", "vda", "--force")
}

func TestRestoreToSeveralTargets(t *testing.T) {
	s := restoreSet(t)
	dev, behind := loopDevice(t, 6<<20)
	out := t.TempDir()
	mustRestore(t, "-i", s.dir, "-o", out, "--target", "vdb="+dev, "--force", "-c")
	wantSame(t, "vda", contentOf(t, filepath.Join(out, "vda.qcow2"), "qcow2"), s.disks[0].now)
	wantSame(t, "vdb", readFile(t, behind)[:len(s.disks[1].now)], s.disks[1].now)
	wantText(t, string(readFile(t, filepath.Join(out, "vmconfig.xml"))), `<disk type="block"`, `dev="`+dev+`"`)
	mustFail(t, "no such disk", "-i", s.dir, "-o", t.TempDir(), "--target", "vdz="+dev)
}

// nbdServer serves a raw file with old data all over it.
func nbdServer(t testing.TB, size int) (uri, behind string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "vn") // a short name, for the socket
	if err != nil {
		t.Fatal(err)
	}
	behind = filepath.Join(dir, "behind")
	writeFile(t, behind, bytes.Repeat([]byte{0xee}, size))
	socket := filepath.Join(dir, "sock")
	cmd := exec.Command("qemu-nbd", "-f", "raw", "-k", socket, "-t", "-e", "16", "-x", "disk", behind)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		os.RemoveAll(dir)
	})
	eventually(t, func() error { _, err := os.Stat(socket); return err })
	return "nbd+unix:///disk?socket=" + socket, behind
}

func TestRestoreToNBD(t *testing.T) {
	s := restoreSet(t)
	uri, behind := nbdServer(t, 9<<20)
	mustRestore(t, "-i", s.dir, "-o", uri, "-d", "vda")
	wantSame(t, "the disk", readFile(t, behind)[:len(s.disks[0].now)], s.disks[0].now)
	small, _ := nbdServer(t, 1<<20)
	mustFail(t, "fewer than the disk", "-i", s.dir, "-o", small, "-d", "vda")
}

func TestRestoreToStandardOutput(t *testing.T) {
	s := restoreSet(t)
	for _, d := range s.disks {
		r := mustRestore(t, "-i", s.dir, "-o", "-", "-d", d.name)
		wantSame(t, d.name+" through a pipe", r.out, d.now)
	}
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := restoreCommand(t, "-i", s.dir, "-o", "-", "-d", "vda")
	cmd.Stdout = f
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "vda to a file", readFile(t, path), s.disks[0].now)
	mustFail(t, "takes one disk", "-i", s.dir, "-o", "-")
}

// A reader that goes away is a failure.
func TestRestoreToClosedPipe(t *testing.T) {
	s := restoreSet(t)
	cmd := restoreCommand(t, "-i", s.dir, "-o", "-", "-d", "vda")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%v, want status 1", err)
	}
}

// rawSet is a set with a disk of format raw beside one of qcow2.
func rawSet(t *testing.T) (s *interopSet, raw []byte) {
	s = restoreSet(t)
	raw = bytes.Repeat([]byte("raw disk"), 64<<10)
	writeFile(t, filepath.Join(s.dir, "vdc.copy.data"), raw)
	xml := fmt.Sprintf(interopDiskXML, "vda") + strings.ReplaceAll(fmt.Sprintf(interopDiskXML, "vdc"), "qcow2", "raw")
	s.side(t, "vmconfig.virtnbdbackup.3.xml", fmt.Sprintf(interopDomain, xml))
	return s, raw
}

func TestRestoreRawDisks(t *testing.T) {
	s, raw := rawSet(t)
	out := t.TempDir()
	r := mustRestore(t, "-i", s.dir, "-o", out)
	wantText(t, r.log, "Disk [vdc] is of raw format and not restored")
	if slices.Contains(namesIn(t, out), "vdc.raw") {
		t.Error("a raw disk was restored without --raw")
	}
	for _, point := range []string{"latest", "virtnbdbackup.3"} {
		out = t.TempDir()
		mustRestore(t, "-i", s.dir, "-o", out, "-r", "-u", point)
		wantSame(t, "vdc", readFile(t, filepath.Join(out, "vdc.raw")), raw)
	}
}

// smallTmpfs is a file system of so many bytes.
func smallTmpfs(t testing.TB, size string) string {
	t.Helper()
	at := t.TempDir()
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmountAt(at); err != nil {
			t.Error(err)
		}
	})
	return at
}

func TestRestoreWithoutSpace(t *testing.T) {
	s := newInteropSet(t, 16<<20)
	s.noise(s.disks[0].now)
	s.full(t, 0)
	for _, f := range []string{"qcow2", "raw"} {
		at := smallTmpfs(t, "4m")
		r := mustFail(t, "o space left", "-i", s.dir, "-o", at, "--format", f)
		wantText(t, r.log, "Nothing of disk [vda] is left behind")
		if names := namesIn(t, at); len(names) != 0 {
			t.Errorf("%s: there are %q", f, names)
		}
	}
}

// heldRestore starts a restore and stops it while its image is incomplete. One
// that was too fast is done again.
func heldRestore(t *testing.T, s *interopSet, out string) *exec.Cmd {
	t.Helper()
	image := filepath.Join(out, "vda.qcow2")
	for deadline := time.Now().Add(nbdPatience); ; {
		cmd := restoreCommand(t, "-i", s.dir, "-o", out)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for !exists(image) && !exists(image+".partial") && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if exists(image+".partial") && !exists(image) {
			return cmd
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if time.Now().After(deadline) {
			t.Fatal("no restore could be caught")
		}
		for _, name := range namesIn(t, out) {
			remove(t, filepath.Join(out, name))
		}
	}
}

// bigSet takes long enough to restore to be caught at it.
func bigSet(t *testing.T) *interopSet {
	s := newInteropSet(t, 64<<20)
	s.noise(s.disks[0].now)
	s.full(t, 12)
	return s
}

func TestRestoreKilled(t *testing.T) {
	s := bigSet(t)
	out := t.TempDir()
	cmd := heldRestore(t, s, out)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if names := namesIn(t, out); !slices.Equal(names, []string{"vda.qcow2.partial"}) {
		t.Fatalf("there are %q", names)
	}
	partial := filepath.Join(out, "vda.qcow2.partial")
	mustFail(t, partial+" is there: it is of a restore that is running or was interrupted; remove it", "-i", s.dir, "-o", out)
	eventually(t, func() error { // its server ends with it
		return exec.Command("qemu-img", "info", partial).Run()
	})
	remove(t, partial)
	mustRestore(t, "-i", s.dir, "-o", out)
	wantSame(t, "vda", contentOf(t, filepath.Join(out, "vda.qcow2"), "qcow2"), s.disks[0].now)
}

func TestRestoreInterrupted(t *testing.T) {
	s := bigSet(t)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		out := t.TempDir()
		cmd := heldRestore(t, s, out)
		for _, sig := range []os.Signal{sig, syscall.SIGCONT} {
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("%v: %v, want status 1", sig, err)
		}
		if names := namesIn(t, out); len(names) != 0 {
			t.Errorf("%v: there are %q", sig, names)
		}
	}
}

// Nobody needs to be root to restore.
func TestRestoreAsOrdinaryUser(t *testing.T) {
	s := restoreSet(t)
	dir, err := os.MkdirTemp("", "vn")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	set, out := filepath.Join(dir, "set"), filepath.Join(dir, "out")
	run(t, "cp", "-r", s.dir, set)
	program, err := built("virtnb")
	if err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(dir, "virtnb") // the tree may be closed to others
	run(t, "cp", program, mine)
	run(t, "mkdir", out)
	run(t, "chown", "-R", "65534:65534", dir)
	run(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME="+dir, "LIBVIRT_DEFAULT_URI=",
		mine, "restore", "-i", set, "-o", out, "-c")
	wantSame(t, "vda", contentOf(t, filepath.Join(out, "vda.qcow2"), "qcow2"), s.disks[0].now)
}

// terminal is the two ends of a pseudo terminal: ours, and a program's.
func terminal(t testing.TB) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	return ours, theirs
}

// Who sits at a terminal is asked before a device is overwritten.
func TestRestoreAsksBeforeItOverwritesDevices(t *testing.T) {
	s := restoreSet(t)
	d := s.disks[0]
	for answer, status := range map[string]int{"yes\n": 0, "no\n": 1, "y\n": 1, "\n": 1, "\x04": 1} {
		dev, behind := loopDevice(t, 8<<20)
		ours, theirs := terminal(t)
		cmd := restoreCommand(t, "-i", s.dir, "-o", dev, "-d", "vda")
		var errOut bytes.Buffer
		cmd.Stdin, cmd.Stderr = theirs, &errOut
		if _, err := ours.WriteString(answer); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Run()
		wantText(t, errOut.String(), "Everything on "+dev+" will be overwritten with disk vda of 8.0 MiB. Go on? Type yes: ")
		if got := cmd.ProcessState.ExitCode(); got != status {
			t.Errorf("%q: status %d, want %d\n%s", answer, got, status, &errOut)
		}
		want := bytes.Repeat([]byte{0xee}, 8<<20)
		if status == 0 {
			want = d.now
		}
		wantSame(t, fmt.Sprintf("the device after %q", answer), readFile(t, behind), want)
	}
}

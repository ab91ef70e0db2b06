// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"virtnb/format"
)

// Restores by "virtnb restore" of sets that virtnbdbackup made, and of sets that
// are built here with a model of each disk. What is restored is compared with
// what the disk was, whatever the target.

// restored is a run that has ended.
type restored struct {
	status int
	out    []byte
	log    string // standard error
}

// virtnbRestore runs the command to its end. The log file is the test's own.
func virtnbRestore(t testing.TB, args ...string) restored {
	t.Helper()
	cmd := restoreCommand(t, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return restored{cmd.ProcessState.ExitCode(), out.Bytes(), errOut.String()}
}

func restoreCommand(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	program, err := built("virtnb")
	if err != nil {
		t.Fatal(err)
	}
	args = slices.Concat([]string{"restore"}, args, []string{"-L", filepath.Join(t.TempDir(), "log")})
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "LIBVIRT_DEFAULT_URI=")
	return cmd
}

// mustRestore is virtnbRestore that has to succeed without an error in its log.
func mustRestore(t testing.TB, args ...string) restored {
	t.Helper()
	r := virtnbRestore(t, args...)
	if r.status != 0 || strings.Contains(r.log, " ERROR ") {
		t.Fatalf("restore %q: status %d\n%s", args, r.status, r.log)
	}
	return r
}

// mustFail is virtnbRestore that has to end with status 1 and say why.
func mustFail(t testing.TB, why string, args ...string) restored {
	t.Helper()
	r := virtnbRestore(t, args...)
	if r.status != 1 || !strings.Contains(r.log, " ERROR ") || !strings.Contains(r.log, why) {
		t.Errorf("restore %q: status %d, want 1 and %q in\n%s", args, r.status, why, r.log)
	}
	return r
}

// contentOf is what an image of a format holds.
func contentOf(t testing.TB, image, format string) []byte {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "flat")
	run(t, "qemu-img", "convert", "-f", format, "-O", "raw", image, raw)
	return readFile(t, raw)
}

// checkImage fails the test where qemu-img finds a fault in a qcow2.
func checkImage(t testing.TB, image string) {
	t.Helper()
	run(t, "qemu-img", "check", "-q", "-f", "qcow2", image)
}

func vector(name string) string { return filepath.Join("vectors", name) }

// The sums are those of the vectors' README.
func TestRestoreVectors(t *testing.T) {
	const s0 = "bcac1b19501f54275e9d2f4f767f66012d601282a1c32dc65343842127e05a82"
	for _, v := range []struct{ set, point, sum string }{
		{"01-plain-full", "", s0},
		{"02-lz4-copy", "copy", s0},
		{"03-chain", "virtnbdbackup.0", s0},
		{"03-chain", "virtnbdbackup.1", "dab92b94e489de33daab40c4b3b4885367ae6f3f576a3f7655b27948f864af48"},
		{"03-chain", "virtnbdbackup.2", "dab92b94e489de33daab40c4b3b4885367ae6f3f576a3f7655b27948f864af48"},
		{"03-chain", "virtnbdbackup.3", "c9483615a7988ad7f1095250a320f5f65198c79c6edbe98b1737b595060d433d"},
		{"03-chain", "latest", "c9483615a7988ad7f1095250a320f5f65198c79c6edbe98b1737b595060d433d"},
		{"03-chain", "diff.1795399599", "dab92b94e489de33daab40c4b3b4885367ae6f3f576a3f7655b27948f864af48"},
		{"03-chain", "diff.1795399601", "dab92b94e489de33daab40c4b3b4885367ae6f3f576a3f7655b27948f864af48"},
		{"05-lz4-chunked", "", "97fee915ea203d38e3e505346599ec3dead8da88136cc0b1238a4249550fc5da"},
		{"06-chain-1.9.15", "virtnbdbackup.0", "d6aaa9c1c91295e509a11adaa469fab07568d5df6c07f6f24c3e2ad382bc2d67"},
		{"06-chain-1.9.15", "virtnbdbackup.1", "6b6580f2e7650085e56462bf0cdaae623cc45c9c4765126bc6204fc38f7bd4fb"},
		{"06-chain-1.9.15", "virtnbdbackup.3", "d08a2cdfa6a1e535b3d7456a0e74b2c9b8cb4950229b4196b27bf972d9b3cc03"},
		{"06-chain-1.9.15", "", "bf78a84a1c298fedc2a12b27583cfef42f19cfd178eeb854ddebfb365ab97ec5"},
		{"07-stream-v1", "", s0},
	} {
		t.Run(v.set+"@"+v.point, func(t *testing.T) {
			t.Parallel()
			kept(t, vector(v.set))
			out := filepath.Join(t.TempDir(), "new", "out")
			args := []string{"-i", vector(v.set), "-o", out}
			if v.point != "" {
				args = append(args, "-u", v.point)
			}
			mustRestore(t, args...)
			images, err := filepath.Glob(filepath.Join(out, "*.qcow2"))
			if err != nil || len(images) != 1 {
				t.Fatalf("%q, %v in %q", images, err, namesIn(t, out))
			}
			checkImage(t, images[0])
			if sum := sha256Of(contentOf(t, images[0], "qcow2")); sum != v.sum {
				t.Errorf("sum %s, want %s", sum, v.sum)
			}
		})
	}
}

// restoreSet is a set of two disks with compressed and plain savesets.
func restoreSet(t *testing.T) *interopSet {
	s := newInteropSet(t, 8<<20, 5<<20+512)
	s.full(t, 0)
	s.inc(t, 2)
	s.empty(t, 0)
	s.inc(t, 0)
	return s
}

func TestRestoreEveryPointOfEveryDisk(t *testing.T) {
	s := restoreSet(t)
	kept(t, s.dir)
	for n, point := range s.names {
		out := t.TempDir()
		r := mustRestore(t, "-i", s.dir, "-o", out, "--until", point, "-n")
		for _, d := range s.disks {
			image := filepath.Join(out, d.name+".qcow2")
			checkImage(t, image)
			wantSame(t, d.name+" at "+point, contentOf(t, image, "qcow2"), d.points[n])
			wantText(t, r.log, "Applying data from backup file ["+filepath.Join(s.dir, d.name+".full.data")+"] to target file ["+image+"].")
		}
		wantText(t, r.log, "Reached checkpoint ["+point+"], stopping")
		if got, want := readFile(t, filepath.Join(out, "vmconfig.xml")), readFile(t, filepath.Join(s.dir, "vmconfig."+point+".xml")); !bytes.Equal(got, want) {
			t.Errorf("the configuration at %s is\n%s", point, got)
		}
		if names := namesIn(t, out); len(names) != 3 {
			t.Errorf("there are %q", names)
		}
	}
}

// wantText fails the test where a text lacks one of the parts.
func wantText(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
}

// Times of files say nothing: cp -r loses them, and it is no worse.
func TestRestoreDoesNotRelyOnTimes(t *testing.T) {
	s := restoreSet(t)
	dir := t.TempDir()
	names := namesIn(t, s.dir)
	slices.Reverse(names)
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), readFile(t, filepath.Join(s.dir, name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := t.TempDir()
	mustRestore(t, "-i", dir, "-o", out)
	for _, d := range s.disks {
		wantSame(t, d.name, contentOf(t, filepath.Join(out, d.name+".qcow2"), "qcow2"), d.now)
	}
}

func TestRestoreOneDisk(t *testing.T) {
	s := restoreSet(t)
	out := t.TempDir()
	r := mustRestore(t, "-i", s.dir, "-o", out, "-d", "vdb", "-c")
	wantText(t, r.log, "Skipping disk [vda] for restore", "Adjusted config placed in: ["+out+"/vmconfig.xml]", "Use 'virsh define "+out+"/vmconfig.xml' to define VM")
	if names := namesIn(t, out); !slices.Equal(names, []string{"vdb.qcow2", "vmconfig.xml"}) {
		t.Errorf("there are %q", names)
	}
	xml := string(readFile(t, filepath.Join(out, "vmconfig.xml")))
	wantText(t, xml, "<name>restore_vm1</name>", `file="`+out+`/vdb.qcow2"`)
	if strings.Contains(xml, "vda") {
		t.Errorf("vda is in\n%s", xml)
	}
	mustFail(t, "it has vda, vdb", "-i", s.dir, "-o", out, "-d", "vd")
}

func TestRestoreSequence(t *testing.T) {
	s := restoreSet(t)
	d := s.disks[1]
	out := t.TempDir()
	r := mustRestore(t, "-i", s.dir, "-o", out, "-D", "--sequence", "vdb.full.data,vdb.inc.virtnbdbackup.1.data")
	wantText(t, r.log, "Using manual specified sequence of files.", "Disabling redefine and config adjust options.")
	wantSame(t, "vdb", contentOf(t, filepath.Join(out, "vdb"), "qcow2"), d.points[1])
	mustFail(t, "Sequence must start with full or copy backup.", "-i", s.dir, "-o", t.TempDir(), "-s", "vdb.inc.virtnbdbackup.1.data")
	mustFail(t, "vdb.inc.virtnbdbackup.3.data", "-i", s.dir, "-o", t.TempDir(), "-s", "vdb.full.data,vdb.inc.virtnbdbackup.3.data")
}

// A disk that was added later has a full of its own, one that was resized has
// its new size, and one that is gone stays where it was.
func TestRestoreAddedAndResizedDisks(t *testing.T) {
	s := newInteropSet(t, 4<<20)
	s.full(t, 0)
	s.inc(t, 0)
	grown := s.disks[0]
	grown.now = append(bytes.Clone(grown.now), bytes.Repeat([]byte{7}, 1<<20)...)
	added := &interopDisk{name: "vdb", now: bytes.Repeat([]byte{8}, 1<<20)}
	s.names = append(s.names, "virtnbdbackup.2")
	meta := format.Metadata{VirtualSize: 5 << 20, DataSize: 1 << 20, DiskName: "vda", DiskFormat: "qcow2", CheckpointName: "virtnbdbackup.2",
		ParentCheckpoint: "virtnbdbackup.1", Incremental: true}
	s.write(t, "vda.inc.virtnbdbackup.2.data", meta, []format.Extent{{Start: 4 << 20, Length: 1 << 20}}, grown.now)
	meta = format.Metadata{VirtualSize: 1 << 20, DataSize: 1 << 20, DiskName: "vdb", DiskFormat: "qcow2", CheckpointName: "virtnbdbackup.2"}
	s.write(t, "vdb.full.data", meta, []format.Extent{{Start: 0, Length: 1 << 20}}, added.now)
	xml := fmt.Sprintf(interopDiskXML, "vda") + fmt.Sprintf(interopDiskXML, "vdb")
	s.side(t, "vmconfig.virtnbdbackup.2.xml", fmt.Sprintf(interopDomain, xml))
	s.side(t, "vm1.cpt", `["virtnbdbackup.0", "virtnbdbackup.1", "virtnbdbackup.2"]`)

	out := t.TempDir()
	mustRestore(t, "-i", s.dir, "-o", out)
	wantSame(t, "vda", contentOf(t, filepath.Join(out, "vda.qcow2"), "qcow2"), grown.now)
	wantSame(t, "vdb", contentOf(t, filepath.Join(out, "vdb.qcow2"), "qcow2"), added.now)
	out = t.TempDir()
	mustRestore(t, "-i", s.dir, "-o", out, "-u", "virtnbdbackup.1")
	wantSame(t, "vda", contentOf(t, filepath.Join(out, "vda.qcow2"), "qcow2"), grown.points[1])
	if slices.Contains(namesIn(t, out), "vdb.qcow2") {
		t.Error("a disk was restored that did not exist yet")
	}
}

// A saveset that is missing is not taken for a disk that was left out.
func TestRestoreOfLostSaveset(t *testing.T) {
	s := restoreSet(t)
	remove(t, filepath.Join(s.dir, "vdb.inc.virtnbdbackup.3.data"))
	out := t.TempDir()
	r := mustRestore(t, "-i", s.dir, "-o", out) // as after a backup with -x vdb
	wantText(t, r.log, "WARNING", "Disk [vdb] has no restore point [virtnbdbackup.3], using [virtnbdbackup.2].")
	s.side(t, "vdb.virtnbdbackup.3.qcow.json", "{}")
	out = t.TempDir()
	for _, point := range []string{"latest", "virtnbdbackup.3"} {
		mustFail(t, "disk vdb was saved at restore point virtnbdbackup.3, and its saveset is missing", "-i", s.dir, "-o", out, "-u", point)
	}
	mustRestore(t, "-i", s.dir, "-o", out, "-d", "vda")
}

func TestRestoreImagesAreTheOwners(t *testing.T) {
	s := restoreSet(t)
	for _, f := range []string{"qcow2", "raw"} {
		out := t.TempDir()
		mustRestore(t, "-i", s.dir, "-o", out, "--format", f)
		for _, name := range namesIn(t, out) {
			if mode := statOf(t, filepath.Join(out, name)).Mode & 0o777; mode != 0o600 {
				t.Errorf("%s has mode %o", name, mode)
			}
		}
	}
}

func TestRestoreRefusesWhatIsThere(t *testing.T) {
	s := restoreSet(t)
	for _, name := range []string{"vdb.qcow2", "vdb.qcow2.partial"} {
		out := t.TempDir()
		path := filepath.Join(out, name)
		if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		mustFail(t, path, "-i", s.dir, "-o", out)
		if names := namesIn(t, out); len(names) != 1 || string(readFile(t, path)) != "mine" {
			t.Errorf("%s: there are %q", name, names)
		}
	}
	out := t.TempDir()
	if err := os.WriteFile(filepath.Join(out, "vmconfig.xml"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, more := range []string{"-c", "-n"} {
		mustFail(t, "choose another name with -C", "-i", s.dir, "-o", out, more)
	}
	if names := namesIn(t, out); len(names) != 1 {
		t.Errorf("there are %q", names)
	}
	mustFail(t, "name", "-i", s.dir, "-o", out, "-c", "-N", "a/b", "-C", "other.xml")
	mustRestore(t, "-i", s.dir, "-o", out, "-c", "-C", "other.xml")
	if string(readFile(t, filepath.Join(out, "vmconfig.xml"))) != "mine" {
		t.Error("a configuration that was there has changed")
	}
}

func TestRestoreExitStatuses(t *testing.T) {
	s := restoreSet(t)
	mustFail(t, "Backup source [/nonexistent] does not exist.", "-i", "/nonexistent", "-o", t.TempDir())
	mustFail(t, "No data files found in directory: [", "-i", t.TempDir(), "-o", t.TempDir())
	mustFail(t, "no restore point virtnbdbackup.9; it has virtnbdbackup.0, ", "-i", s.dir, "-o", t.TempDir(), "-u", "virtnbdbackup.9")
	for _, args := range [][]string{{"-i", s.dir}, {"-o", "x"}, {"-i", s.dir, "-o", "x", "--unknown"}, {"-i", s.dir, "-o", "x", "-a", "burn"}, {"-i", s.dir, "-o", "x", "-u", ""}} {
		if r := virtnbRestore(t, args...); r.status != 2 {
			t.Errorf("%q: status %d, want 2\n%s", args, r.status, r.log)
		}
	}
}

func TestRestoreJSON(t *testing.T) {
	s := restoreSet(t)
	out := t.TempDir()
	r := mustRestore(t, "-i", s.dir, "-o", out, "--json", "-c", "-N", "back")
	lines := strings.Split(strings.TrimSpace(string(r.out)), "\n")
	var got struct {
		Type, Domain, Point, Config string
		Status                      int
		Disks                       []struct {
			Name, Point, Target, Format string
			VirtualSize, Written        int64
		}
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
		t.Fatalf("%v in\n%s", err, r.out)
	}
	if got.Type != "result" || got.Domain != "vm1" || got.Point != "virtnbdbackup.3" || got.Config != out+"/vmconfig.xml" || len(got.Disks) != 2 {
		t.Errorf("%+v", got)
	}
	if d := got.Disks[1]; d.Name != "vdb" || d.Target != out+"/vdb.qcow2" || d.Format != "qcow2" || d.VirtualSize != 5<<20+512 || d.Written == 0 || d.Written > d.VirtualSize {
		t.Errorf("%+v", d)
	}
}

// Damage is never taken for success, and leaves nothing that looks like an
// image.
func TestRestoreOfDamagedSets(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"lz4": func(t *testing.T, dir string) {
			path := filepath.Join(dir, "vda.inc.virtnbdbackup.1.data")
			b := readFile(t, path)
			at := bytes.Index(b, []byte{4, 0x22, 0x4d, 0x18}) + 40
			b[at] ^= 0x55
			writeFile(t, path, b)
		},
		"flipped in what is not compressed": func(t *testing.T, dir string) {
			path := filepath.Join(dir, "vda.full.data")
			b := readFile(t, path)
			at := bytes.Index(b, []byte("\r\ndata ")) + 200
			b[at] ^= 0x55
			writeFile(t, path, b)
		},
		"cut":     func(t *testing.T, dir string) { cutFile(t, filepath.Join(dir, "vda.inc.virtnbdbackup.3.data"), 100) },
		"missing": func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "vda.inc.virtnbdbackup.1.data")) },
		"no full": func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "vda.full.data")) },
		"size": func(t *testing.T, dir string) {
			path := filepath.Join(dir, "vda.full.data")
			b := readFile(t, path)
			at := bytes.Index(b, []byte(`"dataSize": `)) + len(`"dataSize": `)
			b[at] = '1' + (b[at]-'0')%9
			writeFile(t, path, b)
		},
		"frame": func(t *testing.T, dir string) {
			path := filepath.Join(dir, "vda.full.data")
			b := readFile(t, path)
			at := bytes.Index(b, []byte("\r\nzero "))
			b[at+2] = 'x'
			writeFile(t, path, b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := restoreSet(t)
			damage(t, s.dir)
			kept(t, s.dir)
			out := t.TempDir()
			mustFail(t, "vda", "-i", s.dir, "-o", out, "-c")
			if names := namesIn(t, out); slices.ContainsFunc(names, func(n string) bool { return n != "vdb.qcow2" }) {
				t.Errorf("there are %q", names)
			}
		})
	}
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func cutFile(t testing.TB, path string, n int64) {
	t.Helper()
	if err := os.Truncate(path, int64(len(readFile(t, path)))-n); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// Several restores of one set at once do not meet.
func TestRestoreInParallel(t *testing.T) {
	s := restoreSet(t)
	var wg sync.WaitGroup
	for n, point := range s.names {
		out := t.TempDir()
		wg.Go(func() {
			r := virtnbRestore(t, "-i", s.dir, "-o", out, "-u", point, "--format", "raw")
			if r.status != 0 {
				t.Errorf("%s: status %d\n%s", point, r.status, r.log)
				return
			}
			got, err := os.ReadFile(filepath.Join(out, "vda.raw"))
			if err != nil {
				t.Error(err)
			}
			wantSame(t, point, got, s.disks[0].points[n])
		})
	}
	wg.Wait()
}

// Called by the other program's name, virtnb takes its options and no others.
func TestRestoreUnderThePeersName(t *testing.T) {
	s := restoreSet(t)
	program, err := built("virtnb")
	if err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(t.TempDir(), "virtnbdrestore")
	if err := os.Symlink(program, theirs); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	args := []string{"-i", s.dir, "-o", out, "-nd", "vda", "--unt", s.names[1], "-L", filepath.Join(t.TempDir(), "log")}
	run(t, theirs, args...)
	wantSame(t, "vda", contentOf(t, filepath.Join(out, "vda.qcow2"), "qcow2"), s.disks[0].points[1])
	cmd := exec.Command(theirs, append(args, "--json")...)
	if _ = cmd.Run(); cmd.ProcessState.ExitCode() != 2 {
		t.Errorf("status %d of an option that the other program does not have", cmd.ProcessState.ExitCode())
	}
}

// A full in the place of an incremental begins anew: what is zero in it is not
// what an older saveset had there.
func TestRestoreOfFullWithinChain(t *testing.T) {
	dir := t.TempDir()
	for _, set := range []string{"03-chain", "04-fallback-full"} {
		for _, name := range namesIn(t, vector(set)) {
			if strings.HasSuffix(name, ".data") || strings.HasSuffix(name, ".xml") || strings.HasSuffix(name, ".json") {
				writeFile(t, filepath.Join(dir, name), readFile(t, filepath.Join(vector(set), name)))
			}
		}
	}
	for point, want := range map[string]string{
		"latest":          "d6aaa9c1c91295e509a11adaa469fab07568d5df6c07f6f24c3e2ad382bc2d67",
		"virtnbdbackup.4": "c9483615a7988ad7f1095250a320f5f65198c79c6edbe98b1737b595060d433d",
	} {
		out := t.TempDir()
		mustRestore(t, "-i", dir, "-o", out, "-u", point)
		if sum := sha256Of(contentOf(t, filepath.Join(out, "v.qcow2"), "qcow2")); sum != want {
			t.Errorf("%s: sum %s, want %s", point, sum, want)
		}
	}
}

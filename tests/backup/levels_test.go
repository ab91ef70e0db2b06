// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"virtnb/format"
	"virtnb/tests/testbed"
)

const smallDisk = 4 << 20

func twoDisks() testbed.GuestOptions {
	return testbed.GuestOptions{Disks: []testbed.Disk{
		{Target: "vda", Size: smallDisk},
		{Target: "sda", Size: smallDisk, Cluster: 4096},
	}}
}

// into is the same guest with a backup set of its own.
func (b *backups) into(name string) *backups {
	other := *b
	other.set = filepath.Join(b.copies, name)
	other.copies = other.set + ".copies"
	other.points = nil
	if err := os.Mkdir(other.copies, 0o700); err != nil {
		panic(err)
	}
	return &other
}

// changeAll changes each disk, which are all of smallDisk's size.
func (b *backups) changeAll(t testing.TB) {
	t.Helper()
	for _, target := range b.targets {
		b.change(t, target, smallDisk, 6)
	}
}

// makeNew makes a backup whose restore point gets a name that only its files
// tell, and returns what the program printed.
func (b *backups) makeNew(t testing.TB, program []string, args ...string) string {
	t.Helper()
	before := b.pointNames(t)
	out := b.make(t, "?", program, args...)
	var added []string
	for _, name := range b.pointNames(t) {
		if !slices.Contains(before, name) {
			added = append(added, name)
		}
	}
	if len(added) != 1 {
		t.Fatalf("%q makes the restore points %q, want one", args, added)
	}
	b.points[len(b.points)-1].name = added[0]
	return out
}

// pointNames lists the restore points of the set, which may not be there yet.
func (b *backups) pointNames(t testing.TB) []string {
	t.Helper()
	set, err := format.CheckSet(b.set)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return set.PointNames()
}

// nextSecond waits until a file that is named after the time has another name.
func nextSecond() { time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) }

func TestBackupLevels(t *testing.T) {
	t.Parallel()
	program := ours(t)
	b := newBackups(t, twoDisks())
	b.changeAll(t)

	c := b.into("copy")
	c.make(t, "copy", program, "-z") // the level that is the default
	c.wantCheckpoints(t, 0)
	c.check(t)

	out := b.make(t, checkpoint(0), program, "-l", "auto")
	wantOutput(t, out, "Backup mode auto, target folder is empty: executing full backup")
	b.changeAll(t)
	b.makeNew(t, program, "-l", "diff")
	nextSecond()
	b.changeAll(t)
	b.makeNew(t, program, "-l", "diff", "-z")
	b.wantCheckpoints(t, 1)
	b.changeAll(t)
	out = b.make(t, checkpoint(1), program, "-l", "auto")
	wantOutput(t, out, "Backup mode auto: executing incremental backup")
	nextSecond()
	b.changeAll(t)
	b.makeNew(t, program, "-l", "diff")
	b.wantCheckpoints(t, 2)
	b.check(t)
}

// A backup of type raw is an image, byte for byte the disk.
func TestBackupRaw(t *testing.T) {
	t.Parallel()
	program := ours(t)
	b := newBackups(t, twoDisks())
	b.changeAll(t)
	for _, level := range []string{"full", "copy"} {
		c := b.into(level)
		c.make(t, level, program, "-l", level, "-t", "raw")
		for target, path := range c.points[0].disks {
			image := filepath.Join(c.set, target+"."+level+".data")
			if err := testbed.SameImages(image, "raw", path, "raw"); err != nil {
				t.Error(err)
			}
		}
	}
	if out, err := b.run(program, "-l", "full", "-t", "raw", "-z"); err == nil {
		t.Errorf("a raw image that is compressed is no error:\n%s", out)
	}
}

// dataFiles lists the names of the savesets in the set.
func (b *backups) dataFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.set, "*.data"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	return files
}

// Which disks are in a backup: those that can be, but for what the options say.
func TestBackupDisks(t *testing.T) {
	t.Parallel()
	program := ours(t)
	b := newBackups(t, testbed.GuestOptions{UEFI: true, Kernel: true, Disks: []testbed.Disk{
		{Target: "vda", Size: smallDisk},
		{Target: "vdb", Size: smallDisk, Options: "compat=0.10"},
		{Target: "vdc", Size: smallDisk, Format: "raw"},
		{Target: "hdc", Size: 1 << 20, Format: "raw", Device: "cdrom", XML: "<readonly/>"},
		{Target: "fda", Size: 1440 << 10, Format: "raw", Device: "floppy"},
	}})
	b.targets = []string{"vda", "vdb", "vdc"}
	b.changeAll(t)
	for name, c := range map[string]struct {
		args, files []string
	}{
		"all":      {nil, []string{"vda.copy.data", "vdb.copy.data"}},
		"included": {[]string{"-i", "vdb"}, []string{"vdb.copy.data"}},
		"excluded": {[]string{"-x", "vdb,hdc"}, []string{"vda.copy.data"}},
		"with raw": {[]string{"-r"}, []string{"vda.copy.data", "vdb.copy.data", "vdc.copy.data"}},
	} {
		d := b.into(name)
		d.make(t, "copy", program, append(c.args, "-l", "copy")...)
		if got := d.dataFiles(t); !slices.Equal(got, c.files) {
			t.Errorf("%s: files %q, want %q", name, got, c.files)
			continue
		}
		maps.DeleteFunc(d.points[0].disks, func(target, path string) bool {
			image := filepath.Join(d.set, target+".copy.data")
			if target == "vdc" && slices.Contains(c.files, "vdc.copy.data") {
				if err := testbed.SameImages(image, "raw", path, "raw"); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			return target == "vdc" || !slices.Contains(c.files, filepath.Base(image))
		})
		d.check(t)
	}
	for _, path := range []string{b.NVRAM(), "vmlinuz", "initrd.gz", "loader.fd", "vmconfig.xml"} {
		name := filepath.Base(path)
		if found, _ := filepath.Glob(filepath.Join(b.copies, "all", strings.TrimSuffix(name, ".xml")+"*")); len(found) == 0 {
			t.Errorf("the set has no %s", name)
		}
	}
}

// What only asks or is below the threshold makes no backup and no checkpoint.
func TestBackupOnlyAsks(t *testing.T) {
	t.Parallel()
	program := ours(t)
	b := newBackups(t, testbed.GuestOptions{Disks: []testbed.Disk{{Target: "vda", Size: smallDisk}}})
	b.write(t, "vda", "write -P 1 0 1M")

	out, err := b.run(program, "-l", "full", "-p")
	if err != nil {
		t.Error(err)
	}
	if files := b.dataFiles(t); len(files) > 0 {
		t.Errorf("-p of a full makes %q:\n%s", files, out)
	}
	b.wantCheckpoints(t, 0)

	b.make(t, checkpoint(0), program, "-l", "full")
	b.write(t, "vda", "write -P 2 1M 128k")
	files := filesOf(t, b.set)
	if out, err = b.run(program, "-l", "inc", "-p"); err != nil {
		t.Error(err)
	}
	wantOutput(t, out, "Estimated checkpoint backup size: [131072] Bytes")
	if out, err = b.run(program, "-l", "inc", "-T", "131073"); err != nil {
		t.Error(err)
	}
	wantOutput(t, out, "Backup size [131072] does not meet required threshold [131073], skipping backup.")
	wantKept(t, files, filesOf(t, b.set))
	if files := b.dataFiles(t); len(files) != 1 {
		t.Errorf("only asking makes %q", files)
	}
	b.wantCheckpoints(t, 1)

	b.make(t, checkpoint(1), program, "-l", "inc", "-T", "131072")
	b.wantCheckpoints(t, 2)
	b.check(t)
}

// A backup of a guest that is off touches nothing that is there, and the chain
// goes on when the guest runs again.
func TestBackupOffline(t *testing.T) {
	t.Parallel()
	program := ours(t)
	b := newBackups(t, twoDisks())
	for i, level := range []string{"full", "inc"} {
		b.changeAll(t)
		b.make(t, checkpoint(i), program, "-l", level)
	}
	b.changeAll(t)
	if err := b.Destroy(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		before := filesOf(t, b.set)
		b.makeNew(t, program, "-l", "auto")
		wantKept(t, before, filesOf(t, b.set))
		nextSecond()
	}
	out, err := b.run(program, "-l", "inc", "-p")
	if err != nil || strings.Contains(out, "size: [0] Bytes") {
		t.Errorf("what an incremental would have: %v\n%s", err, out)
	}
	c := b.into("copy")
	wantOutput(t, c.make(t, "copy", program, "-l", "full"), "Domain is offline, resetting backup options")
	c.check(t)
	if err := b.StartAgain(); err != nil {
		t.Fatal(err)
	}
	b.changeAll(t)
	b.make(t, checkpoint(2), program, "-l", "inc")
	b.wantCheckpoints(t, 3)
	b.check(t)
}

// The first backup of a guest that is off leaves it to later ones to begin a
// chain, whatever the folder has then.
func TestBackupOfflineFirst(t *testing.T) {
	t.Parallel()
	program := ours(t)
	b := newBackups(t, twoDisks())
	b.changeAll(t)
	if err := b.Destroy(); err != nil {
		t.Fatal(err)
	}
	b.makeNew(t, program, "-l", "auto")
	if err := b.StartAgain(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		b.changeAll(t)
		b.make(t, checkpoint(i), program, "-l", "auto")
	}
	b.check(t)
}

// A disk that comes later gets its full within the chain, and one that grows goes
// on in it.
func TestBackupChangedDisks(t *testing.T) {
	t.Parallel()
	program := ours(t)
	b := newBackups(t, testbed.GuestOptions{Disks: []testbed.Disk{
		{Target: "vda", Size: smallDisk},
		{Target: "vdb", Size: smallDisk},
	}})
	b.changeAll(t)
	b.targets = []string{"vda"}
	b.make(t, checkpoint(0), program, "-l", "full", "-x", "vdb")
	b.targets = []string{"vda", "vdb"}
	b.changeAll(t)
	b.make(t, checkpoint(1), program, "-l", "inc")
	if _, err := b.daemon.Virsh("blockresize", b.Name, "vda", fmt.Sprint(2*smallDisk, "B")); err != nil {
		t.Fatal(err)
	}
	b.write(t, "vda", "write -P 9 3M 4M")
	b.changeAll(t)
	b.make(t, checkpoint(2), program, "-l", "inc")
	b.wantCheckpoints(t, 3)
	b.check(t)
}

// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Disks with partition tables and file systems, made by the programs that
// administrators use, backed up as a full and an incremental, and mounted from
// the view by the kernel.

const (
	gptTable = "label: gpt\n" +
		"1 : start=2048, size=32768\n" +
		"2 : start=36864, size=2048\n" +
		"4 : start=40960, size=655360\n" // there is no 3

	mbrTable = "label: dos\n" +
		"1 : start=2048, size=2048, type=83, bootable\n" +
		"2 : start=4096, size=716800, type=f\n" +
		"4 : start=720896, size=4096, type=82\n" +
		"5 : start=6144, size=4096, type=83\n" +
		"6 : start=12288, size=32768, type=83\n" +
		"7 : start=49152, size=655360, type=83\n"

	partitionedSize = 360 << 20 // XFS wants 300 MiB
)

// partitionedDisk is a disk with ext4 in one partition and XFS in another.
type partitionedDisk struct {
	table     string
	ext4, xfs int // numbers of the partitions
}

var partitionedDisks = map[string]partitionedDisk{
	"gpt": {gptTable, 1, 4},
	"mbr": {mbrTable, 6, 7},
}

// tablePart is a partition as sfdisk -J prints it, in sectors.
type tablePart struct {
	Node        string
	Start, Size int64
	Type        string
}

func (p tablePart) number(image string) string { return strings.TrimPrefix(p.Node, image) }

// readTable is what sfdisk finds in an image.
func readTable(t *testing.T, image string) []tablePart {
	t.Helper()
	var found struct {
		PartitionTable struct{ Partitions []tablePart }
	}
	if err := json.Unmarshal([]byte(run(t, "sfdisk", "-J", image)), &found); err != nil {
		t.Fatal(err)
	}
	return found.PartitionTable.Partitions
}

func TestFusePartitions(t *testing.T) {
	for name, d := range partitionedDisks {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			files := []string{sampleFiles(t, 1), sampleFiles(t, 2)}
			images := []string{d.make(t, files[0]), d.make(t, files[1])}
			saveImages(t, dir, images...)
			m := mountFuse(t, dir)
			for n, image := range images {
				point := filepath.Dir(m.fuseDisk(n))
				wantPartitions(t, point, image)
				wantFileSystem(t, "ext4", filepath.Join(point, fmt.Sprintf("vda.p%d.raw", d.ext4)), 0, files[n])
				wantFileSystem(t, "xfs", filepath.Join(point, fmt.Sprintf("vda.p%d.raw", d.xfs)), 0, files[n])
				wantFileSystem(t, "ext4", m.fuseDisk(n), d.offset(t, image, d.ext4), files[n])
			}
		})
	}
}

// make is an image file of the disk with the files of a folder in both file
// systems.
func (d partitionedDisk) make(t *testing.T, files string) string {
	t.Helper()
	dir := t.TempDir()
	image := filepath.Join(dir, "disk")
	sparseFile(t, image, partitionedSize)
	script := filepath.Join(dir, "table")
	if err := os.WriteFile(script, []byte(d.table), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "sh", "-c", `sfdisk -q "$1" < "$2"`, "sh", image, script)
	for _, p := range readTable(t, image) {
		part := filepath.Join(dir, "part")
		sparseFile(t, part, p.Size*512)
		switch p.number(image) {
		case fmt.Sprint(d.ext4):
			run(t, "mkfs.ext4", "-q", "-F", "-d", files, part)
		case fmt.Sprint(d.xfs):
			run(t, "mkfs.xfs", "-q", "-f", "-p", protofile(t, files), part)
		default:
			continue
		}
		run(t, "dd", "if="+part, "of="+image, "bs=1M", "conv=notrunc,sparse", "status=none", fmt.Sprintf("seek=%d", p.Start/2048))
		if err := os.Remove(part); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

// offset is where a partition begins, bytes.
func (d partitionedDisk) offset(t *testing.T, image string, number int) int64 {
	t.Helper()
	for _, p := range readTable(t, image) {
		if p.number(image) == fmt.Sprint(number) {
			return p.Start * 512
		}
	}
	t.Fatalf("no partition %d", number)
	return 0
}

func sparseFile(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

// sampleFiles is a folder with some files, others for another seed.
func sampleFiles(t *testing.T, seed uint64) string {
	t.Helper()
	dir := t.TempDir()
	for i, size := range []int{0, 1, 4096, 100_000, 2_000_001} {
		path := filepath.Join(dir, fmt.Sprintf("d%d", i%2), fmt.Sprintf("file%d", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, noiseDisk(size, seed+uint64(i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// protofile tells mkfs.xfs to take over the files of a folder that sampleFiles
// made.
func protofile(t *testing.T, files string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("/dev/null\n0 0\nd--755 0 0\n")
	for _, d := range namesIn(t, files) {
		fmt.Fprintf(&b, "%s d--755 0 0\n", d)
		for _, f := range namesIn(t, filepath.Join(files, d)) {
			fmt.Fprintf(&b, "%s ---644 0 0 %s\n", f, filepath.Join(files, d, f))
		}
		b.WriteString("$\n")
	}
	b.WriteString("$\n")
	path := filepath.Join(t.TempDir(), "proto")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// saveImages makes a chain of images in files.
func saveImages(t *testing.T, dir string, images ...string) {
	t.Helper()
	var before [][]byte
	for n, image := range images {
		disk := mapped(t, openFile(t, image))
		addPoint(t, dir, n, true, before, disk)
		before = append(before, disk)
	}
}

// mapped is the content of a file that is not to be in memory as a whole.
func mapped(t *testing.T, f *os.File) []byte {
	t.Helper()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(m) })
	return m
}

// wantPartitions compares the files of a point with what sfdisk finds in the
// image that it is of.
func wantPartitions(t *testing.T, point, image string) {
	t.Helper()
	want := []string{"vda.raw"}
	disk := mapped(t, openFile(t, image))
	for _, p := range readTable(t, image) {
		if p.Type == "f" {
			continue // the extended partition is no place for data
		}
		name := "vda.p" + p.number(image) + ".raw"
		want = append(want, name)
		part := mapped(t, openFile(t, filepath.Join(point, name)))
		wantSame(t, name, part, disk[p.Start*512:][:p.Size*512])
		if st := statOf(t, filepath.Join(point, name)); st.Blocks > st.Size/512 || st.Size != p.Size*512 {
			t.Errorf("%s has %d bytes, %d blocks; want %d bytes", name, st.Size, st.Blocks, p.Size*512)
		}
	}
	slices.Sort(want)
	if got := namesIn(t, point); !slices.Equal(got, want) {
		t.Errorf("the point has %q, want %q", got, want)
	}
}

// wantFileSystem mounts what is in a file from an offset on, and compares the
// files in it.
func wantFileSystem(t *testing.T, kind, image string, offset int64, files string) {
	t.Helper()
	at := t.TempDir()
	options := "ro,loop,noload"
	if kind == "xfs" {
		options = "ro,loop,norecovery,nouuid"
	}
	if offset > 0 {
		options += fmt.Sprintf(",offset=%d", offset)
	}
	run(t, "mount", "-t", kind, "-o", options, image, at)
	defer func() {
		if err := unmountAt(at); err != nil {
			t.Errorf("unmounting %s: %v", image, err)
			_ = unix.Unmount(at, unix.MNT_DETACH)
		}
	}()
	wantFiles(t, at, files)
}

// wantFiles compares the files of two folders.
func wantFiles(t *testing.T, got, want string) {
	t.Helper()
	count := 0
	err := filepath.WalkDir(want, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		count++
		name, err := filepath.Rel(want, path)
		if err == nil {
			wantSame(t, name, readFile(t, filepath.Join(got, name)), readFile(t, path))
		}
		return err
	})
	if err != nil || count == 0 {
		t.Errorf("%d files: %v", count, err)
	}
}

// A loop device on the view, as losetup makes it.
func TestFuseLoopDevice(t *testing.T) {
	disk := noiseDisk(4<<20+512, 1)
	m := mountFuse(t, chainOf(t, false, disk))
	device := strings.TrimSpace(run(t, "losetup", "-r", "-f", "--show", m.fuseDisk(0)))
	defer run(t, "losetup", "-d", device)
	wantSame(t, device, readFile(t, device), disk)
}

// Damaged partition tables take nothing from the disk.
func TestFusePartitionTablesOfNoise(t *testing.T) {
	for seed := range uint64(20) {
		disk := noiseDisk(1<<20, seed)
		disk[510], disk[511] = 0x55, 0xaa
		if seed%2 == 0 {
			copy(disk[512:], "EFI PART")
		} else {
			disk[0x1c2] = 5 // an extended partition
		}
		m := mountFuse(t, chainOf(t, false, disk))
		names := namesIn(t, filepath.Dir(m.fuseDisk(0)))
		if !slices.Contains(names, "vda.raw") {
			t.Errorf("seed %d: %q", seed, names)
		}
		wantSame(t, fmt.Sprintf("seed %d", seed), readFile(t, m.fuseDisk(0)), disk)
	}
}

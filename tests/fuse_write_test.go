// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"virtnb/format"
)

// A mount that can be written to, in the real kernel: whatever is done to an
// image reads back, from the image and from the file of the partition that it
// lies in, now and at the next mount, and the backup stays what it is.

const (
	writableSize = 6<<20 + 512 // of the disks, bytes
	firstPart    = 1 << 20     // where partition 1 of them begins
	partLength   = 3 << 20
)

// partitionedNoise is a disk of noise and holes with a partition table in which
// there is a partition 1.
func partitionedNoise(seed uint64) []byte {
	disk := noiseDisk(writableSize, seed)
	clear(disk[:firstPart/2])
	entry := disk[446:]
	entry[4] = 0x83
	binary.LittleEndian.PutUint32(entry[8:], firstPart/512)
	binary.LittleEndian.PutUint32(entry[12:], partLength/512)
	disk[510], disk[511] = 0x55, 0xaa
	return disk
}

// writableChain is a set of three restore points, one of them compressed.
func writableChain(t *testing.T) (dir string, disks [][]byte) {
	t.Helper()
	disks = [][]byte{partitionedNoise(1)}
	for i := range 2 {
		next := changed(disks[i], uint64(i+2))
		copy(next, disks[0][:512])
		disks = append(disks, next)
	}
	dir = filepath.Join(t.TempDir(), "vm1")
	if err := os.Rename(chainOf(t, true, disks...), dir); err != nil {
		t.Fatal(err)
	}
	kept(t, dir)
	return dir, disks
}

// openWritable opens a file of a mount for reading and writing.
func openWritable(t testing.TB, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// imageModel is an image under test: the disk and its partition as files, and
// what they must hold.
type imageModel struct {
	disk, part *os.File
	want       []byte
	rand       *rand.Rand
}

func openModel(t *testing.T, m *fuseMount, point int, want []byte, seed uint64) *imageModel {
	t.Helper()
	path := m.fuseDisk(point)
	return &imageModel{
		disk: openWritable(t, path, 0), part: openWritable(t, strings.TrimSuffix(path, ".raw")+".p1.raw", 0),
		want: want, rand: rand.New(rand.NewPCG(seed, 7)),
	}
}

func (i *imageModel) close(t *testing.T) {
	t.Helper()
	if err := errors.Join(i.disk.Close(), i.part.Close()); err != nil {
		t.Error(err)
	}
}

// somewhere is a file of the model, a range of it, and the same range of the
// disk; never the partition table.
func (i *imageModel) somewhere() (f *os.File, off int64, want []byte) {
	f, from, size := i.disk, int64(512), int64(len(i.want)-512)
	if i.rand.IntN(2) == 0 {
		f, from, size = i.part, firstPart, partLength
	}
	off, length := someRange(i.rand, size)
	length = min(length, 300<<10)
	want = i.want[from+off:][:length]
	if f == i.disk {
		off += 512
	}
	return f, off, want
}

// step does something at random.
func (i *imageModel) step() error {
	f, off, want := i.somewhere()
	n := int64(len(want))
	switch i.rand.IntN(8) {
	case 0, 1, 2:
		newNoise(i.rand.Uint64()).fill(want)
		return i.check(f, off, want, errOf(f.WriteAt(want, off)))
	case 3:
		clear(want)
		return i.check(f, off, want, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n))
	case 4:
		clear(want)
		return i.check(f, off, want, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_ZERO_RANGE, off, n))
	case 5:
		return i.check(f, off, want, f.Sync())
	}
	return i.check(f, off, want, nil)
}

func errOf(_ int, err error) error { return err }

// check reads a range back after what was done to it.
func (i *imageModel) check(f *os.File, off int64, want []byte, err error) error {
	if err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, off); err != nil {
		return err
	}
	if err := same(got, want); err != nil {
		return fmt.Errorf("%s: %d bytes at %d: %w", f.Name(), len(want), off, err)
	}
	return nil
}

// wantImage compares an image and its partition whole, by other files than
// those that were written to.
func wantImage(t *testing.T, m *fuseMount, point int, want []byte) {
	t.Helper()
	path := m.fuseDisk(point)
	wantSame(t, path, readFile(t, path), want)
	wantSame(t, path+", its partition", readFile(t, strings.TrimSuffix(path, ".raw")+".p1.raw"), want[firstPart:][:partLength])
}

func TestFuseWritesFollowTheModel(t *testing.T) {
	dir, disks := writableChain(t)
	changes := t.TempDir()
	models := map[int][]byte{0: bytes.Clone(disks[0]), 1: bytes.Clone(disks[1])} // 2 is never written to
	for round := range 3 {
		m := mountWritable(t, dir, changes)
		for point, want := range models {
			wantImage(t, m, point, want)
			i := openModel(t, m, point, want, uint64(round*10+point))
			for n := range 120 {
				if err := i.step(); err != nil {
					t.Fatalf("round %d, point %d, step %d: %v", round, point, n, err)
				}
			}
			wantHoles(t, i.disk, want)
			i.close(t)
			wantImage(t, m, point, want)
		}
		wantImage(t, m, 2, disks[2])
		if round == 1 {
			if err := syscall.Kill(m.cmd.Process.Pid, syscall.SIGTERM); err != nil { // ends as with umount
				t.Fatal(err)
			}
			m.wantEnd(t)
		}
		if err := m.stop(); err != nil {
			t.Error(err)
		}
		if lines := m.log(t); len(lines) > 0 {
			t.Errorf("the log has %q", lines)
		}
	}
	m := mountFuse(t, dir)
	for point, disk := range disks {
		wantImage(t, m, point, disk) // the backup
	}
}

// wantEnd waits until the server ended by itself.
func (m *fuseMount) wantEnd(t *testing.T) {
	t.Helper()
	select {
	case err := <-m.exited:
		if err != nil {
			t.Errorf("the server ended with %v", err)
		}
	case <-time.After(nbdPatience):
		t.Fatal("the server does not end")
	}
	m.exited = nil
}

// wantHoles goes through a file from hole to hole: all that they cover is zero,
// and what was punched is one.
func wantHoles(t *testing.T, f *os.File, want []byte) {
	t.Helper()
	holes := int64(0)
	for off, size := int64(0), int64(len(want)); off < size; {
		hole, err := unix.Seek(int(f.Fd()), off, unix.SEEK_HOLE)
		if err != nil {
			t.Fatal(err)
		}
		data, err := unix.Seek(int(f.Fd()), hole, unix.SEEK_DATA)
		if errors.Is(err, syscall.ENXIO) {
			data, err = size, nil
		}
		if err != nil || hole < off || data < hole {
			t.Fatalf("from %d: hole at %d, data at %d, %v", off, hole, data, err)
		}
		if !format.IsZero(want[hole:data]) {
			t.Errorf("%s: data in a hole from %d to %d", f.Name(), hole, data)
		}
		holes += data - hole
		off = data
	}
	if blocks := statOf(t, f.Name()).Blocks; blocks != (int64(len(want))-holes+511)/512 || holes == 0 {
		t.Errorf("%s: %d blocks, and %d bytes of holes", f.Name(), blocks, holes)
	}
}

// What is written to the disk is in the partition at once, and the other way
// round, also for those who have it open for reading only, and by O_DIRECT.
func TestFuseDiskAndPartitionAreOne(t *testing.T) {
	dir, disks := writableChain(t)
	m := mountWritable(t, dir, t.TempDir())
	want := bytes.Clone(disks[1])
	partPath := strings.TrimSuffix(m.fuseDisk(1), ".raw") + ".p1.raw"
	reader := openFile(t, partPath)
	wantSame(t, "the partition", readAll(t, reader), want[firstPart:][:partLength])
	disk, part := openWritable(t, m.fuseDisk(1), unix.O_DIRECT), openWritable(t, partPath, 0)
	block := alignedBuffer(8192)
	newNoise(99).fill(block)
	for n, f := range []*os.File{disk, part} {
		at := int64(firstPart + 64<<10*(n+1))
		copy(want[at:], block)
		if f == part {
			at -= firstPart
		}
		if _, err := f.WriteAt(block, at); err != nil {
			t.Fatal(err)
		}
		wantSame(t, "for who reads", readAll(t, reader), want[firstPart:][:partLength])
		wantSame(t, "the disk", readAll(t, disk), want)
	}
	// A new partition table gives other partitions.
	table := bytes.Clone(want[:512])
	copy(table[446+16:], table[446:446+16])
	binary.LittleEndian.PutUint32(table[446+16+8:], (firstPart+partLength)/512)
	binary.LittleEndian.PutUint32(table[446+16+12:], 1<<20/512)
	copy(want, table)
	full := alignedBuffer(4096)
	copy(full, want)
	if _, err := disk.WriteAt(full, 0); err != nil {
		t.Fatal(err)
	}
	second := readFile(t, strings.TrimSuffix(m.fuseDisk(1), ".raw")+".p2.raw")
	wantSame(t, "partition 2", second, want[firstPart+partLength:][:1<<20])
}

// Shared memory that is written to.
func TestFuseWritableMapping(t *testing.T) {
	dir, disks := writableChain(t)
	changes := t.TempDir()
	m := mountWritable(t, dir, changes)
	want := bytes.Clone(disks[2])
	f := openWritable(t, m.fuseDisk(2), 0)
	mem, err := unix.Mmap(int(f.Fd()), 0, len(want)/4096*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "mapped", mem, want[:len(mem)])
	for _, off := range []int{600, 5 << 20, len(mem) - 100} {
		copy(mem[off:], "written to memory")
		copy(want[off:], "written to memory")
	}
	if err := errors.Join(unix.Msync(mem, unix.MS_SYNC), unix.Munmap(mem), f.Close()); err != nil {
		t.Fatal(err)
	}
	wantImage(t, m, 2, want)
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	wantImage(t, mountWritable(t, dir, changes), 2, want)
}

// Sixteen writers and readers at once, each in a range of its own.
func TestFuseManyWriters(t *testing.T) {
	dir, disks := writableChain(t)
	m := mountWritable(t, dir, t.TempDir())
	want := bytes.Clone(disks[0])
	const share = 300_001 // not on the grid of blocks: neighbours meet
	err := atOnce(16, func(i int) error {
		f, err := os.OpenFile(m.fuseDisk(0), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		from := 4096 + i*share
		own := want[from : from+share]
		r := rand.New(rand.NewPCG(uint64(i), 8))
		for range 40 {
			off, n := someRange(r, share)
			n = min(n, 50_000)
			newNoise(r.Uint64()).fill(own[off : off+n])
			if _, err := f.WriteAt(own[off:off+n], int64(from)+off); err != nil {
				return err
			}
			got := make([]byte, share)
			if _, err := f.ReadAt(got, int64(from)); err != nil {
				return err
			}
			if err := same(got, own); err != nil {
				return fmt.Errorf("writer %d: %w", i, err)
			}
		}
		return f.Sync()
	})
	if err != nil {
		t.Error(err)
	}
	wantImage(t, m, 0, want)
}

// The size of an image is fixed, and nothing else can be changed on the mount.
func TestFuseWritableImagesKeepTheirSize(t *testing.T) {
	dir, disks := writableChain(t)
	m := mountWritable(t, dir, t.TempDir())
	path := m.fuseDisk(0)
	f := openWritable(t, path, 0)
	_, err := f.WriteAt([]byte("x"), writableSize)
	wantErrno(t, "write behind the end", err, syscall.ENOSPC)
	if n, err := unix.Pwrite(int(f.Fd()), make([]byte, 100), writableSize-10); n != 10 || err != nil {
		t.Errorf("write across the end: %d, %v", n, err)
	}
	copy(disks[0][writableSize-10:], make([]byte, 10))
	wantErrno(t, "truncate", os.Truncate(path, 0), syscall.EPERM)
	wantErrno(t, "extend", os.Truncate(path, writableSize+1), syscall.EPERM)
	if _, err := os.OpenFile(path, os.O_RDWR|os.O_TRUNC, 0); err == nil {
		t.Error("opened with O_TRUNC")
	}
	for what, err := range map[string]error{
		"remove": os.Remove(path),
		"rename": os.Rename(path, path+"x"),
		"create": os.WriteFile(m.path("x"), nil, 0o600),
		"mkdir":  os.Mkdir(m.path("x"), 0o755),
		"chmod":  os.Chmod(path, 0o600),
	} {
		if err == nil {
			t.Errorf("%s succeeded", what)
		}
	}
	if st := statOf(t, path); st.Size != writableSize || st.Mode != syscall.S_IFREG|0o644 {
		t.Errorf("size %d, mode %o", st.Size, st.Mode)
	}
	wantImage(t, m, 0, disks[0])
}

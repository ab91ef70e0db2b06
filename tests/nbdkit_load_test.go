// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"virtnb/format"
)

// What takes many clients, or much data.

// Clients that come, read and go, in many threads at once.
func TestNbdkitManyConnections(t *testing.T) {
	const threads, each = 16, 200
	t.Parallel()
	dir := t.TempDir()
	disks := make([][]byte, 6) // more than the server keeps open
	for i := range disks {
		disks[i] = noiseDisk(256<<10, uint64(i))
		builder{level: i % 2}.mustBuild(t, mkdir(t, dir, fmt.Sprint(i))+"/vda.full.data", disks[i])
	}
	s := serve(t, "root="+dir, "cache=256k")
	before := openFiles(t, s)
	err := atOnce(threads, func(thread int) error {
		r := rand.New(rand.NewPCG(uint64(thread), 2))
		for range each {
			i := r.IntN(len(disks))
			if err := readAtRandom(s, fmt.Sprintf("%d/vda", i), disks[i], r, 2, 64<<10); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("%v\n%s", err, s.log())
	}
	if after := openFiles(t, s); after > before+2*len(disks)+threads {
		t.Errorf("the server has %d files open, before the clients %d", after, before)
	}
}

func openFiles(t *testing.T, s *nbdkit) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Restore points that have a full of large LZ4 frames in common, more of them
// than the server keeps open: what one connection left in the cache must serve
// the others when it is gone.
func TestNbdkitPointsShareLargeFrames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disks := [][]byte{noiseDisk(6<<20, 1)}
	for off := 0; off < len(disks[0]); off += blockSize {
		copy(disks[0][off+blockSize/2:off+blockSize], disks[0][off:]) // half of it compresses
	}
	name := format.Name{Disk: "vda", Level: format.Full}
	meta := builder{level: 1}.meta(name)
	meta.VirtualSize, meta.DataSize = int64(len(disks[0])), int64(len(disks[0]))
	frame, err1 := format.CompressFrame(nil, disks[0], 1)
	f, err2 := format.Create(savesetPath(dir, 0), meta, format.WriterOptions{})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	if err := errors.Join(f.Compressed(format.Extent{Length: 6 << 20}, frame), f.Commit()); err != nil {
		t.Fatal(err)
	}
	for n := range 7 {
		disks = append(disks, changed(disks[n], uint64(n)))
		addPoint(t, dir, n+1, false, disks[:n+1], disks[n+1])
	}
	s := serve(t, dir, "cache=2M")
	r := rand.New(rand.NewPCG(1, 4))
	for i := range 60 {
		n := i % len(disks)
		if err := readAtRandom(s, fmt.Sprintf("vda@virtnbdbackup.%d", n), disks[n], r, 3, 64<<10); err != nil {
			t.Fatalf("client %d: %v\n%s", i, err, s.log())
		}
	}
}

// Clients that go without saying goodbye, in the middle of a request. (Of one:
// nbdkit 1.32.5 aborts, with any plugin, where it finds by two replies at once
// that the client has gone.)
func TestNbdkitClientsVanish(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk := noiseDisk(4<<20, 7)
	builder{level: 2}.mustBuild(t, filepath.Join(dir, "vda.full.data"), disk)
	s := serve(t, dir, "cache=1M")
	err := atOnce(8, func(int) error {
		for range 25 {
			c, err := dialNBD(s.socket, "vda")
			if err != nil {
				return err
			}
			err = errors.Join(c.send(0, 0, uint32(c.size)), c.conn.Close())
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	wantSame(t, "vda", copyOf(t, s, "vda"), disk)
}

// nbdkit -s serves one client on its standard input and output.
func TestNbdkitSingle(t *testing.T) {
	t.Parallel()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "client"), os.NewFile(uintptr(fds[1]), "server")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(nbdPatience))
	var log bytes.Buffer
	cmd := nbdkitCommand("-s", plugin(t), inVectors(t, "set=03-chain"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, &log
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	c, err := newNBDClient(conn, "vda@virtnbdbackup.1")
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	disk, err := c.preadAll()
	if err := errors.Join(err, c.close(), cmd.Wait()); err != nil {
		t.Errorf("%v\n%s", err, &log)
	}
	const want = "dab92b94e489de33daab40c4b3b4885367ae6f3f576a3f7655b27948f864af48"
	if got := sha256Of(disk); got != want {
		t.Errorf("SHA-256 %s, want %s", got, want)
	}
}

// Names of exports that would lead out of the root, if they were paths, and
// others that nobody would think of.
func TestNbdkitNamesStayBelowRoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"root/inside", "outside", "root/inside/deep"} {
		builder{}.mustBuild(t, mkdir(t, dir, name)+"/vda.full.data", noiseDisk(8192, 1))
	}
	builder{}.mustBuild(t, filepath.Join(dir, "vda.full.data"), noiseDisk(8192, 1))
	builder{}.mustBuild(t, filepath.Join(dir, "root", "vda.full.data"), noiseDisk(8192, 1))
	s := serve(t, "root="+filepath.Join(dir, "root"))
	for _, name := range []string{
		"../outside/vda", "../vda", "./vda", "/vda", "//vda", "vda", ".", "..", "/", "inside/../../outside/vda",
		"inside/..//vda", "inside/deep/vda", "./inside/vda", "/inside/vda", "inside//vda", "inside/./vda",
		"inside/../outside/vda", dir + "/outside/vda", "inside/vda/", "inside/vda@../x", "inside/vda.full.data",
		"inside\x00/vda", "inside/vda\x00", "inside/vda@", "inside/@", "inside/", "inside", "inside/vda@@latest",
		"inside/vda@virtnbdbackup.0@", "Inside/vda", "inside /vda", "inside/%76da", "inside/vda\n", string(bytes.Repeat([]byte("x"), nbdMaxString)),
		string(bytes.Repeat([]byte("../"), 1000)) + "etc/vda",
	} {
		c, err := dialNBD(s.socket, name)
		var refused *nbdRefused
		switch {
		case err == nil:
			c.close()
			t.Errorf("export %q is served", name)
		case !errors.As(err, &refused):
			t.Errorf("%v, want a refusal", err)
		}
	}
	for _, name := range []string{"inside/vda", "inside/vda@latest", "inside/vda@virtnbdbackup.0"} {
		c, err := dialNBD(s.socket, name)
		if err != nil {
			t.Error(err)
			continue
		}
		c.close()
	}
}

func mkdir(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// virtnbdbackupWriter writes a full as virtnbdbackup does, with its own code:
// python3 -c ... DISK SAVESET
const virtnbdbackupWriter = `
import argparse, os, sys
from libvirtnbdbackup.common import common as lib
from libvirtnbdbackup.sparsestream import streamer, types

class Connection:
    maxRequestSize = 32 << 20
    def __init__(self, path):
        self.nbd, self.fd = self, os.open(path, os.O_RDONLY)
    def pread(self, length, offset):
        return os.pread(self.fd, length, offset)

con, size = Connection(sys.argv[1]), os.path.getsize(sys.argv[1])
disk = argparse.Namespace(target="vda", format="qcow2")
args = argparse.Namespace(compress=2, level="full",
    cpt=argparse.Namespace(name="virtnbdbackup.0", parent=""))
block = argparse.Namespace(offset=0, length=size)
kinds, stream = types.SparseStreamTypes(), streamer.SparseStream(types)
with open(sys.argv[2], "xb") as out:
    meta = stream.dumpMetadata(args, size, size, disk)
    stream.writeFrame(out, kinds.META, 0, len(meta))
    out.write(meta + kinds.TERM)
    stream.writeFrame(out, kinds.DATA, 0, size)
    total, parts = lib.writeChunk(out, block, con, "stream", args.compress)
    out.write(kinds.TERM)
    stream.writeFrame(out, kinds.STOP, 0, 0)
    stream.writeCompressionTrailer(out, [{total: parts}])
`

// Memory does not grow with the disk: cache= bounds what is kept of one in
// frames of 32 MiB whose blocks need the ones before them. What is allowed is
// for Go (a few times the cache and the segments that are being decoded) and
// for nbdkit, whose threads, 16 a connection, have buffers of 256 KiB each.
func TestNbdkitMemoryIsBounded(t *testing.T) {
	const size, allowed = 256 << 20, 160 << 20
	t.Parallel()
	dir, raw := t.TempDir(), filepath.Join(t.TempDir(), "raw")
	disk := noiseDisk(size, 8)
	for off := 0; off < size; off += blockSize { // half of each block compresses
		copy(disk[off+blockSize/2:off+blockSize], bytes.Repeat(disk[off:off+16], blockSize/32))
	}
	if err := os.WriteFile(raw, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "/usr/bin/python3", "-c", virtnbdbackupWriter, raw, filepath.Join(dir, "vda.full.data"))
	if err := os.Remove(raw); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir, "cache=8M")
	sum := sha256.New()
	if err := runTo(t, sum, os.Stderr, "nbdcopy", "--connections=4", s.uri("vda"), "-"); err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256(disk); !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Error("nbdcopy reads other bytes")
	}
	inTurn := memory(t, s, "VmHWM")
	err := atOnce(readers, func(i int) error {
		return readAtRandom(s, "vda", disk, rand.New(rand.NewPCG(uint64(i), 3)), randomReads, 256<<10)
	})
	if err != nil {
		t.Error(err)
	}
	most := memory(t, s, "VmHWM")
	t.Logf("resident: at most %d MiB after reading in turn, %d MiB after random reads, now %d MiB", inTurn>>20, most>>20, memory(t, s, "VmRSS")>>20)
	if most > allowed {
		t.Errorf("the server took %d MiB of memory, %d MiB of them for reading in turn", most>>20, inTurn>>20)
	}
}

// memory is a line of the server's status, in bytes.
func memory(t *testing.T, s *nbdkit, key string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(key + `:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no %s in %s", key, status)
	}
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Savesets that change under the server. A client that is connected gets the
// old bytes or EIO, never others; the next one gets what is there now.

const changingSize = 4 << 20

// changes are what can happen to the saveset at path; other is another saveset
// of the disk, of the same layout.
var changes = map[string]struct {
	change func(path, other string) error
	eio    bool // the old bytes are gone
	opens  bool // the next client can open it
}{
	"truncated": {func(path, other string) error { return os.Truncate(path, changingSize/2) }, true, false},
	"emptied":   {func(path, other string) error { return os.Truncate(path, 0) }, true, false},
	"overwritten": {func(path, other string) error {
		b, err := os.ReadFile(other)
		return errors.Join(err, overwrite(path, b))
	}, true, true},
	"replaced":         {func(path, other string) error { return os.Rename(other, path) }, false, true},
	"deleted":          {func(path, other string) error { return os.Remove(path) }, false, false},
	"folder moved off": {func(path, other string) error { return os.Rename(filepath.Dir(path), filepath.Dir(path)+".old") }, false, false},
}

// overwrite writes b into the file in place.
func overwrite(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Truncate(int64(len(b))), f.Close())
}

func TestNbdkitSavesetChangesWhileConnected(t *testing.T) {
	for name, c := range changes {
		for kind, level := range map[string]int{"plain": 0, "lz4": 2} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "set")
				path, other := filepath.Join(dir, "vda.full.data"), filepath.Join(t.TempDir(), "vda.full.data")
				before, after := noiseDisk(changingSize, 1), noiseDisk(changingSize, 2)
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				builder{level: level}.mustBuild(t, path, before)
				builder{level: level}.mustBuild(t, other, after)
				s := serve(t, dir, "cache=1M")
				conn, err := dialNBD(s.socket, "vda")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.close()
				if failed := readOld(t, conn, before); failed > 0 {
					t.Fatalf("%d reads failed before the change", failed)
				}
				if err := c.change(path, other); err != nil {
					t.Fatal(err)
				}
				failed := readOld(t, conn, before)
				if c.eio && failed == 0 || !c.eio && failed > 0 {
					t.Errorf("%d reads failed after the change", failed)
				}
				if c.eio {
					wantLog(t, s, "error: saveset "+path+": ")
				}
				wantNext(t, s, c.opens, after)
			})
		}
	}
}

// readOld reads the export in pieces, each of which must be as it was or fail
// with EIO, and returns how many failed.
func readOld(t *testing.T, c *nbdClient, want []byte) (failed int) {
	t.Helper()
	buf := make([]byte, 100_000)
	for off := int64(0); off < c.size; off += int64(len(buf)) {
		p := buf[:min(int64(len(buf)), c.size-off)]
		switch err := c.pread(p, off); {
		case errors.Is(err, syscall.EIO):
			failed++
		case err != nil:
			t.Fatalf("read at %d: %v", off, err)
		default:
			wantSame(t, "old content", p, want[off:][:len(p)])
		}
	}
	return failed
}

// wantNext connects anew and wants that disk, or a refusal.
func wantNext(t *testing.T, s *nbdkit, opens bool, want []byte) {
	t.Helper()
	var refused *nbdRefused
	c, err := dialNBD(s.socket, "vda")
	switch {
	case !opens && errors.As(err, &refused):
		return
	case err != nil:
		t.Fatalf("the next client: %v\n%s", err, s.log())
	}
	defer c.close()
	if !opens {
		t.Error("the next client opens what is not there")
	}
	got, err := c.preadAll()
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "new content", got, want)
}

// Overwriting it while clients read is no different.
func TestNbdkitSavesetOverwrittenDuringReads(t *testing.T) {
	for kind, level := range map[string]int{"plain": 0, "lz4": 2} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path, other := filepath.Join(dir, "vda.full.data"), filepath.Join(t.TempDir(), "vda.full.data")
			before := noiseDisk(changingSize, 3)
			builder{level: level}.mustBuild(t, path, before)
			builder{level: level}.mustBuild(t, other, noiseDisk(changingSize, 4))
			changed, err := os.ReadFile(other)
			if err != nil {
				t.Fatal(err)
			}
			s := serve(t, dir, "cache=256k")
			var reading atomic.Int32
			err = atOnce(5, func(i int) error {
				if i == 0 {
					for reading.Load() < 4 {
						time.Sleep(time.Millisecond)
					}
					return overwrite(path, changed)
				}
				return readUntilEIO(s, before, &reading)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// readUntilEIO reads until the server notices that the saveset has changed.
func readUntilEIO(s *nbdkit, want []byte, reading *atomic.Int32) error {
	c, err := dialNBD(s.socket, "vda")
	if err != nil {
		reading.Add(1)
		return err
	}
	defer c.close()
	buf := make([]byte, 64<<10)
	for n := 0; ; n++ {
		off := int64(n*len(buf)) % c.size
		err := c.pread(buf, off)
		if n == 0 {
			reading.Add(1)
		}
		if errors.Is(err, syscall.EIO) {
			return nil
		}
		if err := errors.Join(err, same(buf, want[off:][:len(buf)])); err != nil {
			return err
		}
	}
}

// A saveset that is cut while the server maps it to read its frames.
func TestNbdkitSavesetTruncatedWhileOpening(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "vda.full.data")
	disk := noiseDisk(8<<20, 5)
	for off := 0; off < len(disk); off += 2 * blockSize { // a frame each
		clear(disk[off : off+blockSize])
	}
	builder{}.mustBuild(t, path, disk)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir)
	var done atomic.Bool
	err = atOnce(5, func(i int) error {
		if i > 0 {
			return connectUntil(s, &done, disk)
		}
		defer done.Store(true)
		for n := range 60 {
			cut := int64(len(whole)) * int64(n%10) / 10
			if err := errors.Join(os.Truncate(path, cut), overwrite(path, whole)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("%v\n%s", err, s.log())
	}
	wantNext(t, s, true, disk)
}

// connectUntil opens the export again and again; each time it is refused or
// reads as it should.
func connectUntil(s *nbdkit, done *atomic.Bool, want []byte) error {
	buf := make([]byte, 64<<10)
	for n := 0; !done.Load(); n++ {
		c, err := dialNBD(s.socket, "vda")
		var refused *nbdRefused
		if errors.As(err, &refused) {
			continue
		}
		if err != nil {
			return err
		}
		off := int64(n*len(buf)) % c.size
		switch err = c.pread(buf, off); {
		case errors.Is(err, syscall.EIO):
			err = nil
		case err == nil:
			err = same(buf, want[off:][:len(buf)])
		}
		if err := errors.Join(err, c.close()); err != nil {
			return err
		}
	}
	return nil
}

// A new full in the place of the old one, as after a new beginning in the same
// folder: clients that come later must not get what is cached of the old one.
func TestNbdkitCacheKnowsTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "vda.full.data")
	var s *nbdkit
	for seed := range uint64(20) {
		next := filepath.Join(t.TempDir(), "vda.full.data")
		disk := noiseDisk(256<<10, seed)
		builder{level: 2}.mustBuild(t, next, disk)
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
		if s == nil {
			s = serve(t, dir)
		}
		wantNext(t, s, true, disk)
	}
}

// The same with a file that is overwritten in place, where neither its inode
// nor its size changes.
func TestNbdkitCacheKnowsTheContent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "vda.full.data")
	var versions, disks [4][]byte
	for i := range versions {
		disks[i] = noiseDisk(64<<10, uint64(i))
		file := filepath.Join(t.TempDir(), "vda.full.data")
		builder{level: 2}.mustBuild(t, file, disks[i])
		var err error
		if versions[i], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, versions[0], 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir)
	for n := range 100 {
		i := n % len(versions)
		if err := overwrite(path, versions[i]); err != nil {
			t.Fatal(err)
		}
		wantNext(t, s, true, disks[i])
		awaitTick(t, path)
	}
}

// awaitTick waits until the clock of the file system shows another time than
// that of a file: up to 10 ms with some kernels.
func awaitTick(t *testing.T, path string) {
	t.Helper()
	probe := filepath.Join(t.TempDir(), "probe")
	eventually(t, func() error {
		if err := os.WriteFile(probe, nil, 0o600); err != nil {
			return err
		}
		if statOf(t, probe).Mtim == statOf(t, path).Mtim {
			return errors.New("the clock of the file system stands still")
		}
		return nil
	})
}

// A link that is made and removed, as by copies of folders by hard links, is
// nothing to clients that read meanwhile.
func TestNbdkitLinksComeAndGo(t *testing.T) {
	for kind, level := range map[string]int{"plain": 0, "lz4": 2} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "vda.full.data")
			disk := noiseDisk(changingSize, 1)
			builder{level: level}.mustBuild(t, path, disk)
			s := serve(t, dir, "cache=1M")
			c, err := dialNBD(s.socket, "vda")
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			link := filepath.Join(t.TempDir(), "link")
			for range 2 {
				for _, change := range []func() error{func() error { return os.Link(path, link) }, func() error { return os.Remove(link) }} {
					time.Sleep(20 * time.Millisecond) // the clock of the file system
					if err := change(); err != nil {
						t.Fatal(err)
					}
					if failed := readOld(t, c, disk); failed > 0 {
						t.Fatalf("%d reads failed\n%s", failed, s.log())
					}
				}
			}
		})
	}
}

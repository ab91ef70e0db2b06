// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Damage that is there before anybody connects.

const flips = 250

// A flipped bit anywhere behind the metadata of a compressed full is found:
// when the export is opened, or when what it is in is read.
func TestNbdkitFlippedBits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "vda.full.data")
	disk := noiseDisk(512<<10, 1)
	for off := 0; off < len(disk); off += 64 << 10 {
		clear(disk[off : off+8<<10])
		copy(disk[off+16<<10:], bytes.Repeat([]byte("all work and no play "), 800))
	}
	builder{level: 2}.mustBuild(t, path, disk)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.Index(whole, []byte("\ndata ")) + 1
	s := serve(t, dir)
	r := rand.New(rand.NewPCG(1, 2))
	for range flips {
		at, bit := body+r.IntN(len(whole)-body), byte(1)<<r.IntN(8)
		damaged := bytes.Clone(whole)
		damaged[at] ^= bit
		if err := overwrite(path, damaged); err != nil {
			t.Fatal(err)
		}
		if err := noOtherBytes(s, disk); err != nil {
			t.Errorf("byte %d of %d with bit %#x flipped: %v", at, len(whole), bit, err)
		}
	}
	wantLog(t, s, "error: saveset "+path+": offset ")
}

// noOtherBytes reads the whole export: what can be read must be right.
func noOtherBytes(s *nbdkit, want []byte) (err error) {
	c, err := dialNBD(s.socket, "vda")
	var refused *nbdRefused
	if errors.As(err, &refused) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if c.size != int64(len(want)) {
		return fmt.Errorf("the disk has %d bytes", c.size)
	}
	buf := make([]byte, 32<<10)
	for off := int64(0); off < c.size; off += int64(len(buf)) {
		err := c.pread(buf, off)
		if err == nil {
			err = same(buf, want[off:][:len(buf)])
		}
		if err != nil && !errors.Is(err, syscall.EIO) {
			return err
		}
	}
	return nil
}

// Damage in one frame fails reading there, with a message, and nowhere else.
func TestNbdkitDamagedFrame(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "vda.full.data")
	disk := noiseDisk(1<<20, 6)
	builder{level: 2}.mustBuild(t, path, disk)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)*5/8] ^= 1 // in the third of four frames
	if err := overwrite(path, b); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir)
	c, err := dialNBD(s.socket, "vda")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	buf := make([]byte, 256<<10)
	for i := range int64(4) {
		err := c.pread(buf, i<<18)
		switch {
		case i == 2 && !errors.Is(err, syscall.EIO):
			t.Errorf("the damaged frame reads with %v", err)
		case i != 2 && err != nil:
			t.Errorf("frame %d: %v", i, err)
		case i != 2:
			wantSame(t, fmt.Sprint("frame ", i), buf, disk[i<<18:][:1<<18])
		}
	}
	wantLog(t, s, "error: saveset "+path+": offset ")
}

// Every cut of every file of a chain.
func TestNbdkitCutSavesets(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"vda.full.data", "vda.inc.virtnbdbackup.1.data", "vda.inc.virtnbdbackup.3.data"} {
		whole, err := os.ReadFile(filepath.Join(vectors(t), "03-chain", name))
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(vectors(t), "03-chain"))); err != nil {
			t.Fatal(err)
		}
		s := serve(t, dir)
		step := max(1, len(whole)/40)
		for n := 0; n < len(whole); n += step {
			if err := overwrite(filepath.Join(dir, name), whole[:n]); err != nil {
				t.Fatal(err)
			}
			var refused *nbdRefused
			if _, err := dialNBD(s.socket, "vda"); !errors.As(err, &refused) {
				t.Errorf("%s cut to %d bytes: %v, want a refusal", name, n, err)
			}
		}
		wantLog(t, s, filepath.Join(dir, name)+": offset ")
	}
}

// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"virtnb/internal/host"
	"virtnb/internal/qemu"
)

// makeDirect makes an image with options and fills it without a server.
func makeDirect(path string, m *memory, o qemu.CreateOptions) error {
	ctx := context.Background()
	o.Format, o.Size = "qcow2", m.Size()
	if err := qemu.Create(ctx, host.Local{}, path+partialSuffix, o); err != nil {
		return err
	}
	d, err := openDirect(path, m)
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := copyImage(ctx, m, d, func(int64) {}); err != nil {
		return err
	}
	return d.Commit(ctx)
}

// Commit has qemu-img check the image; here is its content, as QEMU reads it.
func TestDirectImageIsWhatQEMUReads(t *testing.T) {
	dir := t.TempDir()
	path, flat := filepath.Join(dir, "image"), filepath.Join(dir, "flat")
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		if n++; n > 40 { // each runs three programs
			return
		}
		m := drawMemory(t)
		m.bytes = m.bytes[:len(m.bytes)/512*512]
		o := qemu.CreateOptions{ClusterSize: rapid.SampledFrom([]int64{512, 1024, 4096, 64 << 10, 2 << 20}).Draw(t, "cluster")}
		if rapid.Bool().Draw(t, "old") {
			o.Compat = "0.10"
		} else {
			o.RefcountBits = rapid.SampledFrom([]int{1, 2, 4, 8, 16, 32, 64}).Draw(t, "refcount bits")
			o.LazyRefcounts = rapid.Bool().Draw(t, "lazy")
		}
		defer os.Remove(path)
		defer os.Remove(path + partialSuffix)
		err := makeDirect(path, m, o)
		if errors.Is(err, errNotPlain) && o.ClusterSize == 512 && o.RefcountBits >= 32 {
			return // the refcount table is too small
		}
		if err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, flat).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if got, err := os.ReadFile(flat); err != nil || !bytes.Equal(got, m.bytes) {
			t.Fatalf("the image differs: %v", err)
		}
	})
}

// An image with many clusters needs more refcount blocks than qemu-img made.
func TestDirectImageWithManyRefcountBlocks(t *testing.T) {
	m := &memory{unit: 512, bytes: bytes.Repeat([]byte{1, 2, 3}, 3<<20), data: make([]bool, 9<<20/512), fail: -1}
	for i := range m.data {
		m.data[i] = true
	}
	for _, bits := range []int{8, 16, 64} {
		path := filepath.Join(t.TempDir(), fmt.Sprint(bits))
		if err := makeDirect(path, m, qemu.CreateOptions{ClusterSize: 4096, RefcountBits: bits}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		// A refcount block counts 4096 * 8 / bits clusters.
		if blocks := info.Size() / 4096 * int64(bits) / 32768; bits == 64 && blocks < 4 {
			t.Errorf("%d refcount blocks are no test", blocks)
		}
	}
}

// What is not plain is left to qemu-nbd.
func TestDirectImageIsPlain(t *testing.T) {
	m := &memory{unit: 512, bytes: make([]byte, 1<<20), data: make([]bool, 2048), fail: -1}
	dir := t.TempDir()
	for what, o := range map[string]qemu.CreateOptions{
		"subclusters":  {ExtendedL2: true, ClusterSize: 128 << 10},
		"data file":    {DataFile: filepath.Join(dir, "data")},
		"preallocated": {Preallocation: "metadata"},
	} {
		if err := makeDirect(filepath.Join(dir, what), m, o); !errors.Is(err, errNotPlain) {
			t.Errorf("%s: %v", what, err)
		}
	}
	huge := &memory{unit: 512, bytes: make([]byte, 10<<20), data: make([]bool, 10<<20/512), fail: -1}
	for i := range huge.data {
		huge.data[i] = true
	}
	if err := makeDirect(filepath.Join(dir, "huge"), huge, qemu.CreateOptions{ClusterSize: 512}); !errors.Is(err, errNotPlain) {
		t.Errorf("a refcount table that is too small: %v", err)
	}
}

// The check by qemu-img finds an image that is wrong.
func TestDirectImageIsChecked(t *testing.T) {
	m := &memory{unit: 512, bytes: bytes.Repeat([]byte{1}, 1<<20), data: make([]bool, 2048), fail: -1}
	for i := range m.data {
		m.data[i] = true
	}
	path := filepath.Join(t.TempDir(), "image")
	ctx := t.Context()
	if err := qemu.Create(ctx, host.Local{}, path+partialSuffix, qemu.CreateOptions{Format: "qcow2", Size: m.Size()}); err != nil {
		t.Fatal(err)
	}
	d, err := openDirect(path, m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := copyImage(ctx, m, d, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	d.next.Add(-3) // so that clusters in use are not counted
	if err := d.Commit(ctx); err == nil {
		t.Error("a wrong image got its name")
	}
	d.Abort()
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package qemu_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"virtnb/internal/host"
	"virtnb/internal/qemu"
)

func TestSetDataFile(t *testing.T) {
	onHosts(t, func(t *testing.T, h host.Host) {
		dir := t.TempDir()
		name, now, later := oddName(dir, ".qcow2"), oddName(dir, ".data.partial"), oddName(dir, ".data")
		check(t, qemu.Create(t.Context(), h, name, qemu.CreateOptions{Format: "qcow2", Size: 1 << 20, DataFile: now}))
		check(t, qemu.SetDataFile(t.Context(), h, name, "qcow2", later, now))
		check(t, os.Rename(now, later))
		_, info, err := qemu.Info(t.Context(), h, name, "qcow2")
		check(t, err)
		if got := info.Specific.QCOW2.DataFile; got != later {
			t.Errorf("data file %q, want %q", got, later)
		}
		check(t, qemu.Check(t.Context(), h, name, "qcow2"))
	})
}

func TestShrink(t *testing.T) {
	onHosts(t, func(t *testing.T, h host.Host) {
		name := oddName(t.TempDir(), ".qcow2")
		want := makeQCOW2(t, name, 2)
		check(t, qemu.Shrink(t.Context(), h, name, "qcow2", 1<<20+512))
		flat := filepath.Join(t.TempDir(), "flat")
		out, err := exec.Command("qemu-img", "convert", "-f", "qcow2", "-O", "raw", name, flat).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		got, err := os.ReadFile(flat)
		check(t, err)
		if !bytes.Equal(got, want[:1<<20+512]) {
			t.Errorf("%d bytes, not the first %d", len(got), 1<<20+512)
		}
	})
}

func TestCheck(t *testing.T) {
	name := filepath.Join(t.TempDir(), "image")
	makeQCOW2(t, name, 1)
	check(t, qemu.Check(t.Context(), host.Local{}, name, "qcow2"))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	_, err = f.WriteAt(make([]byte, 8), 2<<16) // the refcounts of the first clusters
	check(t, err)
	if err := qemu.Check(t.Context(), host.Local{}, name, "qcow2"); err == nil {
		t.Error("no error for an image without reference counts")
	}
}

// What is written without flushes in between is all there after Stop.
func TestServeUnsafe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "image")
	makeQCOW2(t, name, 4)
	s, err := qemu.ServeWritable(t.Context(), host.Local{}, qemu.Export{Path: name, Format: "qcow2", Name: "x", Unsafe: true})
	check(t, err)
	tool(t, "qemu-io", "-f", "raw", "-c", "write -P 0x5a 1M 1M", s.URI(""))
	check(t, s.Stop())
	check(t, qemu.Check(t.Context(), host.Local{}, name, "qcow2"))
	tool(t, "qemu-io", "-f", "qcow2", "-r", "-c", "read -P 0x5a 1M 1M", name)
}

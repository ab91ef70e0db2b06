// SPDX-License-Identifier: Apache-2.0

package qemu_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"virtnb/internal/host"
	"virtnb/internal/host/hosttest"
	"virtnb/internal/qemu"
)

// onHosts runs a test on this machine and over SSH.
func onHosts(t *testing.T, test func(t *testing.T, h host.Host)) {
	t.Run("local", func(t *testing.T) { test(t, host.Local{}) })
	t.Run("ssh", func(t *testing.T) { test(t, hosttest.Start(t).Connect()) })
}

// oddName is a path that a shell, QEMU or an option list would misread.
func oddName(dir, ext string) string { return filepath.Join(dir, "nbd:a b,c='$(x)'"+ext) }

func TestInfoKeepsWhatQemuImgSays(t *testing.T) {
	onHosts(t, func(t *testing.T, h host.Host) {
		name := oddName(t.TempDir(), ".qcow2")
		want := qemu.CreateOptions{Format: "qcow2", Size: 3 << 20, Compat: "1.1", ClusterSize: 32 << 10, LazyRefcounts: true, RefcountBits: 8,
			ExtendedL2: true, CompressionType: "zstd"}
		check(t, qemu.Create(t.Context(), h, name, want))
		check(t, qemu.BitmapAdd(t.Context(), h, name, "qcow2", "virtnbdbackup.0", 0))
		raw, info, err := qemu.Info(t.Context(), h, name, "qcow2")
		check(t, err)
		out, err := exec.Command("qemu-img", "info", name, "--output", "json", "--force-share").Output()
		check(t, err)
		if !bytes.Equal(raw, bytes.TrimSpace(out)) {
			t.Errorf("got %s\nwant %s", raw, out)
		}
		if got := info.OptionsLike(3 << 20); got != want {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
		bitmap, ok := info.Bitmap("virtnbdbackup.0")
		if !ok || bitmap.InUse() || !bitmap.Enabled() || bitmap.Granularity != 32<<10 {
			t.Errorf("bitmap: %v %+v", ok, bitmap)
		}
		if _, ok := info.Bitmap("virtnbdbackup.1"); ok {
			t.Error("a bitmap that is not there")
		}
	})
}

// TestCreateLike makes an image of each kind, and one like it.
func TestCreateLike(t *testing.T) {
	dir := t.TempDir()
	for name, o := range map[string]qemu.CreateOptions{
		"default":       {Format: "qcow2", Size: 1 << 20},
		"old":           {Format: "qcow2", Size: 1 << 20, Compat: "0.10"},
		"data,file":     {Format: "qcow2", Size: 1 << 20, DataFile: oddName(dir, ".data"), DataFileRaw: true},
		"raw":           {Format: "raw", Size: 12345 * 512},
		"preallocation": {Format: "qcow2", Size: 1 << 20, Preallocation: "full", ClusterSize: 4096},
		"empty":         {Format: "qcow2"},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := filepath.Join(dir, name+".1"), filepath.Join(dir, name+".2")
			check(t, qemu.Create(t.Context(), host.Local{}, first, o))
			raw, info, err := qemu.Info(t.Context(), host.Local{}, first, o.Format)
			check(t, err)
			if info.VirtualSize != o.Size || info.Format != o.Format || info.Specific.QCOW2.DataFile != o.DataFile {
				t.Errorf("got %s", raw)
			}
			if o.Preallocation == "full" && info.ActualSize < o.Size {
				t.Errorf("%d bytes are there", info.ActualSize)
			}
			like := info.OptionsLike(o.Size)
			if like.DataFile != "" {
				like.DataFile += ".2"
			}
			check(t, qemu.Create(t.Context(), host.Local{}, second, like))
			_, copied, err := qemu.Info(t.Context(), host.Local{}, second, o.Format)
			check(t, err)
			again := copied.OptionsLike(o.Size)
			if again != like {
				t.Errorf("got %+v\nwant %+v", again, like)
			}
		})
	}
}

func TestCreateKeepsWhatIsThere(t *testing.T) {
	onHosts(t, func(t *testing.T, h host.Host) {
		dir := t.TempDir()
		there, free := filepath.Join(dir, "there"), filepath.Join(dir, "free")
		check(t, os.WriteFile(there, []byte("mine"), 0o600))
		o := qemu.CreateOptions{Format: "qcow2", Size: 1 << 20}
		if err := qemu.Create(t.Context(), h, there, o); !errors.Is(err, fs.ErrExist) {
			t.Errorf("got %v", err)
		}
		o.DataFile = there
		if err := qemu.Create(t.Context(), h, free, o); !errors.Is(err, fs.ErrExist) {
			t.Errorf("got %v", err)
		}
		o = qemu.CreateOptions{Format: "qcow2", Size: 1 << 20, ClusterSize: 3}
		if err := qemu.Create(t.Context(), h, free, o); err == nil || !strings.Contains(err.Error(), "luster") {
			t.Errorf("got %v", err)
		}
		o = qemu.CreateOptions{Format: "qcow2", Size: 1 << 20, DataFile: filepath.Join(dir, "no", "folder")}
		if err := qemu.Create(t.Context(), h, free, o); err == nil {
			t.Error("made an image with its data in a folder that is not there")
		}
		wantNames(t, dir, "there")
		if text, _ := os.ReadFile(there); string(text) != "mine" {
			t.Errorf("now it holds %q", text)
		}
	})
}

func TestInfoFailures(t *testing.T) {
	onHosts(t, func(t *testing.T, h host.Host) {
		name := filepath.Join(t.TempDir(), "image")
		if _, _, err := qemu.Info(t.Context(), h, name, ""); err == nil || !strings.Contains(err.Error(), "No such file") {
			t.Errorf("got %v", err)
		}
		check(t, os.WriteFile(name, make([]byte, 1024), 0o600))
		if _, _, err := qemu.Info(t.Context(), h, name, "qcow2"); err == nil || !strings.Contains(err.Error(), "not in qcow2 format") {
			t.Errorf("got %v", err)
		}
	})
}

func TestParseInfo(t *testing.T) {
	old := `{"virtual-size": 1048576, "filename": "x", "cluster-size": 65536, "format": "qcow2", "actual-size": 200704,
		"format-specific": {"type": "qcow2", "data": {"compat": "1.1", "lazy-refcounts": true}}, "dirty-flag": false}`
	info, err := qemu.ParseInfo([]byte(old))
	check(t, err)
	want := qemu.CreateOptions{Format: "qcow2", Size: 5, ClusterSize: 65536, Compat: "1.1", LazyRefcounts: true}
	if got := info.OptionsLike(5); got != want {
		t.Errorf("got %+v", got)
	}
	for _, other := range []string{`{"format": "qcow2"}`, `{"format": "vmdk", "format-specific": {"type": "vmdk", "data": {"compat": 7}}}`} {
		if _, err := qemu.ParseInfo([]byte(other)); err != nil {
			t.Errorf("%s: %v", other, err)
		}
	}
	for _, bad := range []string{"", "{", "[]", `{"virtual-size": "x"}`} {
		if _, err := qemu.ParseInfo([]byte(bad)); err == nil {
			t.Errorf("%q is no error", bad)
		}
	}
}

func TestChain(t *testing.T) {
	dir := t.TempDir()
	base, top := filepath.Join(dir, "base.raw"), filepath.Join(dir, "top.qcow2")
	makeData(t, base, 2)
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", top).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	chain, err := qemu.Chain(t.Context(), host.Local{}, top, "qcow2")
	check(t, err)
	if len(chain) != 2 || chain[0].FullBackingFile != base || chain[0].BackingFile != "base.raw" || chain[0].BackingFormat != "raw" || chain[1].Filename != base {
		t.Errorf("got %+v", chain)
	}
}

func TestBitmaps(t *testing.T) {
	onHosts(t, func(t *testing.T, h host.Host) {
		name := oddName(t.TempDir(), ".qcow2")
		ctx := t.Context()
		check(t, qemu.Create(ctx, h, name, qemu.CreateOptions{Format: "qcow2", Size: 1 << 20}))
		check(t, qemu.BitmapAdd(ctx, h, name, "qcow2", "a", 0))
		check(t, qemu.BitmapAdd(ctx, h, name, "qcow2", "-b", 4096))
		write(t, name, "write -P 1 0 64k")
		check(t, qemu.BitmapDisable(ctx, h, name, "qcow2", "a"))
		check(t, qemu.BitmapAdd(ctx, h, name, "qcow2", "c", 0))
		write(t, name, "write -P 1 256k 64k")
		check(t, qemu.BitmapMerge(ctx, h, name, "qcow2", "c", "a"))
		check(t, qemu.BitmapRemove(ctx, h, name, "qcow2", "c"))
		if got := dirty(t, name, "a"); got != "0+65536 262144+65536" {
			t.Errorf("bitmap a: %s", got)
		}
		check(t, qemu.BitmapEnable(ctx, h, name, "qcow2", "a"))
		_, info, err := qemu.Info(ctx, h, name, "qcow2")
		check(t, err)
		var got []string
		for _, b := range info.Specific.QCOW2.Bitmaps {
			got = append(got, fmt.Sprintf("%s %d %v", b.Name, b.Granularity, b.Enabled()))
		}
		if want := []string{"a 65536 true", "-b 4096 true"}; !reflect.DeepEqual(got, want) {
			t.Errorf("bitmaps: %q", got)
		}
		for what, err := range map[string]error{
			"add of one that is there": qemu.BitmapAdd(ctx, h, name, "qcow2", "a", 0),
			"removal of none":          qemu.BitmapRemove(ctx, h, name, "qcow2", "c"),
			"merge of none":            qemu.BitmapMerge(ctx, h, name, "qcow2", "c", "a"),
		} {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// write has qemu-io change an image.
func write(t *testing.T, name, command string) {
	t.Helper()
	out, err := exec.Command("qemu-io", "-f", "qcow2", "-c", command, "file:"+name).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-io: %v: %s", err, out)
	}
}

// makeData makes a raw image of that many MiB with data where neighbours
// differ, a hole, and
// a quarter that can be compressed.
func makeData(t *testing.T, name string, mib int) []byte {
	t.Helper()
	data := make([]byte, mib<<20)
	rand.NewChaCha8([32]byte{byte(mib)}).Read(data)
	clear(data[len(data)/2:][:len(data)/4])
	for i := len(data) / 4 * 3; i < len(data); i++ {
		data[i] = byte(i>>12)%250 + 1
	}
	check(t, os.WriteFile(name, data, 0o600))
	return data
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if strings.Join(names, " ") != strings.Join(want, " ") {
		t.Errorf("%s has %q, want %q", dir, names, want)
	}
}

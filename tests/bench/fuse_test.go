// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"virtnb/format"
)

// TestMain is also the server of the ceiling, as main is.
func TestMain(m *testing.M) {
	if path := os.Getenv(ceilingEnv); path != "" {
		if err := serveCeiling(path, os.Args[1]); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// mountedDisk is a small disk, and a bench that mounts it.
func mountedDisk(t *testing.T) (*bench, *disk) {
	t.Helper()
	virtnb, err := filepath.Abs("../../bin/virtnb")
	if err != nil {
		t.Fatal(err)
	}
	extents := func(int) []format.Extent { return []format.Extent{{Start: 4 << 20, Length: 8 << 20}} }
	d, err := newDisk(filepath.Join(t.TempDir(), "disk"), 16<<20+page, extents, lz4)
	if err := errors.Join(err, d.grow(t.Context(), 2)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wantNothingMounted(t, d.dir) })
	return &bench{virtnb: virtnb}, d
}

func wantNothingMounted(t *testing.T, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("below %s is something mounted, or %v", dir, err)
	}
}

// mountedParties are those that need no program but what the tests need anyway.
var mountedParties = []string{"virtnb", "flat", "nbdfuse", "ceiling"}

// TestPartiesServeTheDisk: all have the same bytes, and leave nothing behind.
func TestPartiesServeTheDisk(t *testing.T) {
	b, d := mountedDisk(t)
	ps, err := b.startParties(t.Context(), d, mountedParties...)
	if err != nil {
		t.Fatal(err)
	}
	defer ps.stop()
	if err := ps.verify(t.Context(), d); err != nil {
		t.Error(err)
	}
	f, err := os.OpenFile(d.raw, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), d.size-1); err != nil {
		t.Fatal(err)
	}
	if err := ps[:1].verify(t.Context(), d); err == nil {
		t.Error("a wrong byte at the end was not seen")
	}
	ps.stop()
	for _, p := range ps.processes() {
		if err := p.cmd.Process.Signal(syscall.Signal(0)); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("%v: %v", p.cmd.Args, err)
		}
	}
}

// TestPartiesEndWhenInterrupted: also those that were just being started.
func TestPartiesEndWhenInterrupted(t *testing.T) {
	b, d := mountedDisk(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, name := range []string{"virtnb", "nbdfuse", "ceiling"} {
		if _, err := b.startParties(ctx, d, "flat", name); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		wantNothingMounted(t, d.dir)
	}
}

// TestDropForgetsPages: what is read after it comes from the server.
func TestDropForgetsPages(t *testing.T) {
	b, d := mountedDisk(t)
	ps, err := b.startParties(t.Context(), d, "virtnb")
	if err != nil {
		t.Fatal(err)
	}
	defer ps.stop()
	if _, err := os.ReadFile(ps[0].path); err != nil {
		t.Fatal(err)
	}
	read := resident(t, ps[0].path)
	if err := ps[0].drop(); err != nil {
		t.Fatal(err)
	}
	if left := resident(t, ps[0].path); read < int(d.size/page)/2 || left > read/10 {
		t.Errorf("the kernel has %d pages of the file, and %d after it was to forget them", read, left)
	}
}

// resident counts the pages of a file that the kernel has.
func resident(t *testing.T, path string) (n int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	pages := make([]byte, (len(m)+os.Getpagesize()-1)/os.Getpagesize())
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range pages {
		n += int(p & 1)
	}
	return n
}

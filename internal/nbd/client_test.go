// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestExtentsOfImage compares maps and content of random images.
func TestExtentsOfImage(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, cluster := range []int64{512, 4096, 65536} {
		const size = 8<<20 + 3*512
		image := qcow2(t, size, fmt.Sprintf("cluster_size=%d", cluster), writes(r, 100, size, 512))
		c := connect(t, qemuNBD(t, image), Options{Contexts: []string{Allocation}, Connections: 4})
		if c.Size() != size || !c.ReadOnly() || !c.Has(Allocation) {
			t.Errorf("size %d, read-only %v, map %v", c.Size(), c.ReadOnly(), c.Has(Allocation))
		}
		if got, want := collect(t, c, Query{Allocation: true}), mapped(t, image); !slices.Equal(got, want) {
			t.Errorf("cluster %d: extents are\n%v\nwant\n%v", cluster, got, want)
		}
		want := content(t, image)
		wantRead(t, c, Query{Allocation: true}, want)
		wantRead(t, c, Query{}, want)
		got := make([]byte, 1000)
		must(t, c.ReadAt(t.Context(), got, 3000))
		if !bytes.Equal(got, want[3000:4000]) {
			t.Error("ReadAt reads something else")
		}
	}
}

// TestExtentsIncremental: what is dirty is told, data or zero as it is now.
func TestExtentsIncremental(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const size, grain = 16 << 20, 65536
	image := qcow2(t, size, "", writes(r, 60, size, 4096))
	before := content(t, image)
	run(t, "qemu-img", "bitmap", "--add", "-g", "65536", image, "changes")
	qemuIO(t, image, writes(r, 40, size, 4096))
	after := content(t, image)
	changes := DirtyBitmap + "changes"
	c := connect(t, qemuNBD(t, image, "-B", "changes"), Options{Contexts: []string{changes, Allocation}, Connections: 2})
	for _, q := range []Query{{Bitmap: changes}, {Bitmap: changes, Allocation: true}} {
		patched := slices.Clone(before)
		zeroes := 0
		for p, err := range c.Read(t.Context(), c.Extents(t.Context(), q), ReadOptions{}) {
			must(t, err)
			if p.Start%grain != 0 && p.Of.Start == p.Start && !p.Zero && !q.Allocation {
				t.Errorf("extent at %d", p.Start)
			}
			if p.Zero {
				zeroes++
				clear(patched[p.Start:p.End()])
			} else {
				copy(patched[p.Start:p.End()], p.Data)
			}
		}
		if !bytes.Equal(patched, after) {
			t.Errorf("%+v: the disk before with the changes is not the disk after", q)
		}
		if (zeroes > 0) != q.Allocation {
			t.Errorf("%+v: %d zero extents", q, zeroes)
		}
	}
}

// TestExtentsMany: more extents than QEMU tells in an answer, and contexts that
// end at different places.
func TestExtentsMany(t *testing.T) {
	const size, cluster = 70 << 20, 512
	image := qcow2(t, size, "cluster_size=512", "")
	// Fragments: every second cluster is written, through one raw file.
	raw := filepath.Join(t.TempDir(), "raw")
	disk := make([]byte, size)
	for off := 0; off < size-cluster; off += 2 * cluster {
		disk[off] = byte(1 + off/1024%255)
	}
	must(t, os.WriteFile(raw, disk, 0o600))
	run(t, "qemu-img", "convert", "-n", "-S", "512", "-f", "raw", "-O", "qcow2", raw, image)
	run(t, "qemu-img", "bitmap", "--add", "-g", "512", image, "changes")
	// A few dirty blocks: the bitmap covers far more in an answer.
	qemuIO(t, image, "write -P 7 1024 512\nwrite -P 8 73399808 512\nwrite -z 2048 512\n")
	changes := DirtyBitmap + "changes"
	c := connect(t, qemuNBD(t, image, "-B", "changes"), Options{Contexts: []string{changes, Allocation}})
	got := collect(t, c, Query{Allocation: true})
	if len(got) < 140_000 {
		t.Fatalf("%d extents only", len(got))
	}
	if want := mapped(t, image); !slices.Equal(got, want) {
		t.Errorf("%d extents are not the %d that qemu-img tells", len(got), len(want))
	}
	dirty := fmt.Sprint(collect(t, c, Query{Bitmap: changes, Allocation: true}))
	if want := "[data 1024+512 zero 2048+512 data 73399808+512]"; dirty != want {
		t.Errorf("dirty is %s, want %s", dirty, want)
	}
	disk[1024], disk[2048] = 7, 0
	copy(disk[1024:], bytes.Repeat([]byte{7}, 512))
	copy(disk[73399808:], bytes.Repeat([]byte{8}, 512))
	var read []byte
	for p, err := range c.Read(t.Context(), c.Extents(t.Context(), Query{Allocation: true}), ReadOptions{}) {
		must(t, err)
		if p.Zero {
			p.Data = make([]byte, p.Length)
		}
		read = append(read, p.Data...)
	}
	if !bytes.Equal(read, disk) {
		t.Error("the disk reads as something else")
	}
}

func TestContextMissing(t *testing.T) {
	socket := qemuNBD(t, qcow2(t, 1<<20, "", ""))
	_, err := Connect(t.Context(), Options{Socket: socket, Export: "disk", Wait: patience, Contexts: []string{Allocation, bitmap}})
	var missing *ContextError
	if !errors.As(err, &missing) || missing.Context != bitmap ||
		!strings.Contains(err.Error(), `export "disk" of the NBD server at `+socket+" has no dirty bitmap backup-sda") {
		t.Errorf("error is %v", err)
	}
	c := connect(t, socket, Options{Contexts: []string{Allocation}})
	for _, err := range c.Extents(t.Context(), Query{Bitmap: bitmap}) {
		if !errors.As(err, &missing) {
			t.Errorf("error is %v", err)
		}
	}
}

// TestNoAllocation: a server that maps nothing is all data.
func TestNoAllocation(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	process(t, "nbdkit", "-f", "--no-sr", "-U", socket, "pattern", "3M")
	c, err := Connect(t.Context(), Options{Socket: socket, Wait: patience, Contexts: []string{Allocation}})
	must(t, err)
	defer c.Close()
	if got := fmt.Sprint(collect(t, c, Query{Allocation: true})); c.Has(Allocation) || got != "[data 0+3145728]" {
		t.Errorf("map is %s", got)
	}
}

// TestConnectWaits for a server that comes later.
func TestConnectWaits(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	image := qcow2(t, 1<<20, "", "")
	timer := time.AfterFunc(300*time.Millisecond, func() {
		process(t, "qemu-nbd", "-r", "-t", "-k", socket, "-x", "disk", "-f", "qcow2", image)
	})
	defer timer.Stop()
	connect(t, socket, Options{})
}

func TestConnectFails(t *testing.T) {
	nobody := filepath.Join(t.TempDir(), "s")
	_, err := Connect(t.Context(), Options{Socket: nobody, Export: "sda", Wait: 200 * time.Millisecond})
	if !contains(err, `export "sda" of the NBD server at `+nobody, "No such file", "gave up after 200ms") {
		t.Errorf("no server: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the user said so"))
	if _, err := Connect(ctx, Options{Socket: nobody}); !contains(err, "the user said so") {
		t.Errorf("cancelled: %v", err)
	}
	socket := qemuNBD(t, qcow2(t, 1<<20, "", ""))
	if _, err := Connect(t.Context(), Options{Socket: socket, Export: "sdb", Wait: patience}); !contains(err, `export "sdb"`, "the server has no such export") {
		t.Errorf("no such export: %v", err)
	}
	mute, silence := silenced(t, socket)
	silence()
	if _, err := Connect(t.Context(), Options{Socket: mute, Wait: 300 * time.Millisecond}); !contains(err, mute, "gave up") {
		t.Errorf("a server that says nothing: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			c.Close()
		}
	}()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	if _, err := Connect(t.Context(), Options{Host: host, Port: port, Wait: patience}); !contains(err, "127.0.0.1:"+port) {
		t.Errorf("no NBD server: %v", err)
	}
}

// cancelled cancels a read that the server does not answer.
func cancelled(t *testing.T, c *Client) {
	t.Helper()
	cause := errors.New("the user said so")
	ctx, cancel := context.WithCancelCause(t.Context())
	timer := time.AfterFunc(300*time.Millisecond, func() { cancel(cause) })
	defer timer.Stop()
	if err := c.ReadAt(ctx, make([]byte, 4096), 0); !errors.Is(err, cause) {
		t.Errorf("error is %v", err)
	}
}

func contains(err error, parts ...string) bool {
	if err == nil {
		return false
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			return false
		}
	}
	return true
}

func TestOptionsRefused(t *testing.T) {
	dir := t.TempDir()
	for want, o := range map[string]Options{
		"one of a URI, a socket and a host":    {},
		"a URI, a socket and a host is needed": {Socket: "s", Host: "h"},
		"needs a folder with certificates":     {URI: "nbds://host"},
		`"x" is one too many`:                  {URI: "nbd://host/y", Export: "x"},
		"the certificate of the CA":            {Host: "h", TLS: &TLS{Dir: dir, VerifyPeer: true}},
		"has to be given, to verify it":        {Socket: "s", TLS: &TLS{Dir: dir, VerifyPeer: true}},
	} {
		if _, err := Connect(t.Context(), o); !contains(err, want) {
			t.Errorf("%+v: error is %v, want one with %q", o, err, want)
		}
	}
}

// TestURI reaches the same disk; a plain one is refused where TLS is wanted.
func TestURI(t *testing.T) {
	socket := qemuNBD(t, qcow2(t, 1<<20, "", ""))
	uri := "nbd+unix:///disk?socket=" + socket
	c, err := Connect(t.Context(), Options{URI: uri, Wait: patience})
	must(t, err)
	if c.Size() != 1<<20 {
		t.Errorf("size is %d", c.Size())
	}
	must(t, c.Close())
	if _, err := Connect(t.Context(), Options{URI: uri, TLS: &TLS{Dir: t.TempDir()}, Wait: patience}); err == nil {
		t.Error("connected without TLS")
	}
}

// TestCancelBlockedRead: the server went silent; ctx frees the reader.
func TestCancelBlockedRead(t *testing.T) {
	socket := qemuNBD(t, qcow2(t, 64<<20, "", "write -P 1 0 64M"))
	for name, read := range map[string]func(context.Context, *Client) error{
		"ReadAt": func(ctx context.Context, c *Client) error { return c.ReadAt(ctx, make([]byte, 1<<20), 0) },
		"Read": func(ctx context.Context, c *Client) error {
			for _, err := range c.Read(ctx, c.Extents(ctx, Query{}), ReadOptions{Memory: 4 << 20}) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"Extents": func(ctx context.Context, c *Client) error {
			for _, err := range c.Extents(ctx, Query{Allocation: true}) {
				if err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			path, silence := silenced(t, socket)
			c, err := Connect(t.Context(), Options{Socket: path, Export: "disk", Wait: patience, Contexts: []string{Allocation}})
			must(t, err)
			silence()
			cause := errors.New("the user said so")
			ctx, cancel := context.WithCancelCause(t.Context())
			timer := time.AfterFunc(300*time.Millisecond, func() { cancel(cause) })
			defer timer.Stop()
			if err := read(ctx, c); !errors.Is(err, cause) {
				t.Errorf("error is %v", err)
			}
			if err := c.ReadAt(t.Context(), make([]byte, 1), 0); !errors.Is(err, cause) {
				t.Errorf("error afterwards is %v", err)
			}
			must(t, c.Close())
			wantGoroutines(t, before+1) // that of the socket
		})
	}
}

// wantGoroutines waits until there are no more than n.
func wantGoroutines(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(patience); runtime.NumGoroutine() > n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, want %d:\n%s", runtime.NumGoroutine(), n, buf[:runtime.Stack(buf, true)])
		}
	}
}

// TestServerDies: everything in flight fails with an error that names it.
func TestServerDies(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	image := qcow2(t, 64<<20, "", "write -P 1 0 64M")
	server := process(t, "qemu-nbd", "-r", "-t", "-e", "4", "-k", socket, "-x", "disk", "-f", "qcow2", image)
	c := connect(t, socket, Options{Contexts: []string{Allocation}, Connections: 4})
	n := 0
	var last error
	for _, err := range c.Read(t.Context(), c.Extents(t.Context(), Query{Allocation: true}), ReadOptions{Request: 64 << 10, Memory: 256 << 10}) {
		if last = err; err != nil {
			break
		}
		if n++; n == 10 {
			must(t, server.Signal(syscall.SIGKILL))
		}
	}
	if !contains(last, `export "disk" of the NBD server at `+socket, "connection lost") || n >= 1024 {
		t.Errorf("after %d pieces: %v", n, last)
	}
}

// TestServerError: a read that the server refuses fails alone.
func TestServerError(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	process(t, "nbdkit", "-f", "-U", socket, "--filter=error", "memory", "1M", "error-pread=ENOSPC", "error-pread-rate=1")
	c := connect(t, socket, Options{})
	err := c.ReadAt(t.Context(), make([]byte, 4096), 8192)
	if !errors.Is(err, syscall.ENOSPC) || !contains(err, "read of 4096 bytes at offset 8192") {
		t.Errorf("error is %v", err)
	}
	must(t, c.WriteAt(t.Context(), make([]byte, 4096), 0))
}

// TestWrite changes a disk and reads it back.
func TestWrite(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	process(t, "nbdkit", "-f", "-U", socket, "memory", "1M")
	c := connect(t, socket, Options{Contexts: []string{Allocation}, Connections: 3})
	p := bytes.Repeat([]byte("x"), 192<<10)
	must(t, c.WriteAt(t.Context(), p, 64<<10))
	must(t, c.Zero(t.Context(), 128<<10, 64<<10))
	must(t, c.Flush(t.Context()))
	want := make([]byte, 1<<20)
	copy(want[64<<10:], p)
	clear(want[128<<10 : 192<<10])
	wantRead(t, c, Query{Allocation: true}, want)
	if got := fmt.Sprint(collect(t, c, Query{Allocation: true})); got != "[zero 0+65536 data 65536+65536 zero 131072+65536 data 196608+65536 zero 262144+786432]" {
		t.Errorf("map is %s", got)
	}
	if err := c.WriteAt(t.Context(), p, 1<<20); !contains(err, "write of 196608 bytes at offset 1048576") {
		t.Errorf("behind the end: %v", err)
	}
}

// TestClosed: what comes after Close fails, and what waits does.
func TestClosed(t *testing.T) {
	path, silence := silenced(t, qemuNBD(t, qcow2(t, 1<<20, "", "")))
	c, err := Connect(t.Context(), Options{Socket: path, Export: "disk", Wait: patience})
	must(t, err)
	silence()
	failed := make(chan error)
	go func() { failed <- c.ReadAt(context.Background(), make([]byte, 4096), 0) }()
	time.Sleep(10 * time.Millisecond)
	must(t, c.Close())
	for _, err := range []error{<-failed, c.Flush(t.Context())} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("error is %v", err)
		}
	}
}

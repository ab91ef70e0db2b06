// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"virtnb/format"
	"virtnb/internal/nbd"
	"virtnb/overlay"
)

const patience = 60 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// disk is an image that is written to, and backed up from a qemu-nbd.
type disk struct {
	t     *testing.T
	image string
	r     *rand.Rand
}

const diskSize = 24<<20 + 5*512

func newDisk(t *testing.T) *disk {
	d := &disk{t: t, image: filepath.Join(t.TempDir(), "disk.qcow2"), r: rand.New(rand.NewPCG(7, 8))}
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", d.image, fmt.Sprint(diskSize))
	return d
}

// change writes, zeroes and discards here and there.
func (d *disk) change(n int) {
	d.t.Helper()
	var script strings.Builder
	for range n {
		off := d.r.Int64N(diskSize/512) * 512
		length := min(diskSize-off, (1+d.r.Int64N(600))*512)
		switch d.r.IntN(4) {
		case 0:
			fmt.Fprintf(&script, "write -z -u %d %d\n", off, length)
		case 1:
			fmt.Fprintf(&script, "discard %d %d\n", off, length)
		default:
			fmt.Fprintf(&script, "write -P %d %d %d\n", 1+d.r.IntN(255), off, length)
		}
	}
	cmd := exec.Command("qemu-io", "-f", "qcow2", d.image)
	cmd.Stdin = strings.NewReader(script.String())
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "rror") {
		d.t.Fatalf("qemu-io: %v\n%s", err, out)
	}
}

// content is the disk as it is now.
func (d *disk) content() []byte {
	d.t.Helper()
	raw := filepath.Join(d.t.TempDir(), "raw")
	command(d.t, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", d.image, raw)
	p, err := os.ReadFile(raw)
	must(d.t, err)
	return p
}

// client serves the image until stop is called; a bitmap may be served with it.
func (d *disk) client(bitmap string) (c *nbd.Client, q nbd.Query, stop func()) {
	d.t.Helper()
	q = nbd.Query{Allocation: true}
	o := nbd.Options{Export: "disk", Contexts: []string{nbd.Allocation}, Connections: 3, Wait: patience}
	var args []string
	if bitmap != "" {
		args = []string{"-B", bitmap}
		q.Bitmap = nbd.DirtyBitmap + bitmap
		o.Contexts = append(o.Contexts, q.Bitmap)
	}
	socket, end := serve(d.t, d.image, args...)
	o.Socket = socket
	c, err := nbd.Connect(d.t.Context(), o)
	must(d.t, err)
	return c, q, func() {
		c.Close()
		end()
	}
}

// save makes a saveset, and checks the totals against what it says.
func save(t *testing.T, c Source, path string, meta format.Metadata, o Options) Totals {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	meta.VirtualSize, meta.DiskName, meta.Compression = c.Size(), "sda", o.Level
	w, err := format.NewWriter(f, meta, format.WriterOptions{SizeLater: true})
	must(t, err)
	var passed Totals
	o.Progress = func(e nbd.Extent) { passed.add(e, false) }
	totals, err := Saveset(t.Context(), c, w, o)
	must(t, err)
	must(t, w.Finish())
	measured, err := Measure(t.Context(), c, o.Query)
	must(t, err)
	passed.Extents = totals.Extents
	if totals != measured || totals != passed {
		t.Errorf("copied %+v, measured %+v, progress %+v", totals, measured, passed)
	}
	return totals
}

// TestChain makes a full and incrementals, plain and compressed, and reads each
// point back.
func TestChain(t *testing.T) {
	for _, level := range []int{0, 1} {
		d := newDisk(t)
		d.change(40)
		dir := t.TempDir()
		var files []string
		for point := range 4 {
			path := filepath.Join(dir, fmt.Sprint(point))
			files = append(files, path)
			bitmap, parent := "", ""
			if point > 0 {
				parent = fmt.Sprint("p.", point-1)
				bitmap = fmt.Sprint("b", point)
				command(t, "qemu-img", "bitmap", "--add", "-g", "65536", d.image, bitmap)
				d.change(15)
			}
			c, q, stop := d.client(bitmap)
			o := Options{Query: q, Level: level, Memory: int64(point) * 2 << 20, Frame: []int64{0, 64 << 10, 1 << 20, 4096}[point]}
			totals := save(t, c, path, format.Metadata{Incremental: point > 0, CheckpointName: fmt.Sprint("p.", point), ParentCheckpoint: parent, Date: time.Unix(int64(point), 0)}, o)
			if totals.Zero == 0 || totals.Data == 0 || point == 0 && totals.Data+totals.Zero != diskSize {
				t.Errorf("point %d has %+v", point, totals)
			}
			stop()
			wantImage(t, files, d.content())
		}
	}
}

// wantImage reads a chain and compares.
func wantImage(t *testing.T, files []string, want []byte) {
	t.Helper()
	img, err := overlay.Open(files, overlay.Options{})
	must(t, err)
	defer img.Close()
	got := make([]byte, img.Size())
	if n, err := img.ReadAt(got, 0); n != len(got) || err != nil && err != io.EOF {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d files: the image is not the disk", len(files))
	}
}

func TestRaw(t *testing.T) {
	d := newDisk(t)
	d.change(40)
	want := d.content()
	c, q, stop := d.client("")
	defer stop()
	path := filepath.Join(t.TempDir(), "raw")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(diskSize))
	_, err = Raw(t.Context(), c, f, Options{Query: q})
	must(t, err)
	got, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Error("the image is not the disk")
	}
	if _, err := Raw(t.Context(), c, f, Options{Level: 1}); err == nil {
		t.Error("a raw image was compressed")
	}
}

// full is an output without room.
type full struct{ err error }

func (f full) Write(p []byte) (int, error)            { return 0, f.err }
func (f full) WriteAt(p []byte, _ int64) (int, error) { return 0, f.err }

// TestErrors: of the target, of the source, and of a user who has enough. Each
// comes back, and nothing runs on.
func TestErrors(t *testing.T) {
	d := newDisk(t)
	d.change(60)
	c, q, stop := d.client("")
	defer stop()
	must(t, c.ReadAt(t.Context(), make([]byte, 512), 0))
	for end := time.Now().Add(patience); c.Connections() < 3 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	before := runtime.NumGoroutine()
	noRoom := errors.New("no room")
	measured, err := Measure(t.Context(), c, q)
	must(t, err)
	for _, level := range []int{0, 1} {
		w, err := format.NewWriter(full{noRoom}, format.Metadata{VirtualSize: diskSize, DataSize: measured.Data, DiskName: "sda", Compression: level}, format.WriterOptions{})
		must(t, err)
		_, err = Saveset(t.Context(), c, w, Options{Query: q, Level: level})
		if err == nil { // all is in the writer's buffer yet
			err = w.Finish()
		}
		if !errors.Is(err, noRoom) {
			t.Errorf("level %d: error is %v", level, err)
		}
	}
	if _, err := Raw(t.Context(), c, full{noRoom}, Options{Query: q}); !errors.Is(err, noRoom) {
		t.Errorf("raw: error is %v", err)
	}
	broken := errors.New("broken")
	if _, err := Raw(t.Context(), failing{c, broken}, full{}, Options{Query: q}); !errors.Is(err, broken) {
		t.Errorf("source: error is %v", err)
	}
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	w, err := format.NewWriter(io.Discard, format.Metadata{VirtualSize: diskSize, DataSize: measured.Data, DiskName: "sda"}, format.WriterOptions{})
	must(t, err)
	if _, err := Saveset(ctx, c, w, Options{Query: q, Progress: func(nbd.Extent) { cancel(enough) }}); !errors.Is(err, enough) {
		t.Errorf("cancelled: error is %v", err)
	}
	for end := time.Now().Add(patience); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// failing is a source whose map ends with an error.
type failing struct {
	Source
	err error
}

func (f failing) Extents(context.Context, nbd.Query) iter.Seq2[nbd.Extent, error] {
	return func(yield func(nbd.Extent, error) bool) { yield(nbd.Extent{}, f.err) }
}

// endless is a source of extents that nothing keeps: every second grain of a
// large disk has data, the same everywhere.
type endless struct {
	Source
	size, grain int64
}

func (e endless) Size() int64 { return e.size }

func (e endless) Extents(context.Context, nbd.Query) iter.Seq2[nbd.Extent, error] {
	return func(yield func(nbd.Extent, error) bool) {
		for at := int64(0); at < e.size; at += e.grain {
			x := nbd.Extent{Extent: format.Extent{Start: at, Length: e.grain}, Zero: at/e.grain%2 == 1}
			if !yield(x, nil) {
				return
			}
		}
	}
}

// TestMemoryOfManyExtents copies a million extents; what is kept for each is
// the 8 bytes of a frame in the trailer of a compressed saveset.
func TestMemoryOfManyExtents(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	cmd := exec.Command("nbdkit", "-f", "-U", socket, "pattern", "64T")
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() })
	for _, level := range []int{0, 1} {
		c, err := nbd.Connect(t.Context(), nbd.Options{Socket: socket, Wait: patience, Connections: 4})
		must(t, err)
		src := endless{c, 1_000_000 * 512, 512}
		f, err := os.Create(filepath.Join(t.TempDir(), "out"))
		must(t, err)
		defer f.Close()
		w, err := format.NewWriter(f, format.Metadata{VirtualSize: src.size, DiskName: "sda", Compression: level}, format.WriterOptions{SizeLater: true})
		must(t, err)
		var before, now runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		most, n := uint64(0), 0
		totals, err := Saveset(t.Context(), src, w, Options{Level: level, Memory: 32 << 20, Progress: func(nbd.Extent) {
			if n++; n%100_000 == 0 {
				runtime.GC()
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
			}
		}})
		must(t, err)
		must(t, w.Finish())
		must(t, c.Close())
		if totals.Extents != 1_000_000 {
			t.Errorf("%d extents", totals.Extents)
		}
		if bound := uint64(32<<20 + level*8*2*500_000); most > bound {
			t.Errorf("level %d: %d bytes of heap, more than %d", level, most, bound)
		}
		t.Logf("level %d: %d MiB of heap", level, most>>20)
	}
}

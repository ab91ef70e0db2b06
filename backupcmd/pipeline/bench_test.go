// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"virtnb/format"
	"virtnb/internal/nbd"
)

// gib is the size of the disk; the file system needs one and a half times that.
var gib = flag.Int64("gib", 1, "size of the benchmark's disk in GiB")

// BenchmarkCopy copies a disk that is half full, as a backup does, and as
// nbdcopy copies it from the same server to a raw file, by turns. x-nbdcopy is
// how many times as fast as that we are, x-lz4 how many times as fast as the bare
// compression on all processors. Set TMPDIR to choose the file system.
//
//	go test -run '^$' -bench Copy ./backupcmd/pipeline -gib 4
func BenchmarkCopy(b *testing.B) {
	size := *gib << 30
	for name, run := range map[string]int64{"runs of 8 MiB": 8 << 20, "runs of a cluster": 64 << 10} {
		dir := b.TempDir()
		image := benchImage(b, dir, size, run)
		socket, _ := serve(b, image)
		for _, c := range []struct {
			name  string
			level int
			raw   bool
		}{{"plain", 0, false}, {"raw", 0, true}, {"lz4", 2, false}} {
			b.Run(name+"/"+c.name, func(b *testing.B) {
				b.SetBytes(size / 2)
				var ours, theirs, lz4 time.Duration
				for b.Loop() {
					path := filepath.Join(dir, "out")
					ours += timed(func() { benchCopy(b, socket, path, c.level, c.raw) })
					os.Remove(path)
					theirs += timed(func() { nbdcopy(b, socket, path) })
					if c.level > 0 {
						lz4 += timed(func() { compressOnly(b, size/2, c.level) })
					}
					os.Remove(path)
				}
				b.ReportMetric(float64(theirs)/float64(ours), "x-nbdcopy")
				b.ReportMetric(ours.Seconds()/float64(b.N), "s/copy")
				if c.level > 0 {
					b.ReportMetric(float64(lz4)/float64(ours), "x-lz4")
				}
			})
		}
	}
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// noise compresses to about a half: random bytes, and runs of one.
func noise(p []byte, seed uint64) {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	for len(p) >= 64 {
		r.Read(p[:32])
		for i := 32; i < 64; i++ {
			p[i] = p[0]
		}
		p = p[64:]
	}
}

// benchImage is an image with data in every second run.
func benchImage(b *testing.B, dir string, size, run int64) string {
	b.Helper()
	raw, image := filepath.Join(dir, "raw"), filepath.Join(dir, "disk.qcow2")
	f, err := os.Create(raw)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, run)
	for off := int64(0); off < size; off += 2 * run {
		noise(p, uint64(off))
		if _, err := f.WriteAt(p, off); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		b.Fatal(err)
	}
	command(b, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)
	os.Remove(raw)
	return image
}

func benchCopy(b *testing.B, socket, path string, level int, isRaw bool) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	c, err := nbd.Connect(b.Context(), nbd.Options{Socket: socket, Export: "disk", Contexts: []string{nbd.Allocation}, Connections: 4})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	o := Options{Query: nbd.Query{Allocation: true}, Level: level}
	if isRaw {
		if _, err := Raw(b.Context(), c, f, o); err != nil {
			b.Fatal(err)
		}
		return
	}
	w, err := format.NewWriter(f, format.Metadata{VirtualSize: c.Size(), DiskName: "sda", Compression: level}, format.WriterOptions{SizeLater: true})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := Saveset(b.Context(), c, w, o); err != nil {
		b.Fatal(err)
	}
	if err := w.Finish(); err != nil {
		b.Fatal(err)
	}
}

// compressOnly compresses what a copy does, on all processors, from memory that
// is in their caches and to nowhere.
func compressOnly(b *testing.B, size int64, level int) {
	var wg sync.WaitGroup
	n := runtime.GOMAXPROCS(0)
	for range n {
		wg.Go(func() {
			p := make([]byte, defaultFrame)
			noise(p, 1)
			var out []byte
			for range size / defaultFrame / int64(n) {
				var err error
				if out, err = format.CompressFrame(out[:0], p, level); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func nbdcopy(b *testing.B, socket, path string) {
	b.Helper()
	command(b, "nbdcopy", "nbd+unix:///disk?socket="+socket, path)
}

func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// serve runs qemu-nbd for an image until stop is called, or the test ends.
func serve(t testing.TB, image string, args ...string) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	cmd := exec.Command("qemu-nbd", append([]string{"-r", "-t", "-e", "8", "-k", socket, "-x", "disk", "-f", "qcow2", image}, args...)...)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		killer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
		defer killer.Stop()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", cmd, &log)
		}
	})
	t.Cleanup(stop)
	return socket, stop
}

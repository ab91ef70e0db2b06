// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"virtnb/format"
)

// patience is how long a test waits for another program before it fails.
const patience = 60 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a program and returns what it writes.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &errs)
	}
	return string(out)
}

// process runs a server until the test ends.
func process(t *testing.T, name string, args ...string) *os.Process {
	t.Helper()
	cmd := exec.Command(name, args...)
	var log bytes.Buffer
	cmd.Stderr = &log
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		killer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer killer.Stop()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", cmd, &log)
		}
	})
	return cmd.Process
}

// qemuNBD serves an image as export "disk" and returns the socket. It need not
// listen yet.
func qemuNBD(t *testing.T, image string, args ...string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	process(t, "qemu-nbd", append([]string{"-r", "-t", "-e", "8", "-k", socket, "-x", "disk", "-f", "qcow2", image}, args...)...)
	return socket
}

// connect to the disk at socket.
func connect(t *testing.T, socket string, o Options) *Client {
	t.Helper()
	o.Socket, o.Export, o.Wait = socket, "disk", patience
	c, err := Connect(t.Context(), o)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

// qcow2 makes an image in which script, for qemu-io, was done.
func qcow2(t *testing.T, size int64, options, script string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk.qcow2")
	args := []string{"create", "-q", "-f", "qcow2"}
	if options != "" {
		args = append(args, "-o", options)
	}
	run(t, "qemu-img", append(args, image, strconv.FormatInt(size, 10))...)
	qemuIO(t, image, script)
	return image
}

func qemuIO(t *testing.T, image, script string) {
	t.Helper()
	cmd := exec.Command("qemu-io", "-f", "qcow2", image)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "rror") {
		t.Fatalf("qemu-io: %v\n%s", err, out)
	}
}

// mapped is what qemu-img says of an image, in our extents.
func mapped(t *testing.T, image string) []Extent {
	t.Helper()
	var entries []struct {
		Start, Length int64
		Zero          bool
	}
	must(t, json.Unmarshal([]byte(run(t, "qemu-img", "map", "-U", "--output=json", "-f", "qcow2", image)), &entries))
	var all []Extent
	for _, e := range entries {
		if n := len(all); n > 0 && all[n-1].Zero == e.Zero {
			all[n-1].Length += e.Length
		} else {
			all = append(all, Extent{format.Extent{Start: e.Start, Length: e.Length}, e.Zero})
		}
	}
	return all
}

// content is the disk in an image.
func content(t *testing.T, image string) []byte {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	run(t, "qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", image, raw)
	p, err := os.ReadFile(raw)
	must(t, err)
	return p
}

// collect gathers extents.
func collect(t *testing.T, c *Client, q Query) []Extent {
	t.Helper()
	var all []Extent
	for e, err := range c.Extents(t.Context(), q) {
		must(t, err)
		all = append(all, e)
	}
	return all
}

// writes is a qemu-io script of n random writes, zeroes and discards within
// size, on a grid.
func writes(r *rand.Rand, n int, size, grid int64) string {
	var s strings.Builder
	for range n {
		off := r.Int64N(size/grid) * grid
		length := min(size-off, (1+r.Int64N(8))*grid)
		switch r.IntN(4) {
		case 0:
			fmt.Fprintf(&s, "write -z -u %d %d\n", off, length)
		case 1:
			fmt.Fprintf(&s, "discard %d %d\n", off, length)
		default:
			fmt.Fprintf(&s, "write -P %d %d %d\n", 1+r.IntN(255), off, length)
		}
	}
	return s.String()
}

// silenced is a socket in front of another one, and a function after which the
// server says no more.
func silenced(t *testing.T, socket string) (path string, silence func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "silenced")
	l, err := net.Listen("unix", path)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	var mute atomic.Bool
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go forward(client, socket, &mute)
		}
	}()
	return path, func() { mute.Store(true) }
}

// forward connects a client with the server at socket.
func forward(client net.Conn, socket string, mute *atomic.Bool) {
	defer client.Close()
	server, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil {
				client.Close()
				return
			}
			if !mute.Load() {
				_, _ = client.Write(buf[:n])
			}
		}
	}()
	_, _ = io.Copy(server, client)
}

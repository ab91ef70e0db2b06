// SPDX-License-Identifier: Apache-2.0

package recover

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"virtnb/format"
	"virtnb/internal/nbd"
	"virtnb/internal/qemu/qemutest"
)

const mapDisk = 3<<20 + 512

// content is a byte of a disk that differs from its neighbours.
func content(seed, off int64) byte { return byte((off*7+seed*31)>>3 ^ off) }

func diskContent(seed int64) []byte {
	p := make([]byte, mapDisk)
	for i := range p {
		p[i] = content(seed, int64(i))
	}
	return p
}

// newMapSet makes a set of two disks, one with an incremental whose extents are
// at odd places, and returns what they are.
func newMapSet(t *testing.T) (set string, disks map[string][]byte) {
	t.Helper()
	set = t.TempDir()
	vda, vdb := diskContent(1), diskContent(2)
	writeSaveset(t, set, "vda.full.data", format.Metadata{DiskName: "vda", CheckpointName: "virtnbdbackup.0"}, map[int64][]byte{0: vda})
	writeSaveset(t, set, "vdb.full.data", format.Metadata{DiskName: "vdb", CheckpointName: "virtnbdbackup.0", Compression: 2}, map[int64][]byte{0: vdb})
	changes := map[int64][]byte{512: diskContent(3)[:1536], 65536 - 512: diskContent(4)[:70000/512*512], 1 << 20: make([]byte, 4608)}
	writeSaveset(t, set, "vda.inc.virtnbdbackup.1.data", format.Metadata{DiskName: "vda", CheckpointName: "virtnbdbackup.1", ParentCheckpoint: "virtnbdbackup.0", Incremental: true, Compression: 2}, changes)
	for off, p := range changes {
		copy(vda[off:], p)
	}
	return set, map[string][]byte{"vda": vda, "vdb": vdb}
}

func writeSaveset(t *testing.T, dir, name string, meta format.Metadata, extents map[int64][]byte) {
	t.Helper()
	meta.VirtualSize, meta.DiskFormat, meta.Date = mapDisk, "qcow2", time.Now()
	f, err := format.Create(filepath.Join(dir, name), meta, format.WriterOptions{SizeLater: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	for off := int64(0); off < mapDisk; off += 512 {
		if p, ok := extents[off]; ok {
			err = f.Data(off, p)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
}

// mapping is a running map.
type mapping struct {
	cmd     *exec.Cmd
	log     *bytes.Buffer
	Exports []struct{ Disk, Name, URI, Socket string }
}

// startMap starts virtnb map and waits until it serves.
func startMap(t *testing.T, args ...string) *mapping {
	t.Helper()
	m := &mapping{cmd: exec.Command(program(t), append([]string{"map", "--json"}, args...)...), log: &bytes.Buffer{}}
	m.cmd.Stderr = m.log
	out, err := m.cmd.StdoutPipe()
	if err == nil {
		err = m.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, m)
	}
	if err != nil {
		t.Fatalf("map: %v: %s", err, m.log)
	}
	return m
}

// end ends the map by a signal, and fails unless nothing is left.
func (m *mapping) end(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := m.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	err := m.cmd.Wait()
	if sig != syscall.SIGKILL && err != nil {
		t.Errorf("map ended by %v: %v: %s", sig, err, m.log)
	}
	for _, e := range m.Exports {
		if e.Socket == "" {
			continue
		}
		for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			_, err := os.Stat(filepath.Dir(e.Socket))
			if err != nil && len(serversOf(t, e.Socket)) == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("after %v the server of %s or its folder is still there", sig, e.Disk)
			}
		}
	}
}

func connectNBD(t *testing.T, o nbd.Options) *nbd.Client {
	t.Helper()
	c, err := nbd.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func wantContent(t *testing.T, what string, c *nbd.Client, want []byte) {
	t.Helper()
	if c.Size() != int64(len(want)) {
		t.Fatalf("%s has %d bytes, want %d", what, c.Size(), len(want))
	}
	got := make([]byte, len(want))
	if err := c.ReadAt(t.Context(), got, 0); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has other bytes than were backed up", what)
	}
}

// All disks of a set are served, take writes that do not mix, and the set stays
// as it is.
func TestMapSet(t *testing.T) {
	t.Parallel()
	set, want := newMapSet(t)
	before := fileSums(t, set)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		m := startMap(t, set)
		if len(m.Exports) != 2 {
			t.Fatalf("exports: %v", m.Exports)
		}
		for i, e := range m.Exports {
			if info, err := os.Stat(filepath.Dir(e.Socket)); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("folder of the socket: %v, %v", info, err)
			}
			c := connectNBD(t, nbd.Options{URI: e.URI})
			wantContent(t, e.Disk, c, want[e.Disk])
			if err := c.WriteAt(t.Context(), bytes.Repeat([]byte{byte(0xd0 + i)}, 1024), 4096); err != nil {
				t.Fatal(err)
			}
		}
		for i, e := range m.Exports {
			c := connectNBD(t, nbd.Options{URI: e.URI})
			changed := bytes.Clone(want[e.Disk])
			copy(changed[4096:], bytes.Repeat([]byte{byte(0xd0 + i)}, 1024))
			wantContent(t, e.Disk+" written to", c, changed)
			c.Close()
		}
		m.end(t, sig)
	}
	if after := fileSums(t, set); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("the set has changed")
	}
}

// A list of files is served as virtnbdmap serves it: under the name that is
// given, on a TCP port.
func TestMapFiles(t *testing.T) {
	t.Parallel()
	set, want := newMapSet(t)
	files := filepath.Join(set, "vda.full.data") + "," + filepath.Join(set, "vda.inc.virtnbdbackup.1.data")
	port := freePort(t)
	m := startMap(t, "-rf", files, "-e", "sdx", "-t2", "-b", "4096", "-p", port)
	c := connectNBD(t, nbd.Options{Host: "127.0.0.1", Port: port, Export: "sdx"})
	wantContent(t, "the chain", c, want["vda"])
	if !c.ReadOnly() {
		t.Error("-r lets clients write")
	}
	c.Close()
	m.end(t, syscall.SIGTERM)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// TLS is for clients that have a certificate.
func TestMapTLS(t *testing.T) {
	t.Parallel()
	set, want := newMapSet(t)
	certificates := qemutest.NewCertificates(t, "localhost", "127.0.0.1")
	port := freePort(t)
	m := startMap(t, set, "--disk", "vdb", "--tls", "--tls-cert", certificates.ServerDir, "-l", "0.0.0.0", "-p", port)
	c := connectNBD(t, nbd.Options{Host: "127.0.0.1", Port: port, Export: "vdb", TLS: &nbd.TLS{Dir: certificates.ClientDir, VerifyPeer: true}})
	wantContent(t, "vdb", c, want["vdb"])
	c.Close()
	if _, err := nbd.Connect(t.Context(), nbd.Options{Host: "127.0.0.1", Port: port, Export: "vdb", Wait: time.Second}); err == nil {
		t.Error("a client without TLS is let in")
	}
	m.end(t, syscall.SIGINT)
}

func TestMapMistakes(t *testing.T) {
	t.Parallel()
	set, _ := newMapSet(t)
	file := filepath.Join(set, "vdb.full.data")
	peer := filepath.Join(t.TempDir(), "virtnbdmap")
	if err := os.Symlink(program(t), peer); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		program string
		args    []string
		status  int
		says    string
	}{
		{peer, nil, 2, "required"},
		{peer, []string{"-f", file, "-d", "/dev/nbd99"}, 1, "virtnb mount"},
		{peer, []string{"-f", file, "-d", "/dev/sda"}, 2, "must begin with /dev/nbd"},
		{peer, []string{"-f", file, "--json"}, 2, "unrecognized arguments"},
		{program(t), []string{"map"}, 2, "a backup set or files"},
		{program(t), []string{"map", set, "-f", file}, 2, "a backup set or files"},
		{program(t), []string{"map", set, "-l", "0.0.0.0"}, 2, "--insecure"},
		{program(t), []string{"map", set, "--until", "virtnbdbackup.7"}, 1, "virtnbdbackup.0, virtnbdbackup.1"},
		{program(t), []string{"map", set, "--disk", "vdz"}, 1, "vda, vdb"},
		{program(t), []string{"map", set, "-e", "x"}, 1, "--disk"},
	} {
		cmd := exec.Command(c.program, c.args...)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != c.status || !strings.Contains(string(out), c.says) {
			t.Errorf("%s: %v, want status %d and %q:\n%s", cmd, err, c.status, c.says, out)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package qemu_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"virtnb/internal/host"
	"virtnb/internal/host/hosttest"
	"virtnb/internal/qemu"
	"virtnb/internal/qemu/qemutest"
)

// makeQCOW2 makes a qcow2 image with data and gives that.
func makeQCOW2(t *testing.T, name string, mib int) []byte {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	data := makeData(t, raw, mib)
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, "file:"+name)
	return data
}

// tool runs a program to its end and gives what it says.
func tool(t *testing.T, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", argv, err, stderr.Bytes())
	}
	return string(out)
}

// socketDir is a folder whose path is short enough for sockets.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "virtnb-test")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// near is a URI on this machine for an export, carried through SSH when the
// server is there.
func near(t *testing.T, s *qemu.Server) string {
	t.Helper()
	socket := filepath.Join(socketDir(t), "near")
	f, err := s.Forward(t.Context(), socket)
	check(t, err)
	t.Cleanup(func() { check(t, f.Close()) })
	return "nbd+unix:///" + s.Export.Name + "?socket=" + socket
}

// dirty gives the dirty ranges of a bitmap of an image, as START+LENGTH.
func dirty(t *testing.T, name, bitmap string) string {
	t.Helper()
	s, err := qemu.ServeReadOnly(t.Context(), host.Local{}, qemu.Export{Path: name, Format: "qcow2", Bitmap: bitmap})
	check(t, err)
	defer s.Stop()
	var extents []struct{ Offset, Length, Type int64 }
	check(t, json.Unmarshal([]byte(tool(t, "nbdinfo", "--json", "--map=qemu:dirty-bitmap:"+bitmap, s.URI(""))), &extents))
	var ranges []string
	for _, e := range extents {
		if e.Type == 1 {
			ranges = append(ranges, fmt.Sprintf("%d+%d", e.Offset, e.Length))
		}
	}
	return strings.Join(ranges, " ")
}

func TestServeReadOnly(t *testing.T) {
	onHosts(t, func(t *testing.T, h host.Host) {
		dir := socketDir(t)
		name := oddName(dir, ".qcow2")
		data := makeQCOW2(t, name, 20)
		check(t, qemu.BitmapAdd(t.Context(), h, name, "qcow2", "virtnbdbackup.0", 0))
		socket := filepath.Join(dir, "a socket.sda")
		s, err := qemu.ServeReadOnly(t.Context(), h, qemu.Export{Path: name, Format: "qcow2", Name: "sda", Bitmap: "virtnbdbackup.0", Socket: socket})
		check(t, err)
		info := tool(t, "nbdinfo", near(t, s))
		for _, want := range []string{"is_read_only: true", "can_multi_conn: true", "base:allocation", "qemu:dirty-bitmap:virtnbdbackup.0", fmt.Sprint(20 << 20)} {
			if !strings.Contains(info, want) {
				t.Errorf("nbdinfo does not say %q: %s", want, info)
			}
		}
		tool(t, "nbdinfo", s.URI("")) // the socket is on this machine in either case
		copied := filepath.Join(dir, "copy")
		tool(t, "nbdcopy", "--connections=4", near(t, s), copied)
		got, err := os.ReadFile(copied)
		check(t, err)
		if !bytes.Equal(got, data) {
			t.Error("the copy differs")
		}
		check(t, s.Stop())
		check(t, s.Stop())
		wantNames(t, dir, "copy", filepath.Base(name))
		wantUnused(t, name)
	})
}

// wantUnused opens an image for writing, which nobody else may have open then.
func wantUnused(t *testing.T, name string) {
	t.Helper()
	waitFor(t, name+" to be unused", func() bool {
		return exec.Command("qemu-io", "-f", "qcow2", "-c", "write 0 1", "file:"+name).Run() == nil
	})
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// TestServeOnOwnSocket: a socket that the server chooses, in a folder that is
// closed to others, and gone after it.
func TestServeOnOwnSocket(t *testing.T) {
	onHosts(t, func(t *testing.T, h host.Host) {
		name := filepath.Join(t.TempDir(), "image")
		makeQCOW2(t, name, 1)
		s, err := qemu.ServeReadOnly(t.Context(), h, qemu.Export{Path: name, Format: "qcow2"})
		check(t, err)
		dir := filepath.Dir(s.Export.Socket)
		info, err := os.Stat(dir)
		check(t, err)
		if info.Mode().Perm() != 0o700 {
			t.Errorf("mode %v", info.Mode())
		}
		conn, err := s.Dial(t.Context())
		check(t, err)
		greeting := make([]byte, 18)
		_, err = io.ReadFull(conn, greeting)
		check(t, err)
		if !bytes.HasPrefix(greeting, []byte("NBDMAGICIHAVEOPT")) {
			t.Errorf("greeting %q", greeting)
		}
		check(t, s.Stop()) // with the connection open
		conn.Close()
		if _, err := os.Stat(dir); err == nil {
			t.Error("the folder is still there")
		}
	})
}

func TestServeFailures(t *testing.T) {
	onHosts(t, func(t *testing.T, h host.Host) {
		before := leftovers(t)
		dir := t.TempDir()
		name, broken := filepath.Join(dir, "image"), filepath.Join(dir, "broken")
		makeQCOW2(t, name, 1)
		check(t, os.WriteFile(broken, make([]byte, 1024), 0o600))
		for want, e := range map[string]qemu.Export{
			"No such file":            {Path: name + ".missing", Format: "qcow2"},
			"not in qcow2 format":     {Path: broken, Format: "qcow2"},
			"virtnbdbackup.7":         {Path: name, Format: "qcow2", Bitmap: "virtnbdbackup.7"},
			"no format":               {Path: name},
			"not an absolute path":    {Path: name, Format: "qcow2", Socket: "x"},
			"a socket and a port":     {Path: name, Format: "qcow2", Socket: "/x", Port: 1},
			"no-such-folder":          {Path: name, Format: "qcow2", Socket: "/no-such-folder/s"},
			"no-such-certificates":    {Path: name, Format: "qcow2", TLSDir: "/no-such-certificates"},
			"has nothing to compress": {Path: name, Format: "qcow2", Compress: true},
			"Address already in use":  {Path: name, Format: "qcow2", Address: "127.0.0.1", Port: usedPort(t)},
		} {
			s, err := qemu.ServeReadOnly(t.Context(), h, e)
			if err == nil {
				s.Stop()
				t.Errorf("%+v: no error", e)
				continue
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %q", e, err, want)
			}
		}
		s, err := qemu.ServeWritable(t.Context(), h, qemu.Export{Path: name, Format: "qcow2"})
		check(t, err)
		if _, err := qemu.ServeReadOnly(t.Context(), h, qemu.Export{Path: name, Format: "qcow2"}); err == nil || !strings.Contains(err.Error(), "lock") {
			t.Errorf("an image that is open for writing: %v", err)
		}
		check(t, s.Stop())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := qemu.ServeReadOnly(ctx, h, qemu.Export{Path: name, Format: "qcow2"}); err == nil {
			t.Error("served in a context that is done")
		}
		for _, dir := range leftovers(t) {
			if !slices.Contains(before, dir) {
				waitFor(t, dir+" to be removed", func() bool { _, err := os.Stat(dir); return err != nil })
			}
		}
	})
}

// leftovers are the folders of servers, here and of tests that run at the same
// time, which end soon too.
func leftovers(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("/tmp/virtnb-??????????")
	check(t, err)
	return found
}

func usedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestServeOnPort(t *testing.T) {
	onHosts(t, func(t *testing.T, h host.Host) {
		name := filepath.Join(t.TempDir(), "image")
		makeQCOW2(t, name, 1)
		s, err := qemu.ServeReadOnly(t.Context(), h, qemu.Export{Path: name, Format: "qcow2", Name: "sda", Address: "127.0.0.1", Port: freePort(t)})
		check(t, err)
		defer s.Stop()
		for _, uri := range []string{s.URI("127.0.0.1"), near(t, s)} {
			if size := tool(t, "nbdinfo", "--size", uri); size != "1048576\n" {
				t.Errorf("%s: size %s", uri, size)
			}
		}
		check(t, s.Stop())
	})
}

func TestServeTLS(t *testing.T) {
	certs := qemutest.NewCertificates(t, "localhost", "127.0.0.1")
	name := filepath.Join(t.TempDir(), "image")
	makeQCOW2(t, name, 1)
	export := qemu.Export{Path: name, Format: "qcow2", Name: "sda", Address: "127.0.0.1", Port: freePort(t), TLSDir: certs.ServerDir}
	noCert := t.TempDir() // trusts the server, and has no certificate
	ca, err := os.ReadFile(filepath.Join(certs.ClientDir, "ca-cert.pem"))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(noCert, "ca-cert.pem"), ca, 0o600))

	serve := func() *qemu.Server {
		t.Helper()
		s, err := qemu.ServeReadOnly(t.Context(), host.Local{}, export)
		check(t, err)
		t.Cleanup(func() { s.Stop() })
		return s
	}
	connects := func(uri string) bool {
		return exec.Command("nbdinfo", "--size", uri).Run() == nil
	}
	s := serve()
	uri := s.URI("localhost")
	tool(t, "nbdinfo", "--size", uri+"?tls-certificates="+certs.ClientDir)
	if connects(uri + "?tls-certificates=" + noCert) {
		t.Error("a client without a certificate was let in")
	}
	if connects(strings.Replace(uri, "nbds:", "nbd:", 1)) {
		t.Error("a client without TLS was let in")
	}
	check(t, s.Stop())

	export.NoVerifyPeer = true
	s = serve()
	tool(t, "nbdinfo", "--size", s.URI("localhost")+"?tls-certificates="+noCert)
	check(t, s.Stop())
}

func TestServeWritable(t *testing.T) {
	for _, compress := range []bool{false, true} {
		t.Run(fmt.Sprintf("compress=%v", compress), func(t *testing.T) {
			onHosts(t, func(t *testing.T, h host.Host) {
				dir := t.TempDir()
				name, raw := oddName(dir, ".qcow2"), filepath.Join(dir, "raw")
				data := makeData(t, raw, 4)
				check(t, qemu.Create(t.Context(), h, name, qemu.CreateOptions{Format: "qcow2", Size: int64(len(data))}))
				s, err := qemu.ServeWritable(t.Context(), h, qemu.Export{Path: name, Format: "qcow2", Name: "sda", Compress: compress})
				check(t, err)
				tool(t, "nbdcopy", "--destination-is-zero", raw, near(t, s))
				check(t, s.Stop())
				tool(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, "file:"+name)
				var checked struct {
					Compressed int `json:"compressed-clusters"`
				}
				check(t, json.Unmarshal([]byte(tool(t, "qemu-img", "check", "--output=json", "-f", "qcow2", "file:"+name)), &checked))
				if (checked.Compressed > 0) != compress {
					t.Errorf("%d compressed clusters", checked.Compressed)
				}
			})
		})
	}
}

// TestServerEndsWithConnection: when the connection breaks, or is closed, the
// server over there is gone, with its socket and its lock on the image.
func TestServerEndsWithConnection(t *testing.T) {
	for _, how := range []string{"cut", "close"} {
		t.Run(how, func(t *testing.T) {
			sshd := hosttest.Start(t)
			h := sshd.Connect()
			dir := socketDir(t)
			name, socket := filepath.Join(dir, "image"), filepath.Join(dir, "socket")
			makeQCOW2(t, name, 1)
			s, err := qemu.ServeReadOnly(t.Context(), h, qemu.Export{Path: name, Format: "qcow2", Socket: socket})
			check(t, err)
			conn, err := s.Dial(t.Context())
			check(t, err)
			defer conn.Close()
			if how == "cut" {
				sshd.Cut()
			} else {
				h.Close()
			}
			if err := s.Wait(); how == "cut" && err == nil {
				t.Error("no error after the connection was lost")
			}
			io.Copy(io.Discard, conn) // ends
			waitFor(t, "the socket to go", func() bool { _, err := os.Stat(socket); return err != nil })
			wantUnused(t, name)
		})
	}
}

// TestServerKilled: the end of qemu-nbd is seen, and what it left removed.
func TestServerKilled(t *testing.T) {
	onHosts(t, func(t *testing.T, h host.Host) {
		name := filepath.Join(t.TempDir(), "image")
		makeQCOW2(t, name, 1)
		s, err := qemu.ServeReadOnly(t.Context(), h, qemu.Export{Path: name, Format: "qcow2"})
		check(t, err)
		dir := filepath.Dir(s.Export.Socket)
		pid, err := os.ReadFile(filepath.Join(dir, "pid"))
		check(t, err)
		tool(t, "kill", "-KILL", strings.TrimSpace(string(pid)))
		select {
		case <-s.Done():
		case <-time.After(time.Minute):
			t.Fatal("the end of qemu-nbd was not seen")
		}
		if err := s.Stop(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("got %v", err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Error("the folder of the server is still there")
		}
	})
}

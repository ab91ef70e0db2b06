// SPDX-License-Identifier: Apache-2.0

package virt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"libvirt.org/go/libvirt"

	"virtnb/tests/testbed"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// freePort is one that nobody listens on at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// saslDaemon is a libvirtd that listens on a port of the loopback and lets user
// bird in, whose password is topsecret.
func saslDaemon(t *testing.T) (d *testbed.Daemon, uri string) {
	t.Helper()
	port := freePort(t)
	d = testbed.New(t, testbed.Options{
		Config: fmt.Sprintf("listen_tls = 0\nlisten_tcp = 1\nlisten_addr = \"127.0.0.1\"\ntcp_port = %q\nauth_tcp = \"sasl\"\n", port),
		Args:   []string{"--listen"},
		// In the namespace of the daemon alone. digest-md5 is what is left
		// where neither TLS nor Kerberos encrypts.
		Setup: `mkdir -p /etc/sasl2
mount -t tmpfs tmpfs /etc/sasl2
printf 'mech_list: digest-md5\nsasldb_path: /etc/sasl2/libvirt.db\n' >/etc/sasl2/libvirt.conf
printf topsecret | saslpasswd2 -p -c -f /etc/sasl2/libvirt.db -a libvirt bird
`,
	})
	return d, "qemu+tcp://127.0.0.1:" + port + "/system"
}

func TestSASL(t *testing.T) {
	_, uri := saslDaemon(t)
	c := connect(t, Options{URI: uri, User: "bird", Password: "topsecret"})
	if names, err := c.DomainNames(); err != nil || len(names) != 0 {
		t.Errorf("the domains are %q (%v)", names, err)
	}
	if encrypted, err := c.IsEncrypted(); err != nil || !encrypted {
		t.Errorf("encrypted: %v (%v)", encrypted, err)
	}
	if remote, is := c.Remote(); !is || remote.Transport != "tcp" || remote.Host != "127.0.0.1" {
		t.Errorf("remote is %+v", remote)
	}
	_, err := Connect(t.Context(), Options{URI: uri, User: "bird", Password: "topsecret1"})
	wantError(t, err, uri, `user "bird" or the password is wrong`)
	_, err = Connect(t.Context(), Options{URI: uri, User: "fish", Password: "topsecret"})
	wantError(t, err, `user "fish" or the password is wrong`)
	_, err = Connect(t.Context(), Options{URI: uri})
	wantError(t, err, "give a user and a password", "authfile=")
	testAuthFile(t, uri)
}

// testAuthFile connects with the password in a file.
func testAuthFile(t *testing.T, uri string) {
	for password, allowed := range map[string]bool{"topsecret": true, "topsecret1": false} {
		file := filepath.Join(t.TempDir(), "auth.conf")
		content := fmt.Sprintf("[credentials-test]\nauthname=bird\npassword=%s\n[auth-libvirt-127.0.0.1]\ncredentials=test\n", password)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Connect(t.Context(), Options{URI: uri + "?authfile=" + url.QueryEscape(file)})
		if allowed && err == nil {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		if allowed {
			t.Error(err)
		} else {
			wantError(t, err, "authenti")
		}
	}
}

// TestConnectionIsLost when the daemon dies, and its context with it.
func TestConnectionIsLost(t *testing.T) {
	d := testbed.New(t, testbed.Options{})
	c := connect(t, Options{URI: d.URI()})
	ctx, cancel := c.Context(t.Context())
	defer cancel()
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(patience):
		t.Fatal("nobody noticed")
	}
	<-c.Lost()
	if err := context.Cause(ctx); !errors.Is(err, ErrLost) {
		t.Errorf("the cause is %v", err)
	}
	wantError(t, c.Err(), "libvirt connection lost", d.URI(), "libvirtd")
	if _, err := c.DomainNames(); err == nil {
		t.Error("there are domains")
	}
}

// TestCloseIsTheEnd: nothing of ours holds the connection.
func TestCloseIsTheEnd(t *testing.T) {
	d := testbed.New(t, testbed.Options{})
	c, err := Connect(t.Context(), Options{URI: d.URI()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.UnregisterCloseCallback(); err != nil {
		t.Error(err)
	}
	if n, err := c.Connect.Close(); err != nil || n != 0 {
		t.Errorf("somebody holds the connection: %d (%v)", n, err)
	}
	if err := c.Err(); err != nil {
		t.Error(err)
	}
}

// TestConnectIsLeft: somebody listens, and never answers.
func TestConnectIsLeft(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = Connect(ctx, Options{URI: "qemu+tcp://" + l.Addr().String() + "/system"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	wantError(t, err, "connect to libvirt at qemu+tcp://")
}

func TestNobodyListens(t *testing.T) {
	_, err := Connect(t.Context(), Options{URI: "qemu+tcp://127.0.0.1:" + freePort(t) + "/system"})
	wantError(t, err, "refused", "does libvirtd on 127.0.0.1 listen for tcp")
}

// TestSSHFails: the client's own message is in the error. Real ones fail after
// libvirt has begun to talk; where it cannot, it does not look for a message.
func TestSSHFails(t *testing.T) {
	ssh := filepath.Join(t.TempDir(), "ssh")
	if err := os.WriteFile(ssh, []byte("#!/bin/sh\nhead -c 1 >/dev/null\necho 'Host key verification failed.' >&2\nexit 255\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Connect(t.Context(), Options{URI: "qemu+ssh://me@192.0.2.1/system?command=" + url.QueryEscape(ssh)})
	wantError(t, err, "Host key verification failed", "accept it once with: ssh me@192.0.2.1")
}

// TestVolumes through streams, which the test driver does not have.
func TestVolumes(t *testing.T) {
	d := testbed.New(t, testbed.Options{})
	c := connect(t, Options{URI: d.URI()})
	folder := t.TempDir()
	pool, err := c.StoragePoolCreateXML("<pool type='dir'><name>p</name><target><path>"+folder+"</path></target></pool>", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Free()
	defer pool.Destroy()
	same, err := c.LookupStoragePoolByTargetPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer same.Free()
	content := strings.Repeat("0123456789abcdef", 40_000) // several messages
	vol := upload(t, c, pool, content)
	defer vol.Free()
	if data, err := os.ReadFile(filepath.Join(folder, "v")); err != nil || !strings.HasPrefix(string(data), content) || len(data) != 4<<20 {
		t.Errorf("the volume has %d bytes and is not what was sent (%v)", len(data), err)
	}
	if got := download(t, c, vol, uint64(len(content))); got != content {
		t.Errorf("%d bytes came that are not those sent", len(got))
	}
	testSparse(t, c, pool)
	testAborted(t, c, vol)
	if info, err := vol.GetInfoFlags(libvirt.STORAGE_VOL_GET_PHYSICAL); err != nil || info.Allocation != 4<<20 {
		t.Errorf("the volume is %+v (%v)", info, err)
	}
	if err := vol.Resize(8<<20, 0); err != nil {
		t.Error(err)
	}
	if err := vol.Wipe(0); err != nil {
		t.Error(err)
	}
	if err := vol.Delete(0); err != nil {
		t.Error(err)
	}
}

func newVolume(t *testing.T, pool *libvirt.StoragePool, name string) *libvirt.StorageVol {
	t.Helper()
	vol, err := pool.StorageVolCreateXML("<volume><name>"+name+"</name><capacity>4194304</capacity><allocation>0</allocation></volume>", 0)
	if err != nil {
		t.Fatal(err)
	}
	return vol
}

func newStream(t *testing.T, c *Connection) *libvirt.Stream {
	t.Helper()
	stream, err := c.NewStream(0)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func upload(t *testing.T, c *Connection, pool *libvirt.StoragePool, content string) *libvirt.StorageVol {
	t.Helper()
	vol := newVolume(t, pool, "v")
	stream := newStream(t, c)
	defer stream.Free()
	if err := vol.Upload(stream, 0, uint64(len(content)), 0); err != nil {
		t.Fatal(err)
	}
	err := stream.SendAll(func(_ *libvirt.Stream, n int) ([]byte, error) {
		n = min(n, len(content), 100_001)
		data := content[:n]
		content = content[n:]
		return []byte(data), nil
	})
	if err := errors.Join(err, stream.Finish()); err != nil {
		t.Fatal(err)
	}
	return vol
}

func download(t *testing.T, c *Connection, vol *libvirt.StorageVol, length uint64) string {
	t.Helper()
	stream := newStream(t, c)
	defer stream.Free()
	if err := vol.Download(stream, 0, length, 0); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	err := stream.RecvAll(func(_ *libvirt.Stream, data []byte) (int, error) {
		return got.Write(data[:min(len(data), 1000)]) // a sink may take less
	})
	if err := errors.Join(err, stream.Finish()); err != nil {
		t.Fatal(err)
	}
	return got.String()
}

// section is a run of a sparse file: data, or a hole of that length.
type section struct {
	data string
	hole int64
}

// testSparse sends data between two holes and receives the same.
func testSparse(t *testing.T, c *Connection, pool *libvirt.StoragePool) {
	vol := newVolume(t, pool, "sparse")
	defer vol.Free()
	stream := newStream(t, c)
	defer stream.Free()
	if err := vol.Upload(stream, 0, 0, libvirt.STORAGE_VOL_UPLOAD_SPARSE_STREAM); err != nil {
		t.Fatal(err)
	}
	rest := []section{{hole: 1 << 20}, {data: strings.Repeat("d", 65536)}, {hole: 3<<20 - 65536}}
	err := stream.SparseSendAll(
		func(_ *libvirt.Stream, n int) ([]byte, error) {
			data := rest[0].data[:min(n, len(rest[0].data))]
			if rest[0].data = rest[0].data[len(data):]; rest[0].data == "" {
				rest = rest[1:]
			}
			return []byte(data), nil
		},
		func(*libvirt.Stream) (bool, int64, error) {
			if len(rest) == 0 {
				return false, 0, nil
			}
			return rest[0].data != "", int64(len(rest[0].data)) + rest[0].hole, nil
		},
		func(*libvirt.Stream, int64) error {
			rest = rest[1:]
			return nil
		})
	if err := errors.Join(err, stream.Finish()); err != nil {
		t.Fatal(err)
	}
	wantSections(t, c, vol)
}

func wantSections(t *testing.T, c *Connection, vol *libvirt.StorageVol) {
	t.Helper()
	stream := newStream(t, c)
	defer stream.Free()
	if err := vol.Download(stream, 0, 0, libvirt.STORAGE_VOL_DOWNLOAD_SPARSE_STREAM); err != nil {
		t.Fatal(err)
	}
	var before, data, behind int64
	err := stream.SparseRecvAll(
		func(_ *libvirt.Stream, p []byte) (int, error) {
			if strings.Trim(string(p), "d") != "" {
				return 0, fmt.Errorf("%q came", p)
			}
			data += int64(len(p))
			return len(p), nil
		},
		func(_ *libvirt.Stream, n int64) error {
			if data == 0 {
				before += n
			} else {
				behind += n
			}
			return nil
		})
	if err := errors.Join(err, stream.Finish()); err != nil {
		t.Fatal(err)
	}
	if before != 1<<20 || data != 65536 || behind != 3<<20-65536 {
		t.Errorf("there are %d bytes of data between holes of %d and %d", data, before, behind)
	}
}

// testAborted: what a handler says ends the transfer, and is the error.
func testAborted(t *testing.T, c *Connection, vol *libvirt.StorageVol) {
	stream := newStream(t, c)
	defer stream.Free()
	if err := vol.Download(stream, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	full := errors.New("the disk is full")
	err := stream.RecvAll(func(*libvirt.Stream, []byte) (int, error) { return 0, full })
	if !errors.Is(err, full) {
		t.Errorf("the error is %v", err)
	}
	if err := stream.Finish(); err == nil {
		t.Error("an aborted stream was finished")
	}
}

// TestLibvirtIsMissing: the program starts, and says what it needs once it needs it.
func TestLibvirtIsMissing(t *testing.T) {
	if os.Getenv("VIRT_TEST_CONNECT") != "" {
		_, err := Connect(t.Context(), Options{URI: "test:///default"})
		wantError(t, err, "cannot load the libvirt library", "package libvirt0")
		return
	}
	lib := t.TempDir()
	if err := os.WriteFile(filepath.Join(lib, "libvirt.so.0"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestLibvirtIsMissing$")
	cmd.Env = append(os.Environ(), "VIRT_TEST_CONNECT=1", "LD_LIBRARY_PATH="+lib)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

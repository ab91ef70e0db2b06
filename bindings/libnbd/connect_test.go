// SPDX-License-Identifier: Apache-2.0

package libnbd

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var pattern = []string{"pattern", "size=1M"}

// TestConnect reaches a server in each way that there is.
func TestConnect(t *testing.T) {
	socket := serve(t, pattern...)
	port := servePort(t, pattern...)
	for name, connect := range map[string]func(*Libnbd) error{
		"unix":       func(h *Libnbd) error { return h.ConnectUnix(socket) },
		"uri":        func(h *Libnbd) error { return h.ConnectUri("nbd+unix:///?socket=" + socket) },
		"tcp":        func(h *Libnbd) error { return h.ConnectTcp("127.0.0.1", port) },
		"socket":     func(h *Libnbd) error { return h.ConnectSocket(dialFd(t, socket)) },
		"command":    func(h *Libnbd) error { return h.ConnectCommand(append([]string{"nbdkit", "-s"}, pattern...)) },
		"activation": func(h *Libnbd) error { return h.ConnectSystemdSocketActivation(append([]string{"nbdkit"}, pattern...)) },
		"aio unix":   func(h *Libnbd) error { return ready(h, h.AioConnectUnix(socket)) },
		"aio uri":    func(h *Libnbd) error { return ready(h, h.AioConnectUri("nbd+unix:///?socket="+socket)) },
		"aio tcp":    func(h *Libnbd) error { return ready(h, h.AioConnectTcp("127.0.0.1", port)) },
		"aio socket": func(h *Libnbd) error { return ready(h, h.AioConnectSocket(dialFd(t, socket))) },
		"aio address": func(h *Libnbd) error {
			return ready(h, h.AioConnect("\x01\x00"+socket+"\x00")) // AF_UNIX in a little endian struct sockaddr_un
		},
		"aio command": func(h *Libnbd) error {
			return ready(h, h.AioConnectCommand(append([]string{"nbdkit", "-s"}, pattern...)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := handle(t)
			must(t, connect(h))
			wantPattern(t, h)
			if size := get[uint64](t)(h.GetSize()); size != 1<<20 {
				t.Errorf("size is %d", size)
			}
			must(t, h.Shutdown(nil))
			if !get[bool](t)(h.AioIsClosed()) {
				t.Error("not closed after the shutdown")
			}
		})
	}
}

// ready carries a connection on until it can be used.
func ready(h *Libnbd, err error) error {
	for end := time.Now().Add(patience); err == nil; {
		done, err := h.AioIsReady()
		if done || err != nil {
			return err
		}
		if _, err := h.Poll(1000); err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("no connection after %v", patience)
		}
	}
	return err
}

// dialFd connects and gives the descriptor away.
func dialFd(t *testing.T, socket string) int {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	must(t, err)
	defer conn.Close()
	f, err := conn.(*net.UnixConn).File()
	must(t, err)
	defer f.Close()
	return dup(t, f)
}

// servePort runs nbdkit on a free TCP port of the loopback and returns it.
func servePort(t *testing.T, args ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	nbdkit(t, append([]string{"-i", "127.0.0.1", "-p", port}, args...)...)
	return port
}

func TestConnectFails(t *testing.T) {
	h := handle(t)
	if err := h.ConnectUnix(t.TempDir() + "/nothing"); errno(err).Error() != "no such file or directory" ||
		!strings.HasPrefix(err.Error(), "nbd_connect_unix: ") || err.(*LibnbdError).Op != "connect_unix" {
		t.Errorf("error is %v", err)
	}
	if err := handle(t).ConnectCommand(nil); err == nil {
		t.Error("connected to no command")
	}
	if err := handle(t).ConnectVsock(1, 1); err == nil { // the loopback, where nobody listens
		t.Error("connected to no server")
	}
}

func TestUriPolicy(t *testing.T) {
	socket := serve(t, pattern...)
	h := handle(t)
	must(t, h.SetUriAllowTransports(ALLOW_TRANSPORT_TCP))
	must(t, h.SetUriAllowTls(TLS_REQUIRE))
	must(t, h.SetUriAllowLocalFile(false))
	if err := h.ConnectUri("nbds+unix:///?socket=" + socket); err == nil || !strings.Contains(err.Error(), "transport") {
		t.Errorf("a Unix socket that is not allowed: %v", err)
	}
	if err := h.ConnectUri("nbd://127.0.0.1"); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("no TLS where it is required: %v", err)
	}
	h = connected(t, socket)
	if uri := *get[*string](t)(h.GetUri()); !strings.HasPrefix(uri, "nbd+unix://") {
		t.Errorf("URI is %s", uri)
	}
}

// TestSettings sets what can be read back.
func TestSettings(t *testing.T) {
	h := handle(t)
	for name, s := range map[string]struct {
		set func(string) error
		get func() (*string, error)
	}{
		"handle name": {h.SetHandleName, h.GetHandleName},
		"export name": {h.SetExportName, h.GetExportName},
		"TLS user":    {h.SetTlsUsername, h.GetTlsUsername},
	} {
		must(t, s.set("ä "+name))
		if got := *get[*string](t)(s.get()); got != "ä "+name {
			t.Errorf("%s is %q", name, got)
		}
	}
	for name, s := range map[string]struct {
		set func(bool) error
		get func() (bool, error)
	}{
		"debug":              {h.SetDebug, h.GetDebug},
		"full info":          {h.SetFullInfo, h.GetFullInfo},
		"block size":         {h.SetRequestBlockSize, h.GetRequestBlockSize},
		"structured replies": {h.SetRequestStructuredReplies, h.GetRequestStructuredReplies},
		"initialize":         {h.SetPreadInitialize, h.GetPreadInitialize},
		"opt mode":           {h.SetOptMode, h.GetOptMode},
		"verify peer":        {h.SetTlsVerifyPeer, h.GetTlsVerifyPeer},
	} {
		must(t, h.SetDebugCallback(func(string, string) int { return 0 }))
		for _, on := range []bool{true, false} {
			must(t, s.set(on))
			if got := get[bool](t)(s.get()); got != on {
				t.Errorf("%s is %v", name, got)
			}
		}
	}
	must(t, h.SetTls(TLS_ALLOW))
	must(t, h.SetStrictMode(STRICT_BOUNDS|STRICT_FLAGS))
	must(t, h.SetHandshakeFlags(HANDSHAKE_FLAG_FIXED_NEWSTYLE))
	if old := get[uint](t)(h.SetPrivateData(42)); old != 0 {
		t.Errorf("private data was %d", old)
	}
	if tls, strict, flags, private := get[Tls](t)(h.GetTls()), get[Strict](t)(h.GetStrictMode()),
		get[HandshakeFlag](t)(h.GetHandshakeFlags()), get[uint](t)(h.GetPrivateData()); tls != TLS_ALLOW ||
		strict != STRICT_BOUNDS|STRICT_FLAGS || flags != HANDSHAKE_FLAG_FIXED_NEWSTYLE || private != 42 {
		t.Errorf("settings are %v %v %v %v", tls, strict, flags, private)
	}
	if v := *get[*string](t)(h.GetVersion()); !strings.HasPrefix(v, "1.") {
		t.Errorf("version is %q", v)
	}
}

// TestOptions talks to a server about its exports before it uses one.
func TestOptions(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"one", "two"} {
		must(t, os.WriteFile(dir+"/"+name, make([]byte, 4096), 0o600))
	}
	socket := serve(t, "file", "dir="+dir)
	h := handle(t)
	must(t, h.SetOptMode(true))
	must(t, h.SetFullInfo(true))
	must(t, h.ConnectUnix(socket))
	var names []string
	n := get[uint](t)(h.OptList(func(name, description string) int {
		names = append(names, name)
		return 0
	}))
	slices.Sort(names)
	if n != 2 || !slices.Equal(names, []string{"one", "two"}) {
		t.Errorf("%d exports: %q", n, names)
	}
	must(t, h.SetExportName("two"))
	must(t, h.AddMetaContext("qemu:"))
	must(t, h.ClearMetaContexts())
	must(t, h.AddMetaContext(CONTEXT_BASE_ALLOCATION))
	var contexts []string
	get[uint](t)(h.OptListMetaContext(func(name string) int {
		contexts = append(contexts, name)
		return 0
	}))
	if !slices.Equal(contexts, []string{CONTEXT_BASE_ALLOCATION}) {
		t.Errorf("contexts %q", contexts)
	}
	must(t, h.OptInfo())
	if size := get[uint64](t)(h.GetSize()); size != 4096 {
		t.Errorf("size is %d", size)
	}
	must(t, h.OptGo())
	if name := *get[*string](t)(h.GetCanonicalExportName()); name != "two" {
		t.Errorf("export is %q", name)
	}
	if !get[bool](t)(h.CanMetaContext(CONTEXT_BASE_ALLOCATION)) || get[bool](t)(h.CanMetaContext("qemu:dirty-bitmap:x")) {
		t.Error("wrong contexts")
	}
	if n, name := get[uint](t)(h.GetNrMetaContexts()), *get[*string](t)(h.GetMetaContext(0)); n != 1 || name != CONTEXT_BASE_ALLOCATION {
		t.Errorf("%d contexts asked for, the first is %q", n, name)
	}
}

func TestOptAbort(t *testing.T) {
	socket := serve(t, pattern...)
	h := handle(t)
	must(t, h.SetOptMode(true))
	must(t, h.ConnectUnix(socket))
	if !get[bool](t)(h.AioIsNegotiating()) {
		t.Error("not negotiating")
	}
	must(t, h.OptAbort())
}

// TestProperties of an export whose server says no to half of the questions.
func TestProperties(t *testing.T) {
	h := connected(t, serve(t, "--filter=blocksize-policy", "memory", "1M",
		"blocksize-minimum=512", "blocksize-preferred=4096", "blocksize-maximum=1M"))
	for name, p := range map[string]struct {
		get  func() (bool, error)
		want bool
	}{
		"read only":  {h.IsReadOnly, false},
		"rotational": {h.IsRotational, false},
		"flush":      {h.CanFlush, true},
		"fua":        {h.CanFua, true},
		"trim":       {h.CanTrim, true},
		"zero":       {h.CanZero, true},
		"fast zero":  {h.CanFastZero, true},
		"multi conn": {h.CanMultiConn, true},
		"df":         {h.CanDf, true},
		"cache":      {h.CanCache, true},
		"structured": {h.GetStructuredRepliesNegotiated, true},
		"tls":        {h.GetTlsNegotiated, false},
		"ready":      {h.AioIsReady, true},
		"created":    {h.AioIsCreated, false},
		"connecting": {h.AioIsConnecting, false},
		"processing": {h.AioIsProcessing, false},
		"dead":       {h.AioIsDead, false},
	} {
		if got := get[bool](t)(p.get()); got != p.want {
			t.Errorf("%s is %v", name, got)
		}
	}
	for size, want := range map[Size]uint64{SIZE_MINIMUM: 512, SIZE_PREFERRED: 4096, SIZE_MAXIMUM: 1 << 20} {
		if got := get[uint64](t)(h.GetBlockSize(size)); got != want {
			t.Errorf("block size %d is %d, want %d", size, got, want)
		}
	}
	if p := *get[*string](t)(h.GetProtocol()); p != "newstyle-fixed" {
		t.Errorf("protocol is %q", p)
	}
}

// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"virtnb/internal/host"
	"virtnb/internal/host/hosttest"
)

// TestHost holds both kinds of Host to the same behaviour.
func TestHost(t *testing.T) {
	t.Run("local", func(t *testing.T) { testHost(t, host.Local{}) })
	t.Run("ssh", func(t *testing.T) { testHost(t, hosttest.Start(t).Connect()) })
}

func testHost(t *testing.T, h host.Host) {
	for name, test := range map[string]func(*testing.T, host.Host){
		"run hands arguments over":          testRunArguments,
		"run tells of failures":             testRunFailures,
		"run ends with its context":         testRunContext,
		"run refuses endless output":        testRunEndless,
		"start and stop":                    testStartStop,
		"stop kills what ignores SIGTERM":   testStopKills,
		"process ends by itself":            testProcessEnds,
		"context stops a process":           testContextStops,
		"many processes at once":            testManyProcesses,
		"files":                             testFiles,
		"folders":                           testFolders,
		"upload replaces only when it ends": testUpload,
		"big file":                          testBigFile,
		"dial":                              testDial,
		"forward":                           testForward,
		"temporary folder":                  testMkdirTemp,
	} {
		t.Run(name, func(t *testing.T) { test(t, h) })
	}
}

// hostile are arguments that a shell would make something of.
var hostile = []string{
	"", " ", "two words", "'", `"`, `\`, `\\'"`, "a'b", "$(touch /tmp/no)", "`id`", "$HOME", "a;b", "a&&b", "|", ">x", "*", "?", "~",
	"line\nend", "\n", "tab\t", "-n", "--", "!", "#", "{a,b}", "ünïcödé", "\xff\xfe", "\r\n", "%s", `'\''`, `a\nb`,
}

func testRunArguments(t *testing.T, h host.Host) {
	out, err := h.Run(t.Context(), append([]string{"printf", `%s\0`}, hostile...))
	check(t, err)
	if want := strings.Join(hostile, "\x00") + "\x00"; string(out) != want {
		t.Errorf("got %q\nwant %q", out, want)
	}
	if _, err := h.Run(t.Context(), []string{"echo", "a\x00b"}); err == nil {
		t.Error("an argument with a NUL byte was taken")
	}
	if _, err := h.Run(t.Context(), nil); err == nil {
		t.Error("no program was taken")
	}
	if out, err := h.Run(t.Context(), []string{"cat"}); err != nil || len(out) > 0 {
		t.Errorf("standard input is not empty: %q, %v", out, err)
	}
}

func testRunFailures(t *testing.T, h host.Host) {
	_, err := h.Run(t.Context(), []string{"sh", "-c", "echo out; echo this went wrong >&2; exit 3"})
	failed, ok := errors.AsType[*host.CommandError](err)
	if !ok || failed.Status != 3 || failed.Stderr != "this went wrong" {
		t.Fatalf("got %#v", err)
	}
	if !strings.Contains(err.Error(), "exit status 3: this went wrong") {
		t.Errorf("message: %v", err)
	}
	_, err = h.Run(t.Context(), []string{"no-such-program"})
	if err == nil || !strings.Contains(err.Error(), "is it installed?") {
		t.Errorf("missing program: %v", err)
	}
	_, err = h.Run(t.Context(), []string{"sh", "-c", "i=0; while [ $i -lt 5000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1"})
	if failed, ok := errors.AsType[*host.CommandError](err); !ok || !strings.HasSuffix(failed.Stderr, "line 4999") || len(failed.Stderr) > 8<<10 {
		t.Errorf("long standard error: %v", err)
	}
}

func testRunContext(t *testing.T, h host.Host) {
	ctx, cancel := context.WithCancelCause(t.Context())
	pidFile := filepath.Join(t.TempDir(), "pid")
	cause := errors.New("enough")
	go func() {
		waitFor(t, "the program to start", func() bool { return readPID(pidFile) > 0 })
		cancel(cause)
	}()
	_, err := h.Run(ctx, sleeper(pidFile))
	if !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	waitGone(t, readPID(pidFile))
	if _, err := h.Run(ctx, []string{"true"}); !errors.Is(err, cause) {
		t.Errorf("a run in a context that is done: %v", err)
	}
}

func testRunEndless(t *testing.T, h host.Host) {
	_, err := h.Run(t.Context(), []string{"dd", "if=/dev/zero", "bs=1M", "count=65"})
	if err == nil {
		t.Error("65 MiB of output were taken")
	}
}

// sleeper is a program that writes its process number to a file and then does
// nothing for a long time.
func sleeper(pidFile string) []string {
	return []string{"sh", "-c", `echo $$ >"$1.new"; mv "$1.new" "$1"; exec sleep 1000`, "sh", pidFile}
}

func testStartStop(t *testing.T, h host.Host) {
	dir := t.TempDir()
	sub, pidFile := filepath.Join(dir, "it's sub"), filepath.Join(dir, "pid")
	file := filepath.Join(sub, "a socket")
	check(t, os.Mkdir(sub, 0o700))
	check(t, os.WriteFile(file, nil, 0o600))
	p, err := h.Start(t.Context(), host.Command{Argv: sleeper(pidFile), Remove: []string{file, filepath.Join(dir, "missing"), sub}})
	check(t, err)
	waitFor(t, "the program to start", func() bool { return readPID(pidFile) > 0 })
	select {
	case <-p.Done():
		t.Fatalf("ended: %v", p.Wait())
	default:
	}
	check(t, p.Stop())
	check(t, p.Stop())
	check(t, p.Wait())
	if alive(readPID(pidFile)) {
		t.Error("still there after Stop")
	}
	if _, err := os.Stat(sub); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder to remove is still there: %v", err)
	}
}

func testStopKills(t *testing.T, h host.Host) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	stubborn := []string{"sh", "-c", `trap "" TERM; echo $$ >"$1"; while :; do sleep 1; done`, "sh", pidFile}
	p, err := h.Start(t.Context(), host.Command{Argv: stubborn, Grace: time.Second})
	check(t, err)
	waitFor(t, "the program to start", func() bool { return readPID(pidFile) > 0 })
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("got %v", err)
	}
	waitGone(t, readPID(pidFile))
}

func testProcessEnds(t *testing.T, h host.Host) {
	file := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(file, nil, 0o600))
	p, err := h.Start(t.Context(), host.Command{Argv: []string{"sh", "-c", "echo no space >&2; exit 5"}, Remove: []string{file}})
	check(t, err)
	<-p.Done()
	failed, ok := errors.AsType[*host.CommandError](p.Wait())
	if !ok || failed.Status != 5 || failed.Stderr != "no space" {
		t.Errorf("got %v", p.Wait())
	}
	if p.Stop() == nil {
		t.Error("Stop forgets that the program had failed")
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file to remove is still there: %v", err)
	}
}

func testContextStops(t *testing.T, h host.Host) {
	ctx, cancel := context.WithCancel(t.Context())
	pidFile := filepath.Join(t.TempDir(), "pid")
	p, err := h.Start(ctx, host.Command{Argv: sleeper(pidFile)})
	check(t, err)
	waitFor(t, "the program to start", func() bool { return readPID(pidFile) > 0 })
	cancel()
	<-p.Done()
	check(t, p.Wait())
	waitGone(t, readPID(pidFile))
}

// testManyProcesses has more programs than an SSH server allows sessions in
// one connection.
func testManyProcesses(t *testing.T, h host.Host) {
	dir := t.TempDir()
	var all []*host.Process
	for i := range 13 {
		p, err := h.Start(t.Context(), host.Command{Argv: sleeper(filepath.Join(dir, strconv.Itoa(i)))})
		check(t, err)
		all = append(all, p)
	}
	for i, p := range all {
		pidFile := filepath.Join(dir, strconv.Itoa(i))
		waitFor(t, "the program to start", func() bool { return readPID(pidFile) > 0 })
		check(t, p.Stop())
		waitGone(t, readPID(pidFile))
	}
}

func testFiles(t *testing.T, h host.Host) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a 'name' with $(things)")
	content := []byte("some text\x00\xff")
	n, err := host.Store(t.Context(), h, name, 0o640, bytes.NewReader(content))
	check(t, err)
	if n != int64(len(content)) {
		t.Errorf("stored %d bytes", n)
	}
	info, err := h.Stat(name)
	check(t, err)
	if info.Size() != int64(len(content)) || info.Mode() != 0o640 {
		t.Errorf("stat: %d bytes, mode %v", info.Size(), info.Mode())
	}
	var got bytes.Buffer
	_, err = host.Fetch(t.Context(), h, name, &got)
	check(t, err)
	if !bytes.Equal(got.Bytes(), content) {
		t.Errorf("got %q", got.Bytes())
	}
	check(t, h.Remove(name))
	for what, err := range map[string]error{
		"stat":   second(h.Stat(name)),
		"open":   second(h.Open(name)),
		"remove": h.Remove(name),
		"list":   second(h.ReadDir(name)),
		"fetch":  second(host.Fetch(t.Context(), h, name, io.Discard)),
		"create": second(h.Create(filepath.Join(name, "x"), 0o600)),
	} {
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(fmt.Sprint(err), "things") {
			t.Errorf("%s of what is not there: %v", what, err)
		}
	}
	if _, err := host.Fetch(t.Context(), h, dir, io.Discard); err == nil {
		t.Error("a folder was fetched")
	}
}

func second[T any](_ T, err error) error { return err }

func testFolders(t *testing.T, h host.Host) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b c", "d")
	check(t, h.Mkdir(deep, 0o700))
	check(t, h.Mkdir(deep, 0o755))
	if info, err := os.Stat(deep); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	for _, name := range []string{"z", "b", "m"} {
		_, err := host.Store(t.Context(), h, filepath.Join(deep, name), 0o600, strings.NewReader(name))
		check(t, err)
	}
	check(t, h.Mkdir(filepath.Join(deep, "folder"), 0o700))
	entries, err := h.ReadDir(deep)
	check(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, fmt.Sprint(e.Name(), e.IsDir()))
	}
	if got := strings.Join(names, " "); got != "bfalse foldertrue mfalse zfalse" {
		t.Errorf("list: %s", got)
	}
	if h.Remove(deep) == nil {
		t.Error("a folder with files was removed")
	}
	if err := h.Mkdir(filepath.Join(deep, "m", "x"), 0o700); err == nil {
		t.Error("a folder below a file was made")
	}
	check(t, h.Remove(filepath.Join(deep, "folder")))
}

func testUpload(t *testing.T, h host.Host) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	check(t, os.WriteFile(name, []byte("old"), 0o600))
	up, err := h.Create(name, 0o600)
	check(t, err)
	_, err = up.Write([]byte("half of the n"))
	check(t, err)
	wantFile(t, name, "old")
	check(t, up.Close())
	wantFile(t, name, "old")
	wantNames(t, dir, "file")

	up, err = h.Create(name, 0o600)
	check(t, err)
	defer up.Close()
	_, err = io.WriteString(up, "new")
	check(t, err)
	check(t, up.Commit())
	check(t, up.Close())
	wantFile(t, name, "new")
	wantNames(t, dir, "file")

	_, err = host.Store(t.Context(), h, name, 0o600, io.MultiReader(strings.NewReader("x"), brokenReader{}))
	if !errors.Is(err, errBroken) {
		t.Errorf("a source that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = host.Store(ctx, h, name, 0o600, strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: %v", err)
	}
	wantFile(t, name, "new")
	wantNames(t, dir, "file")
}

var errBroken = errors.New("broken")

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

func testBigFile(t *testing.T, h host.Host) {
	data := make([]byte, 40<<20+123)
	rand.NewChaCha8([32]byte{1}).Read(data)
	name := filepath.Join(t.TempDir(), "big")
	n, err := host.Store(t.Context(), h, name, 0o600, bytes.NewReader(data))
	check(t, err)
	stored, err := os.ReadFile(name)
	check(t, err)
	if n != int64(len(data)) || !bytes.Equal(stored, data) {
		t.Errorf("stored %d of %d bytes, or others", n, len(data))
	}
	var got bytes.Buffer
	n, err = host.Fetch(t.Context(), h, name, &got)
	check(t, err)
	if n != int64(len(data)) || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("fetched %d of %d bytes, or others", n, len(data))
	}
}

// echoServer gives back what it gets, on a unix socket and on TCP.
func echoServer(t *testing.T) (socket, address string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "virtnb-echo")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	for _, where := range [][2]string{{"unix", socket}, {"tcp", "127.0.0.1:0"}} {
		listener, err := net.Listen(where[0], where[1])
		check(t, err)
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					io.Copy(conn, conn)
				}()
			}
		}()
		address = listener.Addr().String()
	}
	return socket, address
}

func testDial(t *testing.T, h host.Host) {
	socket, address := echoServer(t)
	for network, where := range map[string]string{"unix": socket, "tcp": address} {
		conn, err := h.Dial(t.Context(), network, where)
		check(t, err)
		wantEcho(t, conn)
	}
	if _, err := h.Dial(t.Context(), "unix", socket+".missing"); err == nil {
		t.Error("connected to a socket that is not there")
	}
}

// wantEcho sends more than fits into any buffer on the way.
func wantEcho(t *testing.T, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	data := make([]byte, 8<<20+77)
	rand.NewChaCha8([32]byte{2}).Read(data)
	go func() {
		conn.Write(data)
		conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	check(t, err)
	if !bytes.Equal(got, data) {
		t.Errorf("got %d of %d bytes back, or others", len(got), len(data))
	}
}

func testForward(t *testing.T, h host.Host) {
	socket, _ := echoServer(t)
	near := socket + ".near"
	f, err := host.Forward(t.Context(), h, "unix", socket, near)
	check(t, err)
	for range 3 {
		conn, err := net.Dial("unix", near)
		check(t, err)
		wantEcho(t, conn)
	}
	open, err := net.Dial("unix", near)
	check(t, err)
	defer open.Close()
	check(t, f.Close())
	if _, err := io.ReadAll(open); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("a connection open at Close: %v", err)
	}
	if _, err := os.Stat(near); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}

	f, err = host.Forward(t.Context(), h, "unix", socket+".missing", near)
	check(t, err)
	conn, err := net.Dial("unix", near)
	check(t, err)
	defer conn.Close()
	io.ReadAll(conn)
	if err := f.Close(); err == nil {
		t.Error("a connection to nothing is no error")
	}
}

func testMkdirTemp(t *testing.T, h host.Host) {
	dir, err := host.MkdirTemp(t.Context(), h)
	check(t, err)
	info, err := os.Stat(dir)
	check(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v", info.Mode())
	}
	check(t, h.Remove(dir))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantFile(t *testing.T, name, want string) {
	t.Helper()
	got, err := os.ReadFile(name)
	check(t, err)
	if string(got) != want {
		t.Errorf("%s holds %q, want %q", name, got, want)
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

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("waited a minute for %s", what)
			return
		}
	}
}

func waitGone(t testing.TB, pid int) {
	t.Helper()
	waitFor(t, fmt.Sprintf("process %d to end", pid), func() bool { return !alive(pid) })
}

func readPID(name string) int {
	text, _ := os.ReadFile(name)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// alive tells whether there is a process that is not a zombie.
func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil || pid == 0 {
		return false
	}
	_, state, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(state, "Z")
}

// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"virtnb/format"
	"virtnb/fusefs"
)

// The FUSE view in the real kernel. A program that reads its own mount can wait
// for itself, so the view is served by another process: this test program,
// which with fuseServerEnv set mounts and does nothing else.

const fuseServerEnv = "VIRTNB_TEST_FUSE_SERVER"

func init() {
	if os.Getenv(fuseServerEnv) == "" {
		return
	}
	if err := serveFuse(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serveFuse shows dir at a mount point until SIGTERM or until it is unmounted,
// with a folder for changes or "".
func serveFuse(dir, at, changes string) error {
	server, err := fusefs.Mount(dir, at, fusefs.Options{Writable: changes, Log: slog.New(slog.NewJSONHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	go func() {
		<-end
		_ = server.Unmount()
	}()
	fmt.Println("ready")
	return server.Wait()
}

// fuseMount is a mounted view and the process that serves it.
type fuseMount struct {
	at      string
	changes string // folder for them, ""
	logPath string
	cmd     *exec.Cmd
	exited  chan error
}

// mountFuse shows dir until the test ends.
func mountFuse(t testing.TB, dir string) *fuseMount {
	t.Helper()
	return mountWritable(t, dir, "")
}

// mountWritable is mountFuse with a folder for changes.
func mountWritable(t testing.TB, dir, changes string) *fuseMount {
	t.Helper()
	m := &fuseMount{changes: changes, at: filepath.Join(t.TempDir(), "mnt"), exited: make(chan error, 1)}
	m.logPath = m.at + ".log"
	if err := os.Mkdir(m.at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := m.start(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.stop(); err != nil {
			t.Errorf("%s: %v", m.cmd, err)
		}
	})
	return m
}

func (m *fuseMount) start(dir string) error {
	log, err := os.Create(m.logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	m.cmd = exec.Command(os.Args[0], dir, m.at, m.changes)
	m.cmd.Env = append(os.Environ(), fuseServerEnv+"=1")
	m.cmd.Stderr = log
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := m.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() { m.exited <- m.cmd.Wait() }()
	if line != "ready\n" {
		<-m.exited
		text, _ := os.ReadFile(m.logPath)
		return fmt.Errorf("%s: %q %v\n%s", m.cmd, line, err, text)
	}
	return nil
}

// stop unmounts, which ends the server. A second stop does nothing.
func (m *fuseMount) stop() error {
	if m.exited == nil {
		return nil
	}
	err := unmountAt(m.at)
	if err != nil { // still used: that is an error, but nothing stays mounted
		_ = unix.Unmount(m.at, unix.MNT_DETACH)
	}
	select {
	case end := <-m.exited:
		err = errors.Join(err, end)
	case <-time.After(nbdPatience):
		_ = m.cmd.Process.Kill()
		err = errors.Join(err, errors.New("the server did not end when it was unmounted"), <-m.exited)
	}
	m.exited = nil
	return err
}

func (m *fuseMount) path(names ...string) string {
	return filepath.Join(append([]string{m.at}, names...)...)
}

// log are the lines that the server logged.
func (m *fuseMount) log(t testing.TB) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(m.logPath)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var record struct{ Level, Msg, Error string }
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("log has %q: %v", line, err)
		}
		lines = append(lines, record.Level+" "+record.Msg+": "+record.Error)
	}
	return lines
}

// wantOneLine fails the test unless the log has exactly one line, an error with
// these texts.
func (m *fuseMount) wantOneLine(t testing.TB, texts ...string) {
	t.Helper()
	lines := m.log(t)
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "ERROR ") {
		t.Fatalf("the log has %d lines, want one error: %q", len(lines), lines)
	}
	for _, text := range texts {
		if !strings.Contains(lines[0], text) {
			t.Errorf("the log does not name %q: %s", text, lines[0])
		}
	}
}

// openSavesets counts the savesets that the server has open.
func (m *fuseMount) openSavesets(t testing.TB) (n int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", m.cmd.Process.Pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, err := os.Readlink(filepath.Join(dir, fd.Name()))
		if err == nil && strings.HasSuffix(to, ".data") {
			n++
		}
	}
	return n
}

// diskPath is the file of a disk at a restore point, as points.txt names it.
func (m *fuseMount) diskPath(export string) string {
	disk, point, found := strings.Cut(export, "@")
	if !found {
		point = "latest"
	}
	return m.path(point, disk+".raw")
}

// fuseDisk is the vda of a restore point of the sets that the tests make.
func (m *fuseMount) fuseDisk(n int) string {
	return m.path(fmt.Sprintf("virtnbdbackup.%d", n), "vda.raw")
}

// savesetPath is the vda of restore point n in a set.
func savesetPath(dir string, n int) string {
	if n == 0 {
		return filepath.Join(dir, "vda.full.data")
	}
	return filepath.Join(dir, fmt.Sprintf("vda.inc.virtnbdbackup.%d.data", n))
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openFile(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// openDirect opens a file whose reads do not go through the page cache.
func openDirect(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func statOf(t testing.TB, path string) *syscall.Stat_t {
	t.Helper()
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t)
}

// namesIn lists a folder.
func namesIn(t testing.TB, path string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// eventually waits until f returns nil.
func eventually(t testing.TB, f func() error) {
	t.Helper()
	deadline := time.Now().Add(nbdPatience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// chainOf makes a set of disks in a new folder, one restore point each; odd
// ones are compressed where mixed.
func chainOf(t testing.TB, mixed bool, disks ...[]byte) string {
	t.Helper()
	dir := t.TempDir()
	for n, disk := range disks {
		addPoint(t, dir, n, mixed, disks[:n], disk)
	}
	return dir
}

// addPoint makes restore point n of a disk that was as before.
func addPoint(t testing.TB, dir string, n int, mixed bool, before [][]byte, disk []byte) {
	t.Helper()
	b := builder{}
	if mixed && n%2 == 1 {
		b.level = 2
	}
	if n > 0 {
		b.since = before[n-1]
	}
	b.mustBuild(t, savesetPath(dir, n), disk)
}

// changed is a copy of a disk with other bytes in some places.
func changed(disk []byte, seed uint64) []byte {
	other := bytes.Clone(disk)
	for i := range 8 {
		at := len(disk) / 8 * i / blockSize * blockSize
		newNoise(seed*100 + uint64(i)).fill(other[at:min(at+3*blockSize, len(other))])
	}
	return other
}

// wantErrno fails the test unless err is that error of the system.
func wantErrno(t testing.TB, what string, err error, want syscall.Errno) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// kept checks at the end of the test that nothing of a set has changed.
func kept(t testing.TB, dir string) {
	t.Helper()
	before := snapshot(t, dir)
	t.Cleanup(func() {
		if after := snapshot(t, dir); after != before {
			t.Errorf("the set was\n%s\nand is\n%s", before, after)
		}
	})
}

// snapshot lists a folder with the sizes, times and sums of its files.
func snapshot(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st := statOf(t, path)
		fmt.Fprintln(&b, path, st.Mtim, sha256Of(readFile(t, path)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// dates of the sets that builder makes.
func fuseDate(n int) time.Time {
	id := fmt.Sprintf("virtnbdbackup.%d", n)
	return builder{}.meta(format.Name{Disk: "vda", Level: format.Inc, ID: id}).Date
}

// unmountAt unmounts a place. Programs that look into whatever appears, such as
// udev, may use it for a moment.
func unmountAt(at string) error {
	for deadline := time.Now().Add(nbdPatience / 2); ; time.Sleep(10 * time.Millisecond) {
		if err := unix.Unmount(at, 0); !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// open is a log to a file and to a buffer.
func open(t *testing.T, o Options) (l *Log, path string, stderr *bytes.Buffer) {
	t.Helper()
	stderr = new(bytes.Buffer)
	path = filepath.Join(t.TempDir(), "backup.full.log")
	o.Path, o.Stderr = path, stderr
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return l, path, stderr
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLogLines(t *testing.T) {
	l, path, stderr := open(t, Options{})
	log := slog.New(l)
	log.Debug("not seen")
	log.Info("Backup level: [full]")
	log.With("disk", "vda").Info("Got 3 extents to backup.")
	log.Warn("Excluding disk [vdb]", "reason", "asked to", "n", 2, "disk", "vdb")
	log.WithGroup("g").Error("failed", "err", errors.New("two\nlines"), slog.Group("h", "a", ""))
	func() { log.Log(t.Context(), Critical, "the worst") }()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`INFO root logfile_test - TestLogLines [MainThread]: Backup level: [full]`,
		`INFO root logfile_test - TestLogLines [vda]: Got 3 extents to backup.`,
		`WARNING root logfile_test - TestLogLines [vdb]: Excluding disk [vdb] reason="asked to" n=2`,
		`ERROR root logfile_test - TestLogLines [MainThread]: failed g.err="two\nlines" g.h.a=""`,
		`CRITICAL root logfile_test - TestLogLines [MainThread]: the worst`,
	}
	got := read(t, path)
	if stderr.String() != got {
		t.Errorf("stderr and file differ:\n%s\n%s", stderr, got)
	}
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines:\n%s", len(lines), got)
	}
	for i, line := range lines {
		stamp := regexp.MustCompile(`^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] `).FindString(line)
		if stamp == "" || strings.TrimPrefix(line, stamp) != want[i] {
			t.Errorf("%s\nwant %s", line, want[i])
		}
	}
}

func TestLogCountsForExitStatus(t *testing.T) {
	l, _, _ := open(t, Options{})
	status := func(normal, strict int) {
		t.Helper()
		if l.ExitStatus(false) != normal || l.ExitStatus(true) != strict {
			t.Errorf("exit status %d, strict %d", l.ExitStatus(false), l.ExitStatus(true))
		}
	}
	log := slog.New(l).With("disk", "vda")
	log.Info("all is well")
	status(0, 0)
	log.Warn("hm")
	status(0, 2)
	log.Error("no")
	status(1, 1)
	log.Log(t.Context(), Critical, "no!")
	if l.Warnings() != 1 || l.Errors() != 2 {
		t.Errorf("%d warnings, %d errors", l.Warnings(), l.Errors())
	}
}

func TestLogVerbose(t *testing.T) {
	l, path, _ := open(t, Options{Verbose: true})
	slog.New(l).Debug("seen")
	if !strings.Contains(read(t, path), " DEBUG root ") {
		t.Error(read(t, path))
	}
}

func TestLogColours(t *testing.T) {
	l, path, stderr := open(t, Options{Color: true})
	log := slog.New(l)
	log.Info("plain")
	log.Warn("yellow")
	log.Error("red")
	lines := strings.Split(stderr.String(), "\n")
	if strings.Contains(lines[0], "\x1b") || !strings.HasPrefix(lines[1], yellow) || !strings.HasSuffix(lines[1], "yellow"+plain) || !strings.HasPrefix(lines[2], red) {
		t.Errorf("%q", lines)
	}
	if strings.Contains(read(t, path), "\x1b") {
		t.Errorf("colours in the file: %q", read(t, path))
	}
}

func TestLogFileIsPrivateAndContinued(t *testing.T) {
	l, path, _ := open(t, Options{})
	slog.New(l).Info("one")
	l.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	if l, err = Open(Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	slog.New(l).Info("two")
	l.Close()
	if n := strings.Count(read(t, path), "\n"); n != 2 {
		t.Errorf("%d lines", n)
	}
}

func TestLogOpenFails(t *testing.T) {
	_, err := Open(Options{Path: filepath.Join(t.TempDir(), "none", "x.log")})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestLogFullDisk(t *testing.T) {
	var stderr bytes.Buffer
	l, err := Open(Options{Path: "/dev/full", Stderr: &stderr})
	if err != nil {
		t.Fatal(err)
	}
	slog.New(l).Info("one")
	slog.New(l).Info("two")
	if err := l.Close(); err == nil || strings.Count(stderr.String(), "the log file is incomplete: ") != 1 || !strings.Contains(stderr.String(), ": two\n") {
		t.Errorf("%v\n%s", err, &stderr)
	}
	if l.ExitStatus(true) != 2 {
		t.Error("not a warning")
	}
}

func TestLogParallel(t *testing.T) {
	l, path, stderr := open(t, Options{})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			log := slog.New(l).With("disk", fmt.Sprintf("vd%c", 'a'+i))
			for n := range 100 {
				log.Warn("line", "n", n)
			}
		})
	}
	all.Wait()
	if l.Warnings() != 800 || read(t, path) != stderr.String() {
		t.Errorf("%d warnings", l.Warnings())
	}
	for line := range strings.Lines(stderr.String()) {
		if !regexp.MustCompile(`^\[[^\]]*\] WARNING .* \[vd[a-h]\]: line n=\d+\n$`).MatchString(line) {
			t.Fatalf("%q", line)
		}
	}
}

func TestLogSyslog(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "log")
	server, err := net.ListenPacket("unixgram", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	l, err := Open(Options{Syslog: socket, Tag: "virtnbdbackup", Secrets: []string{"geheim"}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i, c := range []struct {
		level slog.Level
		prio  string
	}{{slog.LevelInfo, "<14>"}, {slog.LevelWarn, "<12>"}, {slog.LevelError, "<11>"}, {Critical, "<10>"}} {
		slog.New(l).Log(t.Context(), c.level, "message geheim", "i", i)
		buf := make([]byte, 1000)
		server.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, _, err := server.ReadFrom(buf)
		text := string(buf[:n])
		if err != nil || !strings.HasPrefix(text, c.prio) || !strings.Contains(text, " virtnbdbackup[") || !strings.Contains(text, fmt.Sprintf("[MainThread]: message *** i=%d", i)) {
			t.Errorf("%q, %v", text, err)
		}
	}
}

func TestLogWithoutSyslog(t *testing.T) {
	l, path, _ := open(t, Options{Syslog: "/nonexistent/log"})
	if l.Warnings() != 1 || !strings.Contains(read(t, path), "the system log is not there") {
		t.Error(read(t, path))
	}
	slog.New(l).Info("goes on")
}

func TestLogHidesPasswords(t *testing.T) {
	secrets := []string{"geheim", "ge", `q"o\te`, "p@ss/w rd", ""}
	l, path, stderr := open(t, Options{Secrets: secrets, Verbose: true})
	log := slog.New(l)
	log.Info("Version: 1 Arguments: virtnbdbackup --password geheim -U qemu:///system --password=geheim --pass other -d vm")
	log.Warn("cannot connect", "uri", "qemu+ssh://root:unknown@host/system", "err", fmt.Errorf("at %q", "x://u:p%40ss%2Fw%20rd@h"))
	log.Error("quoted", "password", `q"o\te`, "text", `is q"o\te`)
	log.Debug(`<graphics passwd='other' x="y"/> <a password="an other"/> {"password": "other", "z": 1} PASSWORD=other user@host geh`)
	log.With("uri", "http://u:other@h/").WithGroup("a").Info("p@ss/w rd", "password", "other")
	text := stderr.String()
	for _, s := range []string{"geheim", "heim", "other", "unknown", `o\te`, `o\\te`, "p@ss", "p%40ss", "w rd"} {
		if strings.Contains(text, s) || strings.Contains(read(t, path), s) {
			t.Errorf("%s got through:\n%s", s, text)
		}
	}
	if got := l.Redact("geheim password=x"); got != "*** password=***" {
		t.Error(got)
	}
	for _, s := range []string{"-d vm\n", "qemu+ssh://root:***@host/system", `x="y"/>`, `"z": 1`, "user@host ***h"} {
		if !strings.Contains(text, s) {
			t.Errorf("%s is gone:\n%s", s, text)
		}
	}
}

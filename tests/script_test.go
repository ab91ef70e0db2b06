// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in scripts/ do what a user does, one behaviour each, with the
// programs that a user has. They run in an empty folder with bin/ in the PATH,
// $PLUGIN, $VECTORS and $REPO. Besides the commands of testscript there are
//
//	serve ARGS...            nbdkit in the foreground, on the socket sock, with its messages in the file log
//	quit [PIDFILE]           ends it, or the daemon of that file
//	! nbdkit ARGS...         nbdkit as a daemon; it must fail with status 1 before it goes into the background
//	await FILE [REGEXP]      waits until there is such a file, and a line in it
//	disk FILE SIZE SEED      makes a disk with islands of data
//	change FILE OFF LEN SEED overwrites a part of a file with noise
//	saveset [-lz4] [-since OLD] [-parent POINT] FILE DISK
//	                         makes the saveset FILE of what is in DISK, or of what changed there since OLD
//	tree DIR                 prints names, times and content sums of all files
//	freeport NAME            sets NAME to a TCP port that is free
func TestScripts(t *testing.T) {
	for _, name := range []string{"nbdkit-virtnb-plugin.so", "virtnb-plugin.so", "virtnb"} {
		if _, err := built(name); err != nil {
			t.Fatal(err)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:      "scripts",
		Deadline: scriptsDeadline(t),
		Setup:    setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":    cmdServe,
			"quit":     cmdQuit,
			"nbdkit":   cmdNbdkit,
			"await":    cmdAwait,
			"disk":     cmdDisk,
			"change":   cmdChange,
			"saveset":  cmdSaveset,
			"tree":     cmdTree,
			"freeport": cmdFreeport,
		},
		RequireUniqueNames: true,
	})
}

// scriptsDeadline is when scripts are ended that hang: shortly before the test
// program would be.
func scriptsDeadline(t *testing.T) time.Time {
	if deadline, ok := t.Deadline(); ok {
		return deadline.Add(-nbdPatience / 2)
	}
	return time.Time{}
}

// runningKey is the key of the script's server.
type runningKey struct{}

func setupScript(env *testscript.Env) error {
	plugin, err := built("nbdkit-virtnb-plugin.so")
	if err != nil {
		return err
	}
	vectors, err := filepath.Abs("vectors")
	if err != nil {
		return err
	}
	bin := filepath.Dir(plugin)
	env.Setenv("PLUGIN", plugin)
	env.Setenv("VECTORS", vectors)
	env.Setenv("REPO", filepath.Dir(bin))
	env.Setenv("PATH", bin+":"+env.Getenv("PATH")+":/usr/sbin:/sbin")
	running := new(*nbdkit)
	env.Values[runningKey{}] = running
	env.Defer(func() {
		if *running != nil {
			_ = (*running).stop()
		}
		killDaemons(env.WorkDir)
	})
	return nil
}

// killDaemons ends what a script that failed has left behind.
func killDaemons(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "pid") {
			if pid := daemonOf(path); pid > 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		return nil
	})
}

// daemonOf is the nbdkit that has written a pidfile, or 0.
func daemonOf(pidfile string) int {
	text, _ := os.ReadFile(pidfile)
	pid, err := strconv.Atoi(strings.TrimSuffix(string(text), "\n"))
	if err != nil || pid <= 1 || !strings.HasSuffix(string(text), "\n") {
		return 0
	}
	if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); strings.TrimSpace(string(name)) != "nbdkit" {
		return 0
	}
	return pid
}

func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	running := ts.Value(runningKey{}).(**nbdkit)
	if neg || *running != nil {
		ts.Fatalf("usage: serve ARGS..., once before quit")
	}
	s, err := startNbdkit(ts.MkAbs("."), args...)
	ts.Check(err)
	*running = s
}

func cmdQuit(ts *testscript.TestScript, neg bool, args []string) {
	running := ts.Value(runningKey{}).(**nbdkit)
	switch {
	case !neg && len(args) == 1:
		endOfDaemon(ts, ts.MkAbs(args[0]))
		return
	case neg || *running == nil || len(args) > 1:
		ts.Fatalf("usage: quit [PIDFILE], or quit after serve")
	}
	s := *running
	*running = nil
	if err := s.stop(); err != nil {
		ts.Fatalf("%v\n%s", err, s.log())
	}
}

// cmdNbdkit is for mistakes: the person at the terminal must see them.
func cmdNbdkit(ts *testscript.TestScript, neg bool, args []string) {
	if !neg {
		ts.Fatalf("usage: ! nbdkit ARGS...")
	}
	dir, err := os.MkdirTemp("", "vn")
	ts.Check(err)
	defer os.RemoveAll(dir)
	pidfile := filepath.Join(dir, "pid")
	cmd := nbdkitCommand(append([]string{"-U", filepath.Join(dir, "sock"), "-P", pidfile}, args...)...)
	cmd.Dir = ts.MkAbs(".")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	err = cmd.Run()
	_, _ = io.Copy(ts.Stderr(), bytes.NewReader(errOut.Bytes()))
	switch {
	case err == nil:
		endOfDaemon(ts, pidfile)
		ts.Fatalf("nbdkit went into the background: %s", &errOut)
	case cmd.ProcessState.ExitCode() != 1:
		ts.Fatalf("nbdkit ended with %v, want status 1: %s", err, &errOut)
	}
}

// endOfDaemon ends the daemon of a pidfile and waits until it is gone.
func endOfDaemon(ts *testscript.TestScript, pidfile string) {
	pid := 0
	until(ts, "the daemon of "+pidfile, func() bool {
		pid = daemonOf(pidfile)
		return pid > 0
	})
	ts.Check(syscall.Kill(pid, syscall.SIGTERM))
	deadline := time.AfterFunc(nbdPatience, func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	until(ts, "the end of the daemon", func() bool { return isGone(pid) })
	if !deadline.Stop() {
		ts.Fatalf("the daemon did not end on SIGTERM")
	}
}

// isGone says whether a process has ended. Where nobody waits for orphans it
// stays as a zombie.
func isGone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return errors.Is(err, fs.ErrNotExist) || bytes.Contains(stat, []byte(") Z "))
}

// until waits for something that tells nobody when it happens.
func until(ts *testscript.TestScript, what string, done func() bool) {
	for deadline := time.Now().Add(2 * nbdPatience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("waited in vain for %s", what)
		}
	}
}

func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: await FILE [REGEXP]")
	}
	pattern := regexp.MustCompile("")
	if len(args) == 2 {
		pattern = regexp.MustCompile("(?m)" + args[1])
	}
	until(ts, strings.Join(args, " "), func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && pattern.Match(text)
	})
}

func number(ts *testscript.TestScript, s string) int64 {
	n, err := strconv.ParseInt(s, 0, 64)
	ts.Check(err)
	return n
}

func cmdDisk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: disk FILE SIZE SEED")
	}
	size := number(ts, args[1])
	disk := make([]byte, size)
	r := newNoise(uint64(number(ts, args[2])))
	for off := int64(0); off < size; off += size / 4 {
		r.fill(disk[off : off+size/8])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), disk, 0o600))
}

func cmdChange(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: change FILE OFFSET LENGTH SEED")
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	defer f.Close()
	p := make([]byte, number(ts, args[2]))
	newNoise(uint64(number(ts, args[3]))).fill(p)
	_, err = f.WriteAt(p, number(ts, args[1]))
	ts.Check(err)
}

func cmdSaveset(ts *testscript.TestScript, neg bool, args []string) {
	var b builder
	for len(args) > 2 {
		switch args[0] {
		case "-lz4":
			b.level = 2
		case "-since":
			args = args[1:]
			b.since = []byte(ts.ReadFile(args[0]))
		case "-parent":
			args = args[1:]
			b.parent = args[0]
		default:
			ts.Fatalf("saveset: unknown option %s", args[0])
		}
		args = args[1:]
	}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: saveset [-lz4] [-since OLD] [-parent POINT] FILE DISK")
	}
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o700))
	ts.Check(b.build(ts.MkAbs(args[0]), []byte(ts.ReadFile(args[1]))))
}

func cmdTree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: tree DIR")
	}
	out := ts.Stdout()
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintln(out, path, st.Mode(), st.ModTime().UnixNano(), sha256Of(content))
		return err
	}))
}

// cmdFreeport asks the system for a port. Nothing else here listens on TCP, so
// that it is still free when nbdkit takes it.
func cmdFreeport(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: freeport NAME")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

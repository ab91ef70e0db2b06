// SPDX-License-Identifier: Apache-2.0

// Package recover holds the end-to-end tests of instant recovery, against a real
// libvirt and real guests.
package recover

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"virtnb/tests/testbed"
)

// patience is how long a test waits for another program before it fails.
const patience = 2 * time.Minute

// site is a libvirt, a guest with backups, and the folder of its recoveries.
type site struct {
	t      *testing.T
	daemon *testbed.Daemon
	guest  *testbed.Guest
	dir    string // of all that follows
	set    string
	state  string
	before map[string][sha256.Size]byte // the set's files
}

func program(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../bin/virtnb")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("run make build first: %v", err)
	}
	return path
}

// newSite starts a libvirt and a guest.
func newSite(t *testing.T, opts testbed.GuestOptions) *site {
	t.Helper()
	return newSiteAt(t, testbed.New(t, testbed.Options{}), opts)
}

// newSiteAt starts a guest of that libvirt.
func newSiteAt(t *testing.T, daemon *testbed.Daemon, opts testbed.GuestOptions) *site {
	t.Helper()
	guest, err := daemon.Guest(opts)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &site{t: t, daemon: daemon, guest: guest, dir: dir, set: filepath.Join(dir, "set"), state: filepath.Join(dir, "recoveries")}
}

// backUp makes a backup; the set is not to change after the last one.
func (s *site) backUp(args ...string) {
	s.t.Helper()
	args = append([]string{"backup", "-d", s.guest.Name, "-o", s.set}, args...)
	if out, err := s.daemon.Client(program(s.t), args...); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	s.before = fileSums(s.t, s.set)
	s.t.Cleanup(s.wantSetUnchanged)
}

func (s *site) wantSetUnchanged() {
	after := fileSums(s.t, s.set)
	if len(after) != len(s.before) {
		s.t.Errorf("the backup set has %d files, had %d", len(after), len(s.before))
	}
	for name, sum := range s.before {
		if after[name] != sum {
			s.t.Errorf("%s of the backup set has changed", name)
		}
	}
}

func fileSums(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	sums := map[string][sha256.Size]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		sums[path] = sha256.Sum256(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

// command is a call of virtnb.
func (s *site) command(args ...string) *exec.Cmd {
	if args[0] == "boot" {
		args = append(args, "-U", s.daemon.URI())
	}
	return exec.Command(program(s.t), append(args, "--state-dir", s.state)...)
}

// try runs virtnb and returns what it printed.
func (s *site) try(args ...string) (string, error) {
	cmd := s.command(args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("virtnb %s: %w\n%s", strings.Join(args, " "), err, &errOut)
	}
	s.t.Logf("virtnb %s\n%s%s", strings.Join(args, " "), &out, &errOut)
	return out.String(), err
}

func (s *site) run(args ...string) string {
	s.t.Helper()
	out, err := s.try(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// recovery is a machine that was booted from the backup.
type recovery struct {
	*testbed.Guest
	site   *site
	Name   string
	Socket string
	Disks  []struct{ Name, Export, Overlay string }
}

// boot boots a machine, which is discarded at the end unless it is gone.
func (s *site) boot(args ...string) *recovery {
	s.t.Helper()
	r := &recovery{site: s}
	if err := json.Unmarshal([]byte(s.run(append([]string{"boot", s.set, "--json"}, args...)...)), r); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if _, err := os.Stat(filepath.Join(s.state, r.Name)); err == nil {
			if _, err := s.try("discard", r.Name); err != nil {
				s.t.Error(err)
			}
		}
	})
	r.Guest = s.daemon.Adopt(r.Name, disksOf(r)...)
	return r
}

// read copies a disk of a guest to a flat file and returns its path.
func (s *site) read(g *testbed.Guest, target string) string {
	s.t.Helper()
	f, err := os.CreateTemp(s.dir, target)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = g.ReadDisk(target, f.Name())
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return f.Name()
}

func (s *site) wantSame(what, got, want string) {
	s.t.Helper()
	if err := testbed.SameImages(got, "raw", want, "raw"); err != nil {
		s.t.Errorf("%s: %v", what, err)
	}
}

// nbdkit is the process id of the server.
func (r *recovery) nbdkit() int {
	r.site.t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(r.Socket), "pid"))
	if err != nil {
		r.site.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		r.site.t.Fatal(err)
	}
	return pid
}

func (r *recovery) killServer() {
	r.site.t.Helper()
	if err := syscall.Kill(r.nbdkit(), syscall.SIGKILL); err != nil {
		r.site.t.Fatal(err)
	}
	for end := time.Now().Add(patience); len(serversOf(r.site.t, r.Socket)) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.site.t.Fatal("nbdkit does not end")
		}
	}
}

// killQEMU ends the machine as a crash of QEMU does.
func (r *recovery) killQEMU() {
	r.site.t.Helper()
	out, err := r.site.daemon.Inside(r.site.t.Context(), "cat", "/run/libvirt/qemu/"+r.Name+".pid").Output()
	if err == nil {
		err = r.site.daemon.Inside(r.site.t.Context(), "kill", "-KILL", strings.TrimSpace(string(out))).Run()
	}
	if err != nil {
		r.site.t.Fatal(err)
	}
	r.waitState("shut off")
}

func (r *recovery) waitState(want string) {
	r.site.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		state, err := r.State()
		if err != nil {
			r.site.t.Fatal(err)
		}
		if state == want {
			return
		}
		if time.Now().After(end) {
			r.site.t.Fatalf("%s is %s, want %s", r.Name, state, want)
		}
	}
}

// wantGone fails for what is left of a recovery.
func (r *recovery) wantGone() {
	t := r.site.t
	t.Helper()
	if names, err := r.site.daemon.Virsh("list", "--all", "--name"); err != nil || strings.Contains(names, r.Name) {
		t.Errorf("the machine is still there: %q, %v", names, err)
	}
	r.wantNoTrace()
	for _, d := range r.Disks {
		if _, err := os.Stat(d.Overlay); err == nil {
			t.Errorf("%s is still there", d.Overlay)
		}
	}
}

// wantNoTrace fails for what is left of a recovery beside the machine itself.
func (r *recovery) wantNoTrace() {
	t := r.site.t
	t.Helper()
	for _, path := range []string{filepath.Dir(r.Socket), filepath.Join(r.site.state, r.Name)} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	if pids := serversOf(t, r.Socket); len(pids) > 0 {
		t.Errorf("nbdkit %v still runs", pids)
	}
}

// serversOf are the processes that name a socket.
func serversOf(t *testing.T, socket string) (pids []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		text, err := os.ReadFile(path)
		if err == nil && bytes.Contains(text, []byte("\x00"+socket+"\x00")) && strings.HasPrefix(string(text), "nbdkit") {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}

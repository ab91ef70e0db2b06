// SPDX-License-Identifier: Apache-2.0

package recover

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// agentExec has the guest agent of a machine without libvirt run a command, when
// it answers, and returns its output.
func agentExec(t *testing.T, socket, command string) string {
	t.Helper()
	var out string
	for end := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		err := tryAgent(socket, command, &out)
		if err == nil {
			return out
		}
		if time.Now().After(end) {
			t.Fatalf("guest agent: %v", err)
		}
	}
}

func tryAgent(socket, command string, out *string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	ask := func(request string, result any) error {
		if _, err := fmt.Fprintln(conn, request); err != nil {
			return err
		}
		line, err := in.ReadBytes('\n')
		if err != nil {
			return err
		}
		return json.Unmarshal(line, &struct{ Return any }{result})
	}
	var started struct{ PID int }
	args, err := json.Marshal(command)
	if err != nil {
		return err
	}
	if err := ask(`{"execute":"guest-exec","arguments":{"path":"/bin/sh","capture-output":true,"arg":["-c",`+string(args)+`]}}`, &started); err != nil {
		return err
	}
	for {
		var status struct {
			Exited   bool
			ExitCode int
			Out      string `json:"out-data"`
		}
		if err := ask(fmt.Sprintf(`{"execute":"guest-exec-status","arguments":{"pid":%d}}`, started.PID), &status); err != nil {
			return err
		}
		if status.Exited {
			text, err := base64.StdEncoding.DecodeString(status.Out)
			*out = string(text)
			if status.ExitCode != 0 {
				return fmt.Errorf("%s: status %d", command, status.ExitCode)
			}
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// QEMU without libvirt: the guest comes up, what it wrote survives QEMU and the
// server, and discard leaves nothing.
func TestBootWithoutLibvirt(t *testing.T) {
	t.Parallel()
	s := newBootedSite(t)
	r := s.boot("--qemu")
	agent := filepath.Join(filepath.Dir(r.Socket), "agent")
	agentExec(t, agent, "echo written | dd of=/dev/vda bs=512 seek=1000 conv=notrunc,fsync,sync")
	if out := agentExec(t, agent, "dd if=/dev/vda bs=1M skip=10 count=1 | head -c 20"); !strings.Contains(out, "backup\n") {
		t.Errorf("the guest reads %q", out)
	}
	s.wantState(r, "running")

	pid := filepath.Join(filepath.Dir(r.Socket), "qemu.pid")
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	qemu, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(qemu, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.killServer()
	s.wantState(r, "shut off")
	s.run("resume", r.Name)
	if out := agentExec(t, agent, "dd if=/dev/vda bs=512 skip=1000 count=1 | head -c 7"); out != "written" {
		t.Errorf("after the crash the guest reads %q", out)
	}
	if out, err := s.try("promote", r.Name); err == nil || !strings.Contains(err.Error(), "qemu-img convert") {
		t.Errorf("promote: %s, %v", out, err)
	}
	s.run("discard", r.Name)
	r.wantGone()
}

// What the manual says of doing it by hand: overlays on an export, also with a
// client that waits, and on a file of virtnb mount.
func TestByHand(t *testing.T) {
	t.Parallel()
	set, want := newMapSet(t)
	dir := t.TempDir()
	sh := func(format string, args ...any) {
		t.Helper()
		cmd := exec.Command("sh", "-ec", fmt.Sprintf(format, args...))
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	bin := filepath.Dir(program(t))
	if err := os.WriteFile(filepath.Join(dir, "want"), want["vda"], 0o600); err != nil {
		t.Fatal(err)
	}
	sh(`nbdkit -U %s/s -P %[1]s/pid %s/nbdkit-virtnb-plugin.so %s`, dir, bin, set)
	t.Cleanup(func() { sh("kill $(cat pid)") })
	t.Cleanup(func() { sh("fusermount3 -u mnt || umount mnt") })
	sh("mkdir mnt; %s mount %s mnt", program(t), set)
	for i, backing := range []string{
		`nbd+unix:///vda@virtnbdbackup.1?socket=` + dir + `/s`,
		`json:{"driver":"raw","file.driver":"nbd","file.server.type":"unix","file.server.path":"` + dir + `/s","file.export":"vda@virtnbdbackup.1","file.reconnect-delay":30}`,
		dir + `/mnt/virtnbdbackup.1/vda.raw`,
	} {
		sh(`qemu-img create -q -f qcow2 -F raw -b '%s' %d.qcow2; qemu-img compare -f raw -F qcow2 want %[2]d.qcow2`, backing, i)
		sh(`qemu-io -f qcow2 -c 'write -P 7 1M 64k' %d.qcow2; qemu-io -f qcow2 -c 'read -P 7 1M 64k' %[1]d.qcow2 | grep -q 'read 65536'`, i)
	}
}

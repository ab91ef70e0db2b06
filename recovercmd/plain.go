// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A machine without libvirt (boot --qemu) is a QEMU in the background, which is
// talked to through a socket beside that of the server.

const (
	qemuPID     = "qemu.pid"
	commandFile = "qemu.json" // how QEMU is started
	qmpTimeout  = 30 * time.Second
)

// plain is such a machine.
type plain struct{ dir string }

func (s *State) plain() plain { return plain{filepath.Dir(s.Socket)} }

// bootPlain starts the machine of a boot.
func (b *boot) bootPlain(ctx context.Context, xml []byte) error {
	argv, err := qemuCommand(xml, b.state)
	if err != nil {
		return err
	}
	if err := b.state.saveCommand(argv); err != nil {
		return err
	}
	if err := runDaemon(ctx, argv); err != nil {
		return err
	}
	if err := b.state.enter(Running); err != nil {
		return err
	}
	if b.o.Paused {
		return b.report("paused")
	}
	if err := b.state.plain().goOn(ctx); err != nil {
		return err
	}
	return b.report("running")
}

// pid is the process id of QEMU, 0 if it does not run.
func (p plain) pid() int {
	path := filepath.Join(p.dir, qemuPID)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(line, []byte("\x00"+path+"\x00")) {
		return 0
	}
	return pid
}

// status is the state of the machine, in QEMU's words, or "shut off".
func (p plain) status() (string, error) {
	if p.pid() == 0 {
		return "shut off", nil
	}
	var r struct {
		Status string `json:"status"`
	}
	err := p.qmp("query-status", &r)
	if p.pid() == 0 { // it ended meanwhile
		return "shut off", nil
	}
	return r.Status, err
}

// goOn lets the guest run. What an I/O error stopped is tried again at once, see
// resumeTries.
func (p plain) goOn(ctx context.Context) error {
	for range resumeTries {
		was, err := p.status()
		if err != nil {
			return err
		}
		if was == "running" {
			return nil
		}
		if err := p.qmp("cont", nil); err != nil {
			return err
		}
		if was != "io-error" {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(resumeWatch):
		}
	}
	return errors.New("I/O errors stop the guest again and again: is the file system of its overlays full?")
}

// restorePlain does what is needed for the guest to run, and tells what it did.
func restorePlain(ctx context.Context, s *State) (did []string, err error) {
	did = []string{}
	started, err := serveAgain(ctx, s)
	if err != nil {
		return nil, err
	}
	if started {
		did = append(did, "the server of the backup was started again")
	}
	status, err := s.plain().status()
	if err != nil || status == "running" {
		return did, err
	}
	if status == "shut off" {
		argv, err := s.command()
		if err != nil {
			return nil, err
		}
		if err := runDaemon(ctx, argv); err != nil {
			return nil, err
		}
		did = append(did, "the machine was started again")
	} else {
		did = append(did, "the guest, which was "+status+", goes on")
	}
	return did, s.plain().goOn(ctx)
}

// remove ends QEMU and removes what it left.
func (p plain) remove() error {
	if pid := p.pid(); pid > 0 {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end QEMU %d: %w", pid, err)
		}
		ctx, cancel := context.WithTimeoutCause(context.Background(), stopTimeout, fmt.Errorf("QEMU %d does not end", pid))
		defer cancel()
		if err := poll(ctx, func() (bool, error) { return p.pid() == 0, nil }); err != nil {
			return err
		}
	}
	for _, name := range []string{"qmp", "serial", "vnc", "agent", qemuPID} {
		if err := removeFile(filepath.Join(p.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// qmp runs a command of QEMU's monitor.
func (p plain) qmp(command string, result any) error {
	conn, err := net.Dial("unix", filepath.Join(p.dir, "qmp"))
	if err != nil {
		return fmt.Errorf("QEMU: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(qmpTimeout)); err != nil {
		return err
	}
	in := json.NewDecoder(bufio.NewReader(conn))
	if err := in.Decode(&struct{}{}); err != nil { // the greeting
		return fmt.Errorf("QEMU: %w", err)
	}
	for _, c := range []string{"qmp_capabilities", command} {
		if err := converse(conn, in, c, result); err != nil {
			return fmt.Errorf("QEMU: %s: %w", c, err)
		}
	}
	return nil
}

// converse sends a command and waits for its answer, past events.
func converse(conn net.Conn, in *json.Decoder, command string, result any) error {
	if _, err := fmt.Fprintf(conn, "{\"execute\":%q}\n", command); err != nil {
		return err
	}
	for {
		var reply struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := in.Decode(&reply); err != nil {
			return err
		}
		switch {
		case reply.Error != nil:
			return errors.New(reply.Error.Desc)
		case reply.Return != nil && result != nil:
			return json.Unmarshal(reply.Return, result)
		case reply.Return != nil:
			return nil
		}
	}
}

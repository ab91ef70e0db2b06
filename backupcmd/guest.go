// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"libvirt.org/go/libvirt"

	"virtnb/internal/virt"
)

// What the guest's agent tells of the guest: which system it runs, and what
// opens the volumes that a Windows has encrypted with BitLocker. Agents hang, so
// none is waited for without end, and no backup fails for what it does not tell.

// agentTime is how long the agent may take for one thing.
const agentTime = 30 * time.Second

// askGuest asks the agent for what it knows, once for the run and before the
// job: an agent that hangs costs the time of one answer.
func (r *run) askGuest(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, agentTime, fmt.Errorf("no answer within %v", agentTime))
	defer cancel()
	info := make(chan *libvirt.DomainGuestInfo, 1) // the call may go on when nobody waits
	err := virt.Ask(ctx, r.dom, "ask for guest information", func() error {
		i, err := r.dom.GetGuestInfo(0, 0)
		info <- i
		return err
	})
	if err != nil {
		r.log.Debug(fmt.Sprintf("No guest information: %v", err))
		return
	}
	r.guest = <-info
}

// saveGuestInfo saves what the guest's agent told.
func (r *run) saveGuestInfo(_ context.Context, to string) error {
	text, err := json.MarshalIndent(guestInfoMap(r.guest), "", "    ")
	if err != nil {
		return err
	}
	r.log.Info(fmt.Sprintf("Saving guest information to: [%s]", to))
	return writeFile(to, text)
}

// guestInfoMap has the names of libvirt's typed parameters.
func guestInfoMap(g *libvirt.DomainGuestInfo) map[string]any {
	m := map[string]any{}
	put := func(set bool, name string, value any) {
		if set {
			m[name] = value
		}
	}
	if o := g.OS; o != nil {
		put(o.IDSet, "os.id", o.ID)
		put(o.NameSet, "os.name", o.Name)
		put(o.PrettyNameSet, "os.pretty-name", o.PrettyName)
		put(o.VersionSet, "os.version", o.Version)
		put(o.VersionIDSet, "os.version-id", o.VersionID)
		put(o.MachineSet, "os.machine", o.Machine)
		put(o.VariantSet, "os.variant", o.Variant)
		put(o.VariantIDSet, "os.variant-id", o.VariantID)
		put(o.KernelReleaseSet, "os.kernel-release", o.KernelRelease)
		put(o.KernelVersionSet, "os.kernel-version", o.KernelVersion)
	}
	if z := g.TimeZone; z != nil {
		put(z.NameSet, "timezone.name", z.Name)
		put(z.OffsetSet, "timezone.offset", z.Offset)
	}
	put(g.HostnameSet, "hostname", g.Hostname)
	put(len(g.FileSystems) > 0, "fs.count", len(g.FileSystems))
	for i, f := range g.FileSystems {
		at := fmt.Sprintf("fs.%d.", i)
		put(f.MountPointSet, at+"mountpoint", f.MountPoint)
		put(f.NameSet, at+"name", f.Name)
		put(f.FSTypeSet, at+"fstype", f.FSType)
		put(f.TotalBytesSet, at+"total-bytes", f.TotalBytes)
		put(f.UsedBytesSet, at+"used-bytes", f.UsedBytes)
	}
	return m
}

// encryptable lists the drives of a Windows, by their letters.
func encryptable(g *libvirt.DomainGuestInfo) (drives []string) {
	if g.OS == nil || g.OS.ID != "mswindows" {
		return nil
	}
	for _, f := range g.FileSystems {
		if m := f.MountPoint; len(m) >= 2 && m[1] == ':' && strings.Trim(m[2:], `\`) == "" && isLetter(m[0]) {
			drives = append(drives, m[:1])
		}
	}
	return drives
}

func isLetter(c byte) bool { return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' }

// saveBitLockerKeys saves what unlocks a drive. One that is not encrypted has
// none.
func (r *run) saveBitLockerKeys(drive string) func(context.Context, string) error {
	return func(ctx context.Context, to string) error {
		text, err := guestExec(ctx, r.dom, `C:\Windows\System32\manage-bde.exe`, "-protectors", "-get", drive+":")
		if err != nil {
			r.log.Info(fmt.Sprintf("No BitLocker recovery key of drive [%s:]: %v", drive, err))
			return ctx.Err()
		}
		r.log.Info(fmt.Sprintf("Saving BitLocker recovery key of drive [%s:] to: [%s]", drive, to))
		return writeFile(to, text)
	}
}

// agentDomain is a domain whose agent takes commands; *libvirt.Domain is one.
type agentDomain interface {
	QemuAgentCommand(command string, timeout libvirt.DomainQemuAgentCommandTimeout, flags uint32) (string, error)
}

// guestExec runs a program in the guest and returns what it printed. Its error
// does not have that: it can be a secret.
func guestExec(ctx context.Context, dom agentDomain, program string, args ...string) ([]byte, error) {
	var started struct {
		PID int `json:"pid"`
	}
	err := askAgent(dom, "guest-exec", map[string]any{"path": program, "arg": args, "capture-output": true}, &started)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, agentTime, fmt.Errorf("%s does not end in the guest", program))
	defer cancel()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		var status struct {
			Exited   bool   `json:"exited"`
			ExitCode int    `json:"exitcode"`
			Signal   int    `json:"signal"`
			Out      []byte `json:"out-data"`
		}
		if err := askAgent(dom, "guest-exec-status", map[string]any{"pid": started.PID}, &status); err != nil {
			return nil, err
		}
		switch {
		case status.Exited && status.ExitCode == 0 && status.Signal == 0:
			return status.Out, nil
		case status.Exited:
			return nil, fmt.Errorf("%s: exit status %d in the guest", program, status.ExitCode)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func askAgent(dom agentDomain, command string, arguments, result any) error {
	request, err := json.Marshal(map[string]any{"execute": command, "arguments": arguments})
	if err != nil {
		return err
	}
	text, err := dom.QemuAgentCommand(string(request), libvirt.DomainQemuAgentCommandTimeout(agentTime/time.Second), 0)
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	answer := struct {
		Return any `json:"return"`
	}{result}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return errors.New("the answer of the guest agent to " + command + " cannot be read")
	}
	return nil
}

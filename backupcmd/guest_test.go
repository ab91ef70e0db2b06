// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"libvirt.org/go/libvirt"
)

// windows is a domain with the agent of a Windows, in which drive C: is
// encrypted, D: is not, and of E: nothing is ever told.
type windows struct{ running []string }

const recoveryKey = "111111-222222-333333"

func (w *windows) QemuAgentCommand(command string, timeout libvirt.DomainQemuAgentCommandTimeout, _ uint32) (string, error) {
	var c struct {
		Execute   string
		Arguments struct {
			Path    string
			Arg     []string
			Capture bool `json:"capture-output"`
			PID     int
		}
	}
	if err := json.Unmarshal([]byte(command), &c); err != nil || timeout < 1 {
		return "", errors.Join(err, errors.New("a command without end"))
	}
	switch a := c.Arguments; c.Execute {
	case "guest-exec":
		if !a.Capture || !strings.HasSuffix(a.Path, "manage-bde.exe") || !slices.Equal(a.Arg[:2], []string{"-protectors", "-get"}) {
			return "", errors.New("not found: " + command)
		}
		w.running = append(w.running, a.Arg[2])
		return `{"return":{"pid":1001}}`, nil
	case "guest-exec-status":
		if a.PID != 1001 {
			return "", errors.New("no such process")
		}
		return w.status(), nil
	}
	return "", errors.New("unknown command")
}

func (w *windows) status() string {
	switch w.running[len(w.running)-1] {
	case "C:":
		text, _ := json.Marshal([]byte(recoveryKey))
		return `{"return":{"exited":true,"exitcode":0,"out-data":` + string(text) + `}}`
	case "D:":
		text, _ := json.Marshal([]byte("ERROR: No key protectors found. " + recoveryKey))
		return `{"return":{"exited":true,"exitcode":-1,"out-data":` + string(text) + `}}`
	}
	return `{"return":{"exited":false}}`
}

func TestGuestExec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := func(drive string) (string, error) {
			out, err := guestExec(context.Background(), &windows{}, `C:\Windows\System32\manage-bde.exe`, "-protectors", "-get", drive)
			return string(out), err
		}
		if out, err := keys("C:"); err != nil || out != recoveryKey {
			t.Errorf("%q, %v", out, err)
		}
		if out, err := keys("D:"); err == nil || out != "" || strings.Contains(err.Error(), recoveryKey) {
			t.Errorf("a drive without keys: %q, %v", out, err)
		}
		if _, err := keys("E:"); err == nil || !strings.Contains(err.Error(), "does not end") {
			t.Errorf("a program that does not end: %v", err)
		}
	})
}

func TestEncryptable(t *testing.T) {
	g := &libvirt.DomainGuestInfo{OS: &libvirt.DomainGuestInfoOS{ID: "mswindows"}}
	for _, m := range []string{`C:\`, `System Reserved`, `D:`, `C:\mount`, `..\x`, ``, `/`, `1:\`} {
		g.FileSystems = append(g.FileSystems, libvirt.DomainGuestInfoFileSystem{MountPoint: m})
	}
	if got := encryptable(g); !slices.Equal(got, []string{"C", "D"}) {
		t.Errorf("%q", got)
	}
	g.OS.ID = "debian"
	if got := encryptable(g); got != nil {
		t.Errorf("%q of a Linux", got)
	}
}

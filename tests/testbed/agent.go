// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// waitAgent waits until the guest agent answers.
func (g *Guest) waitAgent() error {
	for end := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		err := g.agent("guest-ping", nil, &struct{}{})
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

// agent has the guest agent execute a command.
func (g *Guest) agent(command string, arguments, result any) error {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	out, err := g.virsh("qemu-agent-command", g.Name, string(text))
	if err != nil {
		return err
	}
	answer := struct {
		Return any `json:"return"`
	}{result}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return fmt.Errorf("answer of the guest agent: %w: %s", err, out)
	}
	return nil
}

// execStatus is the agent's answer to guest-exec-status.
type execStatus struct {
	Exited   bool   `json:"exited"`
	ExitCode int    `json:"exitcode"`
	Signal   int    `json:"signal"`
	Out      []byte `json:"out-data"` // base64
	Err      []byte `json:"err-data"`
}

// Exec runs a shell command in a guest that is booted, and returns its standard
// output. An exit status other than 0 is an error, which has the standard error.
func (g *Guest) Exec(command string) (string, error) {
	var started struct {
		PID int `json:"pid"`
	}
	err := g.agent("guest-exec", map[string]any{"path": "/bin/sh", "arg": []string{"-c", command}, "capture-output": true}, &started)
	if err != nil {
		return "", err
	}
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		var status execStatus
		if err := g.agent("guest-exec-status", map[string]any{"pid": started.PID}, &status); err != nil {
			return "", err
		}
		switch {
		case status.Exited && status.ExitCode == 0 && status.Signal == 0:
			return string(status.Out), nil
		case status.Exited:
			return string(status.Out), fmt.Errorf("guest %s: %s: exit status %d, signal %d: %s", g.Name, command, status.ExitCode, status.Signal, status.Err)
		case time.Now().After(end):
			return "", fmt.Errorf("guest %s: %s does not end", g.Name, command)
		}
	}
}

// Freezes lists the agent's calls to freeze and to thaw the guest's file systems
// since it booted: "freeze" or "thaw" each. The guest's file /run/hook, if there
// is one, is a shell script that each of them runs, called with that word; where
// it fails, a freeze does.
func (g *Guest) Freezes() ([]string, error) {
	out, err := g.Exec("cat /run/freezes")
	return strings.Fields(out), err
}

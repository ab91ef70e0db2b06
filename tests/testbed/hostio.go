// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Writes to a disk as the guest's, without a guest that does them: by commands
// of qemu-io to the guest's device in the running QEMU. Dirty bitmaps count
// them, and a paused guest takes them.
//
// QEMU prints the results into its log and not into its answer, so there is
// where we look for them.

// HostWrite runs commands of qemu-io on a disk, such as
// "write -P 0xa5 8M 256k", and flushes. Each must transfer bytes. One at the
// end of the disk or over it fails.
func (g *Guest) HostWrite(target string, commands ...string) error {
	const atOnce = 100 // bounds virsh's command line
	for len(commands) > atOnce {
		if err := g.hostIO(target, commands[:atOnce]); err != nil {
			return err
		}
		commands = commands[atOnce:]
	}
	return g.hostIO(target, commands)
}

// HostZero overwrites a range of bytes with zeroes, as WRITE SAME does. The
// image may keep the clusters or not.
func (g *Guest) HostZero(target string, start, length int64) error {
	return g.HostWrite(target, fmt.Sprintf("write -z %d %d", start, length))
}

// HostDiscard discards a range of bytes, as TRIM does. Whole clusters of a
// qcow2 image read as zeroes afterwards.
func (g *Guest) HostDiscard(target string, start, length int64) error {
	return g.HostWrite(target, fmt.Sprintf("discard %d %d", start, length))
}

// HostFlush has QEMU write what it holds of a disk to the image.
func (g *Guest) HostFlush(target string) error { return g.hostIO(target, nil) }

func (g *Guest) hostIO(target string, commands []string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	device, err := g.device(target)
	if err != nil {
		return err
	}
	before, err := os.Stat(g.qemuLogPath())
	if err != nil {
		return err
	}
	var line strings.Builder
	for _, command := range append(slices.Clip(commands), "flush") {
		fmt.Fprintf(&line, `qemu-monitor-command %s --hmp 'qemu-io -d %s "%s"';`, g.Name, device, command)
	}
	answer, err := g.virsh(line.String())
	if err != nil {
		return err
	}
	if answer = strings.TrimSpace(answer); answer != "" {
		return fmt.Errorf("%s of %s: qemu-io %q: %s", target, g.Name, commands, answer)
	}
	return g.ioResult(target, before.Size(), commands)
}

// ioLine matches what QEMU logs of a transfer, and, after a time, what it and
// libvirt log of other things.
var ioLine = regexp.MustCompile(`^(\w+ \d+/\d+ (bytes at offset) \d+|.* ops; .*|\d{4}-\d\d-\d\d[ T].*|)$`)

// ioResult waits until the commands' results are in the log of QEMU after its
// first bytes. Any other line is what is wrong.
func (g *Guest) ioResult(target string, from int64, commands []string) error {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		log, err := os.ReadFile(g.qemuLogPath())
		if err != nil {
			return err
		}
		done := 0
		for line := range strings.Lines(string(log[min(from, int64(len(log))):])) {
			match := ioLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
			switch {
			case match == nil:
				return fmt.Errorf("%s of %s: qemu-io %q: %s", target, g.Name, commands, line)
			case match[2] != "":
				done++
			}
		}
		if done >= len(commands) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s of %s: qemu-io %q: only %d results", target, g.Name, commands, done)
		}
	}
}

// device is the name that QEMU gives to the guest's device of a disk, as long as
// it runs. The guest's mutex is held.
func (g *Guest) device(target string) (string, error) {
	if known, ok := g.devices[target]; ok {
		return known, nil
	}
	found, err := g.findDevice(target)
	if err == nil {
		g.devices[target] = found
	}
	return found, err
}

func (g *Guest) findDevice(target string) (string, error) {
	alias, err := g.alias(target)
	if err != nil {
		return "", err
	}
	out, err := g.virsh("qemu-monitor-command", g.Name, `{"execute":"query-block"}`)
	if err != nil {
		return "", err
	}
	var answer struct {
		Return []struct {
			Device string `json:"qdev"`
		} `json:"return"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return "", fmt.Errorf("query-block: %w", err)
	}
	for _, block := range answer.Return {
		if block.Device == alias || strings.Contains(block.Device+"/", "/"+alias+"/") {
			return block.Device, nil
		}
	}
	return "", fmt.Errorf("QEMU of %s has no device %s for disk %s", g.Name, alias, target)
}

// alias is the name that libvirt gives to a disk of a running guest.
func (g *Guest) alias(target string) (string, error) {
	text, err := g.XML()
	if err != nil {
		return "", err
	}
	var domain struct {
		Disks []struct {
			Target struct {
				Dev string `xml:"dev,attr"`
			} `xml:"target"`
			Alias struct {
				Name string `xml:"name,attr"`
			} `xml:"alias"`
		} `xml:"devices>disk"`
	}
	if err := xml.Unmarshal([]byte(text), &domain); err != nil {
		return "", err
	}
	for _, disk := range domain.Disks {
		if disk.Target.Dev == target && disk.Alias.Name != "" {
			return disk.Alias.Name, nil
		}
	}
	return "", fmt.Errorf("guest %s runs with no disk %s", g.Name, target)
}

// ReadDisk writes the bytes of a disk at this moment to a file, flat. A running
// guest stands still meanwhile; what it has not written yet is not there: let
// it sync first.
func (g *Guest) ReadDisk(target, path string) (err error) {
	state, err := g.State()
	if err != nil {
		return err
	}
	if state == "running" {
		if _, err := g.virsh("suspend", g.Name); err != nil {
			return err
		}
		defer func() {
			_, resumed := g.virsh("resume", g.Name)
			err = errors.Join(err, resumed)
		}()
	}
	if state != "shut off" {
		if err := g.HostFlush(target); err != nil {
			return err
		}
	}
	_, err = output("qemu-img", "convert", "-U", "-f", g.format(target), "-O", "raw", g.Image(target), path)
	return err
}

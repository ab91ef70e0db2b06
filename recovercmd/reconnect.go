// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"encoding/json"
	"fmt"
	"strings"

	"libvirt.org/go/libvirt"

	"virtnb/internal/domainxml"
)

// When nbdkit is gone, QEMU's NBD client fails all requests at once, unless it
// was told to wait for another server (reconnect-delay), and the guest is
// stopped. libvirt's XML cannot tell it, nor can the name of the backing image:
// libvirt reads that from the overlay and makes the client itself. So before the
// guest runs, QEMU gets another client for each disk, which waits, and the
// overlay another backing image, which is that. libvirt's client stays, unused.
//
// Where this does not work, the guest is stopped in place of waiting, and
// virtnb resume is needed for it to go on. Nothing else is different.

// reconnectDelay is how long a request waits for a server, in seconds. Drivers
// in guests give up after 30 s at the earliest.
const reconnectDelay = 25

// node is what QEMU tells of the image of a disk.
type node struct {
	Name         string `json:"node-name"`
	Driver       string `json:"drv"`
	File         string `json:"file"`
	DetectZeroes string `json:"detect_zeroes"`
	Cache        struct {
		Direct  bool `json:"direct"`
		NoFlush bool `json:"no-flush"`
	} `json:"cache"`
}

// waitForServer has QEMU wait for a server that is gone.
func (m *machine) waitForServer(s *State) error {
	xml, err := m.disks()
	if err != nil {
		return err
	}
	var blocks []struct {
		Inserted *node `json:"inserted"`
	}
	if err := m.qmp("query-block", nil, &blocks); err != nil {
		return err
	}
	waits, err := m.clients()
	if err != nil {
		return err
	}
	for i, d := range s.Disks {
		for _, b := range blocks {
			if b.Inserted == nil || b.Inserted.Driver != "qcow2" || !strings.Contains(b.Inserted.File, d.Overlay) || waits[clientNode(i)] {
				continue
			}
			if err := m.replaceClient(s, i, *b.Inserted, xml[d.Target]); err != nil {
				return fmt.Errorf("disk %s: %w", d.Target, err)
			}
		}
	}
	return nil
}

// clientNode is our name for the client of the disk with this index; a name has
// 31 bytes at most.
func clientNode(i int) string { return fmt.Sprint("virtnb-", i) }

// clientOptions are those of our client.
func clientOptions(s *State, i int) map[string]any {
	return map[string]any{
		"node-name": clientNode(i), "driver": "nbd", "read-only": true,
		"server": map[string]any{"type": "unix", "path": s.Socket}, "export": s.Disks[i].Export, "reconnect-delay": reconnectDelay,
	}
}

func (m *machine) replaceClient(s *State, i int, top node, xml domainxml.Disk) error {
	storage, ok := strings.CutSuffix(top.Name, "-format")
	if !ok || !xml.HasBacking() {
		return nil // not libvirt's way to name nodes, or nothing to wait for
	}
	if err := m.qmp("blockdev-add", clientOptions(s, i), nil); err != nil {
		return err
	}
	options := map[string]any{
		"node-name": top.Name, "driver": "qcow2", "read-only": false,
		"cache": map[string]any{"direct": top.Cache.Direct, "no-flush": top.Cache.NoFlush},
		"file":  storage + "-storage", "backing": clientNode(i),
	}
	if top.DetectZeroes != "" {
		options["detect-zeroes"] = top.DetectZeroes
	}
	if xml.Discard == "unmap" {
		options["discard"] = "unmap"
	}
	if err := m.qmp("blockdev-reopen", map[string]any{"options": []any{options}}, nil); err != nil {
		_ = m.qmp("blockdev-del", map[string]any{"node-name": clientNode(i)}, nil) // one that is there is in use
		return err
	}
	return nil
}

// clients are the names of the images that QEMU has, of which some are our
// clients.
func (m *machine) clients() (map[string]bool, error) {
	var nodes []node
	if err := m.qmp("query-named-block-nodes", map[string]any{"flat": true}, &nodes); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, n := range nodes {
		names[n.Name] = true
	}
	return names, nil
}

// dropClients removes our clients, which nothing uses any more.
func (m *machine) dropClients(s *State) {
	for i := range s.Disks {
		_ = m.qmp("blockdev-del", map[string]any{"node-name": clientNode(i)}, nil) // there may be none
	}
}

// qmp runs a command of QEMU's monitor.
func (m *machine) qmp(command string, arguments, result any) error {
	text, err := json.Marshal(map[string]any{"execute": command, "arguments": arguments})
	if arguments == nil {
		text, err = json.Marshal(map[string]any{"execute": command})
	}
	if err != nil {
		return err
	}
	answer, err := m.dom.QemuMonitorCommand(string(text), libvirt.DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT)
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	var reply struct {
		Return json.RawMessage `json:"return"`
		Error  *struct {
			Text string `json:"desc"`
		} `json:"error"`
	}
	if err := json.Unmarshal([]byte(answer), &reply); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if reply.Error != nil {
		return fmt.Errorf("%s: %s", command, reply.Error.Text)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(reply.Return, result)
}

// SPDX-License-Identifier: Apache-2.0

package testbed

// Adopt is a domain of the daemon that somebody else defined, as a guest. Of its
// disks the Target and, for [Guest.ReadDisk], the Format and the Source have to
// be given.
func (d *Daemon) Adopt(name string, disks ...Disk) *Guest {
	return &Guest{Name: name, daemon: d, opts: GuestOptions{Disks: disks}, devices: map[string]string{}}
}

// WaitAgent waits until the guest agent of a domain with one answers.
func (g *Guest) WaitAgent() error { return g.waitAgent() }

// Resume lets a guest's CPUs run, as virsh resume.
func (g *Guest) Resume() error {
	_, err := g.virsh("resume", g.Name)
	return err
}

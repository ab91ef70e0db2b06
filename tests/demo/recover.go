// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"virtnb/tests/testbed"
)

// recover loses the guest, and brings it back from its backup.
func (d *demo) recover() (err error) {
	d.title("The guest and its disks are destroyed. It runs again, straight from its backup")
	if err := d.guest.Remove(); err != nil {
		return err
	}
	if err := d.command("virsh", "-c", d.daemon.URI(), "list", "--all"); err != nil {
		return err
	}
	state := filepath.Join(d.dir, "recoveries")
	defer func() { // what an error left
		if _, statErr := os.Stat(filepath.Join(state, "vm1")); statErr == nil {
			_, discarded := output(context.Background(), "bin/virtnb", "discard", "vm1", "--state-dir", state)
			err = errors.Join(err, discarded)
		}
	}()
	if err := d.command("bin/virtnb", "boot", d.set(), "--name", "vm1", "-U", d.daemon.URI(), "--state-dir", state); err != nil {
		return err
	}
	d.guest = d.daemon.Adopt("vm1", testbed.Disk{Target: "vda"}, testbed.Disk{Target: "sda"})
	if err := d.guest.WaitAgent(); err != nil {
		return err
	}
	if err := d.inGuest("mount -t ext4 /dev/vda /mnt", "cat /mnt/diary"); err != nil {
		return err
	}
	fmt.Fprintln(d.out)
	if err := d.compareInGuest(d.points[len(d.points)-1]); err != nil {
		return err
	}
	return d.promote(state)
}

// promote makes the guest permanent, with what it wrote meanwhile.
func (d *demo) promote(state string) error {
	d.title("What it writes is kept, and it becomes a normal machine while it runs")
	if err := d.inGuest("echo 'Dear diary, I am back.' >> /mnt/diary; sync"); err != nil {
		return err
	}
	images := filepath.Join(d.dir, "images")
	if err := os.MkdirAll(images, 0o700); err != nil {
		return err
	}
	for _, command := range [][]string{
		{"bin/virtnb", "recoveries", "--state-dir", state},
		{"bin/virtnb", "promote", "vm1", "--target", images, "--state-dir", state},
		{"virsh", "-c", d.daemon.URI(), "domblklist", "vm1"},
	} {
		if err := d.command(command[0], command[1:]...); err != nil {
			return err
		}
	}
	out, err := d.guest.Exec("tail -n 1 /mnt/diary")
	if err != nil {
		return err
	}
	fmt.Fprint(d.out, "vm1# tail -n 1 /mnt/diary\n", out, "\n")
	if out != "Dear diary, I am back.\n" {
		d.different++
	}
	last := *d.points[len(d.points)-1]
	last.files = maps.Clone(last.files)
	delete(last.files, "diary")
	return d.compareInGuest(&last)
}

// compareInGuest compares what the guest has with what it had at a point.
func (d *demo) compareInGuest(p *point) error {
	for _, file := range append([]string{"/dev/sda"}, slices.Sorted(maps.Keys(p.files))...) {
		path, want := file, p.disk
		if file != "/dev/sda" {
			path, want = "/mnt/"+file, p.files[file]
		}
		out, err := d.guest.Exec("sha256sum " + path)
		if err != nil {
			return err
		}
		sum, _, _ := strings.Cut(out, " ")
		d.compare("in the guest: "+file, sum, want, "as it was at "+p.name)
	}
	return nil
}

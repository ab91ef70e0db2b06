// SPDX-License-Identifier: Apache-2.0

// Command demo shows the whole of virtnb on a libvirt and a guest of its own: it
// backs the guest up, a full and two incrementals with changes between them,
// lists the backup set, serves it with nbdkit, mounts it with FUSE, and compares
// every restore point with what the guest had at its time; then it destroys the
// guest, boots it from its backup, and makes it permanent. Its exit status is 0
// if all agree. It leaves nothing behind. It needs root, and what "make build"
// makes in bin/ of the current directory.
//
// The environment variable VIRTNB_BACKUP may name another command for the
// backups: VIRTNB_BACKUP=virtnbdbackup shows how they compare.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"virtnb/tests/testbed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

// demo is a run of the story.
type demo struct {
	ctx    context.Context
	out    io.Writer
	dir    string
	daemon *testbed.Daemon
	guest  *testbed.Guest
	points []*point

	chapter   int
	different int // comparisons that failed
}

// point is what the guest had when a backup was made.
type point struct {
	name  string
	disk  string            // SHA-256 of sda
	files map[string]string // SHA-256 of each file on vda
	vda   string            // SHA-256 of vda as it came over NBD
}

func run(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "virtnb-demo")
	if err != nil {
		return err
	}
	d := &demo{ctx: ctx, out: out, dir: dir}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer func() {
		if d.daemon != nil {
			err = errors.Join(err, d.daemon.Stop())
		}
	}()
	for _, chapter := range []func() error{d.start, d.full, d.firstIncremental, d.secondIncremental, d.list, d.serve, d.mount, d.recover} {
		if err := errors.Join(ctx.Err(), chapter()); err != nil {
			return err
		}
	}
	if d.different > 0 {
		return fmt.Errorf("%d of the above are not what the guest had", d.different)
	}
	d.title("Every restore point, and the guest that was lost, is what it was. Guest, libvirt and backups are removed now")
	return nil
}

func (d *demo) title(text string) {
	d.chapter++
	fmt.Fprintf(d.out, "\n== %d. %s.\n\n", d.chapter, text)
}

// command runs a program and shows it with what it prints.
func (d *demo) command(name string, args ...string) error {
	fmt.Fprint(d.out, "$ ", name)
	for _, arg := range args {
		if strings.Contains(arg, " ") {
			arg = "'" + arg + "'"
		}
		fmt.Fprint(d.out, " ", arg)
	}
	fmt.Fprintln(d.out)
	cmd := exec.CommandContext(d.ctx, name, args...)
	cmd.Stdout, cmd.Stderr = d.out, d.out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintln(d.out)
	return nil
}

// inGuest runs a command in the guest and shows it with what it prints.
func (d *demo) inGuest(commands ...string) error {
	for _, command := range commands {
		fmt.Fprintf(d.out, "%s# %s\n", d.guest.Name, command)
		out, err := d.guest.Exec(command)
		fmt.Fprint(d.out, out)
		if err := errors.Join(err, d.ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) set() string { return filepath.Join(d.dir, "backup") }

func (d *demo) start() (err error) {
	d.title("A libvirt and a guest of its own")
	if d.daemon, err = testbed.Start(d.ctx, testbed.Options{}); err != nil {
		return err
	}
	fmt.Fprintln(d.out, "The first time, a small Linux is made from Debian packages, which takes a while.")
	d.guest, err = d.daemon.Guest(testbed.GuestOptions{Name: "vm1", Start: testbed.Booted, Disks: []testbed.Disk{
		{Target: "vda", Size: 128 << 20},
		{Target: "sda", Size: 64 << 20},
	}})
	if err != nil {
		return err
	}
	if err := d.command("virsh", "-c", d.daemon.URI(), "domblklist", "vm1"); err != nil {
		return err
	}
	fmt.Fprintln(d.out, "vda gets a file system that is always in use. sda has data without one.")
	return d.inGuest(
		"mke2fs /dev/vda >/dev/null && mount -t ext4 /dev/vda /mnt",
		"dd if=/dev/urandom of=/mnt/photos bs=1M count=20 2>/dev/null",
		"dd if=/dev/urandom of=/mnt/mail bs=64k count=50 2>/dev/null",
		"echo 'Dear diary, today I was backed up.' > /mnt/diary",
		"dd if=/dev/urandom of=/dev/sda bs=1M count=24 conv=fsync 2>/dev/null",
	)
}

func (d *demo) full() error {
	d.title("A full backup")
	return d.backup("virtnbdbackup.0", "-l", "full")
}

func (d *demo) firstIncremental() error {
	d.title("Changes in the guest, then an incremental backup")
	if err := d.inGuest(
		"echo 'Dear diary, somebody deleted the photos.' >> /mnt/diary",
		"rm /mnt/photos",
		"dd if=/dev/urandom of=/mnt/mail bs=64k seek=20 count=3 conv=notrunc 2>/dev/null",
		"dd if=/dev/urandom of=/dev/sda bs=64k seek=100 count=10 conv=fsync 2>/dev/null",
	); err != nil {
		return err
	}
	return d.backup("virtnbdbackup.1", "-l", "inc")
}

func (d *demo) secondIncremental() error {
	d.title("More changes, among them data overwritten with zeroes, then a compressed incremental")
	if err := d.inGuest(
		"dd if=/dev/zero of=/mnt/mail bs=64k seek=5 count=10 conv=notrunc 2>/dev/null",
		"dd if=/dev/zero of=/dev/sda bs=1M seek=8 count=4 conv=fsync 2>/dev/null",
		"yes virtnb | dd of=/dev/sda bs=64k seek=500 count=20 iflag=fullblock conv=fsync 2>/dev/null",
		"yes letters | head -c 3000000 > /mnt/letters",
	); err != nil {
		return err
	}
	return d.backup("virtnbdbackup.2", "-l", "inc", "-z")
}

// backup makes a backup, and notes what the guest has.
func (d *demo) backup(name string, args ...string) error {
	out, err := d.guest.Exec("sync; sha256sum /dev/sda; cd /mnt; find . -type f -exec sha256sum {} +")
	if err != nil {
		return err
	}
	p := &point{name: name, files: map[string]string{}}
	for line := range strings.Lines(out) {
		sum, file, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if file == "/dev/sda" {
			p.disk = sum
		} else {
			p.files[strings.TrimPrefix(file, "./")] = sum
		}
	}
	d.points = append(d.points, p)
	fmt.Fprintf(d.out, "\nThe guest has %d files on vda, and sda with SHA-256 %.16s...\n\n", len(p.files), p.disk)
	program := strings.Fields(os.Getenv("VIRTNB_BACKUP"))
	if len(program) == 0 {
		program = []string{"bin/virtnb", "backup"}
	}
	args = append(append(program[1:], "-U", d.daemon.URI(), "-d", "vm1", "-o", d.set()), args...)
	return d.command(program[0], args...)
}

func (d *demo) list() error {
	d.title("What the backup set has")
	return d.command("bin/virtnb", "list", d.set())
}

func (d *demo) serve() error {
	d.title("Every restore point over NBD, by the plugin for nbdkit")
	socket := filepath.Join(d.dir, "nbd")
	fmt.Fprintf(d.out, "$ nbdkit -U %s bin/nbdkit-virtnb-plugin.so %s\n", socket, d.set())
	pidfile := filepath.Join(d.dir, "nbdkit.pid") // nbdkit goes to the background when it is ready
	if out, err := d.output("nbdkit", "-U", socket, "-P", pidfile, "bin/nbdkit-virtnb-plugin.so", d.set()); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	defer d.endNbdkit(pidfile)
	for _, p := range d.points {
		sum, err := d.checksumOf(socket, "sda@"+p.name)
		if err != nil {
			return err
		}
		d.compare("export sda@"+p.name, sum, p.disk, "as the guest had it")
		if p.vda, err = d.checksumOf(socket, "vda@"+p.name); err != nil {
			return err
		}
	}
	return nil
}

// checksumOf is the SHA-256 of an export.
func (d *demo) checksumOf(socket, export string) (string, error) {
	uri := fmt.Sprintf("nbd+unix:///%s?socket=%s", export, socket)
	return d.checksum("nbdcopy", uri, "-")
}

// endNbdkit ends the server, and waits until it is gone.
func (d *demo) endNbdkit(pidfile string) {
	pid, err := os.ReadFile(pidfile)
	if err != nil {
		return
	}
	_ = exec.Command("timeout", "60", "bash", "-c", fmt.Sprintf("kill %[1]s; while [ -e /proc/%[1]s ]; do sleep 0.05; done", strings.TrimSpace(string(pid)))).Run()
}

func (d *demo) mount() (err error) {
	d.title("Every restore point as a file, by FUSE")
	at := filepath.Join(d.dir, "mnt")
	if err := os.Mkdir(at, 0o700); err != nil {
		return err
	}
	if err := d.command("bin/virtnb", "mount", d.set(), at); err != nil {
		return err
	}
	defer func() {
		_, unmounted := output(context.Background(), "umount", at)
		err = errors.Join(err, unmounted)
	}()
	if err := d.command("ls", "-lsh", at, at+"/latest/"); err != nil {
		return err
	}
	for _, p := range d.points {
		if err := d.compareFiles(filepath.Join(at, p.name), p); err != nil {
			return err
		}
	}
	fmt.Fprintln(d.out, "\nA file comes out of an image without mounting it:")
	return d.command("debugfs", "-R", "cat diary", filepath.Join(at, "virtnbdbackup.1", "vda.raw"))
}

// compareFiles compares the disks in a folder of the mount, and the files on
// them, with those of the point.
func (d *demo) compareFiles(folder string, p *point) error {
	sum, err := d.checksum("cat", filepath.Join(folder, "sda.raw"))
	if err != nil {
		return err
	}
	d.compare(p.name+"/sda.raw", sum, p.disk, "as the guest had it")
	image := filepath.Join(folder, "vda.raw")
	if sum, err = d.checksum("cat", image); err != nil {
		return err
	}
	d.compare(p.name+"/vda.raw", sum, p.vda, "as over NBD")
	verdict := "clean"
	if out, err := d.output("e2fsck", "-fn", image); err != nil {
		verdict = "DAMAGED:\n" + out
		d.different++
	}
	fmt.Fprintf(d.out, "%-47s  %s\n", "    its file system", verdict)
	for _, file := range slices.Sorted(maps.Keys(p.files)) {
		sum, err := d.checksum("debugfs", "-R", "cat "+file, image)
		if err != nil {
			return err
		}
		d.compare("    its file "+file, sum, p.files[file], "as the guest had it")
	}
	return nil
}

// compare shows whether a SHA-256 is what it should be.
func (d *demo) compare(what, got, want, verdict string) {
	if got != want {
		verdict = "DIFFERENT: not " + want
		d.different++
	}
	fmt.Fprintf(d.out, "%-26s  %.16s...  %s\n", what, got, verdict)
}

// checksum is the SHA-256 of what a program writes to standard output.
func (d *demo) checksum(name string, args ...string) (string, error) {
	var errOut bytes.Buffer
	sum := sha256.New()
	cmd := exec.CommandContext(d.ctx, name, args...)
	cmd.Stdout, cmd.Stderr = sum, &errOut
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, &errOut)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func (d *demo) output(name string, args ...string) (string, error) {
	return output(d.ctx, name, args...)
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return string(out), err
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"virtnb/format"
)

// Restores are measured side by side with two others: "qemu-img convert" of the
// flat disk, which has no backup to read, and virtnbdrestore. All write a new
// image of the same content and make it durable within their time. The sources
// are in the page cache.

const (
	restoreIncs   = 20
	restoreRounds = 5 // of a comparison with qemu-img; one more warms up
	peerRounds    = 2 // of one with virtnbdrestore, which takes long

	// restoreRoom is what the flat disk, a set with all increments and one
	// restored image take, as a multiple of the disk's size.
	restoreRoom = 3.5

	// memoryLimit is the most memory that a restore may take, MiB.
	memoryLimit = 256
)

// mostlyData is a full of which a quarter is zero, and increments of 4 % of the
// disk each, in pieces of 1 MiB.
func mostlyData(size int64) layout {
	const piece = 1 << 20
	return func(layer int) (list []format.Extent) {
		if layer == 0 {
			for off := int64(0); off < size; off += 4 * piece {
				list = append(list, format.Extent{Start: off, Length: min(3*piece, size-off)})
			}
			return list
		}
		r := rand.New(rand.NewPCG(7, uint64(layer)))
		for off := int64(0); off < size; off += 25 * piece {
			at := min(off+r.Int64N(24)*piece, size-piece)
			list = append(list, format.Extent{Start: at, Length: piece})
		}
		return list
	}
}

// restorer restores the disk into a new folder.
type restorer struct {
	name    string
	command func(d *disk, out, imageFormat string) (argv []string, image string)
}

func (b *bench) restorers() map[string]restorer {
	return map[string]restorer{
		"virtnb": {"virtnb", func(d *disk, out, f string) ([]string, string) {
			return []string{b.virtnb, "restore", "-i", d.set, "-o", out, "--format", f, "-n", "-L", out + ".log"}, filepath.Join(out, diskName+"."+f)
		}},
		"qemu-img": {"qemu-img", func(d *disk, out, f string) ([]string, string) {
			image := filepath.Join(out, "image")
			return []string{"qemu-img", "convert", "-m", "16", "-W", "-f", "raw", "-O", f, d.raw, image}, image
		}},
		"virtnbdrestore": {"virtnbdrestore", func(d *disk, out, _ string) ([]string, string) {
			return []string{"virtnbdrestore", "-U", "test:///default", "-n", "-i", d.set, "-o", out, "-f", out + ".sock", "-L", out + ".log"},
				filepath.Join(out, diskName+".qcow2")
		}},
	}
}

// restoreRow names a comparison.
func restoreRow(s storage, stage, imageFormat, other string) string {
	return fmt.Sprintf("restore/%s/%s/%s/%s", s, stage, imageFormat, other)
}

// runRestores measures all restores.
func (b *bench) runRestores(ctx context.Context, parent string) error {
	for _, s := range []storage{plain, lz4} {
		if err := b.runRestoresOf(ctx, s, parent); err != nil {
			return err
		}
	}
	return nil
}

// restoreStages are the states of the set that are restored.
var restoreStages = []stage{{"full", 1}, {fmt.Sprintf("incs=%d", restoreIncs), 1 + restoreIncs}}

func (b *bench) runRestoresOf(ctx context.Context, s storage, parent string) error {
	var d *disk
	for _, st := range restoreStages {
		for _, c := range comparisons(s, st) {
			if !b.match(c.row) {
				continue
			}
			if d == nil {
				dir, err := b.restoreDir(parent)
				if err != nil {
					return err
				}
				defer os.RemoveAll(dir)
				if d, err = newDisk(dir, b.restoreSize, mostlyData(b.restoreSize), s); err != nil {
					return err
				}
				d.format = "qcow2"
			}
			if err := d.grow(ctx, st.points); err != nil {
				return err
			}
			if err := b.compareRestores(ctx, d, c); err != nil {
				return fmt.Errorf("%s: %w", c.row, err)
			}
		}
	}
	return nil
}

// restoreDir is a new folder where there is room.
func (b *bench) restoreDir(parent string) (string, error) {
	needed := int64(restoreRoom * float64(b.restoreSize))
	if parent == "" && room("/dev/shm") >= needed {
		parent = "/dev/shm"
	}
	if parent == "" {
		parent = os.TempDir()
	}
	if free := room(parent); free < needed {
		return "", fmt.Errorf("%s has room for %d MiB of the %d that restores need: give -dir, or -run without them", parent, free>>20, needed>>20)
	}
	return os.MkdirTemp(parent, "virtnb-bench-")
}

// comparison is one with another program.
type comparison struct {
	row, other, format string
	rounds             int
	least              float64 // speed, as a multiple of the other's
}

func comparisons(s storage, st stage) []comparison {
	least := 2.0
	if st.points > 1 {
		least = 4
	}
	list := []comparison{{"", "virtnbdrestore", "qcow2", peerRounds, least}, {"", "qemu-img", "qcow2", restoreRounds, 0.9}, {"", "qemu-img", "raw", restoreRounds, 0.9}}
	for i, c := range list {
		list[i].row = restoreRow(s, st.name, c.format, c.other)
	}
	return list
}

// compareRestores measures both in turn, and adds the row of their speeds and
// that of our memory.
func (b *bench) compareRestores(ctx context.Context, d *disk, c comparison) error {
	if err := d.writeConfig(); err != nil {
		return err
	}
	all := b.restorers()
	var mine, other, ratios []float64
	most := int64(0)
	for round := range c.rounds + 1 {
		m, memory, err := b.restore(ctx, d, all["virtnb"], c.format, round == 0)
		if err != nil {
			return err
		}
		o, _, err := b.restore(ctx, d, all[c.other], c.format, false)
		if err != nil {
			return err
		}
		if most = max(most, memory); round > 0 {
			mine, other, ratios = append(mine, m), append(other, o), append(ratios, m/o)
		}
	}
	ratio := spreadOf(ratios)
	b.report.add(row{Name: c.row, Unit: "MiB/s", Virtnb: median(mine), File: median(other), Ratio: &ratio, Goal: atLeast(ratio.Median, c.least)})
	mib := float64(most) / (1 << 20)
	b.report.add(row{Name: c.row + "/memory", Unit: "MiB", Virtnb: mib, Goal: below(mib, memoryLimit, "MiB")})
	return nil
}

// writeConfig writes the configuration of a domain with the disk, without which
// virtnbdrestore restores nothing.
func (d *disk) writeConfig() error {
	text := fmt.Sprintf(`<domain type='test'><name>vm1</name><memory>65536</memory><os><type>hvm</type></os><devices><disk type='file' device='disk'>
<driver name='qemu' type='qcow2'/><source file='/nonexistent/%[1]s.qcow2'/><target dev='%[1]s' bus='virtio'/></disk></devices></domain>`, diskName)
	return os.WriteFile(filepath.Join(d.set, "vmconfig."+checkpoint(d.points-1)+".xml"), []byte(text), 0o600)
}

// restore has a program restore the disk, and tells its speed in MiB of data a
// second and the most memory that it took, in bytes.
func (b *bench) restore(ctx context.Context, d *disk, r restorer, imageFormat string, verify bool) (speed float64, memory int64, err error) {
	out, err := os.MkdirTemp(d.dir, "o")
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		for _, name := range []string{out, out + ".log", out + ".sock"} {
			err = errors.Join(err, os.RemoveAll(name))
		}
	}()
	argv, image := r.command(d, out, imageFormat)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	start := time.Now()
	said, err := cmd.CombinedOutput()
	if err == nil {
		err = syncFile(image)
	}
	took := time.Since(start)
	if err != nil {
		return 0, 0, fmt.Errorf("%q: %w\n%s", argv, err, said)
	}
	if verify {
		if said, err := exec.CommandContext(ctx, "qemu-img", "compare", "-f", imageFormat, "-F", "raw", image, d.raw).CombinedOutput(); err != nil {
			return 0, 0, fmt.Errorf("%s restored something else: %w\n%s", r.name, err, said)
		}
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		memory = usage.Maxrss << 10
	}
	return float64(sum(d.layout(0))) / (1 << 20) / took.Seconds(), memory, nil
}

// syncFile makes a file durable, as a restore leaves it.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

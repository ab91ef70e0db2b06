// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"virtnb/format"
)

// disk is a disk of a benchmark: a backup set, and the flat raw file with the
// content of its newest restore point.
type disk struct {
	dir     string
	raw     string // path of the flat file
	set     string // folder of the backup set
	size    int64
	layout  layout
	storage storage
	points  int    // restore points written so far
	format  string // of the image that was backed up; "": raw
}

// storage is how the savesets of a set are stored.
type storage string

const (
	plain storage = "plain"
	lz4   storage = "lz4"
	peer  storage = "peer" // LZ4 frames of 32 MiB, as virtnbdbackup makes them
)

// level is the LZ4 level: the default of virtnbdbackup.
const level = 2

// layout says which extents the backup of a number has: those of 0 are the
// data of the full, later ones what changed.
type layout func(layer int) []format.Extent

// newDisk makes the folder of a disk, in which nothing is backed up yet.
func newDisk(dir string, size int64, l layout, s storage) (*disk, error) {
	d := &disk{dir: dir, raw: filepath.Join(dir, "flat.raw"), set: filepath.Join(dir, "set"), size: size, layout: l, storage: s}
	if err := os.MkdirAll(d.set, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Create(d.raw)
	if err != nil {
		return nil, err
	}
	return d, errors.Join(f.Truncate(size), f.Close())
}

func (d *disk) remove() error { return os.RemoveAll(d.dir) }

// grow makes backups until there are points of them.
func (d *disk) grow(ctx context.Context, points int) error {
	for ; d.points < points; d.points++ {
		if err := d.backup(ctx, d.points); err != nil {
			return err
		}
	}
	return nil
}

// backup writes one layer into the flat file and into the set.
func (d *disk) backup(ctx context.Context, layer int) error {
	extents := d.layout(layer)
	if d.storage == peer { // made from the flat file
		if err := d.writeRaw(ctx, extents, layer); err != nil {
			return err
		}
		return d.writePeer(ctx, extents)
	}
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { errs[0] = d.writeRaw(ctx, extents, layer) })
	wg.Go(func() { errs[1] = d.writeSaveset(ctx, extents, layer) })
	wg.Wait()
	return errors.Join(errs[:]...)
}

func (d *disk) writeRaw(ctx context.Context, extents []format.Extent, layer int) error {
	f, err := os.OpenFile(d.raw, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for _, e := range extents {
		for e.Length > 0 {
			p := buf[:min(e.Length, int64(len(buf)))]
			fill(p, e.Start, layer)
			if _, err := f.WriteAt(p, e.Start); err != nil {
				return err
			}
			e = format.Extent{Start: e.Start + int64(len(p)), Length: e.Length - int64(len(p))}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return f.Close()
}

func (d *disk) writeSaveset(ctx context.Context, extents []format.Extent, layer int) error {
	name := format.Name{Disk: diskName, Level: format.Full}
	if layer > 0 {
		name = format.Name{Disk: diskName, Level: format.Inc, ID: checkpoint(layer)}
	}
	f, err := format.Create(filepath.Join(d.set, name.String()), d.meta(extents, layer), format.WriterOptions{})
	if err != nil {
		return err
	}
	defer f.Abort()
	for _, e := range extents {
		if err := errors.Join(f.DataFrom(e, &layerReader{e, layer}), ctx.Err()); err != nil {
			return err
		}
	}
	return f.Commit()
}

const diskName = "vda"

func checkpoint(layer int) string { return fmt.Sprintf("virtnbdbackup.%d", layer) }

func (d *disk) meta(extents []format.Extent, layer int) format.Metadata {
	m := format.Metadata{
		VirtualSize: d.size, DataSize: sum(extents), DiskName: diskName, DiskFormat: cmp.Or(d.format, "raw"),
		CheckpointName: checkpoint(layer), Incremental: layer > 0,
	}
	if layer > 0 {
		m.ParentCheckpoint = checkpoint(layer - 1)
	}
	if d.storage != plain {
		m.Compression = level
	}
	return m
}

func sum(extents []format.Extent) (n int64) {
	for _, e := range extents {
		n += e.Length
	}
	return n
}

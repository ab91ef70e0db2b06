// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"virtnb/format"
	"virtnb/tests/testbed"
)

// What is compared: virtnb as its user runs it, virtnbdbackup in the same way,
// and nbdcopy, which copies the disks of a job that runs already to raw files.

// backuper makes a backup of all disks into the folder, which is not there yet.
type backuper struct {
	name string
	make func(b *bench, ctx context.Context, g *guest, folder string, compress bool) (usage, error)
}

var (
	ourBackup   = backuper{"virtnb", backupVirtnb}
	peerBackup  = backuper{"virtnbdbackup", backupPeer}
	plainCopy   = backuper{"nbdcopy", copyDisks}
	backupLimit = 3 * time.Minute // a program that takes longer fails
)

func backupVirtnb(b *bench, ctx context.Context, g *guest, folder string, compress bool) (usage, error) {
	return run(ctx, g.backupCommand([]string{b.virtnb, "backup"}, folder, compress))
}

func backupPeer(_ *bench, ctx context.Context, g *guest, folder string, compress bool) (usage, error) {
	return run(ctx, g.backupCommand([]string{testbed.PeerBackupProgram}, folder, compress))
}

func (g *guest) backupCommand(program []string, folder string, compress bool) []string {
	args := append(program, "-U", g.daemon.URI(), "-d", g.domain.Name, "-l", "copy", "--noprogress", "--scratchdir", g.dir, "-o", folder)
	if compress {
		args = append(args, "-z")
	}
	return args
}

// copyDisks copies uncompressed, all disks at a time.
func copyDisks(_ *bench, ctx context.Context, g *guest, folder string, _ bool) (_ usage, err error) {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return usage{}, err
	}
	socket, stop, err := g.export()
	if err != nil {
		return usage{}, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	var programs [][]string
	for _, target := range g.targets {
		programs = append(programs, []string{"nbdcopy", "--flush", "nbd+unix:///" + target + "?socket=" + socket, filepath.Join(folder, target+".raw")})
	}
	return run(ctx, programs...)
}

// back has a program back the guest up, checks the result if check says so, and
// removes it.
func (b *bench) back(ctx context.Context, p backuper, g *guest, compress, check bool) (u usage, err error) {
	ctx, cancel := context.WithTimeout(ctx, backupLimit)
	defer cancel()
	folder := g.newSet()
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	before, _, err := processTime(g.pid)
	if err != nil {
		return u, err
	}
	if u, err = p.make(b, ctx, g, folder, compress); err != nil {
		return u, err
	}
	after, _, err := processTime(g.pid)
	u.qemu = after - before
	if err == nil && check {
		err = g.verify(folder)
	}
	return u, err
}

// lz4Window is how much is made at a time of what is compressed, bytes.
const lz4Window = 64 << 20

// compressAlone compresses what a disk holds, on all processors, from memory to
// nowhere, and returns the seconds that it took.
func (g *guest) compressAlone() (float64, error) {
	window := make([]byte, lz4Window)
	var took time.Duration
	for i := 0; i < len(g.extents); {
		n := 0
		for ; i < len(g.extents) && n+int(g.extents[i].Length) <= len(window); i++ {
			mix(window[n:][:g.extents[i].Length], g.extents[i].Start, 0)
			n += int(g.extents[i].Length)
		}
		start := time.Now()
		if err := compressAll(window[:n]); err != nil {
			return 0, err
		}
		took += time.Since(start)
	}
	return took.Seconds(), nil
}

func compressAll(p []byte) error {
	frames := make(chan []byte, len(p)/ownFrame+1)
	for ; len(p) > 0; p = p[min(len(p), ownFrame):] {
		frames <- p[:min(len(p), ownFrame)]
	}
	close(frames)
	errs := make([]error, runtime.NumCPU())
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			var out []byte
			for frame := range frames {
				if errs[i] == nil {
					out, errs[i] = format.CompressFrame(out[:0], frame, level)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// stage is the plan's part of the names of rows.
func (pl backupPlan) stage() string {
	if pl.extents == backupRuns {
		return "disks=" + strconv.Itoa(pl.disks)
	}
	return "extents=" + strconv.Itoa(pl.extents)
}

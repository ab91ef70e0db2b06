// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// What is compared with virtnb's mount: the flat file itself, the same content
// served as a file by QEMU (from a qcow2) and by nbdfuse (from nbdkit's file
// plugin), and the least that a server with virtnb's FUSE library can do, which
// is the ceiling of virtnb's.

// party is a file with the content of the disk, and what serves it.
type party struct {
	name string
	path string
	proc *process // nil: a file without a server
	at   string   // mount point
}

// kinds of parties, by the names that they have in the report.
var kinds = []struct {
	name  string
	start func(b *bench, ctx context.Context, d *disk, at string) (*party, error)
}{
	{"virtnb", startVirtnb}, {"flat", startFlat}, {"qemu", startQemu}, {"nbdfuse", startNbdfuse}, {"ceiling", startCeiling},
}

// serve starts a server and waits until the file has the size of the disk.
func serve(ctx context.Context, p *party, size int64, env []string, program string, args ...string) (_ *party, err error) {
	if p.proc, err = launch(env, program, args...); err != nil {
		return nil, err
	}
	err = p.proc.await(ctx, func() error {
		st, err := os.Stat(p.path)
		if err == nil && st.Size() != size {
			err = fmt.Errorf("%s has %d bytes instead of %d", p.path, st.Size(), size)
		}
		return err
	})
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func startVirtnb(b *bench, ctx context.Context, d *disk, at string) (*party, error) {
	p := &party{path: filepath.Join(at, "latest", diskName+".raw"), at: at}
	return serve(ctx, p, d.size, nil, b.virtnb, "mount", "-f", d.set, at)
}

func startFlat(_ *bench, _ context.Context, d *disk, _ string) (*party, error) {
	return &party{path: d.raw}, nil
}

// startQemu serves a qcow2, over the file that is the mount point.
func startQemu(_ *bench, ctx context.Context, d *disk, at string) (*party, error) {
	qcow2, file := filepath.Join(d.dir, "flat.qcow2"), filepath.Join(at, "disk")
	if out, err := exec.CommandContext(ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", d.raw, qcow2).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("qemu-img convert: %w: %s", err, out)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return nil, err
	}
	return serve(ctx, &party{path: file, at: file}, d.size, nil, "qemu-storage-daemon",
		"--blockdev", "driver=file,node-name=file,read-only=on,filename="+qcow2,
		"--blockdev", "driver=qcow2,node-name=disk,read-only=on,file=file",
		"--export", "type=fuse,id=fuse,node-name=disk,writable=off,mountpoint="+file)
}

func startNbdfuse(_ *bench, ctx context.Context, d *disk, at string) (*party, error) {
	p := &party{path: filepath.Join(at, "disk"), at: at}
	return serve(ctx, p, d.size, nil, "nbdfuse", "-r", p.path, "[", "nbdkit", "--exit-with-parent", "file", d.raw, "]")
}

func startCeiling(_ *bench, ctx context.Context, d *disk, at string) (*party, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &party{path: filepath.Join(at, ceilingName), at: at}
	return serve(ctx, p, d.size, []string{ceilingEnv + "=" + d.raw}, self, at)
}

// stop ends the server and its mount, also where the server does not.
func (p *party) stop() {
	if p.proc == nil {
		return
	}
	p.proc.stop()
	if unix.Unmount(p.at, unix.MNT_DETACH) != nil {
		_ = exec.Command("fusermount3", "-uzq", p.at).Run() // fails where nothing is mounted any more
	}
}

// drop makes the kernel forget the pages that it has of the file.
func (p *party) drop() error {
	f, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// parties are those of a comparison; the first is virtnb.
type parties []*party

// startParties starts those of the names.
func (b *bench) startParties(ctx context.Context, d *disk, names ...string) (all parties, err error) {
	defer func() {
		if err != nil {
			all.stop()
		}
	}()
	for _, name := range names {
		at := filepath.Join(d.dir, name)
		if err := os.MkdirAll(at, 0o700); err != nil {
			return all, err
		}
		for _, k := range kinds {
			if k.name != name {
				continue
			}
			p, err := k.start(b, ctx, d, at)
			if err != nil {
				return all, fmt.Errorf("%s: %w", name, err)
			}
			p.name = name
			all = append(all, p)
		}
	}
	return all, nil
}

func (ps parties) stop() {
	for _, p := range ps {
		p.stop()
	}
}

// processes are those that serve.
func (ps parties) processes() (list []*process) {
	for _, p := range ps {
		if p.proc != nil {
			list = append(list, p.proc)
		}
	}
	return list
}

// turn lists them beginning with another one each time.
func (ps parties) turn(i int) parties {
	i %= len(ps)
	return append(append(parties{}, ps[i:]...), ps[:i]...)
}

// verify compares each file with the flat one, byte for byte.
func (ps parties) verify(ctx context.Context, d *disk) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for _, p := range ps {
		if p.path == d.raw {
			continue
		}
		g.Go(func() error {
			return errors.Join(p.verify(ctx, d), p.drop())
		})
	}
	return g.Wait()
}

func (p *party) verify(ctx context.Context, d *disk) error {
	got, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer got.Close()
	want, err := os.Open(d.raw)
	if err != nil {
		return err
	}
	defer want.Close()
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < d.size; off += int64(len(a)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := int(min(int64(len(a)), d.size-off))
		_, err1 := got.ReadAt(a[:n], off)
		_, err2 := want.ReadAt(b[:n], off)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return fmt.Errorf("%s: wrong bytes in the %d at %d", p.name, n, off)
		}
	}
	return nil
}

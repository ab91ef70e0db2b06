// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The least that a server with virtnb's FUSE library can do: one file, of which
// each read is one of the flat file. It is mounted as virtnb mounts.

// ceilingEnv makes this program that server, of the file that it names.
const ceilingEnv = "VIRTNB_BENCH_CEILING"

const ceilingName = "disk"

// serveCeiling shows the file at a mount point until SIGTERM.
func serveCeiling(path, at string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	second := time.Second
	server, err := fs.Mount(at, &ceilingRoot{file: f}, &fs.Options{
		EntryTimeout: &second, AttrTimeout: &second, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
		MountOptions: fuse.MountOptions{
			FsName: "ceiling", Name: "ceiling", Options: []string{"ro"},
			MaxWrite: 1 << 20, MaxReadAhead: 1 << 20, MaxBackground: 64,
			DisableXAttrs: true, DirectMount: true, DisableSplice: true,
		},
	})
	if err != nil {
		return fmt.Errorf("mounting on %s: %w", at, err)
	}
	raiseReadAhead(at)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	go func() {
		<-end
		_ = server.Unmount()
	}()
	server.Wait()
	return nil
}

// raiseReadAhead is what virtnb does where it may.
func raiseReadAhead(at string) {
	var st syscall.Stat_t
	if syscall.Stat(at, &st) == nil {
		bdi := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
		_ = os.WriteFile(filepath.Join("/sys/class/bdi", bdi, "read_ahead_kb"), []byte("4096"), 0)
	}
}

type ceilingRoot struct {
	fs.Inode
	file *os.File
}

func (r *ceilingRoot) OnAdd(ctx context.Context) {
	r.AddChild(ceilingName, r.NewPersistentInode(ctx, &ceilingFile{file: r.file}, fs.StableAttr{Mode: syscall.S_IFREG}), false)
}

type ceilingFile struct {
	fs.Inode
	file *os.File
}

func (f *ceilingFile) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	st, err := f.file.Stat()
	if err != nil {
		return fs.ToErrno(err)
	}
	out.FromStat(st.Sys().(*syscall.Stat_t))
	return 0
}

func (f *ceilingFile) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (f *ceilingFile) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := f.file.ReadAt(dest, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fs.ToErrno(err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

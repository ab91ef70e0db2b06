// SPDX-License-Identifier: Apache-2.0

// Package mount is the command that shows a backup set as a file system:
//
//	err := mount.Run(ctx, mount.Options{Set: "/backup/vm1", Mountpoint: "/mnt"})
//
// Package fusefs has the file system. Here is what is around it: the checks
// before (check.go), the server in the background (background.go), and its end.
//
// A Go program cannot go to the background itself. It starts itself again, with
// --foreground and a pipe on which the new process says that the mount is
// there, or why it is not; then the first one ends.
package mount

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"virtnb/fusefs"
)

// Run mounts. In the foreground it returns when the mount ended, by umount or
// because ctx did; otherwise as soon as the mount can be used, which a process
// in the background serves from then on.
func Run(ctx context.Context, o Options) error {
	o, err := o.complete()
	if err != nil {
		return err
	}
	if ready := readyPipe(); ready != nil {
		return o.serveInBackground(ctx, ready)
	}
	if err := o.prepare(); err != nil {
		return err
	}
	if !o.Foreground {
		return o.startBackground(ctx)
	}
	return o.serve(ctx, slog.New(slog.NewTextHandler(o.Stderr, o.logOptions())), func() {})
}

func (o Options) logOptions() *slog.HandlerOptions {
	if o.Debug {
		return &slog.HandlerOptions{Level: slog.LevelDebug}
	}
	return nil
}

// serve mounts, calls ready, and serves until the end.
func (o Options) serve(ctx context.Context, log *slog.Logger, ready func()) error {
	server, err := fusefs.Mount(o.Set, o.Mountpoint, o.view(log))
	if err != nil {
		return explain(err)
	}
	log.Info("mounted", "set", o.Set, "on", o.Mountpoint)
	ready()
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		unmount(server, o.Mountpoint, log)
		err = <-ended
	}
	if err != nil {
		log.Error("unmounted", "from", o.Mountpoint, "error", err)
		return err
	}
	log.Info("unmounted", "from", o.Mountpoint)
	return nil
}

// view are the options of the file system.
func (o Options) view(log *slog.Logger) fusefs.Options {
	v := fusefs.Options{
		Cache: o.Cache, Writable: o.Writable, AllowOther: o.AllowOther, Debug: o.Debug, Log: log,
		MountOptions: []string{"nosuid", "nodev"},
	}
	if o.NoExec {
		v.MountOptions = append(v.MountOptions, "noexec")
	}
	return v
}

// unmount ends a mount. One that is in use is taken out of the tree of folders,
// and ends with the last open file.
func unmount(server *fusefs.Server, mountpoint string, log *slog.Logger) {
	err := server.Unmount() // tries for a while
	if err == nil {
		return
	}
	log.Warn("in use: goes on until the last file in it is closed, or a second signal", "mount", mountpoint)
	if err := detach(mountpoint); err != nil {
		log.Error("cannot unmount", "mount", mountpoint, "error", err)
	}
}

// explain adds what can be done to the error of a mount.
func explain(err error) error {
	text := strings.TrimSpace(err.Error())
	if !strings.Contains(text, "fusermount exited") {
		return err
	}
	before, _, _ := strings.Cut(text, "fusermount exited")
	if os.Geteuid() == 0 {
		return fmt.Errorf("%snot permitted; in a container it needs the right to mount (CAP_SYS_ADMIN) and %s", before, device)
	}
	return fmt.Errorf("%sfusermount3 refused: see what it said", before)
}

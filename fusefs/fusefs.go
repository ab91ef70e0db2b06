// SPDX-License-Identifier: Apache-2.0

// Package fusefs shows a backup set, or a folder of sets, as a file system:
//
//	POINT/DISK.raw        the disk at a restore point, a sparse raw image
//	POINT/DISK.pN.raw     its partition N
//	POINT/vmconfig.xml    and the other files that were saved with the point
//	latest -> POINT
//	by-date/2026-11-22T02:00:00 -> ../POINT
//
// Nothing is read before somebody asks: folders come from the catalogue of the
// set, which is read again when the folder changed, and a chain is opened by
// the first who wants its size on disk or its bytes.
//
// dirs.go has the folders, disk.go the images, layer.go, write.go and changes.go
// what makes them writable, and library.go what they share.
package fusefs

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"virtnb/format"
	"virtnb/overlay"
)

// Options are how a view is made.
type Options struct {
	// Cache is the memory for decompressed data in bytes; 0 means
	// overlay.DefaultCacheSize.
	Cache int64

	// Writable is a folder where what is written to the images is kept, "" for
	// images that cannot be written to. The set itself is never changed.
	Writable string

	// AllowOther lets other users than the one who mounts see the files, as
	// their permissions say.
	AllowOther bool

	// MountOptions are passed to the kernel as they are ("nosuid", "ro").
	MountOptions []string

	// Debug logs every request.
	Debug bool

	// Log gets a line for each problem of a file that somebody ran into.
	Log *slog.Logger
}

const (
	// maxRequest is the most that the kernel asks for at a time, bytes.
	maxRequest = 1 << 20

	// maxBackground is how many reads ahead the kernel has under way.
	maxBackground = 64

	// timeout is how long the kernel believes what it was told of names and
	// attributes.
	timeout = time.Second
)

// Mount shows the set, or the folder of sets, in dir at mountpoint. The mount
// is there when Mount returns; the server serves until it is unmounted.
func Mount(dir, mountpoint string, o Options) (*Server, error) {
	if o.Cache == 0 {
		o.Cache = overlay.DefaultCacheSize
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	lib, err := newLibrary(dir, o)
	if err != nil {
		return nil, err
	}
	if err := o.makeWritable(); err != nil {
		return nil, err
	}
	options := slices.Clone(o.MountOptions)
	if o.AllowOther {
		options = append(options, "default_permissions")
	}
	t := timeout
	extra := uint64(0)
	if o.Writable == "" {
		options = append(options, "ro") // else the library says yes to unlink, and does nothing
	} else {
		t = 0 // a write to a disk changes the attributes of its partitions
		extra = fuse.CAP_DIRECT_IO_ALLOW_MMAP
	}
	server, err := fs.Mount(mountpoint, lib.root(), &fs.Options{
		EntryTimeout: &t,
		AttrTimeout:  &t,
		UID:          uint32(os.Getuid()),
		GID:          uint32(os.Getgid()),
		MountOptions: fuse.MountOptions{
			AllowOther:    o.AllowOther,
			Options:       options,
			FsName:        fsName(dir),
			Name:          "virtnb",
			MaxWrite:      maxRequest,
			MaxReadAhead:  maxRequest,
			MaxBackground: maxBackground,
			DisableXAttrs: true,
			DirectMount:   true,
			DisableSplice: true, // which the library tries, in vain, for each answer from memory
			Debug:         o.Debug,
			Logger:        slog.NewLogLogger(o.Log.Handler(), logLevel(o.Debug)),

			ExtraCapabilities: extra,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("mounting %s on %s: %w", dir, mountpoint, err)
	}
	lib.readAhead(mountpoint)
	return &Server{server, lib}, nil
}

// logLevel is that of messages of the library: panics, and requests.
func logLevel(debug bool) slog.Level {
	if debug {
		return slog.LevelDebug
	}
	return slog.LevelError
}

// fsName is what df shows; a comma would end the mount option.
func fsName(dir string) string {
	b := []byte(dir)
	for i, c := range b {
		if c == ',' {
			b[i] = '_'
		}
	}
	return string(b)
}

// isSet says whether dir is a set itself and not a folder of sets.
func isSet(dir string) (bool, error) {
	_, err := format.ReadSet(dir)
	if err == nil {
		return true, nil
	}
	sets, _, below := format.Sets(dir)
	if below == nil && len(sets) > 0 {
		return false, nil
	}
	return false, err
}

// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"virtnb/internal/size"
)

// Options are what to mount, where and how.
type Options struct {
	Set        string // the folder of a backup set, or of several
	Mountpoint string

	Foreground bool   // serve until unmounted, instead of going to the background
	Debug      bool   // log every request; in the foreground
	Cache      int64  // memory for decompressed data, bytes; 0: the default
	Writable   string // folder for what is written to the images; "": they are read-only
	AllowOther bool   // other users may look at the files too
	ReadOnly   bool   // "ro" was asked for; without Writable it is so anyway
	NoExec     bool
	Sloppy     bool // unknown -o options are no error, as mount -s wants

	Stderr io.Writer // for notices; what goes wrong later is logged
}

// generic are options of mount(8) that change nothing here: the files are no
// programs and no devices, nothing notes when they were read, and who may
// mount and when is for mount(8) to know.
var generic = []string{
	"defaults", "rw", "exec", "suid", "nosuid", "dev", "nodev",
	"user", "users", "nouser", "owner", "group", "auto", "noauto", "_netdev", "nofail",
	"atime", "noatime", "relatime", "norelatime", "strictatime", "nostrictatime",
	"lazytime", "nolazytime", "diratime", "nodiratime", "sync", "async", "dirsync",
	"silent", "loud", "default_permissions",
}

// genericPrefixes begin generic options that have something behind it.
var genericPrefixes = []string{"x-", "X-", "comment=", "user=", "uhelper=", "helper="}

func isGeneric(option string) bool {
	return slices.Contains(generic, option) || slices.ContainsFunc(genericPrefixes, func(prefix string) bool {
		return strings.HasPrefix(option, prefix)
	})
}

// Apply takes options as they follow -o, separated by commas.
func (o *Options) Apply(list string) error {
	for option := range strings.SplitSeq(list, ",") {
		if err := o.apply(option); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) apply(option string) (err error) {
	name, value, _ := strings.Cut(option, "=")
	switch {
	case option == "":
	case option == "ro":
		o.ReadOnly = true
	case option == "noexec":
		o.NoExec = true
	case option == "allow_other":
		o.AllowOther = true
	case name == "cache":
		o.Cache, err = ParseSize(value)
	case name == "writable" && value != "":
		o.Writable = value
	case name == "writable":
		err = fmt.Errorf("option writable needs a folder: writable=DIR")
	case option == "remount":
		err = fmt.Errorf("option remount: not possible, unmount and mount again")
	case !isGeneric(option) && !o.Sloppy:
		err = fmt.Errorf("unknown mount option %q; known are allow_other, cache=SIZE, writable=DIR, ro, and those of mount(8)", option)
	}
	return err
}

// ParseSize reads the size of the cache: a number of bytes with a unit, as in
// "64M".
func ParseSize(text string) (int64, error) {
	n, err := size.Parse(text)
	if err != nil {
		return 0, fmt.Errorf("cache size: %w", err)
	}
	return n, nil
}

// complete checks the options against each other and makes paths absolute: the
// server works in another folder.
func (o Options) complete() (Options, error) {
	if o.ReadOnly && o.Writable != "" {
		return o, fmt.Errorf("ro and writable=%s contradict each other; leave one of them out", o.Writable)
	}
	o.Foreground = o.Foreground || o.Debug
	var err error
	for _, path := range []*string{&o.Set, &o.Mountpoint, &o.Writable} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return o, err
		}
	}
	o.Mountpoint = resolve(o.Mountpoint)
	return o, nil
}

// resolve follows symbolic links, as /proc/self/mountinfo does. The path
// itself may lead nowhere, or to a server that died.
func resolve(path string) string {
	if whole, err := filepath.EvalSymlinks(path); err == nil {
		return whole
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// args is the command line that stands for o.
func (o Options) args() []string {
	args := []string{"virtnb", "mount", "--foreground"}
	if o.Cache != 0 {
		args = append(args, "--cache", strconv.FormatInt(o.Cache, 10))
	}
	if o.Writable != "" {
		args = append(args, "--writable", o.Writable)
	}
	if o.AllowOther {
		args = append(args, "-o", "allow_other")
	}
	if o.NoExec {
		args = append(args, "-o", "noexec")
	}
	return append(args, "--", o.Set, o.Mountpoint)
}

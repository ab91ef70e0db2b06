// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"virtnb/fusefs/mount"
)

func mountCommand(errOut io.Writer) *cli.Command {
	return &cli.Command{
		Name:         "mount",
		Usage:        "show the restore points of a backup set as files",
		ArgsUsage:    "SET MOUNTPOINT",
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "foreground", Aliases: []string{"f"}, Usage: "do not go to the background"},
			&cli.StringSliceFlag{Name: "options", Aliases: []string{"o"}, Usage: "mount options, `LIST` separated by commas: allow_other, cache=SIZE, writable=DIR, ro and those of mount(8)"},
			&cli.StringFlag{Name: "cache", Value: "64M", Usage: "`SIZE` of the memory for decompressed data"},
			&cli.StringFlag{Name: "writable", Usage: "let images be written to, and keep the changes in the folder `DIR`"},
			&cli.BoolFlag{Name: "debug", Aliases: []string{"d"}, Usage: "log every request, in the foreground"},
		},
		Action: func(c *cli.Context) error {
			o, err := mountOptions(c)
			if err != nil {
				return err
			}
			o.Stderr = errOut
			return mount.Run(c.Context, o)
		},
	}
}

// mountOptions reads the command line. Flags win over -o.
func mountOptions(c *cli.Context) (o mount.Options, err error) {
	if c.NArg() != 2 {
		return o, fmt.Errorf("mount takes two arguments, a backup set and a mount point, and got %d; see virtnb mount --help", c.NArg())
	}
	o = mount.Options{Set: c.Args().Get(0), Mountpoint: c.Args().Get(1), Foreground: c.Bool("foreground"), Debug: c.Bool("debug")}
	for _, list := range c.StringSlice("options") {
		if err := o.Apply(list); err != nil {
			return o, err
		}
	}
	if c.IsSet("writable") {
		o.Writable = c.String("writable")
	}
	if c.IsSet("cache") || o.Cache == 0 {
		o.Cache, err = mount.ParseSize(c.String("cache"))
	}
	return o, err
}

// isMountHelper says whether mount(8) calls: as mount.fuse.virtnb or
// mount.virtnb, which are links to this program, or by way of mount.fuse3 as
// "virtnb SOURCE MOUNTPOINT -o OPTIONS".
func isMountHelper(args []string) bool {
	name := filepath.Base(args[0])
	if name == "mount.fuse.virtnb" || name == "mount.virtnb" {
		return true
	}
	return len(args) > 2 && strings.HasPrefix(args[1], "/") && strings.HasPrefix(args[2], "/")
}

// runMountHelper mounts as mount(8) wants it.
func runMountHelper(ctx context.Context, args []string, errOut io.Writer) error {
	o, fake, err := helperOptions(args)
	if err != nil || fake {
		return err
	}
	o.Stderr = errOut
	return mount.Run(ctx, o)
}

var errHelperUsage = errors.New("as a helper of mount(8): SOURCE MOUNTPOINT [-sfnv] [-o OPTIONS] [-t TYPE]; otherwise see virtnb mount --help")

// helperOptions reads the arguments that mount(8) gives to its helpers. Fake
// means that nothing is to be done.
func helperOptions(args []string) (o mount.Options, fake bool, err error) {
	var paths, lists []string
	for i := 1; i < len(args); i++ {
		flag := args[i]
		switch {
		case flag == "-o" || flag == "-t" || flag == "-N":
			if i++; i == len(args) {
				return o, false, errHelperUsage
			}
			if flag == "-o" {
				lists = append(lists, args[i])
			}
		case strings.HasPrefix(flag, "-o"):
			lists = append(lists, flag[2:])
		case len(flag) > 1 && flag[0] == '-' && strings.Trim(flag[1:], "sfnvwr") == "":
			o.Sloppy = o.Sloppy || strings.Contains(flag, "s")
			o.ReadOnly = o.ReadOnly || strings.Contains(flag, "r")
			fake = fake || strings.Contains(flag, "f")
		case strings.HasPrefix(flag, "-"):
			return o, false, errHelperUsage
		default:
			paths = append(paths, flag)
		}
	}
	if len(paths) != 2 {
		return o, false, errHelperUsage
	}
	o.Set, o.Mountpoint = paths[0], paths[1]
	for _, list := range lists {
		err = errors.Join(err, o.Apply(list))
	}
	return o, fake, err
}

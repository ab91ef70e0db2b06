// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"virtnb/internal/progress"
	"virtnb/restorecmd"
)

// The commands that look at what is in a backup set.

func dumpCommand(out io.Writer) *cli.Command {
	return &cli.Command{
		Name:         "dump",
		Usage:        "show the metadata of the savesets in a backup set",
		ArgsUsage:    "SET",
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "disk", Aliases: []string{"d"}, Usage: "only savesets whose names begin with `NAME`"},
			&cli.BoolFlag{Name: "json", Usage: "print a JSON array of the metadata as it is in the savesets"},
		},
		Action: func(c *cli.Context) error {
			set, err := setArgument(c)
			if err != nil {
				return err
			}
			return restorecmd.DumpSet(c.Context, restorecmd.DumpOptions{Set: set, Disk: c.String("disk"), JSON: c.Bool("json"), Out: out})
		},
	}
}

func verifyCommand(out io.Writer) *cli.Command {
	return &cli.Command{
		Name:         "verify",
		Usage:        "read all of a backup set and look for damage",
		ArgsUsage:    "SET",
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "disk", Aliases: []string{"d"}, Usage: "only savesets whose names begin with `NAME`"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
			&cli.BoolFlag{Name: "noprogress", Aliases: []string{"n"}, Usage: "show no progress bar"},
		},
		Action: func(c *cli.Context) error {
			set, err := setArgument(c)
			if err != nil {
				return err
			}
			return verify(c.Context, restorecmd.VerifyOptions{Set: set, Disk: c.String("disk"), JSON: c.Bool("json"), Out: out}, c.Bool("noprogress"))
		},
	}
}

// verify verifies a set with a progress bar on the terminal, if there is one.
func verify(ctx context.Context, o restorecmd.VerifyOptions, noBars bool) error {
	o.Log = slog.New(slog.DiscardHandler)
	o.Progress = progress.New(progress.Options{Label: "verifying disk", Stderr: os.Stderr, NoBars: noBars})
	defer o.Progress.Close()
	return restorecmd.VerifySet(ctx, o)
}

// setArgument is the backup set of a command line; several archives of one are
// several arguments.
func setArgument(c *cli.Context) (string, error) {
	if c.NArg() > 1 {
		return strings.Join(c.Args().Slice(), ","), nil
	}
	return oneArgument(c, "the folder of a backup set, or its archives")
}

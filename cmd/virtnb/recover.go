// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"virtnb/internal/size"
	"virtnb/recovercmd"
)

var stateDirFlag = &cli.StringFlag{Name: "state-dir", Usage: "`DIR` in which recoveries are kept (default: " + recovercmd.DefaultStateDir() + ")"}

func jsonFlag(usage string) cli.Flag { return &cli.BoolFlag{Name: "json", Usage: usage} }

func bootCommand(out, errOut io.Writer) *cli.Command {
	return &cli.Command{
		Name:         "boot",
		Usage:        "start a machine from its backup, at once",
		ArgsUsage:    "SET",
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "until", Usage: "restore `POINT` to start from (default: the latest)"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the machine (default: recovered-NAME)"},
			&cli.StringFlag{Name: "overlay-dir", Usage: "`DIR` for what the guest writes (default: images/NAME beside the folder of recoveries)"},
			&cli.StringFlag{Name: "memory", Usage: "`SIZE` of the memory, such as 2G (default: as it was)"},
			&cli.IntFlag{Name: "vcpus", Usage: "`NUMBER` of CPUs (default: as it was)"},
			&cli.StringFlag{Name: "network", Value: "none", Usage: "`MODE` of the network: none, isolated, keep"},
			&cli.StringFlag{Name: "isolated-network", Value: "isolated", Usage: "`NAME` of the libvirt network for --network isolated"},
			&cli.BoolFlag{Name: "keep-macs", Usage: "keep the addresses of the network cards: only if the original is gone"},
			&cli.StringFlag{Name: "connect", Aliases: []string{"uri", "U"}, Usage: "`URI` of libvirt", EnvVars: []string{"LIBVIRT_DEFAULT_URI"}},
			&cli.BoolFlag{Name: "qemu", Usage: "start QEMU without libvirt: no network, no promote"},
			&cli.BoolFlag{Name: "paused", Usage: "do not let the guest run yet"},
			&cli.BoolFlag{Name: "print-xml", Usage: "print the machine's definition and do nothing"},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done and do nothing"},
			stateDirFlag,
			jsonFlag("print one JSON object"),
		},
		Action: func(c *cli.Context) error {
			o, err := bootOptions(c)
			if err != nil {
				return err
			}
			o.Out, o.ErrOut = out, errOut
			return recovercmd.Boot(c.Context, o)
		},
	}
}

func bootOptions(c *cli.Context) (o recovercmd.BootOptions, err error) {
	set, err := oneArgument(c, "the folder of a backup set")
	if err != nil {
		return o, err
	}
	o = recovercmd.BootOptions{
		Set: set, Until: c.String("until"), Name: c.String("name"), Images: c.String("overlay-dir"), StateDir: c.String("state-dir"),
		VCPUs: c.Int("vcpus"), Network: c.String("network"), IsolatedNetwork: c.String("isolated-network"), KeepMACs: c.Bool("keep-macs"),
		URI: c.String("connect"), Qemu: c.Bool("qemu"), Paused: c.Bool("paused"), PrintXML: c.Bool("print-xml"), DryRun: c.Bool("dry-run"), JSON: c.Bool("json"),
	}
	if c.IsSet("memory") {
		o.Memory, err = size.Parse(c.String("memory"))
	}
	return o, err
}

func recoveriesCommand(out io.Writer) *cli.Command {
	return &cli.Command{
		Name:         "recoveries",
		Usage:        "show the machines that run from a backup",
		OnUsageError: usageError,
		Flags:        []cli.Flag{stateDirFlag, jsonFlag("print one JSON list")},
		Action: func(c *cli.Context) error {
			return recovercmd.List(c.Context, recovercmd.ListOptions{StateDir: c.String("state-dir"), JSON: c.Bool("json"), Out: out})
		},
	}
}

func resumeCommand(out, errOut io.Writer) *cli.Command {
	return &cli.Command{
		Name:         "resume",
		Usage:        "bring a machine that runs from a backup back after a failure",
		ArgsUsage:    "NAME",
		OnUsageError: usageError,
		Flags:        []cli.Flag{stateDirFlag, jsonFlag("print one JSON object")},
		Action: func(c *cli.Context) error {
			o, err := recoveryOptions(c, out, errOut)
			if err != nil {
				return err
			}
			return recovercmd.Resume(c.Context, o)
		},
	}
}

func discardCommand(out, errOut io.Writer) *cli.Command {
	return &cli.Command{
		Name:         "discard",
		Usage:        "take a machine that runs from a backup away, with all that it wrote",
		ArgsUsage:    "NAME",
		OnUsageError: usageError,
		Flags:        []cli.Flag{stateDirFlag, jsonFlag("print one JSON object")},
		Action: func(c *cli.Context) error {
			o, err := recoveryOptions(c, out, errOut)
			if err != nil {
				return err
			}
			return recovercmd.Discard(c.Context, o)
		},
	}
}

func recoveryOptions(c *cli.Context, out, errOut io.Writer) (recovercmd.Options, error) {
	name, err := oneArgument(c, "the name of a recovery")
	return recovercmd.Options{Name: name, StateDir: c.String("state-dir"), JSON: c.Bool("json"), Out: out, ErrOut: errOut}, err
}

func promoteCommand(out, errOut io.Writer) *cli.Command {
	return &cli.Command{
		Name:         "promote",
		Usage:        "make a machine that runs from a backup a normal one, while it runs",
		ArgsUsage:    "NAME",
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "target", Usage: "copy the disks to `DIR`, a folder or a storage pool (default: they stay where the overlays are)"},
			&cli.StringFlag{Name: "bandwidth", Usage: "at most `SIZE` a second, such as 100M"},
			stateDirFlag,
			jsonFlag("print progress and result as lines of JSON"),
		},
		Action: func(c *cli.Context) error {
			one, err := recoveryOptions(c, out, errOut)
			if err != nil {
				return err
			}
			o := recovercmd.PromoteOptions{Options: one, Target: c.String("target")}
			if c.IsSet("bandwidth") {
				if o.Bandwidth, err = size.Parse(c.String("bandwidth")); err != nil {
					return err
				}
			}
			o.Stderr, _ = errOut.(*os.File)
			return recovercmd.Promote(c.Context, o)
		},
	}
}

// SPDX-License-Identifier: Apache-2.0

// Command virtnb backs up virtual machines in the format of virtnbdbackup, and
// works with such backups. This package has flags and exit statuses, the work is
// done by the command packages.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"virtnb/backupcmd"
	"virtnb/recovercmd"
	"virtnb/restorecmd"
)

// version is set by the linker.
var version = "development"

// Exit statuses. Peers have others, too.
const (
	exitSuccess = 0
	exitFailure = 1
)

// peers are the commands of virtnb that take the place of another program.
var peers = []peer{
	{"backup", "virtnbdbackup", "save the disks of a virtual machine", backupcmd.Main},
	{"restore", "virtnbdrestore", "bring the disks of a virtual machine back", restorecmd.Main},
	{"map", recovercmd.PeerName, "serve the disks of a backup over NBD", recovercmd.MapMain},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second signal ends the program
	os.Exit(run(ctx, os.Args, os.Stdout, os.Stderr))
}

// run is main with everything given in.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	if p, ok := calledAs(peers, args); ok {
		return p.run(ctx, p.program, args[1:])
	}
	if isMountHelper(args) {
		return report(errOut, runMountHelper(ctx, args, errOut))
	}
	app := newApp(out, errOut)
	return report(errOut, app.RunContext(ctx, flagsFirst(app, args)))
}

func report(errOut io.Writer, err error) int {
	if status := peerStatus(0); errors.As(err, &status) {
		return int(status)
	}
	if err != nil {
		fmt.Fprintf(errOut, "virtnb: %v\n", err)
		return exitFailure
	}
	return exitSuccess
}

func newApp(out, errOut io.Writer) *cli.App {
	app := &cli.App{
		Name:                 "virtnb",
		Usage:                "back up virtual machines, and bring them back",
		Version:              version,
		HideHelpCommand:      true,
		Writer:               out,
		ErrWriter:            errOut,
		EnableBashCompletion: true,
		ExitErrHandler:       func(*cli.Context, error) {}, // run reports
		OnUsageError:         usageError,
		Action:               unknownCommand,
		Commands: []*cli.Command{
			listCommand(out), dumpCommand(out), verifyCommand(out), mountCommand(errOut), bootCommand(out, errOut), recoveriesCommand(out),
			promoteCommand(out, errOut), resumeCommand(out, errOut), discardCommand(out, errOut),
		},
	}
	for _, p := range peers {
		app.Commands = append(app.Commands, p.cli())
	}
	return app
}

func usageError(c *cli.Context, err error, _ bool) error {
	return fmt.Errorf("%w; see virtnb %s --help", err, c.Command.Name)
}

func unknownCommand(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("there is no command %q; see virtnb --help", c.Args().First())
	}
	return cli.ShowAppHelp(c)
}

func listCommand(out io.Writer) *cli.Command {
	return &cli.Command{
		Name:         "list",
		Usage:        "show the disks and restore points of a backup set",
		ArgsUsage:    "SET",
		OnUsageError: usageError,
		Flags:        []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print one JSON object"}},
		Action: func(c *cli.Context) error {
			set, err := setArgument(c)
			if err != nil {
				return err
			}
			return restorecmd.List(c.Context, restorecmd.ListOptions{Set: set, JSON: c.Bool("json"), Out: out})
		},
	}
}

func oneArgument(c *cli.Context, what string) (string, error) {
	if n := c.NArg(); n != 1 {
		return "", fmt.Errorf("%s takes one argument, %s, and got %d; see virtnb %[1]s --help", c.Command.Name, what, n)
	}
	return c.Args().First(), nil
}

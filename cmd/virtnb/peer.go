// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v2"
)

// peer is a command that takes the place of another program. It reads its
// arguments as that program does, has its exit statuses, and reports by itself.
type peer struct {
	command string // of virtnb
	program string // when called by this name, virtnb is that program
	usage   string
	main    func(ctx context.Context, prog, version string, args []string, out, errOut *os.File) (status int)
}

// peerStatus is the exit status of a peer that is not success. All is said.
type peerStatus int

func (s peerStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// run runs the peer by the name prog.
func (p peer) run(ctx context.Context, prog string, args []string) int {
	// When the reader of our output goes away, the write fails, and is cleaned
	// up after. The signal would end us in the middle. (Programs that we start
	// get it as ever, which they would not if it were ignored here.)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return p.main(ctx, prog, version, args, os.Stdout, os.Stderr)
}

// cli is the peer as a command of virtnb. The library does not look at its
// arguments, not even for --help.
func (p peer) cli() *cli.Command {
	return &cli.Command{
		Name:            p.command,
		Usage:           p.usage,
		SkipFlagParsing: true,
		HideHelp:        true,
		Action: func(c *cli.Context) error {
			if status := p.run(c.Context, "virtnb "+p.command, c.Args().Slice()); status != exitSuccess {
				return peerStatus(status)
			}
			return nil
		},
	}
}

// calledAs is the peer whose name the program was called by.
func calledAs(peers []peer, args []string) (p peer, ok bool) {
	for _, p := range peers {
		if filepath.Base(args[0]) == p.program {
			return p, true
		}
	}
	return peer{}, false
}

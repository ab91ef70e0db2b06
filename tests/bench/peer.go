// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"

	"virtnb/format"
)

//go:embed peer.py
var peerScript string

// python is the one that finds Debian's package python3-lz4.
const python = "/usr/bin/python3"

// writePeer backs the flat file up as virtnbdbackup would.
func (d *disk) writePeer(ctx context.Context, extents []format.Extent) error {
	out := filepath.Join(d.set, format.Name{Disk: diskName, Level: format.Full}.String())
	args := []string{"-c", peerScript, d.raw, out, strconv.Itoa(level)}
	for _, e := range extents {
		args = append(args, fmt.Sprintf("%d:%d", e.Start, e.Length))
	}
	if msg, err := exec.CommandContext(ctx, python, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("making frames of 32 MiB (Debian package python3-lz4): %w: %s", err, msg)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"virtnb/format"
)

// WriteMap writes a map of a disk of size bytes in the format of GNU ddrescue
// (its manual, chapter "Mapfile structure"): lost is bad, "-", all else is
// finished, "+". comments stand at the top, each on a line. What is lost must be
// inside the disk.
func WriteMap(out io.Writer, size int64, lost format.Extents, comments []string) error {
	w := bufio.NewWriter(out)
	fmt.Fprintln(w, "# Mapfile. Created by virtnb")
	for _, c := range comments {
		fmt.Fprintln(w, "# "+strings.Map(printable, c))
	}
	fmt.Fprintln(w, "# current_pos  current_status  current_pass")
	fmt.Fprintln(w, "0x00000000     +               1")
	fmt.Fprintln(w, "#      pos        size  status")
	at := int64(0)
	entry := func(to int64, status string) {
		if to > at {
			fmt.Fprintf(w, "0x%08X  0x%08X  %s\n", at, to-at, status)
			at = to
		}
	}
	for _, e := range lost {
		entry(e.Start, "+")
		entry(e.End(), "-")
	}
	entry(size, "+")
	return w.Flush()
}

// printable keeps a comment on its line.
func printable(r rune) rune {
	if r < ' ' {
		return ' '
	}
	return r
}

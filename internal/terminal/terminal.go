// SPDX-License-Identifier: Apache-2.0

// Package terminal tells whether somebody looks at what is written.
package terminal

import (
	"os"

	"golang.org/x/term"
)

// Is says whether w, a reader or writer, is a terminal.
func Is(w any) bool {
	f, ok := w.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}

// Colors says whether w is a terminal whose user has nothing against colours.
func Colors(w any) bool {
	return Is(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

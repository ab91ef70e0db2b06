// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"os"
	"strings"

	"virtnb/format"
)

// inputPaths are the paths that the name of a backup set stands for: a folder,
// an archive, or several archives with commas between them. A path that is there
// is itself, whatever is in its name.
func inputPaths(input string) []string {
	if _, err := os.Stat(input); err == nil || !strings.Contains(input, ",") {
		return []string{input}
	}
	return strings.Split(input, ",")
}

// readInput reads the catalogue of a backup set.
func readInput(input string) (*format.Set, error) {
	return format.ReadSet(inputPaths(input)...)
}

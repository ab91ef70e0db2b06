// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"os"
	"path/filepath"
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

// savesetPath is the path of a file of a set: in its folder, or in the archive
// that has it.
func savesetPath(input, name string) string {
	paths := inputPaths(input)
	if set, err := format.ReadSet(paths...); err == nil {
		if path, ok := set.File(name); ok {
			return path
		}
	}
	return filepath.Join(paths[0], name)
}

// SPDX-License-Identifier: Apache-2.0

package format

import (
	"regexp"
	"strings"
)

// Level is the kind of backup that a file's name stands for.
type Level string

const (
	Full Level = "full"
	Copy Level = "copy" // a full without a checkpoint
	Inc  Level = "inc"  // changes since the checkpoint before
	Diff Level = "diff" // changes since a checkpoint, without making one
)

const (
	dataSuffix    = ".data"
	partialSuffix = ".partial" // of a saveset that is being written, or never was finished
	chksumSuffix  = ".chksum"  // of the side file with the Adler-32 of a saveset
)

// Name is what the name of a saveset says.
type Name struct {
	Disk  string
	Level Level
	ID    string // inc: checkpoint; diff: unix time in seconds
}

// Exact matching: "sda" is not "sdaa". A disk's name is a libvirt target dev,
// a word; it becomes part of export names and paths.
var namePattern = regexp.MustCompile(`^([A-Za-z0-9_-]+)\.(full|copy|inc\.([A-Za-z0-9_.-]+)|diff\.([0-9]+))\.data$`)

// ParseName reads a file's base name. ok is false if it is not the name of a
// saveset.
func ParseName(base string) (n Name, ok bool) {
	m := namePattern.FindStringSubmatch(base)
	if m == nil {
		return Name{}, false
	}
	level, _, _ := strings.Cut(m[2], ".")
	return Name{Disk: m[1], Level: Level(level), ID: m[3] + m[4]}, true
}

// String is the base name of the file.
func (n Name) String() string {
	s := n.Disk + "." + string(n.Level)
	if n.ID != "" {
		s += "." + n.ID
	}
	return s + dataSuffix
}

// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"github.com/google/uuid"
)

// Names become parts of paths, of NBD export names and of file names that
// package format must be able to read.
var (
	targetPattern     = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	checkpointPattern = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}$`) // libvirt's own, and a length
)

// maxName is what the name of libvirt's own file, NAME.xml, has room for, in bytes.
const maxName = 251

// CheckName says why a domain cannot have this name; nil if it can. QEMU's
// driver refuses the same, except for the length.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name of a domain is empty")
	case len(name) > maxName:
		return fmt.Errorf("domain name of %d bytes, the limit is %d", len(name), maxName)
	case name == "." || name == ".." || strings.Contains(name, "/"):
		return fmt.Errorf("domain name %q: would be a path", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("domain name %q: has control characters", name)
	case strings.TrimSpace(name) == "":
		return fmt.Errorf("domain name %q: only spaces", name)
	}
	return nil
}

// CheckTarget says why a disk cannot have this target (vda, sdb); nil if it can.
func CheckTarget(dev string) error {
	if !targetPattern.MatchString(dev) {
		return fmt.Errorf("disk target %q: must be letters, digits, - and _", dev)
	}
	return nil
}

// CheckCheckpoint says why a checkpoint cannot have this name; nil if it can.
func CheckCheckpoint(name string) error {
	if !checkpointPattern.MatchString(name) {
		return fmt.Errorf("checkpoint name %q: must be letters, digits, -, _ and dots, not first a dot", name)
	}
	return nil
}

// checkPath is for paths that we put into XML.
func checkPath(what, path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%s %q: must be an absolute path", what, path)
	}
	if strings.ContainsFunc(path, unicode.IsControl) {
		return fmt.Errorf("%s %q: has control characters", what, path)
	}
	return nil
}

// canonicalUUID brings both spellings that libvirt reads into the one it writes.
func canonicalUUID(s string) (string, error) {
	u, err := uuid.Parse(s)
	if err != nil || len(s) != 36 && len(s) != 32 {
		return "", fmt.Errorf("%q is not a UUID", s)
	}
	return u.String(), nil
}

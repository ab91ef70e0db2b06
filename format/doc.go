// SPDX-License-Identifier: Apache-2.0

// Package format reads and writes the backup sets that virtnbdbackup and
// virtnb share: the stream format of a saveset, the names of the files in a
// set, and the catalogue of a set (disks, chains, restore points, problems).
//
// Reading starts at one of two places:
//
//	set, err := format.ReadSet("/backup/vm1")        // what is in this folder?
//	s, err := format.OpenSaveset("vda.full.data")    // what is in this file?
//
// Writing goes through [Create], or [NewWriter] where the output is no file.
//
// The package knows bytes on disk and nothing else: how incrementals are laid
// over a full is the business of package overlay. It logs nothing.
//
// The stream format is that of virtnbdbackup's sparsestream module, versions 1
// and 2: ASCII frame headers of 40 bytes, each followed by its payload.
package format

import (
	"errors"
	"fmt"
)

var (
	// ErrCorrupt means that a file's content is not what its format demands:
	// cut, damaged, or not a saveset at all. Every *CorruptError is one.
	ErrCorrupt = errors.New("damaged saveset")

	// ErrChain means that savesets do not follow each other: a parent is
	// missing, doubled, damaged, or belongs to another chain.
	ErrChain = errors.New("broken chain")

	// ErrNotFound means that a set has no such disk or restore point.
	ErrNotFound = errors.New("not found")
)

// CorruptError says where a saveset is damaged, and how.
type CorruptError struct {
	File   string // path as it was opened
	Offset int64  // byte offset in File of what is wrong
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("saveset %s: offset %d: %s", e.File, e.Offset, e.Reason)
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

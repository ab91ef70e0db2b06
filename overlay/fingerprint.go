// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"path/filepath"
	"sync"
)

// A fingerprint tells whether a chain is still the one that something was based
// on, at another time or in another place: copied, moved, mounted elsewhere. It
// is made of what the metadata of the savesets says, their sizes and times of
// modification, and samples of what is in them.
//
// Whoever writes to a saveset moves its time, which is enough. The samples are
// for those who put the time back, as some copying programs do: they find
// another disk, and may miss a few changed bytes. To read all would take as long
// as restoring. Left out on purpose: inodes and their times, and which parts
// of a file are holes, all of which a copy on another disk has of its own.

const (
	fingerprintSamples = 64   // in the whole chain
	fingerprintSample  = 4096 // bytes
)

// fingerprint remembers what was computed.
type fingerprint struct {
	mu  sync.Mutex // guards sum; held while it is computed
	sum string
}

// Fingerprint is equal for chains that show the same, as far as can be told
// without reading them. The error is that of a saveset that changed since it was
// opened, or cannot be read.
func (c *Chain) Fingerprint() (string, error) {
	c.print.mu.Lock()
	defer c.print.mu.Unlock()
	if c.print.sum == "" {
		sum, err := c.computeFingerprint()
		if err != nil {
			return "", err
		}
		c.print.sum = sum
	}
	for _, s := range c.sources {
		if err := s.Unchanged(); err != nil {
			return "", err
		}
	}
	return c.print.sum, nil
}

func (c *Chain) computeFingerprint() (string, error) {
	h := sha256.New()
	for _, s := range c.sources {
		stamp, _ := s.Stamp()
		m := &s.Meta
		fmt.Fprintf(h, "%q %d %d.%d %q %q %q %v %d %d\n", filepath.Base(s.Path), s.Size, stamp.ModifiedSec, stamp.Modified,
			m.DiskName, m.CheckpointName, m.ParentCheckpoint, m.Date.UnixNano(), m.VirtualSize, m.DataSize)
	}
	if err := c.hashSamples(h); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// hashSamples writes pieces of the files to h, from places all over them.
func (c *Chain) hashSamples(h hash.Hash) error {
	total := int64(0)
	for _, s := range c.sources {
		total += s.Size
	}
	every := max(1, total/fingerprintSamples)
	next := int64(0) // place in the files, taken as one behind the other
	buf := make([]byte, fingerprintSample)
	for begin, i := int64(0), 0; i < len(c.sources); i++ {
		s := c.sources[i]
		for ; next < begin+s.Size; next += every {
			p := buf[:min(fingerprintSample, begin+s.Size-next)]
			if _, err := s.ReadAt(p, next-begin); err != nil {
				return err
			}
			h.Write(p)
		}
		begin += s.Size
	}
	return nil
}

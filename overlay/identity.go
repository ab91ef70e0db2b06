// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"hash/fnv"
	"sync"

	"virtnb/format"
)

// identities remembers what the files of chains were when their content was
// first seen. A file that was linked, or got another mode or owner, has another
// stamp and the same content; which only those can tell who know the stamp that
// it had before.
type identities struct {
	mu   sync.Mutex
	seen map[string]sighting // by path
}

// sighting is the first and the last stamp of a content.
type sighting struct{ first, last format.Stamp }

// of returns the identity of a chain of files that have these stamps.
func (i *identities) of(files []string, stamps []format.Stamp) uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	h := fnv.New64a()
	for n, file := range files {
		s, known := i.seen[file]
		if !known || !s.last.Same(stamps[n]) {
			s.first = stamps[n]
		}
		s.last = stamps[n]
		i.seen[file] = s
		fmt.Fprintf(h, "%s %v\n", file, s.first)
	}
	return h.Sum64()
}

func (i *identities) forget(file string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.seen, file)
}

// Identity is equal for two images of the pool if they are of the same files
// with the same content.
func (s *Shared) Identity() uint64 { return s.identity }

// Identity is the one that the image of a chain would have if it were opened
// now.
func (p *Pool) Identity(files []string) (uint64, error) {
	var stamps []format.Stamp
	for _, file := range files {
		stamp, err := format.StampOf(file)
		if err != nil {
			p.identities.forget(file)
			return 0, err
		}
		stamps = append(stamps, stamp)
	}
	return p.identities.of(files, stamps), nil
}

func (p *Pool) identityOf(c *Chain, files []string) uint64 {
	var stamps []format.Stamp
	for _, s := range c.sources {
		stamp, _ := s.Stamp()
		stamps = append(stamps, stamp)
	}
	return p.identities.of(files, stamps)
}

// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"hash/fnv"
	"math/bits"
	"sync"
	"time"

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
type sighting struct {
	first, last format.Stamp
	id          uint64    // of the content
	at          time.Time // when last was taken
}

// of returns the identity of a file that has this stamp now.
func (i *identities) of(file string, stamp format.Stamp) uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	s, known := i.seen[file]
	if !known || !s.last.Same(stamp) {
		h := fnv.New64a()
		fmt.Fprintf(h, "%s %v\n", file, stamp)
		s.first, s.id = stamp, h.Sum64()
	}
	s.last, s.at = stamp, time.Now()
	i.seen[file] = s
	return s.id
}

// recent returns the identity of a file that was seen not longer ago than age.
func (i *identities) recent(file string, age time.Duration) (id uint64, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s, known := i.seen[file]
	return s.id, known && time.Since(s.at) < age
}

func (i *identities) forget(file string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.seen, file)
}

// chained is the identity of a chain that ends with a file, 0 being that of
// the chain of no file.
func chained(before, file uint64) uint64 {
	return (bits.RotateLeft64(before, 29) ^ file) * 0x9e3779b97f4a7c15
}

// Identity is equal for two images of the pool if they are of the same files
// with the same content.
func (s *Shared) Identity() uint64 { return s.identity }

// Identity is the one that the image of a chain would have if it were opened
// now.
func (p *Pool) Identity(files []string) (uint64, error) { return p.RecentIdentity(files, 0) }

// RecentIdentity is as Identity, but may be of the files as they were so long
// ago: it does not look again at those that were looked at since then.
func (p *Pool) RecentIdentity(files []string, age time.Duration) (id uint64, err error) {
	for _, file := range files {
		of, ok := uint64(0), false
		if age > 0 {
			of, ok = p.identities.recent(file, age)
		}
		if !ok {
			stamp, err := format.StampOf(file)
			if err != nil {
				p.identities.forget(file)
				return 0, err
			}
			of = p.identities.of(file, stamp)
		}
		id = chained(id, of)
	}
	return id, nil
}

func (p *Pool) identityOf(c *Chain) (id uint64) {
	for _, s := range c.sources {
		id = chained(id, p.identities.file(s.Saveset))
	}
	return id
}

// file returns the identity of a file that is open.
func (i *identities) file(s *format.Saveset) uint64 {
	stamp, _ := s.Stamp()
	return i.of(s.Path, stamp)
}

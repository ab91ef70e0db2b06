// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"container/list"
	"math/bits"
	"sync"
	"sync/atomic"

	"virtnb/format"
)

// DefaultCacheSize is the size of a cache, in bytes, where none is asked for.
const DefaultCacheSize = 64 << 20

// Cache holds decompressed data, and the decoder states that lead back into
// large LZ4 frames, up to a number of bytes. Images that share a cache share
// what is in it, also between restore points with savesets in common. What is
// wanted by several readers at once is decoded once. The least recently used
// goes first.
//
// Buffers are counted while somebody copies from them and used again after
// eviction, so that the memory taken stays near the bound without leaving the
// garbage collector to find it.
type Cache struct {
	max   int64
	pools [poolClasses]sync.Pool // of *[]byte, by the power of two of their capacity

	mu      sync.Mutex // guards the rest
	used    int64
	entries map[cacheKey]*cacheEntry
	recent  list.List // of *cacheEntry, most recently used first
	ids     map[format.Stamp]uint32
	nextID  uint32
}

// cacheKey names a segment of an LZ4 frame, or with stateSegment its decoder
// states.
type cacheKey struct {
	source  uint32
	segment int32
	pos     int64 // of the frame in the saveset
}

const stateSegment = -1

// entryOverhead is what an entry costs beside its data, bytes.
const entryOverhead = 256

type cacheEntry struct {
	key   cacheKey
	elem  *list.Element // nil once evicted; guarded by Cache.mu
	size  int64         // bytes charged; guarded by Cache.mu
	users atomic.Int32  // readers that hold the entry

	ready chan struct{} // closed when the rest is set
	buf   []byte        // what goes back to the pool
	data  []byte        // the part of buf with the content
	state *frameState
	err   error
}

// NewCache returns a cache for at most size bytes. It serves with any size, as
// data is held while it is read; a useful one is 16 MiB and more.
func NewCache(size int64) *Cache {
	return &Cache{max: size, entries: map[cacheKey]*cacheEntry{}, ids: map[format.Stamp]uint32{}}
}

// sourceID returns the number under which the content of s is cached. Equal
// files have equal numbers.
func (c *Cache) sourceID(s *format.Saveset) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp, ok := s.Stamp()
	if id, known := c.ids[stamp]; ok && known {
		return id
	}
	c.nextID++
	if ok {
		c.ids[stamp] = c.nextID
	}
	return c.nextID
}

// get returns the entry of key, which the caller gives back with put. If there
// is none, load makes it, with the entry's fields to fill; others wait for it.
// An error is for all that wait, and is not kept.
func (c *Cache) get(key cacheKey, load func(e *cacheEntry) error) (*cacheEntry, error) {
	c.mu.Lock()
	if e := c.entries[key]; e != nil {
		e.users.Add(1)
		c.recent.MoveToFront(e.elem)
		c.mu.Unlock()
		<-e.ready
		if e.err != nil {
			c.put(e)
			return nil, e.err
		}
		return e, nil
	}
	e := &cacheEntry{key: key, ready: make(chan struct{}), size: entryOverhead}
	e.users.Add(1)
	c.insert(e)
	c.mu.Unlock()
	return c.load(e, load)
}

// load fills e and lets those go that wait for it, also when it panics.
func (c *Cache) load(e *cacheEntry, load func(e *cacheEntry) error) (*cacheEntry, error) {
	e.err = errLoadPanicked
	defer func() {
		c.mu.Lock()
		if e.err != nil {
			c.remove(e)
		}
		close(e.ready)
		c.mu.Unlock()
	}()
	if e.err = load(e); e.err != nil {
		return nil, e.err
	}
	c.resize(e, entryOverhead+int64(cap(e.buf)))
	return e, nil
}

// offer inserts content that came up on the way to something else. It takes
// over buf, and does nothing if the key is there.
func (c *Cache) offer(key cacheKey, buf, data []byte) {
	e := &cacheEntry{key: key, buf: buf, data: data, ready: make(chan struct{}), size: entryOverhead + int64(cap(buf))}
	close(e.ready)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[key] != nil {
		c.free(buf)
		return
	}
	c.insert(e)
	c.shrink(e)
}

// insert adds e as the most recently used. c.mu is held.
func (c *Cache) insert(e *cacheEntry) {
	c.entries[e.key] = e
	e.elem = c.recent.PushFront(e)
	c.used += e.size
}

// resize charges e with size bytes and evicts others until all fit.
func (c *Cache) resize(e *cacheEntry, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.elem == nil {
		return
	}
	c.used += size - e.size
	e.size = size
	c.shrink(e)
}

// shrink evicts the least recently used entries, and at last keep itself, until
// the bound is kept. c.mu is held.
func (c *Cache) shrink(keep *cacheEntry) {
	for el := c.recent.Back(); el != nil && c.used > c.max; {
		e := el.Value.(*cacheEntry)
		el = el.Prev()
		if e != keep {
			c.remove(e)
		}
	}
	if c.used > c.max {
		c.remove(keep)
	}
}

// remove takes e out. Readers that hold it go on; c.mu is held.
func (c *Cache) remove(e *cacheEntry) {
	if e.elem == nil {
		return
	}
	c.recent.Remove(e.elem)
	delete(c.entries, e.key)
	c.used -= e.size
	e.elem = nil
	if e.users.Load() == 0 {
		c.free(e.buf)
	}
}

// put gives an entry back. Its data may not be used afterwards.
func (c *Cache) put(e *cacheEntry) { e.users.Add(-1) }

// A buffer that was evicted while in use is left to the garbage collector: the
// last reader does not take the lock only to find out.

const poolClasses = 25 // up to 16 MiB

// alloc returns a buffer of n bytes with arbitrary content.
func (c *Cache) alloc(n int) []byte {
	class := bits.Len(uint(max(n, 1) - 1))
	if class >= poolClasses {
		return make([]byte, n)
	}
	if p, ok := c.pools[class].Get().(*[]byte); ok {
		return (*p)[:n]
	}
	return make([]byte, n, 1<<class)
}

// free takes a buffer of alloc back.
func (c *Cache) free(b []byte) {
	class := bits.Len(uint(max(cap(b), 1) - 1))
	if cap(b) == 0 || class >= poolClasses || cap(b) != 1<<class {
		return
	}
	c.pools[class].Put(&b)
}

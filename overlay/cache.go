// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"container/list"
	"sync"
	"sync/atomic"

	"virtnb/format"
)

// DefaultCacheSize is the size of a cache, in bytes, where none is asked for.
const DefaultCacheSize = 64 << 20

// Cache holds decompressed data, and the decoder states that lead back into
// large LZ4 frames, up to a number of bytes. Images that share a cache share
// what is in it, also between restore points with savesets in common. What is
// wanted by several readers at once is decoded once.
//
// A hit takes no lock that another hit would wait for: readers of nbdkit are
// threads that Go must park and wake at some cost. So entries are found in
// shards of a map under read locks, and what was used is not moved in a list
// but marked; eviction goes round and passes by what was marked since it came
// by (the clock, or second chance, algorithm). States are less than a sixteenth
// of the data that they lead to and save decoding far more than that, so data
// goes first while states take no more than three quarters of the cache.
type Cache struct {
	max    int64
	shards [cacheShards]cacheShard
	buffers

	mu     sync.Mutex // guards the rest; taken before that of a shard
	data   cacheQueue
	states cacheQueue
	ids    map[format.Stamp]uint32
	nextID uint32
}

const cacheShards = 64

type cacheShard struct {
	sync.RWMutex
	m map[cacheKey]*cacheEntry
}

// cacheQueue is the round of eviction: the next one is at the back.
type cacheQueue struct {
	list.List       // of *cacheEntry
	size      int64 // bytes charged
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
	used  atomic.Bool   // since eviction came by
	users atomic.Int32  // readers that hold the entry, and one for the cache itself
	done  atomic.Bool   // the rest is set and there was no error

	ready chan struct{} // closed when the rest is set
	buf   []byte        // what goes back to the buffers
	data  []byte        // the part of buf with the content
	out   int64         // where in its frame data begins
	state *frameState
	err   error
}

// NewCache returns a cache for at most size bytes. It serves with any size, as
// data is held while it is read; a useful one is 16 MiB and more.
func NewCache(size int64) *Cache {
	c := &Cache{max: size, ids: map[format.Stamp]uint32{}}
	c.buffers.limit = size / spareShare
	for i := range c.shards {
		c.shards[i].m = map[cacheKey]*cacheEntry{}
	}
	return c
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

func (c *Cache) shard(k cacheKey) *cacheShard {
	h := uint64(k.pos)<<1 ^ uint64(uint32(k.segment))<<20 ^ uint64(k.source)<<40
	return &c.shards[h*0x9e3779b97f4a7c15>>58] // Fibonacci hashing: the top 6 bits
}

// lookup returns the entry of key with one more user, or nil.
func (c *Cache) lookup(key cacheKey) *cacheEntry {
	s := c.shard(key)
	s.RLock()
	defer s.RUnlock()
	e := s.m[key]
	if e != nil {
		e.users.Add(1)
	}
	return e
}

// get returns the entry of key, which the caller gives back with put. If there
// is none, load makes it, with the entry's fields to fill; others wait for it.
// An error is for all that wait, and is not kept.
func (c *Cache) get(key cacheKey, load func(e *cacheEntry) error) (*cacheEntry, error) {
	if e := c.lookup(key); e != nil {
		return c.wait(e)
	}
	c.mu.Lock()
	if e := c.lookup(key); e != nil {
		c.mu.Unlock()
		return c.wait(e)
	}
	e := &cacheEntry{key: key, ready: make(chan struct{}), size: entryOverhead}
	e.users.Store(2)
	c.insert(e)
	c.mu.Unlock()
	return c.load(e, load)
}

// use marks e for eviction to pass by. Reading first keeps the cache line of the
// entry shared between processors.
func (e *cacheEntry) use() {
	if !e.used.Load() {
		e.used.Store(true)
	}
}

// wait returns e once it is loaded.
func (c *Cache) wait(e *cacheEntry) (*cacheEntry, error) {
	e.use()
	if e.done.Load() {
		return e, nil
	}
	<-e.ready
	if e.err != nil {
		c.put(e)
		return nil, e.err
	}
	return e, nil
}

// load fills e and lets those go that wait for it, also when it panics.
func (c *Cache) load(e *cacheEntry, load func(e *cacheEntry) error) (*cacheEntry, error) {
	e.err = errLoadPanicked
	defer func() {
		if e.err != nil {
			c.drop(e)
		}
		e.done.Store(e.err == nil)
		close(e.ready)
	}()
	if e.err = load(e); e.err != nil {
		return nil, e.err
	}
	c.resize(e, entryOverhead+int64(cap(e.buf)))
	return e, nil
}

// drop takes e, which could not be loaded, out of the cache and gives it back.
func (c *Cache) drop(e *cacheEntry) {
	c.mu.Lock()
	c.remove(e)
	c.mu.Unlock()
	c.put(e)
}

// offer inserts content that came up on the way to something else: data, a part
// of buf, begins at offset out of its frame. It takes over buf, and does nothing
// if the key is there.
func (c *Cache) offer(key cacheKey, out int64, buf, data []byte) {
	e := &cacheEntry{key: key, buf: buf, data: data, out: out, ready: make(chan struct{}), size: entryOverhead + int64(cap(buf))}
	close(e.ready)
	e.done.Store(true)
	e.users.Store(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if there := c.lookup(key); there != nil {
		c.put(there)
		c.free(buf)
		return
	}
	c.insert(e)
	c.shrink(e)
}

func (c *Cache) queue(e *cacheEntry) *cacheQueue {
	if e.key.segment == stateSegment {
		return &c.states
	}
	return &c.data
}

// insert adds e. c.mu is held.
func (c *Cache) insert(e *cacheEntry) {
	s := c.shard(e.key)
	s.Lock()
	s.m[e.key] = e
	s.Unlock()
	q := c.queue(e)
	e.elem = q.PushFront(e)
	q.size += e.size
}

// resize charges e with size bytes and evicts others until all fit.
func (c *Cache) resize(e *cacheEntry, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.elem == nil {
		return
	}
	c.queue(e).size += size - e.size
	e.size = size
	c.shrink(e)
}

// shrink evicts entries, and at last keep itself, until the bound is kept. c.mu
// is held.
func (c *Cache) shrink(keep *cacheEntry) {
	for c.charged() > c.max {
		e := c.victim(keep)
		if e == nil {
			e = keep
		}
		c.remove(e)
		if e == keep {
			return
		}
	}
}

// charged is the number of bytes in the cache.
func (c *Cache) charged() int64 { return c.data.size + c.states.size }

// victim chooses the entry to evict next, not keep; nil if there is none.
func (c *Cache) victim(keep *cacheEntry) *cacheEntry {
	first, second := &c.data, &c.states
	if c.states.size > c.max/4*3 {
		first, second = second, first
	}
	if e := first.next(keep); e != nil {
		return e
	}
	return second.next(keep)
}

// next goes round until it finds an entry that was not used since the last
// time, or has seen all twice.
func (q *cacheQueue) next(keep *cacheEntry) *cacheEntry {
	for range 2 * q.Len() {
		e := q.Back().Value.(*cacheEntry)
		if e != keep && !e.used.Swap(false) {
			return e
		}
		q.MoveToFront(e.elem)
	}
	return nil
}

// remove takes e out. Readers that hold it go on; c.mu is held.
func (c *Cache) remove(e *cacheEntry) {
	if e.elem == nil {
		return
	}
	s := c.shard(e.key)
	s.Lock()
	delete(s.m, e.key)
	s.Unlock()
	q := c.queue(e)
	q.Remove(e.elem)
	q.size -= e.size
	e.elem = nil
	c.put(e)
}

// put gives an entry back. Its data may not be used afterwards. The last one,
// after eviction, frees the buffer.
func (c *Cache) put(e *cacheEntry) {
	if e.users.Add(-1) == 0 {
		c.free(e.buf)
	}
}

// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
)

// Pool holds open images. Users of the same chain share one, and the ones last
// used stay open for the next user: clients come with several connections, and
// one after the other. Its methods may be called concurrently.
type Pool struct {
	cache      *Cache
	identities identities

	mu    sync.Mutex // guards the rest
	byKey map[string]*Shared
	idle  []*Shared // without users, least recently used first
}

// Shared is an image of a pool.
type Shared struct {
	*Chain
	key   string
	users int // guarded by Pool.mu

	ready    chan struct{} // closed when the rest is set, or err
	identity uint64
	err      error
}

const (
	// maxIdle is how many images without users stay open.
	maxIdle = 4

	// largeIndex is the number of runs from which on it is worth giving memory
	// back to the system that building the index took.
	largeIndex = 100_000
)

// errOpenPanicked is what others get who wait for an image whose opening
// panicked.
var errOpenPanicked = errors.New("opening failed")

// NewPool returns a pool of images that share cache.
func NewPool(cache *Cache) *Pool {
	return &Pool{cache: cache, identities: identities{seen: map[string]sighting{}}, byKey: map[string]*Shared{}}
}

// Open returns the image of a chain, as [Open] does, opened now or before. If
// the files are not those any more that were opened before, it is opened anew.
// The caller gives it back with Release, and does not close it.
func (p *Pool) Open(files []string) (*Shared, error) {
	key := strings.Join(files, "\x00")
	p.mu.Lock()
	img := p.byKey[key]
	if img == nil {
		img = p.insert(key)
		p.mu.Unlock()
		return p.load(img, files)
	}
	img.users++
	p.idle = slices.DeleteFunc(p.idle, func(i *Shared) bool { return i == img })
	p.mu.Unlock()
	<-img.ready
	if img.err != nil {
		p.Release(img)
		return nil, img.err
	}
	if !img.Current() { // connections that have it go on or fail; the next ones get what is there now
		p.forget(img)
		p.Release(img)
		return p.Open(files)
	}
	return img, nil
}

// insert adds an image that is being opened. p.mu is held.
func (p *Pool) insert(key string) *Shared {
	img := &Shared{key: key, users: 1, ready: make(chan struct{})}
	p.byKey[key] = img
	return img
}

func (p *Pool) load(img *Shared, files []string) (*Shared, error) {
	img.err = errOpenPanicked
	defer func() {
		if img.err != nil {
			p.forget(img)
		}
		close(img.ready)
	}()
	if img.Chain, img.err = Open(files, Options{Cache: p.cache}); img.err != nil {
		return nil, img.err
	}
	img.identity = p.identityOf(img.Chain)
	if img.Runs() > largeIndex {
		debug.FreeOSMemory()
	}
	return img, nil
}

// forget lets the next open begin anew.
func (p *Pool) forget(img *Shared) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byKey[img.key] == img {
		delete(p.byKey, img.key)
	}
}

// Release gives an image back.
func (p *Pool) Release(img *Shared) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if img.users--; img.users > 0 || img.Chain == nil {
		return
	}
	if p.byKey[img.key] != img {
		img.Close()
		return
	}
	p.idle = append(p.idle, img)
	if len(p.idle) > maxIdle {
		oldest := p.idle[0]
		p.idle = p.idle[1:]
		delete(p.byKey, oldest.key)
		oldest.Close()
	}
}

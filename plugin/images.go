// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"virtnb/overlay"
)

// images are the open images. Connections to the same restore point share one,
// and the ones last used stay open for the next connection: clients come with
// several connections, and one after the other.
type images struct {
	cache *overlay.Cache

	mu    sync.Mutex // guards the rest
	byKey map[string]*image
	idle  []*image // without users, least recently used first
}

// image is an image in use by connections.
type image struct {
	*overlay.Chain
	key   string
	users int // guarded by images.mu

	ready chan struct{} // closed when Chain or err is set
	err   error
}

const (
	// maxIdle is how many images without users stay open.
	maxIdle = 4

	// largeIndex is the number of runs from which on it is worth giving memory
	// back to the system that building the index took.
	largeIndex = 100_000
)

func newImages(cache *overlay.Cache) *images {
	return &images{cache: cache, byKey: map[string]*image{}}
}

// open returns the image of a chain, opened now or before. The caller gives it
// back with release.
func (s *images) open(files []string) (*image, error) {
	key := strings.Join(files, "\x00")
	s.mu.Lock()
	img := s.byKey[key]
	if img == nil {
		img = s.insert(key)
		s.mu.Unlock()
		return s.load(img, files)
	}
	img.users++
	s.idle = slices.DeleteFunc(s.idle, func(i *image) bool { return i == img })
	s.mu.Unlock()
	<-img.ready
	if img.err != nil {
		s.release(img)
		return nil, img.err
	}
	if !img.Current() { // connections that have it go on or fail; the next ones get what is there now
		s.forget(img)
		s.release(img)
		return s.open(files)
	}
	return img, nil
}

// insert adds an image that is being opened. s.mu is held.
func (s *images) insert(key string) *image {
	img := &image{key: key, users: 1, ready: make(chan struct{})}
	s.byKey[key] = img
	return img
}

func (s *images) load(img *image, files []string) (*image, error) {
	defer close(img.ready)
	img.Chain, img.err = overlay.Open(files, overlay.Options{Cache: s.cache})
	if img.err != nil {
		s.forget(img)
		return nil, img.err
	}
	if img.Runs() > largeIndex {
		debug.FreeOSMemory()
	}
	return img, nil
}

// forget lets the next open begin anew.
func (s *images) forget(img *image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey[img.key] == img {
		delete(s.byKey, img.key)
	}
}

// release gives an image back.
func (s *images) release(img *image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if img.users--; img.users > 0 || img.Chain == nil {
		return
	}
	if s.byKey[img.key] != img {
		img.Close()
		return
	}
	s.idle = append(s.idle, img)
	if len(s.idle) > maxIdle {
		oldest := s.idle[0]
		s.idle = s.idle[1:]
		delete(s.byKey, oldest.key)
		oldest.Close()
	}
}

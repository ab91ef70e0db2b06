// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// Neighbours write to the same blocks at once, while others read, look at
// extents and sync; no byte may be lost.
func TestCOWParallelWritersLoseNothing(t *testing.T) {
	const writers, span, slots, rounds = 8, 700, 300, 150
	const size = writers*span*slots + 333
	base := newCOWTestBase(size, 5)
	path := filepath.Join(t.TempDir(), "sda")
	c := mustOpenCOW(t, base, path)
	model := bytes.Clone(base.content)
	stop := make(chan struct{})
	var watchers, group sync.WaitGroup
	watchers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			at := int64(0)
			for x, err := range c.Extents(0, size) {
				if err != nil || x.Start != at {
					t.Errorf("extent %+v, %v; want start %d", x, err, at)
				}
				at = x.End()
			}
			if err := c.Sync(); err != nil {
				t.Error(err)
			}
		}
	})
	for w := range writers {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 9))
			for range rounds {
				off := (rng.Int64N(slots)*writers + int64(w)) * span
				own := model[off : off+span]
				if rng.IntN(4) == 0 {
					clear(own)
					if err := c.Zero(off, span); err != nil {
						t.Error(err)
					}
				} else {
					for i := range own {
						own[i] = byte(rng.Uint32())
					}
					if _, err := c.WriteAt(own, off); err != nil {
						t.Error(err)
					}
				}
				got := make([]byte, span)
				if _, err := c.ReadAt(got, off); err != nil || !bytes.Equal(got, own) {
					t.Errorf("writer %d at %d: own bytes differ, %v", w, off, err)
				}
			}
		})
	}
	group.Wait()
	close(stop)
	watchers.Wait()
	wantBytes(t, "disk", mustReadCOW(t, c, 0, size), model)
	mustDo(t, c.Close())
	wantBytes(t, "disk", mustReadCOW(t, mustOpenCOW(t, base, path), 0, size), model)
}

// cowSlowFile takes several steps for what others do at once.
type cowSlowFile struct{ cowOSFile }

func (f cowSlowFile) WriteAt(p []byte, off int64) (int, error) {
	for i := 0; i < len(p); i += 500 {
		runtime.Gosched()
		part := p[i:min(len(p), i+500)]
		if n, err := f.cowOSFile.WriteAt(part, off+int64(i)); err != nil {
			return i + n, err
		}
	}
	return len(p), nil
}

// A reader sees a block before or after a write or Zero, never between.
func TestCOWBlocksAreWhole(t *testing.T) {
	const size = 4 * cowBlockSize
	base := newCOWTestBase(size, 5)
	clear(base.content)
	env := cowTestBoot("a")
	env.file = func(f *os.File) cowFile { return cowSlowFile{cowOSFile{f}} }
	c, err := openCOW(base, filepath.Join(t.TempDir(), "sda"), "id", env)
	mustDo(t, err)
	defer c.Close()
	var writers, readers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			p := bytes.Repeat([]byte{byte(w + 1)}, size)
			for i := range 1500 {
				if i%3 == 2 {
					if err := c.Zero(0, size); err != nil {
						t.Error(err)
					}
				} else if _, err := c.WriteAt(p, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	whole := func() bool {
		p := make([]byte, size)
		if _, err := c.ReadAt(p, 0); err != nil {
			t.Error(err)
		}
		for b := 0; b < size; b += cowBlockSize {
			if block := p[b : b+cowBlockSize]; bytes.Count(block, block[:1]) != cowBlockSize {
				t.Errorf("block at %d is of two writes", b)
				return false
			}
		}
		return true
	}
	var written atomic.Bool
	for range 2 {
		readers.Go(func() {
			for !written.Load() && whole() {
			}
		})
	}
	writers.Wait()
	written.Store(true)
	readers.Wait()
	whole()
}

// Whoever waits for the base holds up nobody else, not even in his block.
func TestCOWSlowBaseHoldsUpNobody(t *testing.T) {
	const size = 10 * cowBlockSize
	base := newCOWTestBase(size, 5)
	c := mustOpenCOW(t, base, filepath.Join(t.TempDir(), "sda"))
	entered, release := make(chan struct{}, 2), make(chan struct{})
	base.read = func(off int64) error {
		if off < cowBlockSize {
			entered <- struct{}{}
			<-release
		}
		return nil
	}
	var group sync.WaitGroup
	group.Go(func() { c.ReadAt(make([]byte, 10), 0) })
	group.Go(func() { c.WriteAt([]byte("partial"), 5) })
	<-entered
	<-entered
	block := bytes.Repeat([]byte{1}, cowBlockSize)
	mustWriteCOW(t, c, block, 0)
	mustWriteCOW(t, c, block, cowBlockSize)
	mustReadCOW(t, c, 5*cowBlockSize, 100)
	wantBytes(t, "block", mustReadCOW(t, c, 0, cowBlockSize), block)
	close(release)
	group.Wait()
	copy(block[5:], "partial")
	wantBytes(t, "block", mustReadCOW(t, c, 0, cowBlockSize), block)
}

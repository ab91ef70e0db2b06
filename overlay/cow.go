// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// COW is a disk that can be written to, laid over an Image that cannot: what
// was written is in a data file and reads from there, everything else reads
// from the base, which is never changed. Closing keeps the changes, opening
// again over the same base brings them back, deleting the files discards them.
//
// Content is kept in blocks of 4 KiB. All methods may be called in parallel,
// and run in parallel unless they meet in a block or near it. A read that
// meets a write gets each block as it was before or after it; longer ranges
// are not one unit, as with any disk.
//
// What Sync returned for survives a power cut. What was written since survives
// the end of the process, however it ends, and may be lost in a power cut in
// part or whole; each byte is then as it was at the last Sync or as written
// later. How is told in cowmap.go.
type COW struct {
	base Image
	size int64
	path string
	data cowFile
	cmap *cowMap

	life   sync.RWMutex // held for reading by what uses the files; Close takes it
	closed atomic.Bool

	locks  cowLocks // by group of blocks: the data file's content and the map's state
	syncs  sync.Mutex
	failed atomic.Pointer[error] // why the data file is not to be trusted any more
}

// cowEnv is what a COW takes from its surroundings.
type cowEnv struct {
	bootID func() string // empty if not known
	file   func(*os.File) cowFile
}

// OpenCOW opens the changes to base that are kept in the file at path (as long
// as the disk, but sparse) and in path + ".map". If neither is there they are
// created, with mode 0600, in a folder that must exist.
//
// The id names what base shows: the restore point, in words for a user, at most
// 4064 bytes. Files made for another id or size are refused, as are files that
// another COW has open, and damaged ones (format.ErrCorrupt).
//
// Opening reads the map: 130 MiB, most of it hole, for a disk of 1 TiB. The
// base stays the caller's, who closes it after the COW.
func OpenCOW(base Image, path, id string) (*COW, error) {
	return openCOW(base, path, id, cowEnv{
		bootID: kernelBootID,
		file:   func(f *os.File) cowFile { return cowOSFile{f} },
	})
}

func openCOW(base Image, path, id string, env cowEnv) (*COW, error) {
	h := cowHeader{size: base.Size(), id: id}
	if len(id) == 0 || len(id) > cowMaxID {
		return nil, fmt.Errorf("copy-on-write file %s: id of %d bytes, must have 1 to %d", path, len(id), cowMaxID)
	}
	if h.size < 0 || h.size > cowMaxSize {
		return nil, fmt.Errorf("copy-on-write file %s: disk of %d bytes, the limit is %d", path, h.size, int64(cowMaxSize))
	}
	data, index, err := openCOWFiles(path, h)
	if err != nil {
		return nil, err
	}
	c := &COW{base: base, size: h.size, path: path, data: env.file(data)}
	c.cmap = newCOWMap(env.file(index), path, h.size)
	if err := c.start(env.bootID()); err != nil {
		return nil, errors.Join(err, c.closeFiles())
	}
	return c, nil
}

// start makes the map ready. What a killed process wrote and did not sync is
// synced here.
func (c *COW) start(boot string) error {
	if err := c.cmap.load(boot); err != nil {
		return err
	}
	return c.sync()
}

// Size is the size of the disk in bytes.
func (c *COW) Size() int64 { return c.size }

// cowSyncBatch is how many map sectors Sync copies at a time: 1 MiB.
const cowSyncBatch = 2048

// Sync makes all that was written before it survive a power cut. If the disk
// under the data file fails to, it is not known what of the writes since the
// last Sync is kept: everything that needs the data file fails from then on,
// and opening again goes on from that last Sync. Where there was merely no
// space for the map, Sync can be called again.
func (c *COW) Sync() error {
	c.life.RLock()
	defer c.life.RUnlock()
	if c.closed.Load() {
		return c.closedError()
	}
	return c.sync()
}

func (c *COW) sync() error {
	c.syncs.Lock()
	defer c.syncs.Unlock()
	if err := c.failure(); err != nil {
		return err
	}
	dirty := c.cmap.takeDirty()
	if len(dirty) == 0 {
		return c.syncFile(c.data) // blocks written again in their place
	}
	for rest := dirty; len(rest) > 0; {
		batch := rest[:min(len(rest), cowSyncBatch)]
		rest = rest[len(batch):]
		if err := c.syncSectors(batch); err != nil {
			c.cmap.markDirty(dirty...)
			return err
		}
	}
	return c.syncFile(c.cmap.file)
}

// syncSectors makes what map sectors speak of durable, then says so in the
// durable map.
func (c *COW) syncSectors(numbers []int64) error {
	snapshot := c.cmap.snapshot(numbers)
	if err := c.syncFile(c.data); err != nil {
		return err
	}
	return c.cmap.writeDurable(numbers, snapshot)
}

// syncFile makes one of the files durable. If it cannot, that is the end: the
// kernel tells of a failed write-back once, and a second attempt would seem to
// succeed.
func (c *COW) syncFile(f cowFile) error {
	err := f.Sync()
	if err == nil {
		return nil
	}
	err = fmt.Errorf("copy-on-write file %s: writes since the last sync may be lost; "+
		"close it and open it again to go on from that sync: %w", c.path, bare(err))
	c.failed.Store(&err)
	return errors.Join(err, c.cmap.setBootMark(""))
}

// failure is the error of the sync that failed, if one did.
func (c *COW) failure() error {
	if err := c.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Close syncs, and lets go of the files. It waits for calls that are under
// way. The files are closed whatever it returns; another Close does nothing.
func (c *COW) Close() error {
	c.life.Lock()
	defer c.life.Unlock()
	if c.closed.Swap(true) {
		return nil
	}
	return errors.Join(c.sync(), c.closeFiles())
}

// closeFiles closes the data file last, with which the lock goes.
func (c *COW) closeFiles() error {
	return errors.Join(c.cmap.file.Close(), c.data.Close())
}

// check tells whether the disk is open and has the range.
func (c *COW) check(what string, off, n int64) error {
	if off < 0 || n < 0 || off > c.size || n > c.size-off {
		return c.rangeError(what, off, n)
	}
	if c.closed.Load() {
		return c.closedError()
	}
	return nil
}

func (c *COW) checkChange(what string, off, n int64) error {
	if err := c.check(what, off, n); err != nil {
		return err
	}
	return c.failure()
}

func (c *COW) rangeError(what string, off, n int64) error {
	return fmt.Errorf("copy-on-write file %s: %s of %d bytes at %d: not within the disk of %d bytes",
		c.path, what, n, off, c.size)
}

func (c *COW) closedError() error {
	return fmt.Errorf("copy-on-write file %s: %w", c.path, os.ErrClosed)
}

// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"virtnb/internal/terminal"
)

// blockDevice is a block device of this machine, such as a logical volume. What
// it holds is overwritten, with zeroes too.
type blockDevice struct {
	path string
	file *os.File
	mode atomic.Uint32 // of fallocate that makes zeroes; 0: none does
}

// openDevice opens a device that is to take a disk of size bytes, and that
// nothing else uses.
func openDevice(path string, size int64) (*blockDevice, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("block device %s is in use, it is mounted or part of another device", path)
	}
	if err != nil {
		return nil, err
	}
	has, err := f.Seek(0, io.SeekEnd)
	if err == nil && has < size {
		err = fmt.Errorf("block device %s has %d bytes, fewer than the disk, which has %d", path, has, size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	d := &blockDevice{path: path, file: f}
	d.mode.Store(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE)
	return d, nil
}

func (d *blockDevice) WriteAt(_ context.Context, p []byte, off int64) error {
	_, err := d.file.WriteAt(p, off)
	return err
}

// Zero discards the range where the device then reads as zeroes; otherwise it
// has the device write them, or writes them.
func (d *blockDevice) Zero(_ context.Context, off, n int64) error {
	for mode := d.mode.Load(); mode != 0 && off%defaultBlock == 0 && n%defaultBlock == 0; mode = d.mode.Load() {
		err := unix.Fallocate(int(d.file.Fd()), mode, off, n)
		if err == nil {
			return nil
		}
		next := uint32(0)
		if mode != unix.FALLOC_FL_ZERO_RANGE {
			next = unix.FALLOC_FL_ZERO_RANGE
		}
		d.mode.CompareAndSwap(mode, next)
	}
	zeroes := make([]byte, min(n, 1<<20))
	for end := off + n; off < end; off += int64(len(zeroes)) {
		if _, err := d.file.WriteAt(zeroes[:min(end-off, int64(len(zeroes)))], off); err != nil {
			return err
		}
	}
	return nil
}

func (d *blockDevice) Block() int64 { return defaultBlock }

func (d *blockDevice) Fresh() bool { return false }

func (d *blockDevice) Commit(context.Context) error {
	return errors.Join(d.file.Sync(), d.file.Close())
}

func (d *blockDevice) Abort() { _ = d.file.Close() }

// askAll asks before block devices are overwritten.
func (r *run) askAll(p *plan) error {
	if r.o.Force {
		return nil
	}
	for _, j := range p.jobs {
		if j.place.kind == device {
			if err := r.ask(j); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) ask(j *job) error {
	if !terminal.Is(r.in) {
		return fmt.Errorf("everything on %s would be overwritten with disk %s: give --force where nobody can be asked", j.place, j.disk)
	}
	question := fmt.Sprintf("Everything on %s will be overwritten with disk %s of %s. Go on? Type yes: ",
		j.place, j.disk, humanize.IBytes(uint64(j.image.Size())))
	if _, err := r.ui.display.Write([]byte(question)); err != nil {
		return err
	}
	answer, err := bufio.NewReader(r.in).ReadString('\n')
	if strings.TrimSpace(answer) != "yes" {
		return errors.Join(fmt.Errorf("%s was not to be overwritten", j.place), err)
	}
	return nil
}

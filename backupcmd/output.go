// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"virtnb/format"
	"virtnb/internal/archive"
)

// output is where the data of a backup goes: files in the folder, or members
// of an archive on the standard output.
type output interface {
	// save saves the data of a disk. It may be called in parallel.
	save(ctx context.Context, s *source) (stats, error)
	// addSide notes a side file, which is in the folder.
	addSide(path string)
	// commit gives everything its name.
	commit() error
	// abort removes what has no name yet. After commit it does nothing.
	abort() error
}

// openOutput opens what the options say.
func (r *run) openOutput() output {
	if r.zip != nil {
		return &zipOutput{r: r, w: r.zip}
	}
	return &folder{r: r}
}

// part is a file that is being written: a saveset or an image.
type part interface {
	Commit() error
	Abort() error
}

// folder is the output for most.
type folder struct {
	r     *run
	mu    sync.Mutex // guards parts
	parts []part
}

func (f *folder) add(p part) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.parts = append(f.parts, p)
}

func (f *folder) save(ctx context.Context, s *source) (stats, error) {
	path := f.r.target.path(s.disk.file)
	f.r.logDisk(s.disk).Info(fmt.Sprintf("Write data to target file: [%s].", path+partialSuffix))
	if s.image() {
		img, err := createRaw(path, s.size())
		if err != nil {
			return stats{}, err
		}
		f.add(img)
		return s.copyImage(ctx, img)
	}
	file, err := format.Create(path, s.metadata(0), format.WriterOptions{SizeLater: true, ZeroesAsData: s.zeroesAsData()})
	if err != nil {
		return stats{}, err
	}
	f.add(file)
	st, err := s.copySaveset(ctx, file.Writer)
	if err != nil {
		return st, err
	}
	return st, file.Finish()
}

func (f *folder) addSide(string) {}

func (f *folder) commit() error {
	for i, p := range f.parts {
		if err := p.Commit(); err != nil {
			return err
		}
		crashPoint(fmt.Sprintf("named%d", i))
	}
	return nil
}

func (f *folder) abort() error {
	var errs []error
	for _, p := range f.parts {
		errs = append(errs, p.Abort())
	}
	return errors.Join(errs...)
}

// zipOutput is an archive on the standard output. What has no data is in the
// folder as well, for the next incremental.
type zipOutput struct {
	r    *run
	w    *archive.Writer
	side []string
}

// save goes through the disk twice: what is written has to begin with the size
// of its data.
func (z *zipOutput) save(ctx context.Context, s *source) (st stats, err error) {
	z.r.logDisk(s.disk).Info("Writing data to zip archive.")
	size, err := s.count(ctx)
	if err != nil {
		return st, err
	}
	err = z.w.Stream(s.disk.file, func(out io.Writer) error {
		w, err := format.NewWriter(out, s.metadata(size), format.WriterOptions{ZeroesAsData: s.zeroesAsData()})
		if err != nil {
			return err
		}
		if st, err = s.copySaveset(ctx, w); err != nil {
			return err
		}
		return w.Finish()
	})
	return st, err
}

func (z *zipOutput) addSide(path string) { z.side = append(z.side, path) }

// commit adds everything else: configuration, checkpoints, side files, log.
func (z *zipOutput) commit() error {
	r := z.r
	for i, path := range z.side {
		if err := z.w.File(filepath.Base(path), path); err != nil {
			return err
		}
		if i > 0 || !r.plan.creates {
			continue
		}
		if err := z.addCheckpoints(); err != nil {
			return err
		}
	}
	r.log.Info(fmt.Sprintf("Adding backup log [%s] to zipfile", r.logPath))
	return errors.Join(z.w.File(filepath.Base(r.logPath), r.logPath), z.w.Close())
}

// addCheckpoints adds the list of checkpoints as it will be, and their files,
// of which the new one has no name yet.
func (z *zipOutput) addCheckpoints() error {
	r := z.r
	r.log.Info("Adding checkpoint info to zipfile")
	names, err := r.target.checkpoints()
	if err != nil {
		return err
	}
	names = append(names, r.plan.checkpoint)
	if err := z.w.Bytes(filepath.Base(r.target.cptFile()), pythonList(names)); err != nil {
		return err
	}
	if err := z.w.Folder("checkpoints"); err != nil {
		return err
	}
	for _, name := range names {
		path := r.target.checkpointFile(name)
		if name == r.plan.checkpoint {
			path += partialSuffix
		}
		if vacant(path) == nil {
			continue // it was kept elsewhere
		}
		if err := z.w.File("checkpoints/"+name+".xml", path); err != nil {
			return err
		}
	}
	return nil
}

func (z *zipOutput) abort() error { return nil }

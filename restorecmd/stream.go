// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"io"
	"os"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"virtnb/overlay"
)

// A disk goes to the standard output as its bytes in order. Pieces are read by
// several goroutines ahead of the one that is written.

// streamAhead is how many pieces are read ahead.
const streamAhead = 8

// streamed is a piece on its way.
type streamed struct {
	overlay.Extent
	buf   []byte
	ready chan error // gets nil when it is read
}

// streamImage writes img to out, which is a pipe or a file at its end, and
// returns how many bytes of data it wrote. Zeroes become holes where out is a
// regular file.
func streamImage(ctx context.Context, img overlay.Image, out *os.File, add func(int64)) (written int64, err error) {
	w, err := newHoleWriter(out)
	if err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	free := make(chan []byte, streamAhead)
	for range streamAhead {
		free <- make([]byte, pieceSize)
	}
	order := make(chan *streamed, streamAhead)
	group.Go(func() error {
		defer close(order)
		return readAhead(ctx, img, free, order)
	})
	group.Go(func() error {
		for p := range order {
			n, err := w.piece(ctx, p)
			if err != nil {
				return err
			}
			if p.Data {
				written += n
				add(n)
				free <- p.buf[:pieceSize]
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return written, err
	}
	return written, w.finish()
}

// readAhead reads the pieces of img, and puts them in order while they are read.
func readAhead(ctx context.Context, img overlay.Image, free <-chan []byte, order chan<- *streamed) error {
	for e, err := range blocks(img, defaultBlock) {
		if err != nil {
			return err
		}
		for piece := range cut(e) {
			p := &streamed{Extent: piece, ready: make(chan error, 1)}
			if piece.Data {
				select {
				case p.buf = <-free:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				p.buf = p.buf[:piece.Length]
				go func() {
					_, err := img.ReadAt(p.buf, p.Start)
					p.ready <- err
				}()
			} else {
				p.ready <- nil
			}
			select {
			case order <- p:
			case <-ctx.Done():
				<-p.ready
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// holeWriter writes to a pipe, or to a regular file with holes.
type holeWriter struct {
	out    *os.File
	sparse bool
	zeroes []byte
}

func newHoleWriter(out *os.File) (*holeWriter, error) {
	w := &holeWriter{out: out}
	info, err := out.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() {
		at, err := out.Seek(0, io.SeekCurrent)
		w.sparse = err == nil && at == info.Size() && !appends(out)
	}
	if !w.sparse {
		w.zeroes = make([]byte, 1<<20)
	}
	return w, nil
}

// piece writes a piece when it is read, and returns its length.
func (w *holeWriter) piece(ctx context.Context, p *streamed) (int64, error) {
	err := <-p.ready
	if err == nil {
		err = context.Cause(ctx)
	}
	switch {
	case err != nil:
	case p.Data:
		_, err = w.out.Write(p.buf)
	case w.sparse:
		_, err = w.out.Seek(p.Length, io.SeekCurrent)
	default:
		for left := p.Length; left > 0 && err == nil; left -= int64(len(w.zeroes)) {
			_, err = w.out.Write(w.zeroes[:min(left, int64(len(w.zeroes)))])
		}
	}
	return p.Length, err
}

// finish makes a sparse file as long as what was written to it.
func (w *holeWriter) finish() error {
	if !w.sparse {
		return nil
	}
	end, err := w.out.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if err := w.out.Truncate(end); err != nil {
		return err
	}
	return w.out.Sync()
}

// appends says whether f is open for appending, where a seek makes no hole.
func appends(f *os.File) bool {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	return err != nil || flags&unix.O_APPEND != 0
}

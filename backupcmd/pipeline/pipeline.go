// SPDX-License-Identifier: Apache-2.0

// Package pipeline copies a disk, or what changed of it, from an NBD server
// into a saveset or a raw image: reads in flight on all connections, LZ4 on all
// processors, one writer, in order.
//
//	totals, err := pipeline.Saveset(ctx, client, writer, pipeline.Options{Query: q, Level: meta.Compression})
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"virtnb/format"
	"virtnb/internal/nbd"
)

// defaultFrame is the size of compressed frames: what must be read and decoded
// to get at one byte.
const defaultFrame = 256 << 10

// Source is a disk to copy: an [nbd.Client].
type Source interface {
	Size() int64
	Extents(context.Context, nbd.Query) iter.Seq2[nbd.Extent, error]
	Read(context.Context, iter.Seq2[nbd.Extent, error], nbd.ReadOptions) iter.Seq2[nbd.Piece, error]
}

// Options are what is copied and how.
type Options struct {
	// Query says which part of the disk; in a full, all of it.
	Query nbd.Query

	// Level is the LZ4 level, 0 for none. It must be that of the saveset.
	Level int

	// Frame is how many bytes of the disk go into a compressed frame, a multiple
	// of the server's minimal block size and at most format.MaxFrameSize; 0 means
	// 256 KiB. Frames are cut at multiples of it on the disk.
	Frame int64

	// Memory bounds the data on its way, in bytes; 0 means 256 MiB.
	Memory int64

	// Request is the most bytes of one read; 0 means 512 KiB.
	Request int64

	// Progress, where it is given, is told of each part of the disk when it has
	// been written.
	Progress func(nbd.Extent)
}

// Totals are what was copied.
type Totals struct {
	Extents int64 // data and zero
	Data    int64 // bytes
	Zero    int64 // bytes of the disk that are known to be zero
}

func (t *Totals) add(e nbd.Extent, first bool) {
	if first {
		t.Extents++
	}
	if e.Zero {
		t.Zero += e.Length
	} else {
		t.Data += e.Length
	}
}

// Measure says what a copy would have, without reading it.
func Measure(ctx context.Context, src Source, q nbd.Query) (Totals, error) {
	var t Totals
	for e, err := range src.Extents(ctx, q) {
		if err != nil {
			return t, err
		}
		t.add(e, true)
	}
	return t, context.Cause(ctx)
}

// Saveset writes what o.Query tells into w, which is new; the caller finishes
// it. After an error the saveset is to be thrown away.
func Saveset(ctx context.Context, src Source, w *format.Writer, o Options) (Totals, error) {
	if o.Level == 0 {
		return copyTo(ctx, src, plain{w}, o, nbd.ReadOptions{})
	}
	if o.Frame == 0 {
		o.Frame = defaultFrame
	}
	if o.Frame < 0 || o.Frame > format.MaxFrameSize {
		return Totals{}, fmt.Errorf("frames of %d bytes: %d is the largest size", o.Frame, format.MaxFrameSize)
	}
	return copyTo(ctx, src, compressed{w}, o, nbd.ReadOptions{
		Piece: o.Frame,
		Transform: func(dst, src []byte) ([]byte, error) {
			return format.CompressFrame(dst, src, o.Level)
		},
	})
}

// Raw writes the data of the disk to its place in w, which reads as zeroes.
func Raw(ctx context.Context, src Source, w io.WriterAt, o Options) (Totals, error) {
	if o.Level != 0 {
		return Totals{}, errors.New("a raw image cannot be compressed")
	}
	return copyTo(ctx, src, raw{w}, o, nbd.ReadOptions{})
}

// sink takes pieces in the order of the disk.
type sink interface{ take(nbd.Piece) error }

func copyTo(ctx context.Context, src Source, to sink, o Options, r nbd.ReadOptions) (Totals, error) {
	var t Totals
	r.Request, r.Memory = o.Request, o.Memory
	for p, err := range src.Read(ctx, src.Extents(ctx, o.Query), r) {
		if err != nil {
			return t, err
		}
		if err := to.take(p); err != nil {
			return t, err
		}
		t.add(p.Extent, p.Start == p.Of.Start)
		if o.Progress != nil {
			o.Progress(p.Extent)
		}
	}
	return t, context.Cause(ctx)
}

// plain is a saveset in which each extent is one frame.
type plain struct{ w *format.Writer }

func (s plain) take(p nbd.Piece) error {
	switch {
	case p.Zero:
		return s.w.Zero(p.Extent.Extent)
	case p.Start == p.Of.Start:
		if err := s.w.Start(p.Of); err != nil {
			return err
		}
	}
	return s.w.Append(p.Data)
}

// compressed is a saveset in which each piece is one frame.
type compressed struct{ w *format.Writer }

func (s compressed) take(p nbd.Piece) error {
	if p.Zero {
		return s.w.Zero(p.Extent.Extent)
	}
	return s.w.Compressed(p.Extent.Extent, p.Data)
}

// raw is an image.
type raw struct{ w io.WriterAt }

func (s raw) take(p nbd.Piece) error {
	if p.Zero {
		return nil
	}
	_, err := s.w.WriteAt(p.Data, p.Start)
	return err
}

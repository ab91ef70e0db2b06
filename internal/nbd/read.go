// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"context"
	"iter"
	"runtime"
	"sync"

	"libguestfs.org/libnbd"

	"virtnb/format"
)

// A read goes through a ring of batches. The planner takes a free batch, fills
// it with what comes next on the disk, and puts it into the order and to the
// connections; whichever of these answers hands it to the workers, who transform
// it; the consumer takes batches as they were put into the order, waits for
// each, and frees it. Batches are the only memory that grows with speed, and
// there are as many as the bound allows.
//
// One batch is one request. It spans extents that are close to each other: to
// read over a gap is cheaper than to ask twice, for the server too.

const (
	// defaultRequest costs the least time of the processor, by a few percent.
	defaultRequest = 512 << 10
	defaultMemory  = 256 << 20

	// maxBatches are as many as QEMU takes from a client at a time. More only
	// take the data out of the processor's caches before it is consumed, and
	// cost a twentieth of the time of the processor.
	maxBatches = depth

	// transformBatches come on top for each processor where there is work
	// between reading and consuming.
	transformBatches = 4

	// maxGap is the longest gap, in bytes, that is read over: the time of a
	// request is that of some 50 KiB.
	maxGap = 32 << 10

	// maxParts bounds what a batch says of its extents: some 40 KiB.
	maxParts = 512
)

// ReadOptions are how to read.
type ReadOptions struct {
	// Request is the most bytes of one request; 0 means 512 KiB. It is at most
	// the server's maximum.
	Request int64

	// Piece is the most bytes of a [Piece] of data: where it is less than
	// Request, requests are cut at multiples of it on the disk; 0 means
	// Request.
	Piece int64

	// Memory bounds what is read and not yet consumed, in bytes; 0 means 256
	// MiB. Two requests are the least. With Transform a request counts twice.
	Memory int64

	// Transform, where it is given, is applied to each piece of data, by as
	// many goroutines as there are processors. It appends its result to dst.
	Transform func(dst, src []byte) ([]byte, error)
}

// Piece is a part of an extent, or the whole extent where that is zero.
type Piece struct {
	Extent

	// Of is the extent that the piece is a part of.
	Of format.Extent

	// Data are the bytes of the disk, or what Transform made of them, and nil
	// where the piece is zero. They are valid until the next piece.
	Data []byte
}

// batch is what one request reads.
type batch struct {
	span  format.Extent // read into buf; Length 0 if all parts are zero
	buf   libnbd.AioBuffer
	parts []part
	out   []byte // results of Transform, one after the other
	err   error
	ready chan struct{} // has one element when the rest is valid
}

// part is a piece in a batch.
type part struct {
	Piece
	end int // of its result in out
}

// reader is a read that is going on.
type reader struct {
	c    *Client
	o    ReadOptions
	ctx  context.Context // ends when no more is wanted
	free chan *batch
	// order are the batches as the consumer gets them, closed after the last.
	order chan *batch
	// work are those that are to be transformed. It has room for all.
	work chan *batch
	cur  *batch // that the planner fills
}

// Read reads the data of extents, which are in ascending order, and returns
// everything in that order. After an error there is nothing more. When the loop
// over it has ended, so has everything that it started; the connections stay.
func (c *Client) Read(ctx context.Context, extents iter.Seq2[Extent, error], o ReadOptions) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		inner, cancel := context.WithCancel(ctx)
		r := newReader(c, inner, o)
		var started sync.WaitGroup
		started.Go(func() { r.plan(extents) })
		if o.Transform != nil {
			for range runtime.GOMAXPROCS(0) {
				started.Go(r.transform)
			}
		}
		defer func() {
			cancel()
			r.drain()
			close(r.work)
			started.Wait()
			r.release()
		}()
		r.deliver(ctx, yield)
	}
}

func newReader(c *Client, ctx context.Context, o ReadOptions) *reader {
	if o.Request == 0 {
		o.Request = defaultRequest
	}
	_, _, maximum := c.Blocks()
	o.Request = min(o.Request, maximum)
	if o.Piece == 0 || o.Piece > o.Request {
		o.Piece = o.Request
	}
	o.Request -= o.Request % o.Piece
	if o.Memory == 0 {
		o.Memory = defaultMemory
	}
	size, most := o.Request, int64(maxBatches)
	if o.Transform != nil {
		size *= 2
		most += transformBatches * int64(runtime.GOMAXPROCS(0))
	}
	n := int(max(2, min(o.Memory/size, most)))
	r := &reader{c: c, o: o, ctx: ctx, free: make(chan *batch, n), order: make(chan *batch, n), work: make(chan *batch, n)}
	for range n {
		r.free <- &batch{ready: make(chan struct{}, 1)}
	}
	return r
}

// plan makes batches of the extents.
func (r *reader) plan(extents iter.Seq2[Extent, error]) {
	defer close(r.order)
	for e, err := range extents {
		if err != nil {
			r.put(part{}, err)
			break
		}
		if !r.add(e) {
			return
		}
	}
	r.submit()
}

// add plans an extent. It says whether more is wanted.
func (r *reader) add(e Extent) bool {
	if e.Zero {
		return r.put(part{Piece: Piece{Extent: e, Of: e.Extent}}, nil)
	}
	for at := e.Start; at < e.End(); {
		end := min(e.End(), at-at%r.o.Piece+r.o.Piece)
		p := Piece{Extent: Extent{Extent: format.Extent{Start: at, Length: end - at}}, Of: e.Extent}
		if !r.put(part{Piece: p}, nil) {
			return false
		}
		at = end
	}
	return true
}

// put adds a part, or the error that is the end, to the current batch if it
// fits, or to a new one.
func (r *reader) put(p part, err error) bool {
	if r.cur != nil && !r.fits(p) {
		r.submit()
	}
	if r.cur == nil {
		select {
		case r.cur = <-r.free:
		case <-r.ctx.Done():
			return false
		}
	}
	b := r.cur
	if err != nil {
		b.err = err
		return true
	}
	b.parts = append(b.parts, p)
	switch {
	case p.Zero:
	case b.span.Length == 0:
		b.span = p.Extent.Extent
	default:
		b.span.Length = p.End() - b.span.Start
	}
	return true
}

// fits says whether p can be read with the current batch.
func (r *reader) fits(p part) bool {
	b := r.cur
	switch {
	case len(b.parts) >= maxParts:
		return false
	case p.Zero || b.span.Length == 0:
		return true
	}
	grid := b.span.Start - b.span.Start%r.o.Request + r.o.Request
	return p.Start-b.span.End() <= maxGap && p.End() <= grid
}

// submit gives the current batch to the consumer and to the connections.
func (r *reader) submit() {
	b := r.cur
	if b == nil {
		return
	}
	r.cur = nil
	r.order <- b // there is room for all batches
	if b.err != nil || b.span.Length == 0 {
		b.ready <- struct{}{}
		return
	}
	if b.buf.P == nil {
		b.buf = libnbd.MakeAioBuffer(uint(r.o.Request))
	}
	buf := libnbd.AioBuffer{P: b.buf.P, Size: uint(b.span.Length)}
	err := r.c.queue.put(&request{what: "read", off: b.span.Start, n: b.span.Length,
		issue: func(h *libnbd.Libnbd, done libnbd.CompletionCallback) error {
			_, err := h.AioPread(buf, uint64(b.span.Start), &libnbd.AioPreadOptargs{CompletionCallbackSet: true, CompletionCallback: done})
			return err
		},
		done: func(err error) { r.arrived(b, err) },
	})
	if err != nil {
		r.arrived(b, err)
	}
}

// arrived passes a batch on that was read.
func (r *reader) arrived(b *batch, err error) {
	b.err = err
	if err == nil && r.o.Transform != nil {
		r.work <- b
		return
	}
	b.ready <- struct{}{}
}

// transform does so with all batches that come.
func (r *reader) transform() {
	for b := range r.work {
		b.out = b.out[:0]
		for i := range b.parts {
			p := &b.parts[i]
			if !p.Zero && b.err == nil {
				b.out, b.err = r.o.Transform(b.out, b.bytes(p))
			}
			p.end = len(b.out)
		}
		b.ready <- struct{}{}
	}
}

// bytes are what was read for p.
func (b *batch) bytes(p *part) []byte {
	return b.buf.Slice()[p.Start-b.span.Start:][:p.Length]
}

// deliver gives the pieces out in order. If ctx ends while the server is waited
// for, the client does.
func (r *reader) deliver(ctx context.Context, yield func(Piece, error) bool) {
	for {
		b, err := r.next(ctx)
		if err != nil {
			yield(Piece{}, err)
			return
		}
		if b == nil || !r.give(b, yield) {
			return
		}
	}
}

// next waits for the next batch, nil if there is none.
func (r *reader) next(ctx context.Context) (*batch, error) {
	var b *batch
	select {
	case b = <-r.order:
	case <-ctx.Done():
		return nil, r.cancel(ctx)
	}
	if b == nil {
		return nil, context.Cause(ctx) // nil, unless the planner gave up
	}
	select {
	case <-b.ready:
	case <-ctx.Done():
		err := r.cancel(ctx)
		<-b.ready
		r.recycle(b)
		return nil, err
	}
	if ctx.Err() != nil {
		r.recycle(b)
		return nil, r.cancel(ctx)
	}
	return b, nil
}

func (r *reader) cancel(ctx context.Context) error {
	err := context.Cause(ctx)
	r.c.fail(err)
	return err
}

// give gives the pieces of b out and frees it. It says whether more is wanted.
func (r *reader) give(b *batch, yield func(Piece, error) bool) bool {
	defer r.recycle(b)
	from := 0
	for i := range b.parts {
		p := &b.parts[i]
		switch {
		case p.Zero:
		case b.err != nil:
			yield(Piece{}, b.err)
			return false
		case r.o.Transform != nil:
			p.Data = b.out[from:p.end]
		default:
			p.Data = b.bytes(p)
		}
		from = p.end
		if !yield(p.Piece, nil) {
			return false
		}
	}
	if b.err != nil {
		yield(Piece{}, b.err)
		return false
	}
	return true
}

func (r *reader) recycle(b *batch) {
	b.span, b.parts, b.err = format.Extent{}, b.parts[:0], nil
	r.free <- b
}

// drain takes what is in flight back.
func (r *reader) drain() {
	for b := range r.order {
		<-b.ready
		r.recycle(b)
	}
}

// release frees the memory. All batches are free.
func (r *reader) release() {
	close(r.free)
	for b := range r.free {
		b.buf.Free()
	}
}

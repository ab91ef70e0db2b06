// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"context"
	"fmt"
	"iter"

	"libguestfs.org/libnbd"

	"virtnb/format"
)

// The map of a disk is asked for piece by piece. A server answers with extents
// from the offset that it was asked for, for each meta context by itself, and
// may stop where it likes: QEMU does after 131072 extents of a context. So of
// every answer only what all contexts cover is used, and the next question
// begins there.

// statusSize is how many bytes of the disk one question is about. It is below
// 4 GiB, which the protocol's 32 bits cannot say and nbdkit 1.32 does not
// survive, and a multiple of all block sizes.
const statusSize = 2 << 30

// Extent is a run of bytes that is all data or all zero.
type Extent struct {
	format.Extent
	Zero bool
}

// Query says what to map.
type Query struct {
	// Bitmap is a meta context: only what is dirty in it is told. "" means the
	// whole disk.
	Bitmap string

	// Allocation tells zeroes from data, by base:allocation. Without it, or
	// where the server does not have that, all is data.
	Allocation bool
}

// contexts that the answer depends on.
func (q Query) contexts() []string {
	var all []string
	if q.Bitmap != "" {
		all = append(all, q.Bitmap)
	}
	if q.Allocation {
		all = append(all, Allocation)
	}
	return all
}

// kind of a range.
type kind uint8

const (
	unchanged kind = iota // clean in the bitmap
	data
	zero
)

// kind says what a range is by its flags in the contexts q.contexts(). A hole
// that does not claim to read as zero may read as anything: it is data.
func (q Query) kind(flags []uint64) kind {
	if q.Bitmap != "" {
		if flags[0]&uint64(libnbd.STATE_DIRTY) == 0 {
			return unchanged
		}
		flags = flags[1:]
	}
	if q.Allocation && flags[0]&uint64(libnbd.STATE_ZERO) != 0 {
		return zero
	}
	return data
}

// answer is what a server says of each context.
type answer map[string][]libnbd.LibnbdExtent

// Extents maps the disk: in ascending order, neighbours of one kind as one.
// After an error there are no more. The bitmap must be one of the contexts that
// the client was connected with.
func (c *Client) Extents(ctx context.Context, q Query) iter.Seq2[Extent, error] {
	q.Allocation = q.Allocation && c.Has(Allocation)
	if q.Bitmap != "" && !c.Has(q.Bitmap) {
		return func(yield func(Extent, error) bool) {
			yield(Extent{}, &ContextError{Server: c.server, Context: q.Bitmap})
		}
	}
	align, _, _ := c.Blocks()
	m := mapper{query: q, size: c.size, align: align, ask: c.status}
	return func(yield func(Extent, error) bool) {
		for e, err := range m.extents(ctx) {
			if err != nil {
				err = fmt.Errorf("map of %s: %w", c.server, err)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// status asks the server about e.
func (c *Client) status(ctx context.Context, e format.Extent) (answer, error) {
	found := answer{}
	repeated := ""
	collect := func(name string, _ uint64, entries []libnbd.LibnbdExtent, _ *int) int {
		if _, ok := found[name]; ok {
			repeated = name
		}
		found[name] = entries
		return 0
	}
	err := c.do(ctx, &request{what: "block status", off: e.Start, n: e.Length,
		issue: func(h *libnbd.Libnbd, done libnbd.CompletionCallback) error {
			_, err := h.AioBlockStatus64(uint64(e.Length), uint64(e.Start), collect,
				&libnbd.AioBlockStatus64Optargs{CompletionCallbackSet: true, CompletionCallback: done})
			return err
		}})
	if err == nil && repeated != "" {
		err = fmt.Errorf("the server answers twice about %s at offset %d", repeated, e.Start)
	}
	return found, err
}

// mapper asks its way through a disk.
type mapper struct {
	query Query
	size  int64
	align int64 // questions are multiples of it
	ask   func(context.Context, format.Extent) (answer, error)
}

// extents are those of the disk.
func (m *mapper) extents(ctx context.Context) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		merged := merger{yield: yield}
		contexts := m.query.contexts()
		for off := int64(0); off < m.size; {
			if len(contexts) == 0 {
				merged.add(format.Extent{Length: m.size}, data)
				break
			}
			a, err := m.ask(ctx, format.Extent{Start: off, Length: min(m.size-off, statusSize)})
			if err != nil {
				yield(Extent{}, err)
				return
			}
			end, err := m.covered(a, contexts, off)
			if err != nil {
				yield(Extent{}, err)
				return
			}
			if !m.overlay(a, contexts, off, end, &merged) {
				return
			}
			off = end
		}
		merged.flush()
	}
}

// covered is the end of what all contexts cover from off on. It is an error if
// that is nothing.
func (m *mapper) covered(a answer, contexts []string, off int64) (int64, error) {
	end := m.size
	for _, name := range contexts {
		at := off
		for _, e := range a[name] {
			if e.Length == 0 {
				return 0, fmt.Errorf("the server answers with an extent of no length at offset %d, about %s", at, name)
			}
			if e.Length >= uint64(m.size-at) {
				at = m.size
				break
			}
			at += int64(e.Length)
		}
		end = min(end, at)
		if end == off {
			return 0, fmt.Errorf("the server does not answer about %s at offset %d", name, off)
		}
	}
	if end < m.size {
		end -= end % m.align
	}
	if end <= off {
		return 0, fmt.Errorf("the server answers about less than its block size of %d at offset %d", m.align, off)
	}
	return end, nil
}

// overlay lays the contexts' answers over each other from off to end. It says
// whether more is wanted.
func (m *mapper) overlay(a answer, contexts []string, off, end int64, to *merger) bool {
	rest := make([][]libnbd.LibnbdExtent, len(contexts)) // of each answer
	left := make([]uint64, len(contexts))                // of its first extent
	flags := make([]uint64, len(contexts))
	for i, name := range contexts {
		rest[i] = a[name]
		left[i] = rest[i][0].Length
	}
	for off < end {
		n := uint64(end - off)
		for i := range contexts {
			if left[i] == 0 {
				rest[i] = rest[i][1:]
				left[i] = rest[i][0].Length
			}
			flags[i] = rest[i][0].Flags
			n = min(n, left[i])
		}
		if !to.add(format.Extent{Start: off, Length: int64(n)}, m.query.kind(flags)) {
			return false
		}
		for i := range left {
			left[i] -= n
		}
		off += int64(n)
	}
	return true
}

// merger joins neighbours of one kind.
type merger struct {
	yield func(Extent, error) bool
	last  format.Extent
	kind  kind
}

// add says whether more is wanted.
func (m *merger) add(e format.Extent, k kind) bool {
	if k == m.kind && m.last.End() == e.Start {
		m.last.Length += e.Length
		return true
	}
	more := m.flush()
	m.last, m.kind = e, k
	return more
}

// flush gives out what was gathered.
func (m *merger) flush() bool {
	if m.kind == unchanged || m.last.Length == 0 {
		return true
	}
	return m.yield(Extent{m.last, m.kind == zero}, nil)
}

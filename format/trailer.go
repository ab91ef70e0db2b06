// SPDX-License-Identifier: Apache-2.0

package format

import (
	"errors"
	"fmt"
)

// The compression trailer is a JSON list with one entry for each data frame,
// in file order, that says how many bytes the frame's payload has in the file:
// an integer for a payload of one LZ4 frame, or an object of one member whose
// key is the sum as text and whose value lists the sizes of several:
//
//	[{"144720": [140312, 4408]}, 298, 572]
//
// It can have a million entries, so it is read entry by entry and never held
// as parsed JSON.

// trailer reads entries from the text of a trailer.
type trailer struct {
	b     []byte
	at    int // index in b of the next byte
	count int // entries read so far
	parts []int64
}

var errTrailer = errors.New("compression trailer is not a list of sizes")

// next returns the sizes of the LZ4 frames of the next data frame, valid until
// the following call.
func (t *trailer) next() ([]int64, error) {
	want := byte(',')
	if t.count == 0 {
		want = '['
	}
	if c := t.peek(); c == ']' && t.count > 0 || c == '[' && t.emptyList() {
		return nil, fmt.Errorf("compression trailer has only %d entries", t.count)
	}
	if !t.skip(want) {
		return nil, errTrailer
	}
	t.count++
	if t.peek() == '{' {
		return t.object()
	}
	n, err := t.number()
	t.parts = append(t.parts[:0], n)
	return t.parts, err
}

// finish verifies that every entry was read.
func (t *trailer) finish() error {
	if t.count == 0 && !t.skip('[') || t.peek() != ']' {
		return fmt.Errorf("compression trailer has more than %d entries", t.count)
	}
	t.at++
	if t.peek(); t.at != len(t.b) {
		return errTrailer
	}
	return nil
}

func (t *trailer) emptyList() bool {
	u := *t
	return u.skip('[') && u.peek() == ']'
}

// object reads {"SUM": [N, N, ...]}.
func (t *trailer) object() ([]int64, error) {
	if !t.skip('{') || !t.skip('"') {
		return nil, errTrailer
	}
	sum, err := t.number()
	if err != nil || !t.skip('"') || !t.skip(':') || !t.skip('[') {
		return nil, errTrailer
	}
	t.parts = t.parts[:0]
	var total int64
	for {
		n, err := t.number()
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, n)
		total += n
		if total < 0 {
			return nil, errTrailer
		}
		if !t.skip(',') {
			break
		}
	}
	if !t.skip(']') || !t.skip('}') {
		return nil, errTrailer
	}
	if total != sum {
		return nil, fmt.Errorf("compression trailer has parts of %d bytes under a sum of %d", total, sum)
	}
	return t.parts, nil
}

func (t *trailer) number() (int64, error) {
	t.peek()
	start := t.at
	var n int64
	for ; t.at < len(t.b) && t.b[t.at] >= '0' && t.b[t.at] <= '9'; t.at++ {
		if n > 1<<58 {
			return 0, errTrailer
		}
		n = n*10 + int64(t.b[t.at]-'0')
	}
	if t.at == start {
		return 0, errTrailer
	}
	return n, nil
}

// peek skips white space and returns the next byte, 0 at the end.
func (t *trailer) peek() byte {
	for ; t.at < len(t.b); t.at++ {
		switch c := t.b[t.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

func (t *trailer) skip(c byte) bool {
	if t.peek() != c {
		return false
	}
	t.at++
	return true
}

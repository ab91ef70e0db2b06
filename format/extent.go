// SPDX-License-Identifier: Apache-2.0

package format

// Extent is the half-open disk range [Start, Start+Length), in bytes.
type Extent struct {
	Start, Length int64
}

// End is the offset of the first byte behind e.
func (e Extent) End() int64 { return e.Start + e.Length }

// Intersect returns the part of e that o covers too; its Length is 0 where
// there is none.
func (e Extent) Intersect(o Extent) Extent {
	start := max(e.Start, o.Start)
	end := min(e.End(), o.End())
	if end <= start {
		return Extent{Start: start}
	}
	return Extent{Start: start, Length: end - start}
}

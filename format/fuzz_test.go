// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"testing"
)

// FuzzSaveset reads anything as a saveset: frames are ascending, inside the
// disk and the file, or there is an error.
func FuzzSaveset(f *testing.F) {
	for _, name := range []string{"02-lz4-copy/vda.copy.data", "03-chain/vda.inc.virtnbdbackup.2.data", "03-chain/vda.inc.virtnbdbackup.3.data"} {
		b, err := os.ReadFile("../tests/vectors/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(plain(true, 5, frameText("data", 1, 5, "hello"), stopText))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := NewSaveset(bytes.NewReader(b), int64(len(b)), "vda.full.data")
		if err != nil {
			return
		}
		end := int64(0)
		for fr, err := range s.Frames() {
			if err != nil {
				return
			}
			if fr.Start < end || fr.Length <= 0 || fr.End() > s.Meta.VirtualSize || !fr.Zero && fr.Pos+fr.Stored > s.Size {
				t.Fatalf("frame %+v after %d", fr, end)
			}
			end = fr.End()
			if s.Meta.Compressed() && !fr.Zero {
				decodeAny(s, fr)
			}
		}
	})
}

// decodeAny decodes f, if it is not too long for a test.
func decodeAny(s *Saveset, f Frame) {
	if f.Length > 1<<20 {
		return
	}
	z, err := s.OpenLZ4(f.Pos, f.Stored, f.Length)
	if err != nil {
		return
	}
	c, in := z.Start(), LZ4Input{}
	_, _ = z.Decode(&c, make([]byte, f.Length), 0, &in)
}

// FuzzTrailer compares the reader of trailers with encoding/json.
func FuzzTrailer(f *testing.F) {
	for _, s := range []string{"[]", "[57, 74, 57]", `[{"144720": [140312, 4408]}, 298, 572]`, "[", "[1,]", `[{"3":[1,2]}]`, " [ 1 , 2 ] "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var ours [][]int64
		tr := trailer{b: b}
		for !bytes.Equal(bytes.TrimSpace(b), []byte("[]")) {
			parts, err := tr.next()
			if err != nil {
				return
			}
			ours = append(ours, append([]int64(nil), parts...))
			if tr.peek() == ']' {
				break
			}
		}
		if tr.finish() != nil {
			return
		}
		want, err := trailerByJSON(b)
		if err != nil && !leadingZeroes(b) {
			t.Fatalf("%q: read as %v, json says %v", b, ours, err)
		}
		if err == nil && !equalParts(ours, want) {
			t.Fatalf("%q: read as %v, json reads %v", b, ours, want)
		}
	})
}

func trailerByJSON(b []byte) (all [][]int64, err error) {
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, err
	}
	for _, raw := range list {
		var n int64
		if json.Unmarshal(raw, &n) == nil {
			all = append(all, []int64{n})
			continue
		}
		var o map[string][]int64
		if err := json.Unmarshal(raw, &o); err != nil || len(o) != 1 {
			return nil, errors.Join(err, errTrailer)
		}
		for key, parts := range o {
			if _, err := strconv.ParseInt(key, 10, 64); err != nil {
				return nil, err
			}
			all = append(all, parts)
		}
	}
	return all, nil
}

// leadingZeroes: 007 is a number to us and none to JSON.
func leadingZeroes(b []byte) bool {
	for i := 0; i+1 < len(b); i++ {
		digit := func(c byte) bool { return c >= '0' && c <= '9' }
		if b[i] == '0' && digit(b[i+1]) && (i == 0 || !digit(b[i-1])) {
			return true
		}
	}
	return false
}

func equalParts(a, b [][]int64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if len(a[i]) != len(b[i]) {
			return false
		}
		for j := range a[i] {
			if a[i][j] != b[i][j] {
				return false
			}
		}
	}
	return true
}

// FuzzHeader: what is read is written again as the same header.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("data 0000000000001000 0000000000002000\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != headerSize {
			return
		}
		h, err := parseHeader(b)
		if err == nil && !bytes.EqualFold(appendHeader(nil, h), b) {
			t.Fatalf("%q is read as %+v", b, h)
		}
	})
}

// FuzzLZ4 decodes anything as an LZ4 frame.
func FuzzLZ4(f *testing.F) {
	frame, err := CompressFrame(nil, bytes.Repeat([]byte("hello "), 1000), 2)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frame, uint16(6000))
	f.Fuzz(func(t *testing.T, b []byte, length uint16) {
		s := &Saveset{Path: "x", Size: int64(len(b)), r: bytes.NewReader(b)}
		z, err := s.OpenLZ4(0, int64(len(b)), int64(length))
		if err != nil {
			return
		}
		c, in := z.Start(), LZ4Input{}
		n, err := z.Decode(&c, make([]byte, length), 0, &in)
		if err == nil && n != int(length) {
			t.Fatalf("%d bytes of %d without an error", n, length)
		}
	})
}

// FuzzMetadata: nothing that is accepted has impossible sizes.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"virtualSize": 1000, "dataSize": 0, "diskName": "vda", "incremental": false, "streamVersion": 2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMetadata(b)
		if err != nil {
			return
		}
		if m.VirtualSize < 0 || m.DataSize > m.VirtualSize || m.StreamVersion < 1 {
			t.Fatalf("%q is read as %+v", b, m)
		}
		if again, err := parseMetadata(m.encode(0)); err != nil || again.VirtualSize != m.VirtualSize || again.DiskName != m.DiskName {
			t.Fatalf("%q is written as %q: %v", b, m.encode(0), err)
		}
	})
}

// FuzzRemains reads what is left of anything: frames are ascending, inside the
// disk and the file, and none of them is where something is lost for good.
func FuzzRemains(f *testing.F) {
	for _, name := range []string{"02-lz4-copy/vda.copy.data", "03-chain/vda.inc.virtnbdbackup.3.data"} {
		b, err := os.ReadFile("../tests/vectors/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(bytes.Replace(b, []byte("data"), []byte("dada"), 1))
		f.Add(b[:len(b)-7])
		f.Add(bytes.Replace(b, []byte("{"), []byte("["), 1))
	}
	f.Add(plain(true, 5, frameText("data", 1, 5, "hello"), frameText("xxxx", 9, 5, "hello"), stopText))
	f.Add(plain(false, 10, frameText("data", 10, 5, "hello"), frameText("zero", 2, 9, ""), frameText("data", 20, 5, "hello"), stopText))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Saveset{Path: "vda.full.data", r: bytes.NewReader(b), Size: int64(len(b)), tail: int64(len(b))}
		if err := s.open(); err != nil {
			s = &Saveset{Path: "vda.full.data", r: bytes.NewReader(b), Size: int64(len(b)), tail: int64(len(b))}
			if s.openDamaged(err) != nil {
				return
			}
		}
		frames, damages, err := s.Remains()
		if err != nil {
			t.Fatal(err)
		}
		lost := LostIn(slices.DeleteFunc(slices.Clone(damages), func(d Damage) bool { return d.Readable }))
		end := int64(0)
		for _, fr := range frames {
			if fr.Start < end || fr.Length <= 0 || fr.End() > s.Meta.VirtualSize || !fr.Zero && fr.Pos+fr.Stored > s.Size || lost.Overlaps(fr.Extent) {
				t.Fatalf("frame %+v after %d; damages %+v", fr, end, damages)
			}
			end = fr.End()
		}
	})
}

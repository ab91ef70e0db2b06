// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pierrec/lz4/v4"
)

// Savesets for the tests are put together here byte by byte, after the
// description of the format and not with the writer of package format, so that
// an error of the one does not hide an error of the other.

// piece is a frame of a test saveset.
type piece struct {
	start int64
	data  []byte // nil: a zero frame
	zeros int64  // its length
}

func (p piece) end() int64 { return p.start + max(p.zeros, int64(len(p.data))) }

// testSaveset is what a test wants in a file.
type testSaveset struct {
	size       int64
	checkpoint string
	parent     string // "": a full
	lz4        bool
	partSize   int // LZ4: content of one LZ4 frame; 0: one for all
	linked     bool
	sums       bool // checksums of blocks
	pieces     []piece
}

func (s testSaveset) write(t testing.TB, path string) string {
	t.Helper()
	if err := os.WriteFile(path, s.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s testSaveset) bytes() []byte {
	var b bytes.Buffer
	dataSize := 0
	for _, p := range s.pieces {
		dataSize += len(p.data)
	}
	level := "false"
	if s.lz4 {
		level = "2"
	}
	meta := fmt.Sprintf(`{"virtualSize": %d, "dataSize": %d, "date": "2026-11-23T02:00:00", "diskName": "vda", "checkpointName": %q, "compressed": %s, "parentCheckpoint": %q, "incremental": %v, "streamVersion": 2}`,
		s.size, dataSize, s.checkpoint, level, s.parent, s.parent != "")
	fmt.Fprintf(&b, "meta %016x %016x\r\n%s\r\n", 0, len(meta), meta)
	var trailer []string
	for _, p := range s.pieces {
		if p.data == nil {
			fmt.Fprintf(&b, "zero %016x %016x\r\n", p.start, p.zeros)
			continue
		}
		fmt.Fprintf(&b, "data %016x %016x\r\n", p.start, len(p.data))
		if s.lz4 {
			trailer = append(trailer, s.compress(&b, p.data))
		} else {
			b.Write(p.data)
		}
		b.WriteString("\r\n")
	}
	fmt.Fprintf(&b, "stop %016x %016x\r\n", 0, 0)
	if s.lz4 {
		list := "[" + strings.Join(trailer, ", ") + "]"
		fmt.Fprintf(&b, "%s\r\ncomp %016x %016x\r\n", list, 0, len(list))
	}
	return b.Bytes()
}

// compress writes the LZ4 frames of data and returns the entry of the trailer.
func (s testSaveset) compress(b *bytes.Buffer, data []byte) string {
	part := s.partSize
	if part == 0 {
		f := lz4Frame(data, s.linked, s.sums)
		b.Write(f)
		return fmt.Sprint(len(f))
	}
	sum := 0
	var sizes []string
	for len(data) > 0 {
		n := min(part, len(data))
		f := lz4Frame(data[:n], s.linked, s.sums)
		b.Write(f)
		sum += len(f)
		sizes = append(sizes, fmt.Sprint(len(f)))
		data = data[n:]
	}
	return fmt.Sprintf(`{"%d": [%s]}`, sum, strings.Join(sizes, ", "))
}

// lz4Frame makes a frame of 64 KiB blocks. Linked ones refer to the output
// before them, which the encoder of the library never does; its checksums are
// those of the library, from a frame of the same content.
func lz4Frame(data []byte, linked, sums bool) []byte {
	var ref bytes.Buffer
	w := lz4.NewWriter(&ref)
	if err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.BlockChecksumOption(sums), lz4.ChecksumOption(true), lz4.SizeOption(uint64(len(data)))); err != nil {
		panic(err)
	}
	if _, err := w.Write(data); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	if !linked {
		return ref.Bytes()
	}
	f := append([]byte(nil), ref.Bytes()[:15]...)
	f[4] &^= 0x20
	f[14] = byte(xxh32(f[4:14]) >> 8)
	for off := 0; off < len(data); off += 64 << 10 {
		end := min(off+64<<10, len(data))
		block := encodeLinked(data[max(0, off-64<<10):end], end-off)
		size := uint32(len(block))
		if len(block) >= end-off {
			block = data[off:end]
			size = uint32(len(block)) | 1<<31
		}
		f = binary.LittleEndian.AppendUint32(f, size)
		f = append(f, block...)
		if sums {
			f = binary.LittleEndian.AppendUint32(f, xxh32(block))
		}
	}
	f = append(f, 0, 0, 0, 0)
	return append(f, ref.Bytes()[ref.Len()-4:]...)
}

// xxh32 takes the checksum of p from a frame that the library makes: a stored
// block with p as it is would do, but its content checksum does in any case.
func xxh32(p []byte) uint32 {
	var ref bytes.Buffer
	w := lz4.NewWriter(&ref)
	if err := w.Apply(lz4.ChecksumOption(true)); err != nil {
		panic(err)
	}
	if _, err := w.Write(p); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return binary.LittleEndian.Uint32(ref.Bytes()[ref.Len()-4:])
}

// encodeLinked is a small LZ4 block encoder that looks back into the window:
// the last n bytes of b are encoded, those before them may be referred to.
func encodeLinked(b []byte, n int) (out []byte) {
	start := len(b) - n
	seen := map[uint32]int{}
	lit := start
	for i := 0; i+12 < len(b); i++ {
		key := binary.LittleEndian.Uint32(b[i:])
		at, ok := seen[key]
		seen[key] = i
		if i < lit || !ok || i-at > 65535 {
			continue
		}
		m := 4
		for i+m < len(b)-5 && b[at+m] == b[i+m] {
			m++
		}
		out = appendSequence(out, b[lit:i], i-at, m)
		lit = i + m
	}
	return appendSequence(out, b[lit:], 0, 0)
}

// appendSequence appends literals and a match; offset 0 is the last sequence.
func appendSequence(out, lit []byte, offset, match int) []byte {
	token := len(out)
	out = append(out, 0)
	out = appendLength(out, len(lit))
	out[token] = byte(min(len(lit), 15)) << 4
	out = append(out, lit...)
	if offset == 0 {
		return out
	}
	out = binary.LittleEndian.AppendUint16(out, uint16(offset))
	out[token] |= byte(min(match-4, 15))
	return appendLength(out, match-4)
}

func appendLength(out []byte, n int) []byte {
	if n < 15 {
		return out
	}
	for n -= 15; n >= 255; n -= 255 {
		out = append(out, 255)
	}
	return append(out, byte(n))
}

// noise returns n bytes that compress a little and where neighbours differ.
func noise(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; {
		if i > 100 && rng.IntN(3) > 0 {
			back := 1 + rng.IntN(min(i, 65000))
			for k := min(n-i, 5+rng.IntN(60)); k > 0; k-- {
				b[i] = b[i-back]
				i++
			}
			continue
		}
		for k := min(n-i, 1+rng.IntN(40)); k > 0; k-- {
			b[i] = byte(1 + rng.IntN(255))
			i++
		}
	}
	return b
}

// chainFile is the path of the i-th saveset of a chain in dir.
func chainFile(dir string, i int) string {
	if i == 0 {
		return filepath.Join(dir, "vda.full.data")
	}
	return filepath.Join(dir, fmt.Sprintf("vda.inc.virtnbdbackup.%d.data", i))
}

// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
)

// The search for what makes sense again behind damage.

// searchChunk is how much is searched at a time, bytes.
const searchChunk = 1 << 20

// suffix finds the frames behind damage: the first place from an offset in the
// file on from which a walk leads to the end of the file. whole is false if there
// is none.
//
// A walk that failed marks each place that it came by, so that no place is
// walked twice however many headers the data of the disk holds.
func (r *remainder) suffix(from int64) stretch {
	seen := map[int64]bool{}
	for at := from; at+headerSize <= r.s.Size; at += searchChunk - headerSize + 1 {
		b := r.readable(at, min(searchChunk, r.s.Size-at))
		for _, i := range headers(b) {
			rest := r.walk(at+int64(i), 0, seen)
			if rest.whole && r.isEnd(rest.end) && rest.sum <= r.s.Meta.DataSize {
				return rest
			}
		}
	}
	return stretch{}
}

// headers finds what looks like the header of a frame that is not the first.
func headers(b []byte) (at []int) {
	for i := 4; i+headerSize-4 <= len(b); i++ {
		n := bytes.IndexByte(b[i:len(b)-headerSize+5], ' ')
		if n < 0 {
			break
		}
		i += n
		h, err := parseHeader(b[i-4:][:headerSize])
		if err == nil && (h.kind == kindData || h.kind == kindZero || h.kind == kindStop) {
			at = append(at, i-4)
		}
	}
	return at
}

// isEnd says whether the stop frame at a place is the one that ends the
// saveset: at the end of the file, or with a compression trailer behind it that
// reaches to there.
func (r *remainder) isEnd(at int64) bool {
	at += headerSize
	if !r.s.Meta.Compressed() {
		return at == r.s.Size
	}
	h, err := r.s.lastHeader(2)
	return err == nil && h.kind == kindComp && at == r.s.Size-headerSize-2-h.length
}

// readable reads n bytes of the file, with zeroes for what cannot be read.
func (r *remainder) readable(at, n int64) []byte {
	b := make([]byte, n)
	if r.s.readFull(b, at) == nil {
		return b
	}
	for i := int64(0); i < n; i += sector {
		piece := b[i:min(n, i+sector)]
		if r.s.readFull(piece, at+i) != nil {
			clear(piece)
		}
	}
	return b
}

// sector is what storage loses at a time, at least, in bytes.
const sector = 4096

// The essential parts of metadata, for text that is no JSON any more.
var (
	sizePattern        = regexp.MustCompile(`"virtualSize": ?([0-9]{1,19})[,\s}]`)
	dataSizePattern    = regexp.MustCompile(`"dataSize": *([0-9]{1,19})[,\s}]`)
	diskPattern        = regexp.MustCompile(`"diskName": ?"([A-Za-z0-9_-]+)"`)
	checkpointPattern  = regexp.MustCompile(`"checkpointName": ?"([A-Za-z0-9_.-]+)"`)
	parentPattern      = regexp.MustCompile(`"parentCheckpoint": ?"([A-Za-z0-9_.-]+)"`)
	incrementalPattern = regexp.MustCompile(`"incremental": ?(true|false)`)
	compressedPattern  = regexp.MustCompile(`"compressed": ?(true|false|-?[0-9]+)[,\s}]`)
)

// guessLimit bounds the place of the first frame, as text that was damaged does
// not tell it.
const guessLimit = 64 << 10

var errGuess = errors.New("metadata is lost")

// guessMetadata makes out the metadata of a saveset where it is damaged. The
// first frame behind it is the first header that there is.
func (s *Saveset) guessMetadata() error {
	r := remainder{s: s}
	b := r.readable(0, min(guessLimit, s.Size))
	at := headers(b)
	if len(at) == 0 {
		return errGuess
	}
	text := b[:at[0]]
	m := Metadata{StreamVersion: 2, DiskFormat: "qcow2"}
	size, data, disk, inc := group(sizePattern, text), group(dataSizePattern, text), group(diskPattern, text), group(incrementalPattern, text)
	compressed := group(compressedPattern, text)
	if size == "" || data == "" || disk == "" || inc == "" || compressed == "" {
		return errGuess
	}
	var err1, err2 error
	m.VirtualSize, err1 = strconv.ParseInt(size, 10, 64)
	m.DataSize, err2 = strconv.ParseInt(data, 10, 64)
	if err1 != nil || err2 != nil || m.VirtualSize > maxDisk || m.DataSize > m.VirtualSize {
		return errGuess
	}
	m.DiskName, m.Incremental = disk, inc == "true"
	m.CheckpointName, m.ParentCheckpoint = group(checkpointPattern, text), group(parentPattern, text)
	if compressed != "false" {
		m.Compression = 2
	}
	s.Meta, s.body = m, int64(at[0])
	return nil
}

func group(pattern *regexp.Regexp, text []byte) string {
	m := pattern.FindSubmatch(text)
	if m == nil {
		return ""
	}
	return string(m[1])
}

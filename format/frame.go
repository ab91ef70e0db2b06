// SPDX-License-Identifier: Apache-2.0

package format

import (
	"errors"
	"math"
)

// Frame headers: "kind start length\r\n", the kind in 4 letters, both numbers
// in 16 lower-case hex digits. Everything in a saveset begins with one.
const (
	headerSize = 40
	eol        = "\r\n"
)

type kind uint8

const (
	kindMeta kind = iota + 1
	kindData
	kindZero
	kindStop
	kindComp
)

var kindNames = [...]string{kindMeta: "meta", kindData: "data", kindZero: "zero", kindStop: "stop", kindComp: "comp"}

func (k kind) String() string { return kindNames[k] }

// header is a parsed frame header. Both numbers are at most math.MaxInt64, and
// so is their sum.
type header struct {
	kind          kind
	start, length int64
}

var (
	errHeader   = errors.New("not a frame header")
	errOverflow = errors.New("frame reaches past the largest possible offset")
)

// parseHeader reads the 40 bytes of b. It accepts upper-case digits, as
// virtnbdrestore does, and no other deviation.
func parseHeader(b []byte) (header, error) {
	k := parseKind(b)
	start, ok1 := parseHex(b[5:21])
	length, ok2 := parseHex(b[22:38])
	if k == 0 || !ok1 || !ok2 || b[4] != ' ' || b[21] != ' ' || b[38] != '\r' || b[39] != '\n' {
		return header{}, errHeader
	}
	if start > math.MaxInt64 || length > math.MaxInt64 || start+length > math.MaxInt64 {
		return header{}, errOverflow
	}
	return header{k, int64(start), int64(length)}, nil
}

func parseKind(b []byte) kind {
	switch string(b[:4]) {
	case "data":
		return kindData
	case "zero":
		return kindZero
	case "stop":
		return kindStop
	case "meta":
		return kindMeta
	case "comp":
		return kindComp
	}
	return 0
}

func parseHex(b []byte) (v uint64, ok bool) {
	for _, c := range b {
		d := hexDigits[c]
		if d < 0 {
			return 0, false
		}
		v = v<<4 | uint64(d)
	}
	return v, true
}

// hexDigits maps a byte to its value as a hex digit, or to -1.
var hexDigits = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i := range 10 {
		t['0'+i] = int8(i)
	}
	for i := range 6 {
		t['a'+i], t['A'+i] = int8(10+i), int8(10+i)
	}
	return t
}()

// appendHeader appends h as 40 bytes.
func appendHeader(b []byte, h header) []byte {
	b = append(append(b, h.kind.String()...), ' ')
	b = append(appendHex(b, h.start), ' ')
	return append(appendHex(b, h.length), eol...)
}

// appendHex appends v, which is not negative, as 16 digits: for each extent, so
// without fmt, which takes five times as long.
func appendHex(b []byte, v int64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[v>>shift&15])
	}
	return b
}

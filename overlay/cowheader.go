// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"

	"virtnb/format"
)

// Header and boot mark of a map file. All numbers are little endian.
//
//	header, 4096 bytes, never changed:      boot mark, 512 bytes:
//	    0  8  "VNBCOWMP"                         0   8  "VNBCOWBM"
//	    8  4  version, 1                         8  36  boot id, as text
//	   12  4  block size                       508   4  CRC-32C of the rest
//	   16  8  disk size
//	   24  4  length of the id
//	   28     id of the base, then zeroes
//	 4092  4  CRC-32C of the rest
const (
	cowMagic       = "VNBCOWMP"
	cowMarkMagic   = "VNBCOWBM"
	cowVersion     = 1
	cowHeaderBytes = 4096
	cowHeaderID    = 28
	cowHeaderSum   = cowHeaderBytes - 4
	cowMaxID       = cowHeaderSum - cowHeaderID
	bootIDBytes    = 36 // of a UUID as text
)

// cowHeader says what the map belongs to.
type cowHeader struct {
	size int64  // of the disk, in bytes
	id   string // of the base
}

func (h cowHeader) encode() []byte {
	b := make([]byte, cowHeaderBytes)
	copy(b, cowMagic)
	binary.LittleEndian.PutUint32(b[8:], cowVersion)
	binary.LittleEndian.PutUint32(b[12:], cowBlockSize)
	binary.LittleEndian.PutUint64(b[16:], uint64(h.size))
	binary.LittleEndian.PutUint32(b[24:], uint32(len(h.id)))
	copy(b[cowHeaderID:], h.id)
	binary.LittleEndian.PutUint32(b[cowHeaderSum:], crc32.Checksum(b[:cowHeaderSum], castagnoli))
	return b
}

// decodeCOWHeader is the inverse of encode. A wrong magic or version is told
// before the checksum, which other files and other versions need not have.
func decodeCOWHeader(b []byte) (h cowHeader, err error) {
	if string(b[:len(cowMagic)]) != cowMagic {
		return h, errors.New("not a map of virtnb")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != cowVersion {
		return h, fmt.Errorf("version %d, known is %d", v, cowVersion)
	}
	if crc32.Checksum(b[:cowHeaderSum], castagnoli) != binary.LittleEndian.Uint32(b[cowHeaderSum:]) {
		return h, errors.New("checksum of the header does not match")
	}
	if n := binary.LittleEndian.Uint32(b[12:]); n != cowBlockSize {
		return h, fmt.Errorf("block size %d, known is %d", n, cowBlockSize)
	}
	n := binary.LittleEndian.Uint32(b[24:])
	if n > cowMaxID {
		return h, fmt.Errorf("id of %d bytes", n)
	}
	h.size = int64(binary.LittleEndian.Uint64(b[16:]))
	h.id = string(b[cowHeaderID : cowHeaderID+n])
	return h, nil
}

// match tells whether a map with header h may be laid over the base that want
// describes, and what to do if not.
func (h cowHeader) match(want cowHeader, path string) error {
	if h == want {
		return nil
	}
	return fmt.Errorf("copy-on-write file %s: holds changes to %q of %d bytes, not to %q of %d bytes; "+
		"open it with the former, or delete it and %s to discard the changes",
		path, h.id, h.size, want.id, want.size, cowMapName(path))
}

// mapBytes is the length of the map file: header, boot mark, and the two maps.
func (h cowHeader) mapBytes() int64 {
	return cowMapOffset + 2*cowMapSpan(h.size)
}

// encodeBootMark returns the boot mark for a boot. The empty boot, for
// a kernel that does not tell, makes one that no boot trusts.
func encodeBootMark(boot string) []byte {
	b := make([]byte, cowSectorBytes)
	if boot == "" {
		return b
	}
	copy(b, cowMarkMagic)
	copy(b[8:8+bootIDBytes], boot)
	binary.LittleEndian.PutUint32(b[cowSectorSum:], crc32.Checksum(b[:cowSectorSum], castagnoli))
	return b
}

// sameBootMark tells whether b was written by this very boot. A damaged
// sector was not: that leads to the durable map, which is right in any case.
func sameBootMark(b []byte, boot string) bool {
	return boot != "" && bytes.Equal(b, encodeBootMark(boot))
}

// kernelBootID names this boot of the machine; it is empty when the kernel
// does not tell.
func kernelBootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if id := strings.TrimSpace(string(b)); err == nil && len(id) == bootIDBytes {
		return id
	}
	return ""
}

// COWID returns the id that the changes in the file at path were made for.
func COWID(path string) (string, error) {
	f, err := os.Open(cowMapName(path))
	if err != nil {
		return "", fmt.Errorf("copy-on-write map: %w", err)
	}
	defer f.Close()
	b := make([]byte, cowHeaderBytes)
	if err := readFull(f, b, 0); err != nil {
		return "", fmt.Errorf("copy-on-write map %s: %w", f.Name(), err)
	}
	h, err := decodeCOWHeader(b)
	if err != nil {
		return "", &cowDamage{f.Name(), 0, err.Error()}
	}
	return h.id, nil
}

// readCOWHeader reads and checks the header of a map file of length bytes
// against the base that want describes.
func readCOWHeader(r io.ReaderAt, length int64, want cowHeader, path string) error {
	name := cowMapName(path)
	if length < cowHeaderBytes {
		return &cowDamage{name, length, "file ends within the header"}
	}
	b := make([]byte, cowHeaderBytes)
	if err := readFull(r, b, 0); err != nil {
		return fmt.Errorf("copy-on-write map %s: %w", name, bare(err))
	}
	h, err := decodeCOWHeader(b)
	if err != nil {
		return &cowDamage{name, 0, err.Error()}
	}
	if err := h.match(want, path); err != nil {
		return err
	}
	if length != h.mapBytes() {
		return &cowDamage{name, length, fmt.Sprintf("file is %d bytes long, not %d", length, h.mapBytes())}
	}
	return nil
}

// cowDamage says where a map file is damaged. It is a format.ErrCorrupt.
type cowDamage struct {
	file   string
	off    int64
	reason string
}

func (e *cowDamage) Error() string {
	return fmt.Sprintf("copy-on-write map %s: damaged at offset %d: %s; "+
		"the changes cannot be told from the backup: bring back a copy of the file, "+
		"or delete it and its data file to discard the changes", e.file, e.off, e.reason)
}

// Is makes errors.Is(err, format.ErrCorrupt) true.
func (e *cowDamage) Is(target error) bool { return target == format.ErrCorrupt }

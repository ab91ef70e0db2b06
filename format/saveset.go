// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
)

// Saveset is an open data file of a backup set. Opening reads and validates
// the metadata and the end of the file; [Saveset.Frames] validates the rest.
// Its methods may be called from several goroutines.
type Saveset struct {
	Path string
	Size int64 // of the file, bytes
	Meta Metadata
	Raw  bool // a plain disk image under the name of a saveset; Meta has VirtualSize only

	r     io.ReaderAt
	file  *os.File // nil if not opened by path
	stamp Stamp
	last  atomic.Pointer[Stamp] // of the same content, if it was seen with another one
	base  int64                 // offset in file of the saveset: not 0 for a member of an archive
	crc   uint32                // CRC-32 of all its bytes, of a member of an archive
	body  int64                 // offset of the first frame behind the metadata
	tail  int64                 // offset of the compression trailer; Size if there is none
	fault error                 // of a saveset that was opened although it is damaged
}

// OpenSaveset opens the saveset at path, which must be a regular file, or
// a member of a zip archive as ARCHIVE/MEMBER. The caller closes it. A damaged
// file gives a *CorruptError.
func OpenSaveset(path string) (*Saveset, error) {
	// O_NONBLOCK: opening a FIFO must not wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if isMember(err) {
		return openMember(path)
	}
	if err != nil {
		return nil, fmt.Errorf("saveset: %w", err)
	}
	s, err := newFileSaveset(f, path)
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func newFileSaveset(f *os.File, path string) (*Saveset, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("saveset: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, &CorruptError{path, 0, "not a regular file but a " + typeName(st.Mode())}
	}
	s := &Saveset{Path: path}
	s.setFile(f, st)
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Saveset) setFile(f *os.File, st os.FileInfo) {
	s.r, s.file, s.Size, s.tail = f, f, st.Size(), st.Size()
	s.stamp = stampOf(st.Sys().(*syscall.Stat_t))
}

func typeName(m os.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&os.ModeNamedPipe != 0:
		return "FIFO"
	case m&os.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

// NewSaveset reads a saveset of size bytes from r. The name is for messages,
// and says for a raw image which disk and level it is. Close does not close r.
func NewSaveset(r io.ReaderAt, size int64, name string) (*Saveset, error) {
	s := &Saveset{Path: name, Size: size, r: r, tail: size}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

// open reads the beginning and the end of the file.
func (s *Saveset) open() error {
	var first [headerSize]byte
	b := first[:min(s.Size, headerSize)]
	if err := s.readFull(b, 0); err != nil {
		return err
	}
	if !bytes.HasPrefix(b, []byte("meta ")) {
		return s.openRaw(b)
	}
	if err := s.readMetadata(b); err != nil {
		return err
	}
	if s.Meta.Compressed() {
		return s.findTrailer()
	}
	return s.checkStop()
}

// MetadataText returns the JSON at the start of the file as it is there, nil for
// a raw image. Of a damaged saveset it may be no valid JSON.
func (s *Saveset) MetadataText() ([]byte, error) {
	if s.Raw {
		return nil, nil
	}
	text := make([]byte, max(0, s.body-headerSize-int64(len(eol))))
	return text, s.readFull(text, headerSize)
}

// readMetadata reads the meta frame; b is its header.
func (s *Saveset) readMetadata(b []byte) error {
	if len(b) < headerSize {
		return s.corrupt(0, "file is cut in its first header")
	}
	h, err := parseHeader(b)
	switch {
	case err != nil:
		return s.corrupt(0, "%v", err)
	case h.start != 0 || h.length > maxMetadata:
		return s.corrupt(0, "metadata header has start %d and length %d", h.start, h.length)
	case headerSize+h.length+2 > s.Size:
		return s.corrupt(0, "file is cut in its metadata")
	}
	text := make([]byte, h.length+2)
	if err := s.readFull(text, headerSize); err != nil {
		return err
	}
	if !bytes.HasSuffix(text, []byte(eol)) {
		return s.corrupt(headerSize+h.length, "metadata does not end where its header says")
	}
	m, err := parseMetadata(text[:h.length])
	if err != nil {
		return s.corrupt(headerSize, "%v", err)
	}
	s.Meta = *m
	s.body = headerSize + h.length + 2
	return nil
}

// findTrailer locates the compression trailer from the end of the file.
func (s *Saveset) findTrailer() error {
	h, err := s.lastHeader(2)
	if err != nil {
		return err
	}
	if h.kind != kindComp || h.start != 0 {
		return s.corrupt(s.Size-headerSize, "compressed saveset ends without its compression trailer: file is cut or unfinished")
	}
	s.tail = s.Size - headerSize - 2 - h.length
	if s.tail < s.body+headerSize {
		return s.corrupt(s.Size-headerSize, "compression trailer of %d bytes is larger than the file", h.length)
	}
	return nil
}

// checkStop verifies that an uncompressed file ends with a stop frame.
func (s *Saveset) checkStop() error {
	h, err := s.lastHeader(0)
	if err != nil {
		return err
	}
	if h.kind != kindStop {
		return s.corrupt(s.Size-headerSize, "saveset ends without a stop frame: file is cut or unfinished")
	}
	return nil
}

// lastHeader reads the last header of the file, which ends a frame whose
// payload of before bytes at least stands ahead of it. It is a zero header
// where there is none.
func (s *Saveset) lastHeader(before int64) (header, error) {
	if s.Size < s.body+headerSize+before {
		return header{}, nil
	}
	var b [headerSize]byte
	if err := s.readFull(b[:], s.Size-headerSize); err != nil {
		return header{}, err
	}
	h, err := parseHeader(b[:])
	if err != nil {
		return header{}, nil
	}
	return h, nil
}

// openRaw takes the file for a raw disk image, as the option --raw of the
// backup writes it. A stream whose beginning is damaged must not pass for one:
// its end or the rest of its first header gives it away.
func (s *Saveset) openRaw(first []byte) error {
	name, ok := ParseName(filepath.Base(s.Path))
	last, err := s.lastHeader(0)
	if err != nil {
		return err
	}
	switch {
	case s.Size == 0:
		return s.corrupt(0, "file is empty")
	case s.Size%512 != 0 || last.kind != 0 || len(first) < headerSize || string(first[38:]) == eol:
		return s.corrupt(0, "file does not begin with a meta frame, and is no raw image either")
	case ok && name.Level != Full && name.Level != Copy:
		return s.corrupt(0, "file does not begin with a meta frame")
	}
	s.Raw = true
	s.Meta = Metadata{VirtualSize: s.Size, DataSize: s.Size, DiskName: name.Disk, DiskFormat: "raw"}
	return nil
}

// Fd returns the file descriptor, valid until Close, or -1 if the saveset was
// not opened by its path, or is a member of an archive.
func (s *Saveset) Fd() int {
	if s.file == nil || s.base != 0 {
		return -1
	}
	return int(s.file.Fd())
}

// ReadAt reads bytes of the file, for those who know from a [Frame] what is
// where. Errors name the file and the offset.
func (s *Saveset) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.r.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	return n, fmt.Errorf("saveset %s: offset %d: %w", s.Path, off, noEOF(err))
}

func (s *Saveset) readFull(p []byte, off int64) error {
	_, err := s.ReadAt(p, off)
	return err
}

// Close closes the file. Nothing of s may be used afterwards.
func (s *Saveset) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

func (s *Saveset) corrupt(off int64, f string, args ...any) error {
	return &CorruptError{s.Path, off, fmt.Sprintf(f, args...)}
}

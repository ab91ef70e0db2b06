// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf16"
)

// Metadata is the JSON object at the start of a saveset.
type Metadata struct {
	VirtualSize      int64     // size of the disk at backup time, bytes
	DataSize         int64     // sum of the lengths of all data frames, bytes, uncompressed
	Date             time.Time // wall clock of the host that made the backup; zero if unknown
	DiskName         string    // target dev, "vda"
	DiskFormat       string    // driver type of the original, "qcow2"
	CheckpointName   string    // "virtnbdbackup.2"; "virtnbdbackup.0" as a placeholder in a copy
	Compression      int       // LZ4 level; 0: not compressed
	ParentCheckpoint string    // "" for none
	Incremental      bool      // holds changes since ParentCheckpoint only
	StreamVersion    int       // 1 or 2; the writer writes 2
}

// maxMetadata bounds the JSON of a saveset: real ones have 400 bytes.
const maxMetadata = 1 << 20

// maxDisk is the largest disk size accepted: what NBD and QEMU can address,
// less room for arithmetic on offsets.
const maxDisk = 1 << 62

// dateLayout is Python's datetime.isoformat(): local time, no zone, and a
// fraction of six digits or none.
const dateLayout = "2006-01-02T15:04:05"

// FormatDate writes t as metadata does. The zero time gives "".
func FormatDate(t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case t.Nanosecond()/1000 == 0:
		return t.Format(dateLayout)
	}
	return t.Format(dateLayout + ".000000")
}

// metadataJSON has a pointer where a key's absence matters.
type metadataJSON struct {
	VirtualSize      *int64          `json:"virtualSize"`
	DataSize         *int64          `json:"dataSize"`
	Date             string          `json:"date"`
	DiskName         string          `json:"diskName"`
	DiskFormat       string          `json:"diskFormat"`
	CheckpointName   string          `json:"checkpointName"`
	Compressed       json.RawMessage `json:"compressed"`
	Method           string          `json:"compressionMethod"`
	ParentCheckpoint json.RawMessage `json:"parentCheckpoint"`
	Incremental      *bool           `json:"incremental"`
	StreamVersion    *int            `json:"streamVersion"`
	StreamVersionOld *int            `json:"stream-version"`
}

// parseMetadata reads the JSON of any release since 0.1: both spellings of the
// version key, compressed as bool or level, parentCheckpoint as false or text.
func parseMetadata(b []byte) (*Metadata, error) {
	var j metadataJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, fmt.Errorf("metadata is no valid JSON: %w", err)
	}
	if j.VirtualSize == nil || j.DataSize == nil || j.Incremental == nil || j.DiskName == "" {
		return nil, errors.New("metadata lacks virtualSize, dataSize, diskName or incremental")
	}
	m := &Metadata{
		VirtualSize: *j.VirtualSize, DataSize: *j.DataSize, Incremental: *j.Incremental,
		DiskName: j.DiskName, DiskFormat: j.DiskFormat, CheckpointName: j.CheckpointName,
	}
	if m.DiskFormat == "" {
		m.DiskFormat = "qcow2" // releases before 0.37 wrote no key and backed up nothing else
	}
	if m.VirtualSize < 0 || m.VirtualSize > maxDisk || m.DataSize < 0 || m.DataSize > m.VirtualSize {
		return nil, fmt.Errorf("metadata has impossible sizes: virtualSize %d, dataSize %d", m.VirtualSize, m.DataSize)
	}
	m.Date, _ = time.ParseInLocation(dateLayout, j.Date, time.Local)
	if err := errors.Join(m.setVersion(j), m.setCompression(j), m.setParent(j.ParentCheckpoint)); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *Metadata) setVersion(j metadataJSON) error {
	v := j.StreamVersion
	if v == nil {
		v = j.StreamVersionOld
	}
	switch {
	case v == nil:
		return errors.New("metadata has no stream version")
	case *v != 1 && *v != 2:
		return fmt.Errorf("stream version %d is unknown: this release reads 1 and 2", *v)
	}
	m.StreamVersion = *v
	return nil
}

// setCompression: only version 2 has compression; it is on for true and for
// any number. (The value 0 was never written by a release that could finish.)
func (m *Metadata) setCompression(j metadataJSON) error {
	if m.StreamVersion != 2 {
		return nil
	}
	switch s := string(j.Compressed); s {
	case "", "false", "null":
		return nil
	case "true":
		m.Compression = 2 // python-lz4's level in the releases that wrote true
	default:
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("metadata has compressed: %.40s", s)
		}
		m.Compression = n
		if n == 0 {
			m.Compression = 1
		}
	}
	if j.Method != "" && j.Method != "lz4" {
		return fmt.Errorf("compression method %.40q is unknown: this release reads lz4", j.Method)
	}
	return nil
}

func (m *Metadata) setParent(raw json.RawMessage) error {
	switch string(raw) {
	case "", "false", "null":
		return nil
	}
	if err := json.Unmarshal(raw, &m.ParentCheckpoint); err != nil {
		return fmt.Errorf("metadata has parentCheckpoint: %.40s", raw)
	}
	return nil
}

// Compressed says whether the payloads are LZ4 frames.
func (m *Metadata) Compressed() bool { return m.Compression != 0 }

// encode gives the bytes that Python's json.dumps(indent=4) writes for m, in
// virtnbdbackup's order of keys, as stream version 2. The size of the data takes
// at least so many digits, or blanks instead of the first ones.
func (m *Metadata) encode(digits int) []byte {
	compressed := "false"
	if m.Compressed() {
		compressed = strconv.Itoa(m.Compression)
	}
	fields := [][2]string{
		{"virtualSize", strconv.FormatInt(m.VirtualSize, 10)},
		{"dataSize", fmt.Sprintf("%*d", digits, m.DataSize)},
		{"date", quote(FormatDate(m.Date))},
		{"diskName", quote(m.DiskName)},
		{"diskFormat", quote(m.DiskFormat)},
		{"checkpointName", quote(m.CheckpointName)},
		{"compressed", compressed},
		{"compressionMethod", quote("lz4")},
		{"parentCheckpoint", quote(m.ParentCheckpoint)},
		{"incremental", strconv.FormatBool(m.Incremental)},
		{"streamVersion", "2"},
	}
	var b bytes.Buffer
	sep := "{\n"
	for _, f := range fields {
		fmt.Fprintf(&b, "%s    %s: %s", sep, quote(f[0]), f[1])
		sep = ",\n"
	}
	b.WriteString("\n}")
	return b.Bytes()
}

// quote writes s as Python's json does: everything outside ASCII escaped.
func quote(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string cannot fail
	out := make([]byte, 0, b.Len())
	for _, r := range string(bytes.TrimSuffix(b.Bytes(), []byte("\n"))) {
		switch {
		case r < 0x80:
			out = append(out, byte(r))
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return string(out)
}

// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// open reads all frames of a saveset in memory, as a file would be.
func openAll(name string, b []byte) error {
	s, err := NewSaveset(bytes.NewReader(b), int64(len(b)), name)
	if err != nil {
		return err
	}
	for _, err := range s.Frames() {
		if err != nil {
			return err
		}
	}
	return nil
}

// Wherever a saveset is cut, that is seen, and the error names the file.
func TestEveryCutIsSeen(t *testing.T) {
	for _, path := range vectors(t) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := openAll(path, b); err != nil {
			t.Fatal(err)
		}
		step := 1
		if len(b) > 50_000 && testing.Short() {
			step = 97
		}
		for n := 0; n < len(b); n += step {
			err := openAll(path, b[:n])
			var c *CorruptError
			if !errors.As(err, &c) || !errors.Is(err, ErrCorrupt) || c.File != path || c.Offset > int64(len(b)) {
				t.Fatalf("%s cut at %d: %v", path, n, err)
			}
		}
		if err := openAll(path, append(bytes.Clone(b), 'x')); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s with a byte more: %v", path, err)
		}
	}
}

// plain builds an uncompressed saveset of a disk of 1000 bytes.
func plain(incremental bool, dataSize int, frames ...string) []byte {
	meta := fmt.Sprintf(`{"virtualSize": 1000, "dataSize": %d, "diskName": "vda", "checkpointName": "c.0", "parentCheckpoint": "", "incremental": %v, "streamVersion": 2}`, dataSize, incremental)
	return []byte(fmt.Sprintf("meta %016x %016x\r\n%s\r\n", 0, len(meta), meta) + strings.Join(frames, ""))
}

func frameText(kind string, start, length uint64, payload string) string {
	s := fmt.Sprintf("%s %016x %016x\r\n", kind, start, length)
	if kind == "data" {
		s += payload + "\r\n"
	}
	return s
}

const stopText = "stop 0000000000000000 0000000000000000\r\n"

// structures are savesets of a disk of 1000 bytes, with what is wrong about them.
var structures = []struct {
	name, want string
	b          []byte
}{
	{"sound", "", plain(false, 5, hello, frameText("zero", 15, 985, ""), stopText)},
	{"sound without zero frames", "", plain(false, 5, hello, stopText)},
	{"overlap", "overlaps", plain(false, 10, hello, frameText("data", 14, 5, "hello"), stopText)},
	{"out of order", "out of order", plain(false, 10, hello, frameText("data", 1, 5, "hello"), stopText)},
	{"past the disk", "past the disk's end", plain(false, 5, frameText("data", 996, 5, "hello"), stopText)},
	{"zero past the disk", "past the disk's end", plain(false, 0, frameText("zero", 0, 1001, ""), stopText)},
	{"overflow", "largest possible offset", plain(false, 5, frameText("zero", 1<<63-1, 1<<63-1, ""), stopText)},
	{"start is negative", "largest possible offset", plain(false, 5, frameText("zero", 1<<63, 1, ""), stopText)},
	{"wraps around", "largest possible offset", plain(false, 5, frameText("zero", 1<<64-1, 2, ""), stopText)},
	{"past the file", "past the end of the file", plain(false, 500, frameText("data", 0, 500, "hello"), stopText)},
	{"no length", "no length", plain(false, 0, frameText("zero", 0, 0, ""), stopText)},
	{"data size", "metadata says 6", plain(false, 6, hello, stopText)},
	{"no stop", "without a stop frame", plain(false, 5, hello)},
	{"two stops", "follow the stop frame", plain(false, 5, hello, stopText, stopText)},
	{"stop with a length", "stop frame has start", plain(false, 5, hello, frameText("stop", 0, 1, ""))},
	{"unknown kind", "not a frame header", plain(false, 5, hello, frameText("zeri", 20, 5, ""), stopText)},
	{"meta in the middle", "middle of the file", plain(false, 5, hello, frameText("meta", 0, 0, ""), stopText)},
	{"zero in an incremental", "incremental saveset", plain(true, 5, hello, frameText("zero", 20, 5, ""), stopText)},
	{"payload too long", "does not end where", plain(false, 5, frameText("data", 10, 5, "hello!!"), stopText)},
	{"empty", "empty", nil},
	{"text", "does not begin with a meta frame", []byte("hello")},
	{"no JSON", "no valid JSON", []byte("meta 0000000000000000 0000000000000005\r\nhello\r\n" + stopText)},
	{"huge JSON", "metadata header", []byte("meta 0000000000000000 0000010000000000\r\nhello\r\n" + stopText)},
	{"JSON longer than the file", "cut in its metadata", []byte("meta 0000000000000000 0000000000000fff\r\nhello\r\n" + stopText)},
	{"damaged first letter", "does not begin with a meta frame", append([]byte("x"), plain(false, 5, hello, stopText)[1:]...)},
}

var hello = frameText("data", 10, 5, "hello")

func TestDamagedStructureIsSeen(t *testing.T) {
	for _, test := range structures {
		t.Run(test.name, func(t *testing.T) {
			err := openAll("vda.full.data", test.b)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "vda.full.data") {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestMetadataThatMakesNoSenseIsRefused(t *testing.T) {
	good := `{"virtualSize": 1000, "dataSize": 0, "diskName": "vda", "incremental": false, "streamVersion": 2}`
	if _, err := parseMetadata([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`1000`, `-1`}, {`1000`, `1e30`}, {`1000`, `9223372036854775807`}, {`1000`, `"1000"`}, {`"dataSize": 0`, `"dataSize": 1001`},
		{`"dataSize": 0, `, ``}, {`"vda"`, `""`}, {`"vda"`, `7`}, {`"incremental": false, `, ``}, {`"incremental": false`, `"incremental": "no"`},
		{`"streamVersion": 2`, `"streamVersion": 3`}, {`, "streamVersion": 2`, ``}, {`: 2}`, `: 2, "compressed": "yes"}`},
		{`: 2}`, `: 2, "compressed": 1, "compressionMethod": "zstd"}`}, {`: 2}`, `: 2, "parentCheckpoint": 5}`}, {`{`, `[`},
	} {
		b := strings.Replace(good, change[0], change[1], 1)
		if m, err := parseMetadata([]byte(b)); err == nil {
			t.Errorf("%s is read as %+v", b, m)
		}
	}
}

func TestMetadataOfAllReleasesIsRead(t *testing.T) {
	for text, want := range map[string]Metadata{
		`"stream-version": 1, "parentCheckpoint": false`:                        {StreamVersion: 1, DiskFormat: "qcow2"},
		`"streamVersion": 1`:                                                    {StreamVersion: 1, DiskFormat: "qcow2"},
		`"streamVersion": 1, "compressed": true`:                                {StreamVersion: 1, DiskFormat: "qcow2"},
		`"streamVersion": 2, "compressed": false, "parentCheckpoint": ""`:       {StreamVersion: 2, DiskFormat: "qcow2"},
		`"streamVersion": 2, "compressed": true, "parentCheckpoint": "a"`:       {StreamVersion: 2, Compression: 2, ParentCheckpoint: "a", DiskFormat: "qcow2"},
		`"streamVersion": 2, "compressed": 16, "compressionMethod": "lz4"`:      {StreamVersion: 2, Compression: 16, DiskFormat: "qcow2"},
		`"stream-version": 2, "compressed": -3, "diskFormat": "raw"`:            {StreamVersion: 2, Compression: -3, DiskFormat: "raw"},
		`"streamVersion": 2, "checkpointName": "virtnbdbackup", "unknown": [1]`: {StreamVersion: 2, CheckpointName: "virtnbdbackup", DiskFormat: "qcow2"},
	} {
		m, err := parseMetadata([]byte(`{"virtualSize": 1000, "dataSize": 7, "diskName": "vda", "incremental": false, ` + text + `}`))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		want.VirtualSize, want.DataSize, want.DiskName = 1000, 7, "vda"
		if *m != want {
			t.Errorf("%s is read as %+v, want %+v", text, *m, want)
		}
	}
}

// What is no regular file is refused without waiting for it.
func TestOddFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "vda.full.data")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "vdb.full.data")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, folder, filepath.Join(dir, "none.full.data")} {
		if _, err := OpenSaveset(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A file that shrinks while it is read is an error, also where it is mapped.
func TestFileThatShrinksIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vda.full.data")
	var frames []string
	for i := range 1000 {
		frames = append(frames, frameText("zero", uint64(i), 1, ""))
	}
	if err := os.WriteFile(path, plain(false, 0, append(frames, stopText)...), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSaveset(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := 0
	for _, err = range s.Frames() {
		if n++; n == 100 {
			if err := os.Truncate(path, 100); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error is %v", err)
	}
}

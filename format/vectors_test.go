// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Savesets that virtnbdbackup wrote; tests/vectors/README.md describes them.
func vectors(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("../tests/vectors/*/*.data")
	if err != nil || len(paths) < 10 {
		t.Fatalf("only %d vectors found: %v", len(paths), err)
	}
	return paths
}

func TestMetadataIsWrittenAsPythonDoes(t *testing.T) {
	for _, path := range vectors(t) {
		s, err := OpenSaveset(path)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if s.Meta.StreamVersion != 2 {
			continue
		}
		want := make([]byte, s.body-headerSize-2)
		if err := s.readFull(want, headerSize); err != nil {
			t.Fatal(err)
		}
		if got := s.Meta.encode(0); !bytes.Equal(got, want) {
			t.Errorf("%s: metadata\n%s, want\n%s", path, got, want)
		}
	}
}

// The writer makes the same bytes of the same frames, where they are not
// compressed, or are in frames of up to one block (those of virtnbdbackup with
// more have linked blocks).
func TestWriterMakesTheBytesOfVirtnbdbackup(t *testing.T) {
	for _, path := range vectors(t) {
		if strings.Contains(path, "stream-v1") || strings.Contains(path, "chunked") {
			continue
		}
		t.Run(strings.TrimPrefix(path, "../tests/vectors/"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			w := rewrite(t, path, &got)
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%q\nwant\n%q", got.Bytes(), want)
			}
			sum, err := os.ReadFile(path + chksumSuffix)
			if err == nil && fmt.Sprint(w.Adler32()) != string(sum) {
				t.Errorf("Adler-32 is %d, want %s", w.Adler32(), sum)
			}
		})
	}
}

// rewrite copies the saveset at path frame by frame.
func rewrite(t *testing.T, path string, dst *bytes.Buffer) *Writer {
	s, err := OpenSaveset(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w, err := NewWriter(dst, s.Meta, WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for f, err := range s.Frames() {
		p := make([]byte, f.Length)
		switch {
		case err != nil:
		case f.Zero:
			err = w.Zero(f.Extent)
		default:
			if s.Meta.Compressed() {
				err = decodeFrame(s, f, p)
			} else {
				err = s.readFull(p, f.Pos)
			}
			if err == nil {
				err = w.Data(f.Start, p)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return w
}

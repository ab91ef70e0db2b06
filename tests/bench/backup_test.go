// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"virtnb/format"
)

// TestBackupContent: what a backup is compared with is what the disk was made
// of, where extents begin and end anywhere in a window, and kinds of content
// change.
func TestBackupContent(t *testing.T) {
	const size = 40 << 20
	g := &guest{size: size, extents: []format.Extent{
		{Start: 0, Length: 3 * page}, {Start: 5 * page, Length: 700 * page},
		{Start: 15 << 20, Length: 3 << 20}, {Start: size - 2*page, Length: 2 * page},
	}}
	path := filepath.Join(t.TempDir(), "flat")
	if err := g.writeFlat(t.Context(), path, 2); err != nil {
		t.Fatal(err)
	}
	flat, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rest := g.extents
	for off := int64(0); off < size; off += 1 << 20 {
		want := make([]byte, 1<<20)
		rest = g.contentAt(want, off, rest, 2)
		if at := firstDifference(flat[off:][:len(want)], want); at >= 0 {
			t.Fatalf("byte %d differs", off+int64(at))
		}
	}
	if len(rest) > 0 || bytes.Equal(flat[15<<20:][:page], flat[16<<20:][:page]) {
		t.Error("content is missing, or all of a kind")
	}
}

// TestUsage: programs side by side are added up, and what they start is told
// from them.
func TestUsage(t *testing.T) {
	spin := "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"
	u, err := run(t.Context(), []string{"sh", "-c", spin}, []string{"sh", "-c", "sh -c '" + spin + "'; true"})
	if err != nil {
		t.Fatal(err)
	}
	if u.cpu <= 0 || u.started <= 0 || u.memory <= 0 || u.wall <= 0 {
		t.Errorf("used %+v", u)
	}
	_, err = run(t.Context(), []string{"sh", "-c", "echo first; echo nbd_x: refused; echo last; exit 3"}, []string{"true"})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error is %v", err)
	}
}

func TestReason(t *testing.T) {
	for text, want := range map[string]string{
		"exit status 1: a\n nbd_block_status: no\nERROR end\n": "nbd_block_status: no",
		"exit status 1: a\nERROR end\n\n":                      "ERROR end",
	} {
		if got := reason(errorText(text)); got != want {
			t.Errorf("reason of %q is %q", text, got)
		}
	}
}

type errorText string

func (e errorText) Error() string { return string(e) }

// SPDX-License-Identifier: Apache-2.0

package nbdkit

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// exportInfo is what nbdinfo --json says of an export.
type exportInfo struct {
	Name             string `json:"export-name"`
	Description      string `json:"description"`
	Size             uint64 `json:"export-size"`
	Rotational       bool   `json:"is_rotational"`
	ReadOnly         bool   `json:"is_read_only"`
	Cache            bool   `json:"can_cache"`
	FastZero         bool   `json:"can_fast_zero"`
	Flush            bool   `json:"can_flush"`
	FUA              bool   `json:"can_fua"`
	MultiConn        bool   `json:"can_multi_conn"`
	Trim             bool   `json:"can_trim"`
	Zero             bool   `json:"can_zero"`
	MinimumBlock     uint64 `json:"block_size_minimum"`
	PreferredBlock   uint64 `json:"block_size_preferred"`
	MaximumBlockSize uint64 `json:"block_size_maximum"`
}

var (
	holesInfo = exportInfo{Name: "holes", Description: "alternating data and holes", Size: 1 << 20,
		Rotational: true, ReadOnly: true, Cache: true, MultiConn: true,
		MinimumBlock: 1, PreferredBlock: 65536, MaximumBlockSize: 32 << 20}
	plainInfo = exportInfo{Name: "plain", Size: 1 << 20, ReadOnly: true}
	ramInfo   = exportInfo{Name: "ram", Description: "a disk in memory", Size: 8 << 20,
		FastZero: true, Flush: true, FUA: true, MultiConn: true, Trim: true, Zero: true}
	emulatedInfo = exportInfo{Name: "emulated", Size: 8 << 20,
		Flush: true, FUA: true, MultiConn: true, Trim: true, Zero: true}
)

// describeExports asks nbdinfo about exports.
func describeExports(t *testing.T, args ...string) []exportInfo {
	t.Helper()
	var answer struct {
		Exports []exportInfo `json:"exports"`
	}
	out := run(t, "nbdinfo", append([]string{"--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("%v in:\n%s", err, out)
	}
	return answer.Exports
}

func TestExportsListed(t *testing.T) {
	s := start(t, fullPlugin)
	got := describeExports(t, "--list", s.uri(""))
	if want := []exportInfo{holesInfo, plainInfo, ramInfo}; !slices.Equal(got, want) {
		t.Errorf("exports are\n%+v, want\n%+v", got, want)
	}
}

// TestExportNotListed: the list does not limit what may be opened. This export
// shows nbdkit's defaults for writing: FUA by flush, no fast zero.
func TestExportNotListed(t *testing.T) {
	s := start(t, fullPlugin)
	got := describeExports(t, s.uri("emulated"))
	if want := []exportInfo{emulatedInfo}; !slices.Equal(got, want) {
		t.Errorf("exports are\n%+v, want\n%+v", got, want)
	}
}

func TestListFails(t *testing.T) {
	for _, param := range []string{"fail=ListExports", "panic=ListExports"} {
		s := start(t, fullPlugin, param)
		runFails(t, "nbdinfo", "--list", s.uri(""))
		run(t, "nbdinfo", s.uri("holes"))
		s.stop()
	}
}

func TestDefaultExport(t *testing.T) {
	s := start(t, fullPlugin, "default=holes")
	got := describeExports(t, s.uri(""))
	if want := []exportInfo{holesInfo}; !slices.Equal(got, want) {
		t.Errorf("exports are\n%+v, want\n%+v", got, want)
	}
}

func TestDefaultExportFails(t *testing.T) {
	for _, param := range []string{"fail=DefaultExport", "panic=DefaultExport"} {
		s := start(t, fullPlugin, param, "default=holes")
		runFails(t, "nbdinfo", s.uri(""))
		run(t, "nbdinfo", s.uri("holes"))
		log := s.stop()
		if param == "fail=DefaultExport" {
			wantIn(t, log, "error: DefaultExport fails as asked")
		} else {
			wantIn(t, log, "error: panic in DefaultExport")
		}
	}
}

// TestMinimalHasOneExport: what upstream's package can do, any name opens it.
func TestMinimalHasOneExport(t *testing.T) {
	s := start(t, minimalPlugin)
	want := []exportInfo{{Size: 1 << 20, ReadOnly: true}}
	if got := describeExports(t, "--list", s.uri("")); !slices.Equal(got, want) {
		t.Errorf("exports are\n%+v, want\n%+v", got, want)
	}
	run(t, "nbdinfo", s.uri("whatever"))
}

// TestExportRefused: whatever Open fails with, the client hears that there is
// no such export (NBD has no errno there), and the log says why.
func TestExportRefused(t *testing.T) {
	s := start(t, fullPlugin)
	for export, why := range map[string]string{
		"unknown":    `error: open: there is no export "unknown"`,
		"panic-open": "error: panic in Open: no disk today",
		"panic-size": "error: panic in GetSize: no size today",
		"huge":       "error: export of 9223372036854775808 bytes: the largest size is 9223372036854775807",
		"nothing":    "error: the plugin opened no connection",
		"bare":       "error: the plugin has no method GetSize",
	} {
		wantIn(t, runFails(t, "nbdinfo", s.uri(export)), "No such file or directory for export: "+export)
		wantIn(t, s.log(), why)
	}
	run(t, "nbdinfo", s.uri("holes"))
}

// extent is an entry of nbdinfo --map --json.
type extent struct {
	Offset, Length uint64
	Type           uint32
}

func mapOf(t *testing.T, s *server, export string) (extents []extent) {
	t.Helper()
	out := run(t, "nbdinfo", "--map", "--json", s.uri(export))
	if err := json.Unmarshal([]byte(out), &extents); err != nil {
		t.Fatalf("%v in:\n%s", err, out)
	}
	return extents
}

func TestExtents(t *testing.T) {
	s := start(t, fullPlugin)
	var want []extent
	for off := uint64(0); off < 1<<20; off += 64 << 10 {
		want = append(want, extent{off, 64 << 10, uint32(off / (64 << 10) % 2 * 3)})
	}
	if got := mapOf(t, s, "holes"); !slices.Equal(got, want) {
		t.Errorf("extents are %v, want %v", got, want)
	}
	if got, want := mapOf(t, s, "plain"), []extent{{0, 1 << 20, 0}}; !slices.Equal(got, want) {
		t.Errorf("extents without Extents are %v, want %v", got, want)
	}
}

// TestExtentsOneByOne: qemu-img asks for one extent at a time.
func TestExtentsOneByOne(t *testing.T) {
	s := start(t, fullPlugin)
	var got []struct {
		Start, Length uint64
		Data          bool
	}
	out := run(t, "qemu-img", "map", "--output=json", "-f", "raw", s.uri("holes"))
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in:\n%s", err, out)
	}
	if len(got) != 16 {
		t.Errorf("%d extents, want 16", len(got))
	}
	for i, e := range got {
		if e.Start != uint64(i)<<16 || e.Length != 1<<16 || e.Data != (i%2 == 0) {
			t.Errorf("extent %d is %+v", i, e)
		}
	}
	wantIn(t, s.stop(), "at 983040 one=true")
}

// TestExtentsFail: what nbdkit refuses, and an add function kept too long.
func TestExtentsFail(t *testing.T) {
	s := start(t, fullPlugin)
	wantIn(t, runFails(t, "nbdinfo", "--map", s.uri("late-extents")), "Invalid argument")
	wantIn(t, s.log(), "error: cannot report extent of 65536 bytes at 524288")
}

// holesContent is what the exports holes and plain hold.
func holesContent() []byte {
	var content []byte
	for block := range 256 {
		value := byte(0)
		if block/16%2 == 0 {
			value = byte(block) + 1
		}
		content = append(content, bytes.Repeat([]byte{value}, 4096)...)
	}
	return content
}

func TestCopy(t *testing.T) {
	s := start(t, fullPlugin)
	for _, export := range []string{"holes", "plain"} {
		copied := filepath.Join(t.TempDir(), "copy")
		run(t, "nbdcopy", "--connections=4", "--request-size=65536", s.uri(export), copied)
		got, err := os.ReadFile(copied)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, holesContent()) {
			t.Errorf("the copy of %s differs", export)
		}
	}
}

// TestSocketActivation: nbdkit does not fork then, so it needs no -f.
func TestSocketActivation(t *testing.T) {
	out := run(t, "nbdinfo", "--size", "[", "nbdkit", fullPlugin, "holes", "]")
	if out != "1048576\n" {
		t.Errorf("size is %q", out)
	}
}

// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"virtnb/format"
)

const block = 64 << 10

// layer is a saveset of a test: what each block of the disk is filled with;
// a space is left out of an incremental and zero in a full.
type layer struct {
	blocks     string
	compressed bool
}

// writeChain writes the savesets of vda, with checksums, and returns their paths.
func writeChain(t *testing.T, dir string, layers ...layer) (paths []string) {
	t.Helper()
	for i, l := range layers {
		meta := format.Metadata{
			VirtualSize: int64(len(l.blocks) * block), DiskName: "vda", DiskFormat: "qcow2", CheckpointName: fmt.Sprintf("virtnbdbackup.%d", i),
			Date: time.Date(2026, 11, 27, 2, i, 0, 0, time.Local), Incremental: i > 0,
		}
		meta.DataSize = int64(block * (len(l.blocks) - strings.Count(l.blocks, " ")))
		name := format.Name{Disk: "vda", Level: format.Full}
		if i > 0 {
			meta.ParentCheckpoint = fmt.Sprintf("virtnbdbackup.%d", i-1)
			name = format.Name{Disk: "vda", Level: format.Inc, ID: meta.CheckpointName}
		}
		if l.compressed {
			meta.Compression = 2
		}
		path := filepath.Join(dir, name.String())
		var b bytes.Buffer
		w, err := format.NewWriter(&b, meta, format.WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for n, c := range []byte(l.blocks) {
			off := int64(n * block)
			switch {
			case c != ' ':
				err = w.Data(off, fill(c))
			case i == 0:
				err = w.Zero(format.Extent{Start: off, Length: block})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Finish(); err != nil {
			t.Fatal(err)
		}
		write(t, path, b.Bytes())
		write(t, path+".chksum", []byte(fmt.Sprint(w.Adler32())))
		paths = append(paths, path)
	}
	return paths
}

// fill is a block of content that compresses somewhat.
func fill(c byte) []byte {
	p := make([]byte, block)
	for i := range p {
		p[i] = c + byte(i*i>>7)&1
	}
	return p
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// change rewrites a file.
func change(t *testing.T, path string, how func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, how(b))
}

// verified runs verify and checks that the set is as it was.
func verifyIt(t *testing.T, o VerifyOptions) (Report, error) {
	t.Helper()
	before := snapshot(t, o.Set)
	var out bytes.Buffer
	o.JSON, o.Out, o.Log = true, &out, slog.New(slog.DiscardHandler)
	err := VerifySet(t.Context(), o)
	if after := snapshot(t, o.Set); !reflect.DeepEqual(before, after) {
		t.Errorf("the set was changed: %v, was %v", after, before)
	}
	var r Report
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
	}
	if (err == nil) != r.OK {
		t.Errorf("report says ok: %v, error is %v", r.OK, err)
	}
	if err != nil && !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	return r, err
}

// snapshot is each file below a path: time of its change, and content.
func snapshot(t *testing.T, path string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files[p] = info.ModTime().String() + info.Mode().String()
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(p)
			files[p] += string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// say is a report in short: findings that are no notes, and points with what is
// lost of them, in blocks.
func say(r Report) string {
	var parts []string
	for _, f := range r.Findings {
		if f.Kind != harmless {
			parts = append(parts, fmt.Sprintf("%s %s%s in %s", f.Kind, strings.TrimPrefix(strings.TrimSuffix(f.File, ".data"), "vda."), blocksOf(f.Ranges), numbers(f.Points)))
		}
	}
	for _, v := range r.Points {
		if !v.OK {
			parts = append(parts, fmt.Sprintf("%s lost%s restorable %v", numbers([]string{v.Name}), blocksOf(v.Lost), v.Restorable))
		}
	}
	return strings.Join(parts, "; ")
}

func numbers(points []string) string {
	var list []string
	for _, p := range points {
		list = append(list, strings.TrimPrefix(p, "virtnbdbackup."))
	}
	return strings.Join(list, ",")
}

func blocksOf(list []Range) (text string) {
	for _, r := range list {
		text += fmt.Sprintf(" %d-%d", r.Start/block, (r.Start+r.Length)/block)
	}
	return text
}

// Which restore points does which damage affect?
func TestVerifyTellsWhatIsAffected(t *testing.T) {
	compressed := []layer{{"abcd", true}, {" B  ", true}, {"   D", true}}
	plain := []layer{{"abcd", false}, {" B  ", false}, {"   D", false}}
	tests := []struct {
		name   string
		layers []layer
		damage func(t *testing.T, paths []string)
		want   string
	}{
		{"none", compressed, func(*testing.T, []string) {}, ""},
		{"none in a plain one", plain, func(*testing.T, []string) {}, ""},
		{"a block that is overwritten later", compressed, flip(0, 1), "lz4 full 1-2 in 0; 0 lost 1-2 restorable true"},
		{"a block that is not", compressed, flip(0, 2), "lz4 full 2-3 in 0,1,2; 0 lost 2-3 restorable true; 1 lost 2-3 restorable true; 2 lost 2-3 restorable true"},
		{"an incremental", compressed, flip(1, 0), "lz4 inc.virtnbdbackup.1 1-2 in 1,2; 1 lost 1-2 restorable true; 2 lost 1-2 restorable true"},
		{"a plain full", plain, flip(0, 1), "checksum full 0-4 in 0,1,2; 0 lost 0-4 restorable true; 1 lost 0-1 2-4 restorable true; 2 lost 0-1 2-3 restorable true"},
		{"a plain incremental", plain, flip(2, 0), "checksum inc.virtnbdbackup.2 0-4 in 2; 2 lost 0-4 restorable true"},
		{"cut", compressed, func(t *testing.T, paths []string) {
			change(t, paths[0], func(b []byte) []byte { return b[:payload(t, paths[0], 2)] })
		}, "structure full 2-4 in 0,1,2; 0 lost 2-4 restorable false; 1 lost 2-4 restorable false; 2 lost 2-3 restorable false"},
		{"a header", plain, func(t *testing.T, paths []string) {
			at := payload(t, paths[0], 1) - 30
			change(t, paths[0], func(b []byte) []byte { b[at] = '?'; return b })
		}, "structure full in 0,1,2; 0 lost restorable false; 1 lost restorable false; 2 lost restorable false"},
		{"missing", compressed, func(t *testing.T, paths []string) {
			if err := os.Remove(paths[1]); err != nil {
				t.Fatal(err)
			}
		}, "chain inc.virtnbdbackup.2 in 2; 2 lost 0-3 restorable false"},
		{"empty", compressed, func(t *testing.T, paths []string) { write(t, paths[1], nil) },
			"structure inc.virtnbdbackup.1 in 1,2; 1 lost 0-4 restorable false; 2 lost 0-3 restorable false"},
		{"full is text", compressed, func(t *testing.T, paths []string) { write(t, paths[0], []byte("hello")) },
			"structure full in 0,1,2; 0 lost 0-4 restorable false; 1 lost 0-1 2-4 restorable false; 2 lost 0-1 2-3 restorable false"},
		{"wrong checksum", compressed, func(t *testing.T, paths []string) { write(t, paths[0]+".chksum", []byte("77")) }, "checksum full in "},
		{"no checksum", plain, func(t *testing.T, paths []string) {
			for _, p := range paths {
				if err := os.Remove(p + ".chksum"); err != nil {
					t.Fatal(err)
				}
			}
		}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			test.damage(t, writeChain(t, dir, test.layers...))
			r, _ := verifyIt(t, VerifyOptions{Set: dir})
			if got := say(r); got != test.want {
				t.Errorf("report is\n%s\nwant\n%s", got, test.want)
			}
			if r.OK != (test.want == "") {
				t.Errorf("ok: %v", r.OK)
			}
		})
	}
}

// payload is where the n-th payload of a saveset is.
func payload(t *testing.T, path string, n int) int64 {
	t.Helper()
	s, err := format.OpenSaveset(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for f, err := range s.Frames() {
		if err != nil {
			t.Fatal(err)
		}
		if n--; n < 0 {
			return f.Pos
		}
	}
	t.Fatal("no such frame")
	return 0
}

// flip changes a bit of the n-th payload of a saveset of the chain.
func flip(file, n int) func(t *testing.T, paths []string) {
	return func(t *testing.T, paths []string) {
		at := payload(t, paths[file], n) + 100
		change(t, paths[file], func(b []byte) []byte { b[at] ^= 16; return b })
	}
}

func TestVerifySaysThatChecksumsAreMissing(t *testing.T) {
	dir := t.TempDir()
	paths := writeChain(t, dir, layer{"ab", false}, layer{"A ", true}, layer{" B", false})
	write(t, paths[0]+".chksum", []byte("None"))
	write(t, paths[1]+".chksum", []byte("x"))
	r, err := verifyIt(t, VerifyOptions{Set: dir})
	if err != nil || len(r.Findings) != 2 || r.Findings[0].File != "vda.full.data" || !strings.Contains(r.Findings[0].Problem, "no checksum") {
		t.Errorf("%+v, %v", r.Findings, err)
	}
	var states []format.ChecksumState
	for _, f := range r.Files {
		states = append(states, f.Checksum)
	}
	if want := []format.ChecksumState{format.ChecksumMissing, format.ChecksumInvalid, format.ChecksumMatch}; !slices.Equal(states, want) {
		t.Errorf("checksums are %v, want %v", states, want)
	}
}

func TestVerifyRawImage(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "sda.copy.data"), bytes.Repeat([]byte("raw image"), 512))
	r, err := verifyIt(t, VerifyOptions{Set: dir})
	if err != nil || len(r.Files) != 1 || r.Files[0].Checksum != format.ChecksumMissing || len(r.Findings) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestVerifyChoosesByTheBeginningOfNames(t *testing.T) {
	dir := t.TempDir()
	paths := writeChain(t, dir, layer{"ab", true}, layer{"A ", true})
	flip(0, 0)(t, paths)
	if r, err := verifyIt(t, VerifyOptions{Set: dir, Disk: "vda.inc"}); err != nil || len(r.Files) != 1 || r.Files[0].Name != "vda.inc.virtnbdbackup.1.data" {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := verifyIt(t, VerifyOptions{Set: dir, Files: []string{"vda.full.data"}}); err == nil || len(r.Files) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	err := VerifySet(t.Context(), VerifyOptions{Set: dir, Disk: "vdb", Out: io.Discard, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "vda") {
		t.Errorf("no such disk: %v", err)
	}
}

func TestVerifyOfArchives(t *testing.T) {
	dir, zips := t.TempDir(), t.TempDir()
	paths := writeChain(t, dir, layer{"abc", false}, layer{" B ", true})
	var archives []string
	for i, p := range paths {
		archives = append(archives, filepath.Join(zips, fmt.Sprintf("%d.zip", i)))
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		w, err := z.CreateHeader(&zip.FileHeader{Name: filepath.Base(p)})
		if err == nil {
			var content []byte
			content, err = os.ReadFile(p)
			_, _ = w.Write(content)
		}
		if err != nil || z.Close() != nil {
			t.Fatal(err)
		}
		write(t, archives[i], b.Bytes())
	}
	r, err := verifyIt(t, VerifyOptions{Set: zips})
	if err != nil || len(r.Points) != 2 || r.Files[0].Checksum != format.ChecksumMatch || r.Files[0].Algorithm != "crc32" {
		t.Fatalf("%+v, %v", r, err)
	}
	write(t, filepath.Join(zips, "2.zip"), []byte("PK"))
	if r, err := verifyIt(t, VerifyOptions{Set: zips}); err == nil || len(r.Findings) != 1 || r.Findings[0].File != "2.zip" {
		t.Errorf("with an archive that cannot be read: %+v, %v", r, err)
	}
	change(t, archives[0], func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	log := slog.New(slog.DiscardHandler)
	if err := VerifySet(t.Context(), VerifyOptions{Set: strings.Join(archives, ","), Out: io.Discard, Log: log}); !errors.Is(err, ErrDamaged) {
		t.Errorf("error is %v", err)
	}
}

// However many places are damaged, the report has an end, and nothing is left out.
func TestVerifyCondensesManyDamages(t *testing.T) {
	var list []format.Damage
	for i := range int64(5 * maxDamages) {
		list = append(list, format.Damage{Kind: format.DamagedLZ4, Offset: i, Disk: format.Extents{{Start: 10 * i, Length: 5}}, Reason: "damaged"})
	}
	got := condense(list)
	if len(got) != maxDamages+1 || !reflect.DeepEqual(format.LostIn(got), format.LostIn(list)) || !strings.Contains(got[maxDamages].Reason, "3999 more places") {
		t.Errorf("%d damages, the last is %s", len(got), got[maxDamages].Reason)
	}
}

func TestVerifyTableNamesEverything(t *testing.T) {
	dir := t.TempDir()
	flip(0, 1)(t, writeChain(t, dir, layer{"abcd", true}, layer{" B  ", true}))
	var out bytes.Buffer
	if err := VerifySet(t.Context(), VerifyOptions{Set: dir, Out: &out, Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("error is %v", err)
	}
	for _, want := range []string{"vda.full.data", "disk offset 65536, 65536 bytes", "affects virtnbdbackup.0\n", "vda   virtnbdbackup.0  damaged: 64 KiB in doubt", "vda   virtnbdbackup.1  good"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	writeChain(t, dir, layer{"abcd", true})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := VerifySet(ctx, VerifyOptions{Set: dir, Out: io.Discard, Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// The JSON of dump has what the savesets have, to the letter.
func TestDumpIsTheMetadata(t *testing.T) {
	dir := t.TempDir()
	paths := writeChain(t, dir, layer{"ab", false}, layer{"A ", true})
	extra := []byte(`"streamVersion": 2`)
	change(t, paths[0], func(b []byte) []byte { // keys that we do not know stay
		return bytes.Replace(b, extra, []byte(`"Stre\u00e4": 1.50`), 1)
	})
	change(t, paths[0], func(b []byte) []byte {
		return bytes.Replace(b, []byte(`"diskFormat": "qcow2"`), append(extra, ' ', ' ', ' '), 1)
	})
	var out bytes.Buffer
	if err := DumpSet(t.Context(), DumpOptions{Set: dir, JSON: true, Out: &out}); err != nil {
		t.Fatal(err)
	}
	var list []map[string]any
	if err := json.Unmarshal(out.Bytes(), &list); err != nil || len(list) != 2 || list[1]["checkpointName"] != "virtnbdbackup.1" {
		t.Fatalf("%v\n%s", err, &out)
	}
	if !strings.HasPrefix(out.String(), "[\n    {\n        \"virtualSize\": 131072,\n") || !strings.Contains(out.String(), `"Stre\u00e4": 1.50`) {
		t.Errorf("dump is\n%s", &out)
	}
	out.Reset()
	if err := DumpSet(t.Context(), DumpOptions{Set: dir, Disk: "vda.inc", Out: &out}); err != nil || strings.Count(out.String(), "\n") != 2 || !strings.Contains(out.String(), "lz4, level 2") {
		t.Errorf("%v\n%s", err, &out)
	}
}

// Savesets that cannot be read are named, and the others shown.
func TestDumpOfDamagedSet(t *testing.T) {
	dir := t.TempDir()
	paths := writeChain(t, dir, layer{"ab", false}, layer{"A ", true}, layer{" B", true})
	change(t, paths[1], func(b []byte) []byte { return b[:len(b)-10] })
	write(t, paths[2], []byte("hello"))
	var out bytes.Buffer
	err := DumpSet(t.Context(), DumpOptions{Set: dir, JSON: true, Out: &out})
	if !errors.Is(err, format.ErrCorrupt) || !strings.Contains(err.Error(), paths[1]) || !strings.Contains(err.Error(), paths[2]) {
		t.Errorf("error is %v", err)
	}
	var list []map[string]any
	if err := json.Unmarshal(out.Bytes(), &list); err != nil || len(list) != 2 {
		t.Errorf("%v\n%s", err, &out)
	}
}

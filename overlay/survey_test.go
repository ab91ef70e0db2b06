// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"pgregory.net/rapid"

	"virtnb/format"
)

// What surveys tell of each point of a chain is what its image tells.
func TestSurveyTellsWhatTheImageTells(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "set")
		if err != nil {
			t.Fatal(err)
		}
		files, disks := drawChain(rt, t, dir)
		p := NewPool(NewCache(0))
		var v *Survey
		for i := range files {
			if v, err = p.Survey(v, files[i]); err != nil {
				rt.Fatal(err)
			}
			img, err := p.Open(files[:i+1])
			if err != nil {
				rt.Fatal(err)
			}
			compareSurvey(rt, v, img)
			p.Release(img)
			if i > 0 {
				checkChanged(rt, v, disks[i-1], disks[i])
			}
		}
	})
}

func compareSurvey(t *rapid.T, v *Survey, img *Shared) {
	if v.Size() != img.Size() || v.Identity() != img.Identity() {
		t.Fatalf("survey of %d bytes, %x; image of %d, %x", v.Size(), v.Identity(), img.Size(), img.Identity())
	}
	for _, part := range append(drawParts(img.Size()), format.Extent{Length: img.Size()}) {
		want := int64(0)
		for e, err := range img.Extents(part.Start, part.Length) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Data {
				want += e.Length
			}
		}
		if got := v.Allocated(part); got != want {
			t.Fatalf("%d of %v allocated, want %d", got, part, want)
		}
	}
}

func drawParts(size int64) (parts []format.Extent) {
	for range 20 {
		off := rand.Int64N(size)
		parts = append(parts, format.Extent{Start: off, Length: rand.Int64N(size-off) + 1})
	}
	return parts
}

// checkChanged: what did not change has the same bytes.
func checkChanged(t *rapid.T, v *Survey, before, after []byte) {
	for _, part := range drawParts(int64(len(after))) {
		if v.Changed(part) {
			continue
		}
		if len(before) != len(after) || !bytes.Equal(before[part.Start:part.End()], after[part.Start:part.End()]) {
			t.Fatalf("%v has other bytes and is said to be unchanged", part)
		}
	}
}

// A part beside what was written is unchanged.
func TestSurveyChanged(t *testing.T) {
	dir := t.TempDir()
	files := []string{chainFile(dir, 0), chainFile(dir, 1)}
	testSaveset{size: 8192, checkpoint: name(0), pieces: []piece{{data: []byte("abc")}}}.write(t, files[0])
	testSaveset{size: 8192, checkpoint: name(1), parent: name(0), pieces: []piece{{start: 10, data: []byte("abc")}, {start: 20, data: []byte("de")}}}.write(t, files[1])
	p := NewPool(NewCache(0))
	full, err := p.Survey(nil, files[0])
	if err != nil {
		t.Fatal(err)
	}
	v, err := p.Survey(full, files[1])
	if err != nil {
		t.Fatal(err)
	}
	for part, want := range map[format.Extent]bool{
		{Start: 0, Length: 10}: false, {Start: 0, Length: 11}: true, {Start: 12, Length: 5}: true,
		{Start: 13, Length: 7}: false, {Start: 13, Length: 8}: true, {Start: 22, Length: 8170}: false,
	} {
		if v.Changed(part) != want {
			t.Errorf("%v changed: %v", part, !want)
		}
		if !full.Changed(part) {
			t.Errorf("%v of a full is unchanged", part)
		}
	}
}

// Surveys fail as opening does.
func TestSurveyFailsAsOpen(t *testing.T) {
	dir := t.TempDir()
	files := []string{chainFile(dir, 0), chainFile(dir, 1)}
	testSaveset{size: 8192, checkpoint: name(0), pieces: []piece{{data: []byte("abc")}}}.write(t, files[0])
	testSaveset{size: 8192, checkpoint: name(1), parent: name(5)}.write(t, files[1])
	p := NewPool(NewCache(0))
	full, err := p.Survey(nil, files[0])
	if err != nil {
		t.Fatal(err)
	}
	_, want := p.Open(files)
	if _, err := p.Survey(full, files[1]); !errors.Is(err, format.ErrChain) || err.Error() != want.Error() {
		t.Errorf("%v, want %v", err, want)
	}
	_, want = p.Open(files[1:])
	if _, err := p.Survey(nil, files[1]); !errors.Is(err, format.ErrChain) || err.Error() != want.Error() {
		t.Errorf("%v, want %v", err, want)
	}
}

// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func examine(t *testing.T, path string) (*Saveset, *Examination) {
	t.Helper()
	s, err := OpenDamaged(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	read := int64(0)
	x, err := s.Examine(t.Context(), func(n int64) { read += n })
	if err != nil {
		t.Fatal(err)
	}
	if read != s.Size {
		t.Errorf("%s: %d bytes of %d were read", path, read, s.Size)
	}
	return s, x
}

func TestExamineFindsVectorsSound(t *testing.T) {
	for _, path := range vectors(t) {
		want := ChecksumMatch
		if _, err := os.Stat(path + ".chksum"); err != nil {
			want = ChecksumMissing
		}
		if _, x := examine(t, path); len(x.Damages) != 0 || x.Checksum != want {
			t.Errorf("%s: %+v", path, x)
		}
	}
}

func TestExamineOfMemberUsesTheSumOfTheArchive(t *testing.T) {
	path := pack(t, filepath.Join(t.TempDir(), "a.zip"), firstFiles...)
	if _, x := examine(t, filepath.Join(path, "vda.full.data")); len(x.Damages) != 0 || x.Checksum != ChecksumMatch {
		t.Errorf("%+v", x)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("AAAA"))]++
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, x := examine(t, filepath.Join(path, "vda.full.data")); len(x.Damages) != 1 || x.Damages[0].Kind != DamagedChecksum || LostIn(x.Damages).Length() != 4096+8192+4096 {
		t.Errorf("%+v", x)
	}
}

func TestExamineReadsWhatStandsForNoChecksum(t *testing.T) {
	dir := t.TempDir()
	b, err := os.ReadFile("../tests/vectors/01-plain-full/vda.full.data")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "vda.full.data")
	for text, want := range map[string]ChecksumState{
		"None": ChecksumMissing, "": ChecksumInvalid, "hello": ChecksumInvalid, "-1": ChecksumInvalid, "99999999999": ChecksumInvalid,
		"1": ChecksumDiffers, adlerText(b): ChecksumMatch, adlerText(b) + "\n": ChecksumMatch,
	} {
		writeWithSum(t, path, b, text)
		if _, x := examine(t, path); x.Checksum != want || (len(x.Damages) > 0) != (want == ChecksumDiffers) {
			t.Errorf("%q: %+v, want %s", text, x, want)
		}
	}
}

func adlerText(b []byte) string {
	var c Checksum
	_, _ = c.Write(b)
	return fmt.Sprint(c.Sum32())
}

func writeWithSum(t *testing.T, path string, b []byte, sum string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, b, 0o600), os.WriteFile(path+chksumSuffix, []byte(sum), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// paint lays frames of s over a disk. What lost has of it may be anything.
func paint(t *testing.T, disk []byte, s *Saveset, frames []Frame, lost Extents) {
	t.Helper()
	for _, f := range frames {
		to := disk[f.Start:f.End()]
		switch {
		case f.Zero:
			clear(to)
		case !s.Meta.Compressed():
			if err := s.readFull(to, f.Pos); err != nil {
				t.Fatal(err)
			}
		default:
			z, err := s.OpenLZ4(f.Pos, f.Stored, f.Length)
			if err == nil {
				c, in := z.Start(), LZ4Input{}
				_, err = z.Decode(&c, to, 0, &in)
			}
			if err != nil && !lost.Overlaps(f.Extent) {
				t.Fatalf("frame %+v: %v; lost is %v", f, err, lost)
			}
		}
	}
}

// damages are ways to damage a file, at a place in it.
var damages = []struct {
	name string
	do   func(b []byte, at int) []byte
}{
	{"bit", func(b []byte, at int) []byte { b[at] ^= 1; return b }},
	{"other bit", func(b []byte, at int) []byte { b[at] ^= 8; return b }},
	{"digit", func(b []byte, at int) []byte { b[at] = '7'; return b }},
	{"burst", func(b []byte, at int) []byte { clear(b[at:min(len(b), at+200)]); return b }},
	{"astray", func(b []byte, at int) []byte { copy(b[at:], bytes.Clone(b[len(b)/3:][:min(len(b)/4, 5000)])); return b }},
	{"from behind", func(b []byte, at int) []byte { copy(b[at:], bytes.Clone(b[len(b)-300:len(b)-100])); return b }},
	{"cut", func(b []byte, at int) []byte { return b[:at] }},
	{"missing", func(b []byte, at int) []byte { return append(b[:at], b[min(len(b), at+17):]...) }},
	{"inserted", func(b []byte, at int) []byte {
		return append(b[:at:at], append([]byte("data 00000000"), b[at:]...)...)
	}},
}

// Whatever happens to a saveset that has a checksum: what is not reported as
// lost is as it was. (The metadata is left out: who damages the name of the disk
// gets another disk.)
func TestWhatIsNotLostIsRight(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, name := range []string{"01-plain-full/vda.full.data", "02-lz4-copy/vda.copy.data", "03-chain/vda.inc.virtnbdbackup.1.data", "03-chain/vda.inc.virtnbdbackup.3.data", "06-chain-1.9.15/vda.inc.virtnbdbackup.1.data"} {
		sound, err := OpenSaveset("../tests/vectors/" + name)
		if err != nil {
			t.Fatal(err)
		}
		defer sound.Close()
		b, err := os.ReadFile(sound.Path)
		if err != nil {
			t.Fatal(err)
		}
		frames, _, err := sound.Remains()
		if err != nil {
			t.Fatal(err)
		}
		before := make([]byte, sound.Meta.VirtualSize)
		for i := range before {
			before[i] = byte(1 + rng.IntN(255))
		}
		want := bytes.Clone(before)
		paint(t, want, sound, frames, nil)
		path := filepath.Join(t.TempDir(), filepath.Base(name))
		for _, d := range damages {
			found := 0
			for at := int(sound.body); at < len(b); at += 1 + rng.IntN(8) + stride(b, at)*rng.IntN(400) {
				writeWithSum(t, path, d.do(bytes.Clone(b), at), adlerText(b))
				s, x := examine(t, path)
				rest, _, err := s.Remains()
				if err != nil {
					t.Fatal(err)
				}
				if len(x.Damages) == 0 {
					if got, _ := os.ReadFile(path); !bytes.Equal(got, b) {
						t.Fatalf("%s: %s at %d is not seen", name, d.name, at)
					}
				}
				got := bytes.Clone(before)
				lost := LostIn(x.Damages)
				paint(t, got, s, rest, lost)
				for i := firstDifference(got, want, lost); i < len(got); i++ {
					if got[i] != want[i] && !lost.Overlaps(Extent{int64(i), 1}) {
						t.Fatalf("%s: %s at %d: disk offset %d is %#x, was %#x; damage is %+v", name, d.name, at, i, got[i], want[i], x.Damages)
					}
				}
				if len(extents(frames).Without(lost)) > 0 {
					found++
				}
				s.Close()
			}
			if found == 0 {
				t.Errorf("%s: %s: all is lost, wherever it happens", name, d.name)
			}
		}
	}
}

// firstDifference skips what is equal, a block at a time, as most is.
func firstDifference(a, b []byte, lost Extents) int {
	const block = 4096
	i := 0
	for ; i+block <= len(a); i += block {
		if !bytes.Equal(a[i:][:block], b[i:][:block]) && len(Extents{{int64(i), block}}.Without(lost)) > 0 {
			break
		}
	}
	return i
}

func extents(frames []Frame) (all Extents) {
	for _, f := range frames {
		all = all.extend(f.Extent)
	}
	return all
}

// stride is 0 near headers, where each byte counts, and 1 inside of payloads.
func stride(b []byte, at int) int {
	near := b[max(0, at-50):min(len(b), at+50)]
	if len(b) < 2000 || bytes.Contains(near, []byte("00000000")) {
		return 0
	}
	return 1
}

// A header whose damage its neighbours tell about loses nothing.
func TestDamagedHeaderIsMadeOut(t *testing.T) {
	for _, name := range []string{"01-plain-full/vda.full.data", "02-lz4-copy/vda.copy.data"} {
		b, err := os.ReadFile("../tests/vectors/" + name)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), filepath.Base(name))
		for _, kind := range []string{"data 0000000000010000", "zero 0000000000001000"} {
			at := bytes.Index(b, []byte(kind))
			for i := range headerSize {
				damaged := bytes.Clone(b)
				damaged[at+i] = '!'
				writeWithSum(t, path, damaged, adlerText(b))
				if _, x := examine(t, path); len(x.Damages) != 1 || x.Damages[0].Kind != DamagedStructure || len(LostIn(x.Damages)) > 0 {
					t.Errorf("%s: %s, byte %d: %+v", name, kind, i, x)
				}
			}
		}
	}
}

// The data of a disk can be savesets. Their frames are not taken for ours.
func TestSavesetsInsideOfDamagedOne(t *testing.T) {
	inner := plain(false, 5, frameText("data", 500, 5, "wrong"), stopText)
	payload := string(inner) + strings.Repeat("x", 1000-len(inner)%1000)
	meta := fmt.Sprintf(`{"virtualSize": 100000, "dataSize": %d, "diskName": "vda", "checkpointName": "c.0", "parentCheckpoint": "", "incremental": false, "streamVersion": 2}`, len(payload)+5)
	outer := []byte(fmt.Sprintf("meta %016x %016x\r\n%s\r\n", 0, len(meta), meta) +
		frameText("data", 10, uint64(len(payload)), payload) + frameText("data", 90_000, 5, "right") + stopText)
	at := bytes.Index(outer, []byte("data 000000000000000a"))
	outer[at+5] = '!'
	path := filepath.Join(t.TempDir(), "vda.full.data")
	writeWithSum(t, path, outer, "None")
	s, x := examine(t, path)
	frames, _, err := s.Remains()
	if err != nil || len(frames) != 1 || frames[0].Start != 90_000 {
		t.Errorf("frames %+v, %v", frames, err)
	}
	if lost := LostIn(x.Damages); len(lost) != 1 || lost[0] != (Extent{0, 90_000}) {
		t.Errorf("lost is %v", lost)
	}
}

func TestDamagedMetadataIsMadeOut(t *testing.T) {
	b, err := os.ReadFile("../tests/vectors/02-lz4-copy/vda.copy.data")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "vda.copy.data")
	for _, change := range [][2]string{{"meta 0", "meat 0"}, {"\n    \"date\"", "\n    \x00date\""}, {"\n}\r\n", "\n)\r\n"}, {"013d\r\n", "0fff\r\n"}} {
		writeWithSum(t, path, bytes.Replace(b, []byte(change[0]), []byte(change[1]), 1), adlerText(b))
		s, x := examine(t, path)
		if s.Meta.VirtualSize != 1<<20 || s.Meta.DiskName != "vda" || !s.Meta.Compressed() || len(x.Damages) != 1 || len(LostIn(x.Damages)) != 0 {
			t.Errorf("%q: %+v, %+v", change, s.Meta, x)
		}
	}
	writeWithSum(t, path, bytes.Replace(b, []byte("virtualSize"), []byte("virtualSizf"), 1), adlerText(b))
	if _, err := OpenDamaged(path); !errors.Is(err, ErrCorrupt) {
		t.Errorf("without a size: %v", err)
	}
}

// failing is storage that cannot read a range of a file.
type failing struct {
	*bytes.Reader
	bad Extent
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if hit := f.bad.Intersect(Extent{off, int64(len(p))}); hit.Length > 0 {
		n, _ := f.Reader.ReadAt(p[:hit.Start-off], off)
		return n, &os.PathError{Op: "read", Path: "disk", Err: errors.New("input/output error")}
	}
	return f.Reader.ReadAt(p, off)
}

func TestExamineLocatesWhatCannotBeRead(t *testing.T) {
	data := strings.Repeat("0123456789", 200_000)
	meta := fmt.Sprintf(`{"virtualSize": 4000000, "dataSize": %d, "diskName": "vda", "checkpointName": "c.0", "parentCheckpoint": "", "incremental": false, "streamVersion": 2}`, len(data))
	head := fmt.Sprintf("meta %016x %016x\r\n%s\r\n", 0, len(meta), meta)
	b := []byte(head + frameText("data", 1000, uint64(len(data)), data) + stopText)
	payload := int64(len(head) + headerSize)
	s, err := NewSaveset(failing{bytes.NewReader(b), Extent{1_500_000, 100}}, int64(len(b)), "vda.full.data")
	if err != nil {
		t.Fatal(err)
	}
	x, err := s.Examine(t.Context(), func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	want := Extent{1_500_000/sector*sector - payload + 1000, sector}
	if lost := LostIn(x.Damages); len(lost) != 1 || lost[0] != want || x.Damages[0].Kind != DamagedStorage || x.Checksum != ChecksumUnknown {
		t.Errorf("%+v, want %v", x, want)
	}
}

func TestExamineEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := OpenSaveset("../tests/vectors/05-lz4-chunked/vda.copy.data")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cancel()
	if _, err := s.Examine(ctx, func(int64) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// Each damage to the structure is found by Examine, too, with a place in the
// file and what it does to the disk.
func TestExamineSeesDamagedStructure(t *testing.T) {
	for _, test := range structures {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "vda.full.data")
			if err := os.WriteFile(path, test.b, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := OpenDamaged(path)
			if err != nil {
				if test.want == "" || !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error is %v, want %q", err, test.want)
				}
				return
			}
			defer s.Close()
			x, err := s.Examine(t.Context(), func(int64) {})
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "" {
				if len(x.Damages) > 0 {
					t.Errorf("damages %+v", x.Damages)
				}
				return
			}
			if len(x.Damages) != 1 || x.Damages[0].Kind != DamagedStructure || x.Damages[0].Offset < 0 || !strings.Contains(x.Damages[0].Reason, test.want) {
				t.Errorf("damages %+v, want one with %q", x.Damages, test.want)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var errBroken = errors.New("broken")

// addAll adds members of each kind, and says what they hold.
func addAll(t *testing.T, w *Writer) (names []string, content map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"checkpoints/virtnbdbackup.1.xml": "<b/>", "checkpoints/virtnbdbackup.0.xml": "<a/>", "x.log": "a line\n"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "checkpoints", "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	saveset := strings.Repeat("data of vda", 100_000)
	err := errors.Join(
		w.Stream("vda.full.data", func(out io.Writer) error {
			for len(saveset) > len("data of vda")*100_000/2 { // in pieces of odd sizes
				n := min(len(saveset), 99_991)
				if _, err := io.WriteString(out, saveset[:n]); err != nil {
					return err
				}
				saveset = saveset[n:]
			}
			_, err := io.WriteString(out, saveset)
			return err
		}),
		w.Stream("vdb.full.data", func(io.Writer) error { return nil }),
		w.Bytes("vmconfig.virtnbdbackup.0.xml", []byte("<domain/>")),
		w.Bytes("vm ü.cpt", []byte(`["virtnbdbackup.0"]`)),
		w.Folder("checkpoints"),
		w.File("checkpoints/virtnbdbackup.0.xml", filepath.Join(dir, "checkpoints", "virtnbdbackup.0.xml")),
		w.File("checkpoints/virtnbdbackup.1.xml", filepath.Join(dir, "checkpoints", "virtnbdbackup.1.xml")),
		w.File("backup.full.log", filepath.Join(dir, "x.log")),
	)
	if err != nil {
		t.Fatal(err)
	}
	names = []string{"vda.full.data", "vdb.full.data", "vmconfig.virtnbdbackup.0.xml", "vm ü.cpt",
		"checkpoints/", "checkpoints/virtnbdbackup.0.xml", "checkpoints/virtnbdbackup.1.xml", "backup.full.log"}
	return names, map[string]string{"vda.full.data": strings.Repeat("data of vda", 100_000), "vdb.full.data": "",
		"vmconfig.virtnbdbackup.0.xml": "<domain/>", "vm ü.cpt": `["virtnbdbackup.0"]`, "checkpoints/": "",
		"checkpoints/virtnbdbackup.0.xml": "<a/>", "checkpoints/virtnbdbackup.1.xml": "<b/>", "backup.full.log": "a line\n"}
}

func TestArchive(t *testing.T) {
	var out bytes.Buffer
	w, err := New(&out)
	if err != nil {
		t.Fatal(err)
	}
	names, content := addAll(t, w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range r.File {
		got = append(got, f.Name)
		if f.Method != zip.Store || time.Since(f.Modified).Abs() > time.Hour {
			t.Errorf("%s: method %d, %v", f.Name, f.Method, f.Modified)
		}
		want := fs.FileMode(0o600)
		if strings.HasSuffix(f.Name, "/") {
			want = fs.ModeDir | 0o700
		}
		if f.Mode() != want {
			t.Errorf("%s: %v", f.Name, f.Mode())
		}
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(in); err != nil || string(text) != content[f.Name] {
			t.Errorf("%s: %d bytes, %v", f.Name, len(text), err)
		}
	}
	if !slices.Equal(got, names) {
		t.Errorf("%q", got)
	}
}

// pipe writes an archive into a pipe, as users do, with cat behind it, to a
// file.
func pipe(t *testing.T, add func(*Writer)) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "backup.zip")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cat := exec.CommandContext(t.Context(), "cat")
	cat.Stdout = f
	in, err := cat.StdinPipe()
	if err == nil {
		err = cat.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(in)
	if err != nil {
		t.Fatal(err)
	}
	add(w)
	if err := errors.Join(w.Close(), in.Close(), cat.Wait()); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestArchiveUnzip(t *testing.T) {
	var names []string
	var content map[string]string
	path := pipe(t, func(w *Writer) { names, content = addAll(t, w) })
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "unzip", "-q", path, "-d", dir).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("unzip: %v\n%s", err, out)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			continue
		}
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != content[name] {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
}

// readZip reads an archive with Python's zipfile, checksums included, and
// prints names and sizes.
const readZip = `
import json, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    assert z.testzip() is None
    print(json.dumps([[i.filename, i.file_size, i.compress_type] for i in z.infolist()]))
`

// listZip prints the same, but reads the last member only.
const listZip = `
import json, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    assert len(z.read(z.infolist()[-1])) == z.infolist()[-1].file_size
    print(json.dumps([[i.filename, i.file_size, i.compress_type] for i in z.infolist()]))
`

func TestArchivePython(t *testing.T) {
	var names []string
	var content map[string]string
	path := pipe(t, func(w *Writer) { names, content = addAll(t, w) })
	out, err := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", readZip, path).CombinedOutput()
	if err != nil {
		t.Fatalf("python: %v\n%s", err, out)
	}
	var got [][3]any
	if err := json.Unmarshal(out, &got); err != nil || len(got) != len(names) {
		t.Fatalf("%v\n%s", err, out)
	}
	for i, name := range names {
		if want := [3]any{name, float64(len(content[name])), 0.0}; got[i] != want {
			t.Errorf("%v, want %v", got[i], want)
		}
	}
}

func TestArchiveErrors(t *testing.T) {
	for what, add := range map[string]func(*Writer) error{
		"the source":        func(w *Writer) error { return w.Stream("a", func(io.Writer) error { return errBroken }) },
		"a missing file":    func(w *Writer) error { return w.File("a", "/nonexistent/a") },
		"a device":          func(w *Writer) error { return w.File("a", os.DevNull) },
		"a name twice":      func(w *Writer) error { return errors.Join(w.Bytes("a", nil), w.Bytes("a", nil)) },
		"a name that is up": func(w *Writer) error { return w.Bytes("../a", nil) },
		"an absolute name":  func(w *Writer) error { return w.Bytes("/a", nil) },
	} {
		var out bytes.Buffer
		w, err := New(&out)
		if err != nil {
			t.Fatal(err)
		}
		first := add(w)
		if first == nil || !strings.HasPrefix(first.Error(), "zip archive: ") {
			t.Errorf("%s: %v", what, first)
		}
		if w.Bytes("later", nil) == nil || w.File("later", os.DevNull) == nil || w.Folder("later") == nil || w.Close() == nil {
			t.Errorf("%s: goes on after the error", what)
		}
		if _, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len())); err == nil {
			t.Errorf("%s: there is an archive all the same", what)
		}
	}
}

func TestArchiveFullDisk(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := New(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Bytes("a", make([]byte, 2*bufferSize)), w.Close()); !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
}

func TestArchiveNotToTerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if _, err := New(master); !errors.Is(err, ErrTerminal) {
		t.Error(err)
	}
}

func TestArchiveClosed(t *testing.T) {
	w, err := New(io.Discard)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if w.Bytes("a", nil) == nil || w.Close() == nil {
		t.Error("a closed archive takes more")
	}
}

func TestArchiveLogGrows(t *testing.T) {
	var out bytes.Buffer
	w, err := New(&out)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "log")
	for i := range 2 {
		if err := os.WriteFile(path, []byte(strings.Repeat("x", i+1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.File(fmt.Sprint("log", i), path); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// sparseFile is a file in which blocks of zeroes become holes.
type sparseFile struct {
	f   *os.File
	off int64
}

var zeroes = make([]byte, 1<<20)

func (s *sparseFile) Write(p []byte) (int, error) {
	at := s.off
	s.off += int64(len(p))
	if len(p) <= len(zeroes) && bytes.Equal(p, zeroes[:len(p)]) {
		return len(p), nil
	}
	return s.f.WriteAt(p, at)
}

// A member of more than 4 GiB, and one behind it, need Zip64. That the data
// comes back is tested with less of it.
func TestArchiveBeyond4GiB(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "big.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := New(&sparseFile{f: f})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		w.Stream("vda.full.data", func(out io.Writer) (err error) {
			for range 4097 {
				_, e := out.Write(zeroes)
				err = errors.Join(err, e)
			}
			return err
		}),
		w.Bytes("last", []byte("text")), w.Close())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", listZip, f.Name()).CombinedOutput()
	if want := `[["vda.full.data", 4296015872, 0], ["last", 4, 0]]`; err != nil || strings.TrimSpace(string(out)) != want {
		t.Errorf("python: %v\n%s", err, out)
	}
}

// SPDX-License-Identifier: Apache-2.0

package overlay_test

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"virtnb/overlay"
	"virtnb/overlay/imagetest"
)

// packed writes each file into an archive of its own, as backups to the standard
// output do, and returns the paths of the members.
func packed(t *testing.T, files []string) (members []string) {
	t.Helper()
	dir := t.TempDir()
	for i, file := range files {
		path := filepath.Join(dir, string(rune('a'+i))+".zip")
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		z := zip.NewWriter(f)
		for _, name := range []string{"first.log", filepath.Base(file), "last.log"} {
			w, err := z.CreateHeader(&zip.FileHeader{Name: name})
			if err == nil {
				_, err = w.Write(content)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		members = append(members, filepath.Join(path, filepath.Base(file)))
	}
	return members
}

func TestVectorsInArchivesReadAsTheDisksTheyStandFor(t *testing.T) {
	for _, v := range vectorChains {
		t.Run(v.name, func(t *testing.T) {
			var files []string
			for f := range strings.FieldsSeq(v.files) {
				files = append(files, filepath.Join(vectors, f))
			}
			img, err := overlay.Open(packed(t, files), overlay.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			disk := make([]byte, img.Size())
			if _, err := img.ReadAt(disk, 0); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			sum := sha256.Sum256(disk)
			if got := hex.EncodeToString(sum[:]); got != v.sum {
				t.Errorf("SHA-256 is %s, want %s", got, v.sum)
			}
			imagetest.Test(t, img, disk)
			if !img.Current() {
				t.Error("archives that nobody touched are not current")
			}
		})
	}
}

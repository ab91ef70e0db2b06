// SPDX-License-Identifier: Apache-2.0

package overlay_test

import (
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

const vectors = "../tests/vectors/"

// The chains of the vectors and the SHA-256 of the disks that they stand for,
// as tests/vectors/README.md gives them.
var vectorChains = []struct {
	name, files, sum string
}{
	{"plain full", "01-plain-full/vda.full.data", "bcac1b19501f54275e9d2f4f767f66012d601282a1c32dc65343842127e05a82"},
	{"lz4 copy", "02-lz4-copy/vda.copy.data", "bcac1b19501f54275e9d2f4f767f66012d601282a1c32dc65343842127e05a82"},
	{"one inc", "03-chain/vda.full.data 03-chain/vda.inc.virtnbdbackup.1.data", "dab92b94e489de33daab40c4b3b4885367ae6f3f576a3f7655b27948f864af48"},
	{"diff", "03-chain/vda.full.data 03-chain/vda.diff.1795399599.data", "dab92b94e489de33daab40c4b3b4885367ae6f3f576a3f7655b27948f864af48"},
	{"lz4 diff", "03-chain/vda.full.data 03-chain/vda.diff.1795399601.data", "dab92b94e489de33daab40c4b3b4885367ae6f3f576a3f7655b27948f864af48"},
	{"mixed incs", "03-chain/vda.full.data 03-chain/vda.inc.virtnbdbackup.1.data 03-chain/vda.inc.virtnbdbackup.2.data 03-chain/vda.inc.virtnbdbackup.3.data 03-chain/vda.inc.virtnbdbackup.4.data", "c9483615a7988ad7f1095250a320f5f65198c79c6edbe98b1737b595060d433d"},
	{"fallback full", "04-fallback-full/vda.inc.virtnbdbackup.5.data", "d6aaa9c1c91295e509a11adaa469fab07568d5df6c07f6f24c3e2ad382bc2d67"},
	{"fallback full in a chain", "03-chain/vda.full.data 03-chain/vda.inc.virtnbdbackup.1.data 03-chain/vda.inc.virtnbdbackup.2.data 03-chain/vda.inc.virtnbdbackup.3.data 03-chain/vda.inc.virtnbdbackup.4.data 04-fallback-full/vda.inc.virtnbdbackup.5.data", "d6aaa9c1c91295e509a11adaa469fab07568d5df6c07f6f24c3e2ad382bc2d67"},
	{"chunked lz4", "05-lz4-chunked/vda.copy.data", "97fee915ea203d38e3e505346599ec3dead8da88136cc0b1238a4249550fc5da"},
	{"mixed releases", "06-chain-1.9.15/vda.full.data 06-chain-1.9.15/vda.inc.virtnbdbackup.1.data 06-chain-1.9.15/vda.inc.virtnbdbackup.2.data 06-chain-1.9.15/vda.inc.virtnbdbackup.3.data 06-chain-1.9.15/vda.inc.virtnbdbackup.4.data", "bf78a84a1c298fedc2a12b27583cfef42f19cfd178eeb854ddebfb365ab97ec5"},
	{"stream version 1", "07-stream-v1/vda.full.data", "bcac1b19501f54275e9d2f4f767f66012d601282a1c32dc65343842127e05a82"},
}

func TestVectorsReadAsTheDisksTheyStandFor(t *testing.T) {
	for _, v := range vectorChains {
		t.Run(v.name, func(t *testing.T) {
			var files []string
			for f := range strings.FieldsSeq(v.files) {
				files = append(files, filepath.Join(vectors, f))
			}
			img, err := overlay.Open(files, overlay.Options{})
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
		})
	}
}

// A raw image under the name of a saveset is a full; its holes are holes.
func TestRawImageIsAFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sda.copy.data")
	want := make([]byte, 1<<20)
	copy(want[300_000:], "some data in the middle of nothing")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(want[300_000:310_000], 300_000); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(int64(len(want))); err != nil {
		t.Fatal(err)
	}
	img, err := overlay.Open([]string{path}, overlay.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	imagetest.Test(t, img, want)
	var data int64
	for e := range img.Extents(0, img.Size()) {
		if e.Data {
			data += e.Length
		}
	}
	if data > 100_000 {
		t.Errorf("%d bytes are reported as data, of a file with 10000", data)
	}
}

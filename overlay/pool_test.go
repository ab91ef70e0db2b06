// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// poolChains are several chains over one full, whose LZ4 frame is a large one.
// All chains show the same disk.
func poolChains(t *testing.T, n int) (chains [][]string, disk []byte) {
	t.Helper()
	disk = noise(rand.New(rand.NewPCG(5, 6)), 3<<20+777)
	dir := t.TempDir()
	full := testSaveset{size: int64(len(disk)), checkpoint: "virtnbdbackup.0", lz4: true, linked: true, sums: true,
		pieces: []piece{{data: disk}}}.write(t, chainFile(dir, 0))
	chains = append(chains, []string{full})
	for i := 1; i < n; i++ {
		inc := testSaveset{size: int64(len(disk)), checkpoint: fmt.Sprintf("virtnbdbackup.%d", i), parent: "virtnbdbackup.0",
			pieces: []piece{{start: int64(i), data: disk[i : i+1]}}}.write(t, chainFile(dir, i))
		chains = append(chains, []string{full, inc})
	}
	return chains, disk
}

// What an image leaves in the cache serves others of the same saveset also when
// the image is closed.
func TestPoolClosesNothingThatOthersUse(t *testing.T) {
	chains, disk := poolChains(t, maxIdle+3)
	p := NewPool(NewCache(2 << 20)) // not all of the frame's segments
	img, err := p.Open(chains[0])
	if err != nil {
		t.Fatal(err)
	}
	readBack(t, img.Chain, disk, len(disk)-1, 1) // decodes the frame from its start
	p.Release(img)
	for _, files := range chains[1:] {
		img, err := p.Open(files)
		if err != nil {
			t.Fatal(err)
		}
		p.Release(img)
	}
	if img, err = p.Open(chains[1]); err != nil {
		t.Fatal(err)
	}
	defer p.Release(img)
	for range 50 {
		off := rand.IntN(len(disk))
		readBack(t, img.Chain, disk, off, min(len(disk)-off, 1000))
	}
}

// Images that are opened, read and closed all at once, while their files get
// other modes and links, which makes the pool open them again.
func TestPoolOfManyUsers(t *testing.T) {
	chains, disk := poolChains(t, maxIdle+4)
	p := NewPool(NewCache(2 << 20))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 9))
			for range 150 {
				if err := openAndRead(p, chains[rng.IntN(len(chains))], disk, rng); err != nil {
					t.Errorf("user %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 60 { // a mode that comes back could hide a change of the content
			link := filepath.Join(t.TempDir(), "link")
			if err := errors.Join(os.Link(chains[i%len(chains)][0], link), os.Chmod(chains[1][1], 0o400|os.FileMode(i))); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	for _, img := range p.byKey {
		if img.users != 0 {
			t.Errorf("an image has %d users left", img.users)
		}
	}
	if len(p.byKey) > maxIdle || len(p.idle) != len(p.byKey) {
		t.Errorf("%d images, %d of them idle", len(p.byKey), len(p.idle))
	}
}

func openAndRead(p *Pool, files []string, disk []byte, rng *rand.Rand) error {
	img, err := p.Open(files)
	if err != nil {
		return err
	}
	defer p.Release(img)
	for range rng.IntN(4) {
		off := rng.IntN(len(disk))
		got := make([]byte, min(len(disk)-off, rng.IntN(70_000)))
		if _, err := img.ReadAt(got, int64(off)); err != nil {
			return err
		}
		if !bytes.Equal(got, disk[off:off+len(got)]) {
			return fmt.Errorf("%d bytes at %d differ", len(got), off)
		}
	}
	return nil
}

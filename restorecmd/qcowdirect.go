// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"virtnb/format"
	"virtnb/internal/host"
	"virtnb/internal/qemu"
	"virtnb/overlay"
)

// A new qcow2 image of the plain kind is filled without a server: each byte
// would go through a socket otherwise, which costs as much as all the rest.
//
// qemu-img makes the image, so that its header and options are QEMU's own. It
// ends behind its tables then, all of which have one reference:
//
//	header, refcount table, refcount block, L1 table
//
// Behind them come the L2 tables that the disk needs, by what the backup has as
// data; then clusters of data as they are written; and at the end, when their
// number is known, more refcount blocks. So every cluster of the file is in use
// once, and the refcounts are a run of ones. In the end qemu-img checks the
// image, before it gets its name.
//
// Left out on purpose, and given to qemu-nbd: compressed clusters, external data
// files, subclusters, preallocation, and images whose refcount table would have
// to grow. What the numbers mean is in QEMU's docs/interop/qcow2.txt.

// errNotPlain says that an image is not of the plain kind.
var errNotPlain = errors.New("not a plain qcow2")

const (
	qcowHeaderSize = 104     // of what is read of the header, bytes
	maxRefTable    = 64      // of the refcount table that is read, clusters
	qcowCopied     = 1 << 63 // of an L1 or L2 entry: the cluster has one reference
)

// qcowDirect is a new qcow2 that is written by ourselves.
type qcowDirect struct {
	path string // when it is complete
	file *os.File
	size int64 // of the disk
	head qcowHead
	l2   []int64 // by index in the L1 table: where the L2 table is, 0 if there is none
	next atomic.Int64
	done bool
}

// qcowHead is what the header says.
type qcowHead struct {
	version, clusterBits  uint32
	size                  int64
	l1Size                uint32
	l1, refTable          int64 // offsets
	refTableClusters      uint32
	incompatible          uint64
	refcountOrder         uint32 // bits, as a power of two
	backing, snaps, crypt bool
}

func readQcowHead(r io.ReaderAt) (h qcowHead, err error) {
	b := make([]byte, qcowHeaderSize)
	if n, err := r.ReadAt(b, 0); err != nil && (n < 72 || !errors.Is(err, io.EOF)) {
		return h, err
	}
	be := binary.BigEndian
	h = qcowHead{
		version: be.Uint32(b[4:]), clusterBits: be.Uint32(b[20:]), size: int64(be.Uint64(b[24:])),
		l1Size: be.Uint32(b[36:]), l1: int64(be.Uint64(b[40:])), refTable: int64(be.Uint64(b[48:])),
		refTableClusters: be.Uint32(b[56:]), refcountOrder: 4,
		backing: be.Uint64(b[8:]) != 0, snaps: be.Uint32(b[60:]) != 0, crypt: be.Uint32(b[32:]) != 0,
	}
	if h.version >= 3 {
		h.incompatible, h.refcountOrder = be.Uint64(b[72:]), be.Uint32(b[96:])
	}
	plain := string(b[:4]) == qcowMagic && (h.version == 2 || h.version == 3) && h.clusterBits >= 9 && h.clusterBits <= 21 &&
		h.refcountOrder <= 6 && h.incompatible == 0 && !h.backing && !h.snaps && !h.crypt
	if !plain {
		return h, errNotPlain
	}
	return h, nil
}

func (h *qcowHead) cluster() int64 { return 1 << h.clusterBits }

// perTable is how many clusters of the disk an L2 table is about.
func (h *qcowHead) perTable() int64 { return h.cluster() / 8 }

// perBlock is how many clusters of the file a refcount block is about.
func (h *qcowHead) perBlock() int64 { return h.cluster() * 8 >> h.refcountOrder }

// clusters is how many it takes for n bytes.
func (h *qcowHead) clusters(n int64) int64 { return (n + h.cluster() - 1) >> h.clusterBits }

// openDirect opens an image that qemu-img made under its partial name, and that
// is to take img. The error is errNotPlain for one that is left to qemu-nbd.
func openDirect(path string, img overlay.Image) (*qcowDirect, error) {
	f, err := os.OpenFile(path+partialSuffix, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	d := &qcowDirect{path: path, file: f, size: img.Size()}
	if err := d.prepare(img); err != nil {
		f.Close()
		return nil, err
	}
	return d, nil
}

// prepare reads the header, looks whether the image is new, and reserves the L2
// tables.
func (d *qcowDirect) prepare(img overlay.Image) (err error) {
	if d.head, err = readQcowHead(d.file); err != nil {
		return err
	}
	info, err := d.file.Stat()
	if err != nil {
		return err
	}
	used := d.head.clusters(info.Size())
	if err := d.checkRefcounts(used); err != nil {
		return err
	}
	l1 := make([]byte, 8*int64(d.head.l1Size))
	if _, err := d.file.ReadAt(l1, d.head.l1); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !format.IsZero(l1) {
		return errNotPlain
	}
	if err := d.reserve(img, used); err != nil {
		return err
	}
	return d.writeL1()
}

// reserve gives each L2 table that the data of img needs a cluster of the file,
// behind those that are used.
func (d *qcowDirect) reserve(img overlay.Image, used int64) error {
	h := &d.head
	d.l2 = make([]int64, h.l1Size)
	data := int64(0) // clusters
	for e, err := range blocks(img, h.cluster()) {
		if err != nil {
			return err
		}
		if !e.Data {
			continue
		}
		data += h.clusters(e.Length)
		for i := h.tableOf(e.Start); i <= h.tableOf(e.End()-1); i++ {
			if i >= int64(len(d.l2)) {
				return errNotPlain
			}
			if d.l2[i] == 0 {
				d.l2[i] = used << h.clusterBits
				used++
			}
		}
	}
	d.next.Store(used)
	if h.blocksFor(used+data) > int64(h.refTableClusters)*h.cluster()/8 {
		return errNotPlain // the refcount table would have to grow
	}
	return nil
}

// tableOf is the index in the L1 table for an offset of the disk.
func (h *qcowHead) tableOf(off int64) int64 { return off >> h.clusterBits / h.perTable() }

// checkRefcounts looks whether the file is as qemu-img leaves it: the clusters
// in it have one reference each, and one block counts them.
func (d *qcowDirect) checkRefcounts(used int64) error {
	h := &d.head
	if h.refTableClusters == 0 || h.refTableClusters > maxRefTable {
		return errNotPlain
	}
	table := make([]byte, h.cluster()*int64(h.refTableClusters))
	if _, err := d.file.ReadAt(table, h.refTable); err != nil {
		return err
	}
	for i := 8; i < len(table); i += 8 {
		if binary.BigEndian.Uint64(table[i:]) != 0 {
			return errNotPlain
		}
	}
	block := make([]byte, h.cluster())
	first := int64(binary.BigEndian.Uint64(table))
	if _, err := d.file.ReadAt(block, first); err != nil {
		return err
	}
	if first == 0 || used > h.perBlock() || string(block) != string(h.ones(used)) {
		return errNotPlain
	}
	return nil
}

// ones is a refcount block whose first n entries are one.
func (h *qcowHead) ones(n int64) []byte {
	b := make([]byte, h.cluster())
	n = min(n, h.perBlock())
	if h.refcountOrder >= 3 {
		width := int64(1) << h.refcountOrder / 8 // bytes, the last of which is the lowest
		for i := range n {
			b[i*width+width-1] = 1
		}
		return b
	}
	for i := range n { // the lowest bits of a byte are the first entry
		bit := i << h.refcountOrder
		b[bit/8] |= 1 << (bit % 8)
	}
	return b
}

// blocksFor is how many refcount blocks count n clusters and those blocks, but
// for the first one, which is one of the n.
func (h *qcowHead) blocksFor(n int64) int64 {
	blocks := int64(1)
	for blocks*h.perBlock() < n+blocks-1 {
		blocks++
	}
	return blocks
}

func (d *qcowDirect) writeL1() error {
	b := make([]byte, 8*len(d.l2))
	for i, at := range d.l2 {
		if at != 0 {
			binary.BigEndian.PutUint64(b[8*i:], uint64(at)|qcowCopied)
		}
	}
	_, err := d.file.WriteAt(b, d.head.l1)
	return err
}

// WriteAt takes the next clusters of the file and enters them into the L2
// tables. No two calls are about one cluster.
func (d *qcowDirect) WriteAt(_ context.Context, p []byte, off int64) error {
	h := &d.head
	n := h.clusters(int64(len(p)))
	at := (d.next.Add(n) - n) << h.clusterBits
	if _, err := d.file.WriteAt(p, at); err != nil {
		return err
	}
	entries := make([]byte, 8*n)
	for i := range n {
		binary.BigEndian.PutUint64(entries[8*i:], uint64(at+i<<h.clusterBits)|qcowCopied)
	}
	for i := off >> h.clusterBits; len(entries) > 0; {
		table, in := i/h.perTable(), i%h.perTable()
		part := min(int64(len(entries)), (h.perTable()-in)*8)
		if d.l2[table] == 0 {
			return fmt.Errorf("no L2 table for offset %d of the disk", off)
		}
		if _, err := d.file.WriteAt(entries[:part], d.l2[table]+in*8); err != nil {
			return err
		}
		entries, i = entries[part:], i+part/8
	}
	return nil
}

func (d *qcowDirect) Zero(context.Context, int64, int64) error { return nil }

func (d *qcowDirect) Block() int64 { return max(d.head.cluster(), 512) }

func (d *qcowDirect) Fresh() bool { return true }

// Commit counts the references, has qemu-img check the image, makes it durable
// and gives it its name.
func (d *qcowDirect) Commit(ctx context.Context) error {
	if err := errors.Join(d.writeRefcounts(), d.file.Close()); err != nil {
		return err
	}
	if err := qemu.Check(ctx, host.Local{}, d.path+partialSuffix, "qcow2"); err != nil {
		return err
	}
	if err := settle(ctx, host.Local{}, d.path); err != nil {
		return err
	}
	d.done = true
	return nil
}

func (d *qcowDirect) writeRefcounts() error {
	h := &d.head
	used := d.next.Load()
	count := h.blocksFor(used)
	all := used + count - 1 // the first block is there
	entry := make([]byte, 8)
	for i := range count {
		at := used<<h.clusterBits + (i-1)<<h.clusterBits
		if i == 0 {
			if _, err := d.file.ReadAt(entry, h.refTable); err != nil {
				return err
			}
			at = int64(binary.BigEndian.Uint64(entry))
		}
		if _, err := d.file.WriteAt(h.ones(all-i*h.perBlock()), at); err != nil {
			return err
		}
		binary.BigEndian.PutUint64(entry, uint64(at))
		if _, err := d.file.WriteAt(entry, h.refTable+8*i); err != nil {
			return err
		}
	}
	return d.file.Truncate(all << h.clusterBits)
}

func (d *qcowDirect) Abort() {
	if d.done {
		return
	}
	_ = d.file.Close()
	_ = os.Remove(d.path + partialSuffix)
}

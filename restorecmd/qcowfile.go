// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"virtnb/internal/host"
	"virtnb/internal/qemu"
	"virtnb/overlay"
)

// qcowFile is a new image on a host, written by a qemu-nbd there.
type qcowFile struct {
	host     host.Host
	path     string // when it is complete
	dataFile string // of its external data, when it is complete; "": none
	format   string
	block    int64
	size     int64 // of the disk; the image is larger while it is written, where padded
	padded   bool
	*served
	done bool
}

// qcowOptions say how to make a qcowFile.
type qcowOptions struct {
	create   qemu.CreateOptions // its data file has its final path
	compress bool
	listen   qemu.Export // where the server listens
}

// createQcow makes an image that is to take img. Neither it nor its partial name
// may exist.
func (r *run) createQcow(ctx context.Context, path string, o qcowOptions, img overlay.Image) (sink, error) {
	q := &qcowFile{host: r.host, path: path, dataFile: o.create.DataFile, format: o.create.Format, block: clusterSize(o.create), size: o.create.Size}
	create := o.create
	// QEMU writes whole clusters where it compresses, and refuses an image that
	// ends in the middle of one.
	if q.padded = o.compress && q.size%q.block != 0; q.padded {
		create.Size = (q.size/q.block + 1) * q.block
	}
	if q.dataFile != "" {
		create.DataFile += partialSuffix
	}
	if err := qemu.Create(ctx, r.host, path+partialSuffix, create); err != nil {
		return nil, err
	}
	r.hide(ctx, path, create.DataFile)
	if r.far == "" && !o.compress && create.Preallocation == "" {
		d, err := openDirect(path, img)
		switch {
		case err == nil:
			return d, nil
		case !errors.Is(err, errNotPlain):
			q.Abort()
			return nil, err
		}
	}
	e := o.listen
	e.Path, e.Format, e.Compress, e.Unsafe = path+partialSuffix, q.format, o.compress, true
	var err error
	q.served, err = r.serve(ctx, e, true)
	if err != nil {
		q.Abort()
		return nil, err
	}
	return q, nil
}

// hide lets only the owner read a new image: qemu-img lets everybody. Not every
// file system knows owners.
func (r *run) hide(ctx context.Context, path, dataFile string) {
	names := []string{path + partialSuffix}
	if dataFile != "" {
		names = append(names, dataFile)
	}
	var err error
	if _, local := r.host.(host.Local); local {
		for _, name := range names {
			err = errors.Join(err, os.Chmod(name, 0o600))
		}
	} else {
		_, err = r.host.Run(ctx, append([]string{"chmod", "600", "--"}, names...))
	}
	if err != nil {
		r.log.Warn(fmt.Sprintf("Other users may be able to read [%s]: %v", path, err))
	}
}

// clusterSize is the unit of an image.
func clusterSize(o qemu.CreateOptions) int64 {
	switch {
	case o.Format == "raw":
		return defaultBlock
	case o.ClusterSize >= defaultBlock && o.ClusterSize <= pieceSize:
		return o.ClusterSize
	case o.ClusterSize != 0:
		return defaultBlock
	}
	return 64 << 10
}

func (q *qcowFile) WriteAt(ctx context.Context, p []byte, off int64) error {
	if q.padded && off+int64(len(p)) == q.size {
		p = append(bytes.Clone(p), make([]byte, q.block-q.size%q.block)...)
	}
	return q.client.WriteAt(ctx, p, off)
}

func (q *qcowFile) Zero(context.Context, int64, int64) error { return nil }

func (q *qcowFile) Block() int64 { return q.block }

func (q *qcowFile) Fresh() bool { return true }

// Commit ends the server, makes the files durable and gives them their names.
// The data file comes first: an image whose data is not there would be a broken
// one.
func (q *qcowFile) Commit(ctx context.Context) error {
	if err := q.close(); err != nil {
		return err
	}
	if q.padded {
		if err := qemu.Shrink(ctx, q.host, q.path+partialSuffix, q.format, q.size); err != nil {
			return err
		}
	}
	if q.dataFile != "" {
		if err := qemu.SetDataFile(ctx, q.host, q.path+partialSuffix, q.format, q.dataFile, q.dataFile+partialSuffix); err != nil {
			return err
		}
		if err := settle(ctx, q.host, q.dataFile); err != nil {
			return err
		}
	}
	if err := settle(ctx, q.host, q.path); err != nil {
		return err
	}
	q.done = true
	return nil
}

func (q *qcowFile) Abort() {
	if q.done {
		return
	}
	if q.served != nil {
		_ = q.close()
	}
	_ = q.host.Remove(q.path + partialSuffix)
	if q.dataFile != "" {
		_ = q.host.Remove(q.dataFile + partialSuffix)
	}
}

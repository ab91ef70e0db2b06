// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"virtnb/format"
)

// DumpOptions are the options of DumpSet.
type DumpOptions struct {
	Set  string // a folder, an archive, or archives with commas between them
	Disk string // only savesets whose name begins so
	JSON bool   // the metadata as it is in the savesets, instead of a table
	Out  io.Writer
}

// DumpSet shows the metadata of the savesets of a set, in the order of list.
// Where some cannot be read, the others are shown and the error says which.
func DumpSet(ctx context.Context, o DumpOptions) error {
	set, err := readInput(o.Set)
	if err != nil {
		return withHint(o.Set, err)
	}
	dumped, failed := dump(ctx, savesetsOf(set, o.Disk))
	if o.JSON {
		err = writeDump(o.Out, dumped)
	} else {
		err = writeDumpTable(o.Out, dumped)
	}
	return errors.Join(append([]error{err}, failed...)...)
}

// runDump is the action dump of the command restore.
func runDump(ctx context.Context, r *run) error {
	r.log.Info("Dumping saveset meta information")
	files, err := r.dumpFiles()
	if err != nil {
		return err
	}
	dumped, failed := dump(ctx, files)
	for _, d := range dumped {
		r.log.Info(d.path)
		if d.meta.Compressed() {
			r.log.Info("Compressed stream found: [lz4].")
		}
	}
	for _, err := range failed {
		r.log.Error(err.Error())
	}
	return writeDump(r.out, dumped)
}

// dumpFiles are the savesets to dump: those of --sequence, or of the set.
func (r *run) dumpFiles() (files []string, err error) {
	for _, name := range r.o.Sequence {
		if strings.HasPrefix(name, r.o.Disk) {
			files = append(files, savesetPath(r.o.Input, name))
		}
	}
	if r.o.Sequence != nil {
		return files, nil
	}
	set, err := readInput(r.o.Input)
	if err != nil {
		return nil, withHint(r.o.Input, err)
	}
	return savesetsOf(set, r.o.Disk), nil
}

// savesetsOf lists the savesets of a set whose names begin with prefix.
func savesetsOf(set *format.Set, prefix string) (files []string) {
	for _, d := range set.Disks {
		for _, p := range d.Points {
			if strings.HasPrefix(filepath.Base(p.File), prefix) {
				files = append(files, p.File)
			}
		}
	}
	return files
}

// dumped is the metadata of a saveset.
type dumped struct {
	path string
	meta format.Metadata
	text []byte // as it is in the saveset; nil for a raw image, which has none
	size int64  // of the file, bytes
}

// dump reads the metadata of savesets. A saveset that is cut still has it.
func dump(ctx context.Context, files []string) (all []dumped, failed []error) {
	for _, path := range files {
		if ctx.Err() != nil {
			return all, append(failed, ctx.Err())
		}
		s, err := format.OpenSaveset(path)
		if err != nil {
			failed = append(failed, err)
			if s, err = format.OpenDamaged(path); err != nil {
				continue
			}
		}
		text, err := s.MetadataText()
		if err == nil && (text == nil || json.Valid(text)) {
			all = append(all, dumped{path, s.Meta, text, s.Size})
		}
		s.Close()
	}
	return all, failed
}

// writeDump writes an array of the metadata, as virtnbdrestore does.
func writeDump(out io.Writer, all []dumped) error {
	list := []json.RawMessage{}
	for _, d := range all {
		if d.text != nil {
			list = append(list, d.text)
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "    ")
	if err := enc.Encode(list); err != nil {
		return err
	}
	_, err := out.Write(b.Bytes())
	return err
}

func writeDumpTable(out io.Writer, all []dumped) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FILE\tDISK\tFORMAT\tDATE\tCHECKPOINT\tPARENT\tINCREMENTAL\tDISK SIZE\tDATA\tFILE SIZE\tCOMPRESSED\tVERSION")
	for _, d := range all {
		m := d.meta
		level, version := "no", "raw"
		if m.Compressed() {
			level = fmt.Sprintf("lz4, level %d", m.Compression)
		}
		if m.StreamVersion > 0 {
			version = fmt.Sprint(m.StreamVersion)
		}
		incremental := "no"
		if m.Incremental {
			incremental = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", filepath.Base(d.path), m.DiskName, m.DiskFormat,
			orDash(format.FormatDate(m.Date)), orDash(m.CheckpointName), orDash(m.ParentCheckpoint), incremental,
			size(m.VirtualSize), size(m.DataSize), size(d.size), level, version)
	}
	return w.Flush()
}

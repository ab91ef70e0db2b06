// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"virtnb/format"
	"virtnb/internal/domainxml"
	"virtnb/internal/host"
	"virtnb/internal/qemu"
)

// What is saved beside the disks: the domain's configuration, what qemu-img
// says of the images, the files that the domain boots with, its TPM, whether it
// starts by itself, and what its agent tells. A failure costs the backup only
// where the domain could not be defined again, or where the target is full.

// sideFile is a file beside the savesets.
type sideFile struct {
	path string
	save func(ctx context.Context, to string) error
}

// withIdent adds what stands for the run to the name of a file; the files of a
// copy have plain names.
func (r *run) withIdent(base string) string {
	if r.plan.level == format.Copy {
		return base
	}
	return base + "." + r.plan.ident()
}

// sideFileList lists all side files of the run.
func (r *run) sideFileList() []sideFile {
	list := []sideFile{{r.target.path("vmconfig." + r.plan.ident() + ".xml"), r.saveConfig}}
	list = append(list, r.bootFiles()...)
	for _, d := range r.disks {
		if strings.HasPrefix(d.Format, "qcow") {
			list = append(list, sideFile{r.target.path(d.Target + "." + r.plan.ident() + ".qcow.json"), r.saveImageInfo(d)})
		}
	}
	if on, err := r.dom.GetAutostart(); err == nil && on {
		list = append(list, sideFile{r.target.path("autostart." + r.plan.ident()), r.saveAutostart})
	}
	if r.guest != nil {
		list = append(list, sideFile{r.target.path("osinfo." + r.plan.ident()), r.saveGuestInfo})
		for _, drive := range encryptable(r.guest) {
			list = append(list, sideFile{r.target.path("bitlocker.recovery.key." + drive + "." + r.plan.ident()), r.saveBitLockerKeys(drive)})
		}
	}
	for _, t := range r.xml.TPMs() {
		if t.Emulated() {
			list = append(list, sideFile{r.target.path("swtpm.tar." + r.plan.ident()), r.saveTPM(t)})
			break
		}
	}
	return list
}

// sideFiles are the paths of the files that do not exist yet: those are taken
// back if the run fails.
func (r *run) sideFiles() (paths []string) {
	for _, f := range r.sideFileList() {
		if _, err := os.Lstat(f.path); errors.Is(err, fs.ErrNotExist) {
			paths = append(paths, f.path)
		}
	}
	return paths
}

// saveSideFiles saves them all.
func (r *run) saveSideFiles(ctx context.Context, out output) error {
	for _, f := range r.sideFileList() {
		if err := f.save(ctx, f.path); err != nil {
			return err
		}
		if vacant(f.path) != nil {
			out.addSide(f.path)
		}
	}
	return nil
}

// saveWithoutDisks saves the domain's configuration, and what it boots with,
// where no disk can be saved: as that of a copy, as virtnbdbackup does. Files of
// a copy that is there stay as they are.
func (r *run) saveWithoutDisks(ctx context.Context, s situation) error {
	if s.zip || r.o.PrintOnly || r.o.StartOnly {
		return nil
	}
	r.plan = plan{level: format.Copy, offline: s.offline, date: s.now}
	list := append([]sideFile{{r.target.path("vmconfig." + r.plan.ident() + ".xml"), r.saveConfig}}, r.bootFiles()...)
	for _, f := range list {
		if vacant(f.path) != nil {
			continue
		}
		if err := f.save(ctx, f.path); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) saveConfig(_ context.Context, to string) error {
	r.log.Info(fmt.Sprintf("Saving VM config to: [%s]", to))
	return writeFile(to, []byte(r.xmlText))
}

// bootFiles are the files that the domain boots with. Two of the same name get
// different ones.
func (r *run) bootFiles() (list []sideFile) {
	taken := map[string]bool{}
	for _, f := range r.xml.BootFiles() {
		base := path.Base(f.Path)
		if taken[base] {
			base = string(f.Role) + "-" + base
		}
		taken[base] = true
		to := r.target.path(r.withIdent(base))
		list = append(list, sideFile{to, func(ctx context.Context, to string) error {
			r.log.Info(fmt.Sprintf("Save additional boot config [%s] to: [%s]", f.Role, to))
			return r.optional(r.fetch(ctx, f.Path, to), "Failed to copy [%s] to [%s]", f.Path, to)
		}})
	}
	return list
}

// fetch copies a file of the domain's host.
func (r *run) fetch(ctx context.Context, from, to string) error {
	return writeAtomic(to, func(f *os.File) error {
		_, err := host.Fetch(ctx, r.host, from, f)
		return err
	})
}

// optional turns a failure of the source into a warning. One of the target is
// an error, as it would be for the next file.
func (r *run) optional(err error, what string, args ...any) error {
	if err == nil || isTargetFault(err) || errors.Is(err, context.Canceled) {
		return err
	}
	r.log.Warn(fmt.Sprintf(what, args...) + fmt.Sprintf(": [%v]", err))
	return nil
}

func (r *run) saveImageInfo(d disk) func(context.Context, string) error {
	return func(ctx context.Context, to string) error {
		if d.Path == "" {
			return nil
		}
		text, _, err := qemu.Info(ctx, r.host, d.Path, d.Format)
		if err != nil {
			return r.optional(err, "Failed to read qcow image info")
		}
		if err := writeFile(to, text); err != nil {
			return err
		}
		r.log.Info(fmt.Sprintf("Saved qcow image config to: [%s]", to))
		return nil
	}
}

func (r *run) saveAutostart(_ context.Context, to string) error {
	r.log.Info("Autostart setting configured for virtual machine.")
	return writeFile(to, []byte("True"))
}

// swtpmFolder is where libvirt has the state of emulated TPMs.
const swtpmFolder = "/var/lib/libvirt/swtpm"

// saveTPM saves the state of an emulated TPM as a tar archive, whose names
// begin below the folder of the domain.
func (r *run) saveTPM(t domainxml.TPM) func(context.Context, string) error {
	dir := t.Source
	if dir == "" {
		dir = path.Join(swtpmFolder, r.uuid)
	}
	return func(ctx context.Context, to string) error {
		r.log.Info(fmt.Sprintf("Saving TPM state to: [%s]", to))
		err := writeAtomic(to, func(f *os.File) error {
			w := tar.NewWriter(f)
			return errors.Join(r.addFolder(ctx, w, dir, ""), w.Close())
		})
		return r.optional(err, "Failed to save the TPM state in [%s], without which a guest that relies on its TPM does not open its secrets", dir)
	}
}

// addFolder adds what is in a folder of the host to an archive.
func (r *run) addFolder(ctx context.Context, w *tar.Writer, dir, name string) error {
	entries, err := r.host.ReadDir(dir)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		from, to := path.Join(dir, e.Name()), path.Join(name, e.Name())
		switch {
		case e.IsDir():
			err = r.addFolder(ctx, w, from, to)
		case e.Type().IsRegular():
			err = r.addFile(ctx, w, from, to)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// maxTPMFile bounds the size of a file of a TPM's state: real ones have some
// kilobytes.
const maxTPMFile = 64 << 20

func (r *run) addFile(ctx context.Context, w *tar.Writer, from, to string) error {
	var content bytes.Buffer
	if _, err := host.Fetch(ctx, r.host, from, &limited{&content, maxTPMFile}); err != nil {
		return err
	}
	head := &tar.Header{Name: filepath.ToSlash(to), Mode: 0o600, Size: int64(content.Len()), ModTime: r.plan.date}
	if err := w.WriteHeader(head); err != nil {
		return err
	}
	_, err := content.WriteTo(w)
	return err
}

// limited is a writer that takes so many bytes.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errors.New("the file is too large for what it should be")
	}
	return l.w.Write(p)
}

// isTargetFault says whether an error is one of the file system that the backup
// goes to.
func isTargetFault(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EIO)
}

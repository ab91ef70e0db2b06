// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"virtnb/internal/domainxml"
	"virtnb/internal/host"
)

// The configuration of the domain, and the files that it boots with. The
// configuration may come from anybody: no file that it names is read or
// written, unless --boot-files original asks for that. It names what is in the
// backup set, by base names.

// readConfig reads the configuration as it was saved with the restore point, or
// else with the one before it that has one. The error counts only where the
// configuration is to be adjusted.
func (p *plan) readConfig(r *run) error {
	names := p.set.PointNames()
	for i := p.newest(names); i >= 0 && p.config == ""; i-- {
		p.config = p.set.SavedFiles(names[i])["vmconfig.xml"]
	}
	if p.config == "" {
		if r.o.AdjustConfig {
			return peersError("No domain config file found")
		}
		r.log.Warn("No domain config file found, restoring the disks by their names.")
		return nil
	}
	r.log.Info(fmt.Sprintf("Using latest config file: [%s]", p.config))
	var err error
	if p.text, err = readSaved(p.config); err == nil {
		p.domain, err = domainxml.Parse(p.text)
	}
	if err == nil {
		return nil
	}
	err = peersError("Cant read config file: [%s]: %w", p.config, err)
	if r.o.AdjustConfig {
		return err
	}
	r.log.Warn(err.Error())
	p.config = ""
	return nil
}

// newest is the index of the restore point in the names of all.
func (p *plan) newest(names []string) int {
	if i := slices.Index(names, p.point); i >= 0 {
		return i
	}
	return len(names) - 1
}

// restoreDomain brings back the configuration and the boot files, and defines
// the domain where that is asked for.
func (r *run) restoreDomain(ctx context.Context, p *plan) error {
	if p.config == "" || p.folder() == "" {
		return nil
	}
	if err := r.restoreBootFiles(ctx, p); err != nil {
		return err
	}
	text := p.text
	if r.o.AdjustConfig {
		for _, m := range p.xml.Log {
			r.log.Log(ctx, m.Level, m.Text)
		}
		text = p.xml.XML
	} else {
		r.warnBacking(p)
	}
	to := r.configPath(p)
	if err := r.store(ctx, to, bytes.NewReader(text)); err != nil {
		return err
	}
	r.ui.answer.Config = to
	switch {
	case !r.o.AdjustConfig:
		r.log.Info(fmt.Sprintf("Copied original vm config to [%s]", to))
		r.log.Info("Note: virtual machine config must be adjusted manually.")
		return nil
	case r.o.Define:
		r.log.Info(fmt.Sprintf("Adjusted config placed in: [%s]", to))
		return r.define(ctx, p)
	}
	r.log.Info(fmt.Sprintf("Adjusted config placed in: [%s]", to))
	r.log.Info(fmt.Sprintf("Use 'virsh define %s' to define VM", to))
	return nil
}

func (r *run) configPath(p *plan) string { return path.Join(p.folder(), r.o.ConfigFile) }

// warnBacking warns of disks that were snapshots, where the configuration is
// left as it was.
func (r *run) warnBacking(p *plan) {
	for _, j := range p.jobs {
		if j.old.HasBacking() {
			r.log.Warn(fmt.Sprintf("Target image [%s] seems to be a snapshot image.", j.place))
			r.log.Warn("Target virtual machine configuration must be altered!")
			r.log.Warn("Configured backing store images must be changed.")
		}
	}
}

// rewriteOptions say where everything of the domain is now.
func (r *run) rewriteOptions(p *plan) domainxml.RestoreOptions {
	o := domainxml.RestoreOptions{Name: r.o.Name, NewMACs: r.o.NewMACs, Disks: map[string]domainxml.RestoredDisk{}, BootFiles: map[domainxml.BootRole]string{}}
	for _, f := range p.boot {
		o.BootFiles[f.Role] = f.to
	}
	for _, j := range p.jobs {
		d := domainxml.RestoredDisk{Path: j.place.path, Block: j.place.kind == device, Format: j.format, DataFile: j.create.DataFile}
		if j.place.kind == export {
			d = domainxml.RestoredDisk{Network: networkOf(j.place.path), Format: j.format}
		}
		o.Disks[j.disk] = d
	}
	return o
}

// savedBoot is a boot file in the backup set.
type savedBoot struct {
	domainxml.BootFile
	from, to string
}

// bootFiles are those that the set has, with the paths that they go to.
func (r *run) bootFiles(p *plan) (list []savedBoot) {
	if p.domain == nil {
		return nil
	}
	taken := map[string]bool{}
	for _, f := range p.domain.BootFiles() {
		base := path.Base(f.Path)
		if taken[base] { // as the backup names the second one
			base = string(f.Role) + "-" + base
		}
		taken[base] = true
		from, ok := p.saved(base)
		if !ok {
			r.log.Info(fmt.Sprintf("File [%s] for boot option [%s] is not in the backup.", f.Path, f.Role))
			continue
		}
		if f.Role == domainxml.Loader && f.ReadOnly && exists(r.host, f.Path) {
			r.log.Info(fmt.Sprintf("File [%s]: for boot option [%s] already exists, skipping.", f.Path, f.Role))
			continue
		}
		list = append(list, savedBoot{f, from, r.bootPath(p, f, base)})
	}
	return list
}

// bootPath is where a boot file goes to.
func (r *run) bootPath(p *plan, f domainxml.BootFile, base string) string {
	switch r.o.BootFiles {
	case original:
		return f.Path
	case "":
		return path.Join(p.folder(), base)
	}
	return path.Join(r.o.BootFiles, base)
}

// saved is a file that was saved beside the disks, by the name that it had: with
// the restore point or, in a copy, under its own name.
func (p *plan) saved(base string) (string, bool) {
	names := p.set.PointNames()
	for i := p.newest(names); i >= 0; i-- {
		if from, ok := p.set.SavedFiles(names[i])[base]; ok {
			return from, true
		}
	}
	from, ok := p.set.File(base)
	if !ok {
		return "", false
	}
	f, err := openSaved(from)
	if err != nil {
		return "", false
	}
	f.Close()
	return from, true
}

func exists(h host.Host, name string) bool {
	_, err := h.Stat(name)
	return err == nil
}

// restoreBootFiles copies the boot files. With --boot-files original one that is
// there stays.
func (r *run) restoreBootFiles(ctx context.Context, p *plan) error {
	for _, f := range p.boot {
		if r.o.BootFiles == original && exists(r.host, f.to) {
			r.log.Info(fmt.Sprintf("File [%s]: for boot option [%s] already exists, skipping.", f.to, f.Role))
			continue
		}
		r.log.Info(fmt.Sprintf("Restoring configured file [%s] for boot option [%s]", f.to, f.Role))
		if err := r.copySaved(ctx, f.from, f.to); err != nil {
			return err
		}
	}
	if from, ok := p.saved(swtpmFile); ok {
		to := path.Join(p.folder(), swtpmFile)
		r.log.Info(fmt.Sprintf("Restoring the state of the TPM to [%s]: unpack it into the folder swtpm/UUID of libvirt before the domain starts.", to))
		if err := r.copySaved(ctx, from, to); err != nil {
			return err
		}
	}
	return nil
}

// swtpmFile is the state of an emulated TPM, as virtnb backup saves it.
const swtpmFile = "swtpm.tar"

func (r *run) copySaved(ctx context.Context, from, to string) error {
	f, err := openSaved(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return r.store(ctx, to, f)
}

// store writes a file on the host, under its partial name until it is complete.
// One that is there has to be the same.
func (r *run) store(ctx context.Context, to string, from io.Reader) error {
	if err := r.host.Mkdir(path.Dir(to), 0o755); err != nil {
		return err
	}
	if exists(r.host, to) {
		return r.same(to, from)
	}
	_, err := host.Store(ctx, r.host, to, 0o600, from)
	return err
}

// same refuses a file that is there and has another content.
func (r *run) same(name string, want io.Reader) error {
	f, err := r.host.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	ok, err := equal(f, want)
	if err == nil && !ok {
		err = fmt.Errorf("%s is there already, with another content: %w", name, fs.ErrExist)
	}
	return err
}

// equal says whether two readers have the same content.
func equal(a, b io.Reader) (bool, error) {
	p, q := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(a, p)
		m, other := io.ReadFull(b, q)
		if !bytes.Equal(p[:n], q[:m]) {
			return false, nil
		}
		end, otherEnd := isEnd(err), isEnd(other)
		switch {
		case end && otherEnd:
			return true, nil
		case err != nil && !end:
			return false, err
		case other != nil && !otherEnd:
			return false, other
		case end != otherEnd:
			return false, nil
		}
	}
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// SPDX-License-Identifier: Apache-2.0

// Package plugin is the nbdkit plugin that serves every restore point of a
// backup set as an NBD export. Package plugin/main makes a C library of it,
// and plugin/loader the plugin that nbdkit loads.
//
// params.go reads what the user asks for, exports.go finds the restore point
// behind the name of an export, and connection.go answers requests.
package plugin

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"libguestfs.org/nbdkit"

	"virtnb/format"
	"virtnb/overlay"
)

//go:embed help.txt
var help string

// Plugin is what nbdkit calls. Make one with New.
type Plugin struct {
	nbdkit.Plugin

	// Opened, if set, is called with each new connection in the thread that
	// opens it.
	Opened func(*Connection)

	params params
	images func() *overlay.Pool
}

// New returns a plugin without parameters.
func New() *Plugin {
	p := &Plugin{params: newParams()}
	p.images = sync.OnceValue(func() *overlay.Pool {
		return overlay.NewPool(overlay.NewCache(p.params.cache))
	})
	return p
}

// The strings that nbdkit shows.

func (p *Plugin) LongName() string       { return "virtnb backup set plugin" }
func (p *Plugin) Description() string    { return "serve every restore point of a backup chain" }
func (p *Plugin) ConfigHelp() string     { return help }
func (p *Plugin) MagicConfigKey() string { return "set" }

// Config takes a parameter of the command line.
func (p *Plugin) Config(key, value string) error { return p.params.add(key, value) }

// ConfigComplete checks the parameters together.
func (p *Plugin) ConfigComplete() error { return p.params.complete() }

// GetReady finds mistakes that nbdkit can still report to the person who
// starts it: folders and files that are not there, names that do not exist.
func (p *Plugin) GetReady() error {
	switch {
	case p.params.files != nil:
		_, err := p.openFiles()
		return err
	case p.params.root != "":
		if _, err := os.ReadDir(p.params.root); err != nil {
			return fmt.Errorf("folder of backup sets: %w", err)
		}
		return nil
	}
	set, err := format.ReadSet(p.params.set)
	if err != nil || p.params.disk == "" && p.params.point == "" {
		return err
	}
	point, err := p.defaultOf(set)
	if err != nil || p.params.point == "" { // the latest may be damaged and others not
		return err
	}
	return point.Err
}

// openFiles opens the chain of files= and lets it go, which leaves it among
// the images that are kept for the next connection. It tells the name of the
// export.
func (p *Plugin) openFiles() (export string, err error) {
	img, err := p.images().Open(p.params.files)
	if err != nil {
		return "", err
	}
	defer p.images().Release(img)
	return p.exportOf(img.DiskName()), nil
}

// exportOf is the name of the export of files=.
func (p *Plugin) exportOf(disk string) string {
	if p.params.export != "" {
		return p.params.export
	}
	return disk
}

// errno maps an error to what the client gets: ENOENT for names that do not
// exist, EIO for the rest. (NBD has no other errno for a failing read, and
// clients take EINVAL, which nbdkit makes of those it does not know, for a
// mistake of their own.)
func errno(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, format.ErrNotFound):
		return nbdkit.PluginError{Errmsg: err.Error(), Errno: syscall.ENOENT}
	}
	return nbdkit.PluginError{Errmsg: err.Error(), Errno: syscall.EIO}
}

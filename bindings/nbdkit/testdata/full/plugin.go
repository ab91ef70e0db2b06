// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"libguestfs.org/nbdkit"
)

// The optional methods, held to their signatures.
var _ interface {
	OpenExport(readonly, tls bool, name string) (nbdkit.ConnectionInterface, error)
	ListExports(readonly, tls bool, add func(name, description string) error) error
	DefaultExport(readonly, tls bool) (string, error)
	AfterFork() error
	Cleanup()
	ThreadModel() uint32
	LongName() string
	Version() string
	Description() string
	ConfigHelp() string
	MagicConfigKey() string
} = (*plugin)(nil)

// exports opens the exports that a client may ask for by name.
var exports = map[string]func() (nbdkit.ConnectionInterface, error){
	"holes":        func() (nbdkit.ConnectionInterface, error) { return &holes{}, nil },
	"ram":          func() (nbdkit.ConnectionInterface, error) { return &native{ram}, nil },
	"emulated":     func() (nbdkit.ConnectionInterface, error) { return ram, nil },
	"plain":        func() (nbdkit.ConnectionInterface, error) { return &plain{}, nil },
	"bare":         func() (nbdkit.ConnectionInterface, error) { return &nbdkit.Connection{}, nil },
	"errors":       func() (nbdkit.ConnectionInterface, error) { return &failing{}, nil },
	"huge":         func() (nbdkit.ConnectionInterface, error) { return &sized{size: 1 << 63}, nil },
	"panic-size":   func() (nbdkit.ConnectionInterface, error) { return &sized{panics: true}, nil },
	"panic-close":  func() (nbdkit.ConnectionInterface, error) { return &panicsOnClose{}, nil },
	"panic-open":   func() (nbdkit.ConnectionInterface, error) { panic("no disk today") },
	"nothing":      func() (nbdkit.ConnectionInterface, error) { return nil, nil },
	"late-extents": func() (nbdkit.ConnectionInterface, error) { return &lateExtents{}, nil },
}

// listed are the exports that are in the list, in its order.
var listed = []struct{ name, description string }{
	{"holes", "alternating data and holes"},
	{"plain", ""},
	{"ram", "a disk in memory"},
}

// plugin has the parameters panic=METHOD and fail=METHOD, which make that
// method end so; default=NAME, the default export; model=N, the thread model.
type plugin struct {
	nbdkit.Plugin
	panicIn, failIn string
	defaultExport   string
	model           uint32
}

// enter logs that method was called and ends it as the parameters ask.
func (p *plugin) enter(method string) error {
	nbdkit.Debug("full: " + method)
	if p.panicIn == method {
		var nowhere *plugin
		nowhere.panicIn = "a nil pointer, a panic of the runtime"
	}
	if p.failIn == method {
		return errors.New(method + " fails as asked")
	}
	return nil
}

func (*plugin) LongName() string       { return "full test plugin" }
func (*plugin) Version() string        { return "1.2.3" }
func (*plugin) Description() string    { return "Plugin with every optional method." }
func (*plugin) ConfigHelp() string     { return "default=NAME  The default export." }
func (*plugin) MagicConfigKey() string { return "default" }

// Load comes before the parameters, so the environment says whether to panic.
func (p *plugin) Load() {
	p.model = nbdkit.ThreadModelParallel
	if os.Getenv("FULL_PANIC_IN_LOAD") != "" {
		panic("no plugin today")
	}
}

func (p *plugin) Unload()     { p.enter("Unload") }
func (p *plugin) Cleanup()    { p.enter("Cleanup") }
func (p *plugin) DumpPlugin() { fmt.Println("full_answer=42") }

func (p *plugin) Config(key, value string) error {
	switch key {
	case "panic":
		p.panicIn = value
	case "fail":
		p.failIn = value
	case "default":
		p.defaultExport = value
	case "model":
		_, err := fmt.Sscan(value, &p.model)
		return err
	default:
		return p.Plugin.Config(key, value)
	}
	return nil
}

func (p *plugin) ConfigComplete() error          { return p.enter("ConfigComplete") }
func (p *plugin) GetReady() error                { return p.enter("GetReady") }
func (p *plugin) AfterFork() error               { return p.enter("AfterFork") }
func (p *plugin) PreConnect(readonly bool) error { return p.enter("PreConnect") }

func (p *plugin) ThreadModel() uint32 {
	p.enter("ThreadModel")
	return p.model
}

func (p *plugin) ListExports(readonly, tls bool, add func(name, description string) error) error {
	for _, e := range listed {
		if err := add(e.name, e.description); err != nil {
			return err
		}
	}
	return p.enter("ListExports")
}

func (p *plugin) DefaultExport(readonly, tls bool) (string, error) {
	return p.defaultExport, p.enter("DefaultExport")
}

// Open is not called, because there is OpenExport.
func (*plugin) Open(readonly bool) (nbdkit.ConnectionInterface, error) {
	return nil, errors.New("Open was called in spite of OpenExport")
}

func (p *plugin) OpenExport(readonly, tls bool, name string) (nbdkit.ConnectionInterface, error) {
	nbdkit.Debug(fmt.Sprintf("full: OpenExport readonly=%v tls=%v name=%q", readonly, tls, name))
	open, ok := exports[name]
	if !ok {
		return nil, fmt.Errorf("open: %w", &nbdkit.PluginError{
			Errmsg: fmt.Sprintf("there is no export %q", name),
			Errno:  syscall.ENOENT,
		})
	}
	return open()
}

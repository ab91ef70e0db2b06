// SPDX-License-Identifier: Apache-2.0

package nbdkit

// #cgo pkg-config: nbdkit
// #cgo LDFLAGS: -Wl,--unresolved-symbols=ignore-in-object-files
// #include "shim.h"
import "C"

import "unsafe"

// plugin is the plugin of this library. PluginInitialize sets it before
// nbdkit can call anything, and nothing changes it afterwards.
var plugin PluginInterface

// PluginInitialize makes impl the plugin of this shared library and answers
// with the struct that describes it to nbdkit. It is called once, by the
// library's plugin_init, which returns its result. name is lower case
// letters, digits and dashes, and starts with a letter.
//
// It answers with nil, after logging why, if a method of impl panics.
func PluginInitialize(name string, impl PluginInterface) unsafe.Pointer {
	plugin = impl
	p := C.nbdkitGoPlugin()
	p.name = C.CString(name) // like all strings of the struct, never freed
	if !try("PluginInitialize", func() error { describe(p, impl); return nil }) {
		return nil
	}
	omit(p, impl)
	return unsafe.Pointer(p)
}

// describe fills in the texts that impl has.
func describe(p *C.struct_nbdkit_plugin, impl PluginInterface) {
	if i, ok := impl.(longNamer); ok {
		p.longname = C.CString(i.LongName())
	}
	if i, ok := impl.(versioner); ok {
		p.version = C.CString(i.Version())
	}
	if i, ok := impl.(describer); ok {
		p.description = C.CString(i.Description())
	}
	if i, ok := impl.(configHelper); ok {
		p.config_help = C.CString(i.ConfigHelp())
	}
	if i, ok := impl.(magicConfigKeyer); ok {
		p.magic_config_key = C.CString(i.MagicConfigKey())
	}
}

// omit clears the callbacks that impl does not have, which gives nbdkit's
// default for them. Those of a connection stay: connections may differ.
func omit(p *C.struct_nbdkit_plugin, impl PluginInterface) {
	if _, ok := impl.(exportLister); !ok {
		p.list_exports = nil
	}
	if _, ok := impl.(exportDefaulter); !ok {
		p.default_export = nil
	}
	if _, ok := impl.(threadModeler); !ok {
		p.thread_model = nil
	}
	if _, ok := impl.(cleaner); !ok {
		p.cleanup = nil
	}
}

// SPDX-License-Identifier: Apache-2.0

// full is a plugin with every optional method, for the tests of the binding.
// Its exports each show one thing; see exports in plugin.go. It logs calls
// with nbdkit.Debug as "full: METHOD ARGUMENTS".
package main

import "C"

import (
	"unsafe"

	"libguestfs.org/nbdkit"
)

//export plugin_init
func plugin_init() unsafe.Pointer {
	return nbdkit.PluginInitialize("full", &plugin{})
}

func main() {}

// SPDX-License-Identifier: Apache-2.0

// minimal is a plugin with nothing but what upstream's package has: it builds
// with either. It serves 1 MiB of 0x55.
package main

import "C"

import (
	"unsafe"

	"libguestfs.org/nbdkit"
)

type plugin struct{ nbdkit.Plugin }

func (*plugin) Open(readonly bool) (nbdkit.ConnectionInterface, error) {
	return &disk{}, nil
}

type disk struct{ nbdkit.Connection }

func (*disk) GetSize() (uint64, error) { return 1 << 20, nil }

func (*disk) PRead(buf []byte, offset uint64, flags uint32) error {
	for i := range buf {
		buf[i] = 0x55
	}
	return nil
}

//export plugin_init
func plugin_init() unsafe.Pointer {
	return nbdkit.PluginInitialize("minimal", &plugin{})
}

func main() {}

// SPDX-License-Identifier: Apache-2.0

// Command main is built as a C library: an nbdkit plugin in Go. It works alone
// where nbdkit does not fork (nbdkit -f); the loader in plugin/loader loads it
// after the fork, and then it works everywhere.
package main

/*
#include <stdlib.h>
#include "../loader/flat.h"
void virtnb_publish_flat(struct virtnb_flat *flat);
*/
import "C"

import (
	"runtime"
	"runtime/debug"
	"unsafe"

	"libguestfs.org/nbdkit"

	"virtnb/overlay"
	"virtnb/plugin"
)

// minProcs: nbdkit calls from 16 threads a connection. With fewer of Go's
// processors than that the threads wait for one another, which costs four times
// the latency at the 99th percentile.
const minProcs = 16

// gcPercent keeps the memory near what cache= says. The heap is buffers without
// pointers that are used again and again, so that collecting it more often than
// usual costs nothing to speak of.
const gcPercent = 50

//export plugin_init
func plugin_init() unsafe.Pointer {
	runtime.GOMAXPROCS(max(runtime.NumCPU(), minProcs))
	debug.SetGCPercent(gcPercent)
	p := plugin.New()
	p.Opened = publish
	return nbdkit.PluginInitialize("virtnb", p)
}

// publish hands the index of a connection's image to the loader, which reads
// what is not compressed without calling Go. It takes place in the thread in
// which the loader waits for the connection to open.
func publish(c *plugin.Connection) {
	flat := c.Chain().Flat()
	if flat.Size == 0 {
		return
	}
	var pins runtime.Pinner
	f := C.struct_virtnb_flat{
		size:   C.int64_t(flat.Size),
		runs:   C.uint64_t(len(flat.Start)),
		start:  (*C.int64_t)(pin(&pins, flat.Start)),
		pos:    (*C.int64_t)(pin(&pins, flat.Pos)),
		source: (*C.uint16_t)(pin(&pins, flat.Source)),
		bucket: (*C.uint32_t)(pin(&pins, flat.Bucket)),
		shift:  C.uint(flat.Shift),
		files:  files(flat.Files),
	}
	C.virtnb_publish_flat(&f)
	c.OnClose(func() {
		C.free(unsafe.Pointer(f.files))
		pins.Unpin()
	})
}

func pin[T any](pins *runtime.Pinner, s []T) unsafe.Pointer {
	pins.Pin(&s[0])
	return unsafe.Pointer(&s[0])
}

func files(list []overlay.FlatFile) *C.struct_virtnb_file {
	size := C.size_t(unsafe.Sizeof(C.struct_virtnb_file{}))
	p := (*C.struct_virtnb_file)(C.calloc(C.size_t(len(list)), size))
	for i, f := range unsafe.Slice(p, len(list)) {
		s := &list[i].Stamp
		f.fd = C.int(list[i].Fd)
		f.size = C.int64_t(s.Size)
		f.mtime = C.struct_timespec{tv_sec: C.time_t(s.ModifiedSec), tv_nsec: C.long(s.Modified)}
		f.ctime = C.struct_timespec{tv_sec: C.time_t(s.ChangedSec), tv_nsec: C.long(s.Changed)}
		unsafe.Slice(p, len(list))[i] = f
	}
	return p
}

func main() {}

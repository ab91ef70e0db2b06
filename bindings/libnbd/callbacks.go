// SPDX-License-Identifier: Apache-2.0

package libnbd

// #include "calls.h"
import "C"

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// A callback of a command may set *error to an errno and return -1, which
// fails the command with it.
type (
	// ChunkCallback gets a part of the data of a structured read, at an offset
	// of the export, with its status: READ_DATA, READ_HOLE or READ_ERROR.
	ChunkCallback func(subbuf []byte, offset uint64, status uint, error *int) int

	// CompletionCallback runs when a command has ended, with *error 0 or its
	// errno. If it returns 1 the command is retired: AioCommandCompleted is
	// not to be called for it.
	CompletionCallback func(error *int) int

	// ContextCallback gets the name of a meta context that the server offers.
	ContextCallback func(name string) int

	// DebugCallback gets libnbd's debug messages.
	DebugCallback func(context string, msg string) int

	// ExtentCallback gets the extents that a server reports from offset on, for
	// one meta context: pairs of a length in bytes and flags.
	ExtentCallback func(metacontext string, offset uint64, entries []uint32, error *int) int

	// Extent64Callback is the same with 64 bits.
	Extent64Callback func(metacontext string, offset uint64, entries []LibnbdExtent, error *int) int

	// ListCallback gets the name and description of an export.
	ListCallback func(name string, description string) int
)

// LibnbdExtent is a length in bytes, and flags of its meta context.
type LibnbdExtent struct {
	Length uint64
	Flags  uint64
}

// registered is a Go function that libnbd knows by a number.
type registered struct {
	f      any
	panics *panicked // of its handle
}

// callbacks are all of them, by number. C can keep a number, not a Go pointer.
var callbacks = struct {
	sync.Mutex // guards the rest
	last       uintptr
	live       map[uintptr]registered
}{live: map[uintptr]registered{}}

// register gives f a number, until nbdGoDrop is called with it. That of nil is
// 0, for no callback.
func register(f any, panics *panicked) uintptr {
	if f == nil {
		return 0
	}
	callbacks.Lock()
	defer callbacks.Unlock()
	callbacks.last++
	callbacks.live[callbacks.last] = registered{f, panics}
	return callbacks.last
}

//export nbdGoDrop
func nbdGoDrop(id C.uintptr_t) {
	callbacks.Lock()
	defer callbacks.Unlock()
	delete(callbacks.live, uintptr(id))
}

func lookup(id C.uintptr_t) registered {
	callbacks.Lock()
	defer callbacks.Unlock()
	return callbacks.live[uintptr(id)]
}

// panicked holds the panic of a callback until a call reports it.
type panicked struct{ first atomic.Pointer[string] }

func (p *panicked) put(what string) { p.first.CompareAndSwap(nil, &what) }

// take returns the panic as the error of fn, nil if there was none.
func (p *panicked) take(fn call) error {
	what := p.first.Swap(nil)
	if what == nil {
		return nil
	}
	return &LibnbdError{Op: fn.name(), Errmsg: "nbd_" + fn.name() + ": " + *what, Errno: syscall.EIO}
}

// run calls the function behind id by way of use. A panic must not unwind the
// frames of C: it becomes EIO.
func run[F any](id C.uintptr_t, cerr *C.int, use func(f F, errno *int) int) (r C.int) {
	cb := lookup(id)
	var errno int
	if cerr != nil {
		errno = int(*cerr)
	}
	defer func() {
		if v := recover(); v != nil {
			cb.panics.put(fmt.Sprintf("panic in a callback (%T): %v\n%s", cb.f, v, debug.Stack()))
			errno, r = int(syscall.EIO), -1
		}
		if cerr != nil {
			*cerr = C.int(errno)
		}
	}()
	return C.int(use(cb.f.(F), &errno))
}

//export nbdGoChunk
func nbdGoChunk(id C.uintptr_t, buf unsafe.Pointer, n C.size_t, offset C.uint64_t, status C.uint, cerr *C.int) C.int {
	return run(id, cerr, func(f ChunkCallback, errno *int) int {
		return f(C.GoBytes(buf, C.int(n)), uint64(offset), uint(status), errno)
	})
}

//export nbdGoCompletion
func nbdGoCompletion(id C.uintptr_t, cerr *C.int) C.int {
	return run(id, cerr, func(f CompletionCallback, errno *int) int { return f(errno) })
}

//export nbdGoContext
func nbdGoContext(id C.uintptr_t, name *C.char) C.int {
	return run(id, nil, func(f ContextCallback, _ *int) int { return f(C.GoString(name)) })
}

//export nbdGoDebug
func nbdGoDebug(id C.uintptr_t, context, message *C.char) C.int {
	return run(id, nil, func(f DebugCallback, _ *int) int { return f(C.GoString(context), C.GoString(message)) })
}

//export nbdGoExtent
func nbdGoExtent(id C.uintptr_t, context *C.char, offset C.uint64_t, entries *C.uint32_t, n C.size_t, cerr *C.int) C.int {
	return run(id, cerr, func(f ExtentCallback, errno *int) int {
		own := make([]uint32, n)
		copy(own, unsafe.Slice((*uint32)(entries), int(n)))
		return f(C.GoString(context), uint64(offset), own, errno)
	})
}

//export nbdGoExtent64
func nbdGoExtent64(id C.uintptr_t, context *C.char, offset C.uint64_t, entries *C.nbd_extent, n C.size_t, cerr *C.int) C.int {
	return run(id, cerr, func(f Extent64Callback, errno *int) int {
		own := make([]LibnbdExtent, n)
		for i, e := range unsafe.Slice(entries, int(n)) {
			own[i] = LibnbdExtent{uint64(e.length), uint64(e.flags)}
		}
		return f(C.GoString(context), uint64(offset), own, errno)
	})
}

//export nbdGoList
func nbdGoList(id C.uintptr_t, name, description *C.char) C.int {
	return run(id, nil, func(f ListCallback, _ *int) int { return f(C.GoString(name), C.GoString(description)) })
}

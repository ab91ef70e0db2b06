// SPDX-License-Identifier: Apache-2.0

package libnbd

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// errno is that of an error, 0 if it has none.
func errno(err error) syscall.Errno {
	var e *LibnbdError
	if errors.As(err, &e) {
		return e.Errno
	}
	return 0
}

func dup(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := syscall.Dup(int(f.Fd()))
	must(t, err)
	return fd
}

// TestNotLinked: a program that imports this package starts without libnbd.
func TestNotLinked(t *testing.T) {
	exe, err := os.Executable()
	must(t, err)
	f, err := elf.Open(exe)
	must(t, err)
	defer f.Close()
	libraries, err := f.ImportedLibraries()
	must(t, err)
	for _, name := range libraries {
		if strings.Contains(name, "nbd") {
			t.Errorf("the program is linked with %s", name)
		}
	}
}

func TestLibraryMissing(t *testing.T) {
	err := open("libnbd-missing.so.0")
	if err == nil || !strings.Contains(err.Error(), "libnbd-missing.so.0") || !strings.Contains(err.Error(), "libnbd0") {
		t.Errorf("error is %v", err)
	}
	err = open("libm.so.6")
	if err == nil || !strings.Contains(err.Error(), "nbd_create") {
		t.Errorf("error of another library is %v", err)
	}
}

// TestFunctionMissing: what the installed version lacks is an error that names
// it, and what it has works.
func TestFunctionMissing(t *testing.T) {
	h := handle(t)
	err := h.SetTlsHostname("example.com")
	if hasTlsHostname() {
		must(t, err)
		return
	}
	version := *get[*string](t)(h.GetVersion())
	if errno(err) != syscall.ENOTSUP || err.Error() != "nbd_set_tls_hostname: the installed libnbd "+version+" does not have this function" {
		t.Errorf("error is %v", err)
	}
}

func TestClosed(t *testing.T) {
	h, err := Create()
	must(t, err)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err == nil || err.Errno != syscall.EBADF {
		t.Errorf("second close: %v", err)
	}
	if err := h.Pread(make([]byte, 1), 0, nil); errno(err) != syscall.EBADF || err.Error() != "nbd_pread: the handle is closed" {
		t.Errorf("read: %v", err)
	}
	if _, err := h.GetVersion(); errno(err) != syscall.EBADF {
		t.Errorf("version: %v", err)
	}
}

// TestErrorsOfThreads: libnbd keeps the last error of each thread; goroutines
// that fail at the same time must not get each other's.
func TestErrorsOfThreads(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			h, err := Create()
			if err != nil {
				t.Error(err)
				return
			}
			defer h.Close()
			for range 200 {
				name := fmt.Sprintf("bogus%d", i)
				if err := h.ConnectUri(name + "://"); err == nil || !strings.Contains(err.Error(), "nbd_connect_uri") {
					t.Errorf("error is %v", err)
				}
				if err := h.SetTls(Tls(100 + i)); err == nil || !strings.Contains(err.Error(), fmt.Sprint(100+i)) {
					t.Errorf("error is %v", err)
				}
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
}

// TestCallbacksDropped counts what is registered after successes, failures and
// commands that never ended.
func TestCallbacksDropped(t *testing.T) {
	socket := serve(t, "--filter=delay", "memory", "1M", "delay-read=3600")
	before := liveCallbacks()
	h := handle(t)
	noop := func(string, uint64, []uint32, *int) int { return 0 }
	must(t, h.SetDebugCallback(func(string, string) int { return 0 }))
	must(t, h.SetDebugCallback(func(string, string) int { return 0 }))
	if n := liveCallbacks() - before; n != 1 {
		t.Errorf("%d debug callbacks", n)
	}
	if err := h.BlockStatus(512, 0, noop, nil); err == nil {
		t.Error("block status without a server")
	}
	if _, err := h.AioBlockStatus(512, 0, noop, nil); err == nil {
		t.Error("block status without a server")
	}
	must(t, h.AddMetaContext(CONTEXT_BASE_ALLOCATION))
	must(t, h.ConnectUnix(socket))
	for range 100 {
		must(t, h.BlockStatus(512, 0, noop, nil))
		if err := h.BlockStatus(512, 1<<20, noop, nil); errno(err) != syscall.EINVAL {
			t.Errorf("behind the end: %v", err)
		}
	}
	must(t, h.ClearDebugCallback())
	if n := liveCallbacks() - before; n != 0 {
		t.Errorf("%d callbacks are left", n)
	}
	buf := MakeAioBuffer(512)
	defer buf.Free()
	ended := false
	for range 10 {
		get[uint64](t)(h.AioPread(buf, 0, &AioPreadOptargs{CompletionCallbackSet: true, CompletionCallback: func(*int) int {
			ended = true
			return 1
		}}))
	}
	if n := liveCallbacks() - before; n != 10 {
		t.Errorf("%d callbacks of 10 reads", n)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if n := liveCallbacks() - before; n != 0 || ended {
		t.Errorf("%d callbacks are left; called: %v", n, ended)
	}
}

// TestForgottenHandle: the garbage collector closes it, and its debug callback
// does not keep it.
func TestForgottenHandle(t *testing.T) {
	before := liveCallbacks()
	func() {
		h, err := Create()
		must(t, err)
		must(t, h.SetDebugCallback(func(string, string) int { return 0 }))
	}()
	for end := time.Now().Add(patience); liveCallbacks() != before; time.Sleep(time.Millisecond) {
		runtime.GC()
		if time.Now().After(end) {
			t.Fatal("the handle is still there")
		}
	}
}

func liveCallbacks() int {
	callbacks.Lock()
	defer callbacks.Unlock()
	return len(callbacks.live)
}

func TestCallbackFails(t *testing.T) {
	h := connected(t, serve(t, "memory", "1M"))
	err := h.BlockStatus(512, 0, func(_ string, _ uint64, _ []uint32, error *int) int {
		*error = int(syscall.ENOSPC)
		return -1
	}, nil)
	if errno(err) != syscall.ENOSPC {
		t.Errorf("error is %v", err)
	}
	if err := h.BlockStatus(512, 0, nil, nil); errno(err) != syscall.EFAULT {
		t.Errorf("without a callback: %v", err)
	}
	must(t, h.BlockStatus(512, 0, collect(new([]extent)), nil))
}

// TestCallbackPanics: the panic is the error of the call, with its stack.
func TestCallbackPanics(t *testing.T) {
	h := connected(t, serve(t, "memory", "1M"))
	wantBoom := func(err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "panic in a callback") ||
			!strings.Contains(err.Error(), "boom") || !strings.Contains(err.Error(), "handle_test.go") {
			t.Errorf("error is %v", err)
		}
	}
	wantBoom(h.BlockStatus(512, 0, func(string, uint64, []uint32, *int) int { panic("boom") }, nil))
	wantBoom(h.BlockStatus64(512, 0, func(string, uint64, []LibnbdExtent, *int) int { panic("boom") }, nil))
	wantBoom(h.PreadStructured(make([]byte, 512), 0, func([]byte, uint64, uint, *int) int { panic("boom") }, nil))
	buf := MakeAioBuffer(512)
	defer buf.Free()
	cookie := get[uint64](t)(h.AioPread(buf, 0, &AioPreadOptargs{CompletionCallbackSet: true, CompletionCallback: func(*int) int { panic("boom") }}))
	var err error
	for end := time.Now().Add(patience); err == nil && time.Now().Before(end); {
		_, err = h.Poll(1000)
	}
	wantBoom(err)
	if done, err := h.AioCommandCompleted(cookie); done || errno(err) != syscall.EIO {
		t.Errorf("the command ended with %v", err)
	}
	must(t, h.Pread(make([]byte, 512), 0, nil)) // the handle still works
}

// TestHandlesConcurrently: one handle for many goroutines, and many handles.
func TestHandlesConcurrently(t *testing.T) {
	socket := serve(t, "memory", "1M")
	shared := connected(t, socket)
	var wg sync.WaitGroup
	var found atomic.Int64
	for range 8 {
		wg.Go(func() {
			for range 20 {
				h, err := Create()
				if err != nil {
					t.Error(err)
					return
				}
				if err := errors.Join(h.AddMetaContext(CONTEXT_BASE_ALLOCATION), h.ConnectUnix(socket)); err != nil {
					t.Error(err)
				}
				for _, h := range []*Libnbd{h, shared} {
					err := h.BlockStatus(512, 0, func(string, uint64, []uint32, *int) int { found.Add(1); return 0 }, nil)
					if err := errors.Join(err, h.Pread(make([]byte, 512), 0, nil)); err != nil {
						t.Error(err)
					}
				}
				h.Close()
			}
		})
	}
	wg.Wait()
	if n := found.Load(); n != 320 {
		t.Errorf("%d answers, want 320", n)
	}
}

// TestCloseDuringCalls: they end, or find the handle closed.
func TestCloseDuringCalls(t *testing.T) {
	h := connected(t, serve(t, "memory", "1M"))
	var wg sync.WaitGroup
	started := make(chan struct{}, 4)
	for range 4 {
		wg.Go(func() {
			buf := make([]byte, 64<<10)
			for i := 0; ; i++ {
				if err := h.Pread(buf, 0, nil); errno(err) == syscall.EBADF {
					return
				} else if err != nil {
					t.Error(err)
					return
				}
				if i == 10 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 4 {
		<-started
	}
	h.Close()
	wg.Wait()
}

// SPDX-License-Identifier: Apache-2.0

package libnbd

import (
	"bytes"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"
)

// extent is one of base:allocation.
type extent struct {
	start, length uint64
	flags         uint32
}

// wantExtents are of a disk of 1 MiB with data in its second 64 KiB only.
var wantExtents = []extent{{0, 64 << 10, 3}, {64 << 10, 64 << 10, 0}, {128 << 10, 896 << 10, 3}}

// island writes them, with 'x' as data.
func island(t *testing.T, h *Libnbd) {
	t.Helper()
	must(t, h.Pwrite(bytes.Repeat([]byte("x"), 64<<10), 64<<10, &PwriteOptargs{FlagsSet: true, Flags: CMD_FLAG_FUA}))
}

// collect returns a callback that gathers extents.
func collect(into *[]extent) ExtentCallback {
	return func(context string, offset uint64, entries []uint32, error *int) int {
		for i := 0; i < len(entries); i += 2 {
			*into = append(*into, extent{offset, uint64(entries[i]), entries[i+1]})
			offset += uint64(entries[i])
		}
		return 0
	}
}

func collect64(into *[]extent) Extent64Callback {
	return func(context string, offset uint64, entries []LibnbdExtent, error *int) int {
		for _, e := range entries {
			*into = append(*into, extent{offset, e.Length, uint32(e.Flags)})
			offset += e.Length
		}
		return 0
	}
}

func TestCommands(t *testing.T) {
	h := connected(t, serve(t, "memory", "1M"))
	island(t, h)
	must(t, h.Zero(4096, 68<<10, &ZeroOptargs{FlagsSet: true, Flags: CMD_FLAG_NO_HOLE}))
	must(t, h.Trim(4096, 0, nil))
	must(t, h.Flush(nil))
	must(t, h.Cache(4096, 0, nil))
	buf := make([]byte, 16<<10)
	must(t, h.Pread(buf, 60<<10, nil))
	want := slices.Concat(make([]byte, 4096), bytes.Repeat([]byte("x"), 4096), make([]byte, 4096), bytes.Repeat([]byte("x"), 4096))
	if !bytes.Equal(buf, want) {
		t.Error("read something else than was written")
	}
}

func TestPreadStructured(t *testing.T) {
	h := connected(t, serve(t, "memory", "1M"))
	island(t, h)
	buf, parts := make([]byte, 128<<10), make([]byte, 128<<10)
	chunks := 0
	df := &PreadStructuredOptargs{FlagsSet: true, Flags: CMD_FLAG_DF}
	must(t, h.PreadStructured(buf, 0, func(subbuf []byte, offset uint64, status uint, error *int) int {
		if uint32(status) != READ_DATA && uint32(status) != READ_HOLE {
			t.Errorf("chunk at %d has status %d", offset, status)
		}
		copy(parts[offset:], subbuf)
		chunks++
		return 0
	}, df))
	if !bytes.Equal(buf, parts) || chunks == 0 || buf[64<<10] != 'x' || buf[0] != 0 {
		t.Errorf("%d chunks are not what the buffer is", chunks)
	}
}

// TestBlockStatus in both widths, of which one may be the other underneath.
func TestBlockStatus(t *testing.T) {
	h := connected(t, serve(t, "memory", "1M"))
	island(t, h)
	var narrow, wide []extent
	must(t, h.BlockStatus(1<<20, 0, collect(&narrow), nil))
	must(t, h.BlockStatus64(1<<20, 0, collect64(&wide), nil))
	if !slices.Equal(narrow, wantExtents) || !slices.Equal(wide, wantExtents) {
		t.Errorf("extents are\n%v\n%v, want\n%v", narrow, wide, wantExtents)
	}
	var one []extent
	must(t, h.BlockStatus64(1<<20, 0, collect64(&one), &BlockStatus64Optargs{FlagsSet: true, Flags: CMD_FLAG_REQ_ONE}))
	if len(one) != 1 {
		t.Errorf("%v where one was asked for", one)
	}
}

func TestEmptySlices(t *testing.T) {
	h := connected(t, serve(t, "memory", "1M"))
	for _, p := range [][]byte{nil, {}} {
		for name, err := range map[string]error{
			"read":  h.Pread(p, 0, nil),
			"write": h.Pwrite(p, 0, nil),
			"structured": h.PreadStructured(p, 0, func([]byte, uint64, uint, *int) int {
				return 0
			}, nil),
		} {
			if err == nil {
				t.Errorf("%s of nothing succeeds", name)
			}
		}
	}
	for _, buf := range []AioBuffer{{}, MakeAioBuffer(0), FromBytes(nil)} {
		if _, err := h.AioPread(buf, 0, nil); err == nil {
			t.Error("a read of nothing is issued")
		}
		buf.Free()
	}
}

// TestAio has many commands of all kinds in flight.
func TestAio(t *testing.T) {
	h := connected(t, serve(t, "memory", "1M"))
	full := FromBytes(bytes.Repeat([]byte("x"), 64<<10))
	defer full.Free()
	done := 0
	completion := func(error *int) int {
		if *error != 0 {
			t.Errorf("a command fails: %v", syscall.Errno(*error))
		}
		done++
		return 1
	}
	wait := func(want int) {
		for end := time.Now().Add(patience); done < want; {
			if _, err := h.Poll(1000); err != nil || time.Now().After(end) {
				t.Fatalf("%d of %d commands have ended: %v", done, want, err)
			}
		}
	}
	for i := range uint64(16) {
		get[uint64](t)(h.AioPwrite(full, i*64<<10, &AioPwriteOptargs{CompletionCallbackSet: true, CompletionCallback: completion}))
	}
	wait(16)
	get[uint64](t)(h.AioZero(64<<10, 0, &AioZeroOptargs{CompletionCallbackSet: true, CompletionCallback: completion}))
	get[uint64](t)(h.AioTrim(896<<10, 128<<10, &AioTrimOptargs{CompletionCallbackSet: true, CompletionCallback: completion}))
	wait(18)
	var narrow, wide []extent
	get[uint64](t)(h.AioBlockStatus(1<<20, 0, collect(&narrow), &AioBlockStatusOptargs{CompletionCallbackSet: true, CompletionCallback: completion}))
	get[uint64](t)(h.AioBlockStatus64(1<<20, 0, collect64(&wide), &AioBlockStatus64Optargs{CompletionCallbackSet: true, CompletionCallback: completion}))
	get[uint64](t)(h.AioFlush(&AioFlushOptargs{CompletionCallbackSet: true, CompletionCallback: completion}))
	get[uint64](t)(h.AioCache(4096, 0, &AioCacheOptargs{CompletionCallbackSet: true, CompletionCallback: completion}))
	var parts int
	buf := MakeAioBufferZero(4096)
	defer buf.Free()
	get[uint64](t)(h.AioPreadStructured(buf, 64<<10, func(subbuf []byte, offset uint64, status uint, error *int) int {
		parts += len(subbuf)
		return 0
	}, &AioPreadStructuredOptargs{CompletionCallbackSet: true, CompletionCallback: completion}))
	wait(23)
	if !slices.Equal(narrow, wantExtents) || !slices.Equal(wide, wantExtents) || parts != 4096 || *buf.Get(4095) != 'x' {
		t.Errorf("extents are\n%v\n%v; %d bytes read", narrow, wide, parts)
	}
	if n := get[uint](t)(h.AioInFlight()); n != 0 {
		t.Errorf("%d commands in flight", n)
	}
}

// TestAioCookies retires commands one by one, without callbacks, in a main loop
// of the caller's.
func TestAioCookies(t *testing.T) {
	h := connected(t, serve(t, "memory", "1M"))
	if _, err := h.AioPeekCommandCompleted(); err == nil {
		t.Error("a command has ended where there is none")
	}
	buf := MakeAioBuffer(4096)
	defer buf.Free()
	cookie := get[uint64](t)(h.AioPread(buf, 0, nil))
	if cookie == 0 || get[uint](t)(h.AioInFlight()) != 1 {
		t.Errorf("cookie is %d", cookie)
	}
	for end := time.Now().Add(patience); !get[bool](t)(h.AioCommandCompleted(cookie)); {
		if fd, dir := get[int](t)(h.AioGetFd()), get[uint](t)(h.AioGetDirection()); fd < 0 || dir == 0 {
			t.Fatalf("wait for %d of descriptor %d", dir, fd)
		}
		must(t, h.AioNotifyRead())
		if time.Now().After(end) {
			t.Fatal("the read does not end")
		}
	}
	if done, _ := h.AioCommandCompleted(cookie); done {
		t.Error("a command ends twice")
	}
	must(t, h.AioDisconnect(nil))
}

func TestAioBuffer(t *testing.T) {
	b := FromBytes([]byte("hello"))
	b.Slice()[0] = 'j'
	if own := b.Bytes(); string(own) != "jello" || b.Size != 5 || *b.Get(4) != 'o' {
		t.Errorf("buffer is %q", own)
	}
	wantPanic(t, "byte 5 of an AioBuffer of 5", func() { b.Get(5) })
	b.Free()
	b.Free()
	wantPanic(t, "after Free", func() { b.Slice() })
	z := MakeAioBufferZero(1 << 16)
	defer z.Free()
	if !bytes.Equal(z.Slice(), make([]byte, 1<<16)) {
		t.Error("not zero")
	}
}

func wantPanic(t *testing.T, with string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if v := fmt.Sprint(recover()); !bytes.Contains([]byte(v), []byte(with)) {
			t.Errorf("panic %q, want one with %q", v, with)
		}
	}()
	f()
}

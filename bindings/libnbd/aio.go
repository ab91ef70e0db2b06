// SPDX-License-Identifier: Apache-2.0

package libnbd

// #include "calls.h"
import "C"

// Commands that return at once, with a cookie. [Libnbd.Poll] carries them on.
// A command has ended when its completion callback was called, or
// [Libnbd.AioCommandCompleted] says so; the latter also retires it, unless the
// callback did.

// AioPreadOptargs are optional arguments.
type AioPreadOptargs struct {
	CompletionCallbackSet bool
	CompletionCallback    CompletionCallback
	FlagsSet              bool
	Flags                 CmdFlag
}

// The optional arguments of the other commands.
type (
	AioPreadStructuredOptargs AioPreadOptargs
	AioPwriteOptargs          AioPreadOptargs
	AioTrimOptargs            AioPreadOptargs
	AioCacheOptargs           AioPreadOptargs
	AioZeroOptargs            AioPreadOptargs
	AioFlushOptargs           AioPreadOptargs
	AioBlockStatusOptargs     AioPreadOptargs
	AioBlockStatus64Optargs   AioPreadOptargs
)

// AioDisconnectOptargs are optional arguments.
type AioDisconnectOptargs PreadOptargs

// into puts the optional arguments into a.
func (o *AioPreadOptargs) into(a args) args {
	if o != nil && o.CompletionCallbackSet {
		a.done = o.CompletionCallback
	}
	if o != nil && o.FlagsSet {
		a.flags = uint32(o.Flags)
	}
	return a
}

// memory is the buffer as arguments.
func (b AioBuffer) memory(offset uint64) args {
	return args{p: (*C.char)(b.P), n: int(b.Size), b: offset}
}

// AioPread fills buf, which must stay until the command has ended.
func (h *Libnbd) AioPread(buf AioBuffer, offset uint64, optargs *AioPreadOptargs) (uint64, error) {
	return h.command(C.nbd_go_aio_pread, optargs.into(buf.memory(offset)))
}

func (h *Libnbd) AioPreadStructured(buf AioBuffer, offset uint64, chunk ChunkCallback, optargs *AioPreadStructuredOptargs) (uint64, error) {
	a := (*AioPreadOptargs)(optargs).into(buf.memory(offset))
	a.callback = function(chunk == nil, chunk)
	return h.command(C.nbd_go_aio_pread_structured, a)
}

// AioPwrite writes buf, which must stay until the command has ended.
func (h *Libnbd) AioPwrite(buf AioBuffer, offset uint64, optargs *AioPwriteOptargs) (uint64, error) {
	return h.command(C.nbd_go_aio_pwrite, (*AioPreadOptargs)(optargs).into(buf.memory(offset)))
}

func (h *Libnbd) AioTrim(count uint64, offset uint64, optargs *AioTrimOptargs) (uint64, error) {
	return h.command(C.nbd_go_aio_trim, (*AioPreadOptargs)(optargs).into(args{a: count, b: offset}))
}

func (h *Libnbd) AioCache(count uint64, offset uint64, optargs *AioCacheOptargs) (uint64, error) {
	return h.command(C.nbd_go_aio_cache, (*AioPreadOptargs)(optargs).into(args{a: count, b: offset}))
}

func (h *Libnbd) AioZero(count uint64, offset uint64, optargs *AioZeroOptargs) (uint64, error) {
	return h.command(C.nbd_go_aio_zero, (*AioPreadOptargs)(optargs).into(args{a: count, b: offset}))
}

func (h *Libnbd) AioFlush(optargs *AioFlushOptargs) (uint64, error) {
	return h.command(C.nbd_go_aio_flush, (*AioPreadOptargs)(optargs).into(args{}))
}

func (h *Libnbd) AioBlockStatus(count uint64, offset uint64, extent ExtentCallback, optargs *AioBlockStatusOptargs) (uint64, error) {
	return h.command(C.nbd_go_aio_block_status, (*AioPreadOptargs)(optargs).into(args{a: count, b: offset,
		callback: function(extent == nil, extent)}))
}

// AioBlockStatus64 is AioBlockStatus where libnbd does not have it, as
// BlockStatus64 is.
func (h *Libnbd) AioBlockStatus64(count uint64, offset uint64, extent64 Extent64Callback, optargs *AioBlockStatus64Optargs) (uint64, error) {
	if call(C.nbd_go_aio_block_status_64).has() {
		return h.command(C.nbd_go_aio_block_status_64, (*AioPreadOptargs)(optargs).into(args{a: count, b: offset,
			callback: function(extent64 == nil, extent64)}))
	}
	return h.AioBlockStatus(count, offset, widen(extent64), (*AioBlockStatusOptargs)(optargs))
}

// AioDisconnect says goodbye. Commands in flight should have ended before.
func (h *Libnbd) AioDisconnect(optargs *AioDisconnectOptargs) error {
	return h.do(C.nbd_go_aio_disconnect, args{flags: (*PreadOptargs)(optargs).flags()})
}

// Poll waits for the server for timeout milliseconds at most, forever if that
// is negative, and does what has come up. It returns 0 if nothing did.
func (h *Libnbd) Poll(timeout int) (uint, error) {
	return h.count(C.nbd_go_poll, args{a: uint64(timeout)})
}

// AioCommandCompleted says whether a command has ended, and retires it then. The
// error is that of the command.
func (h *Libnbd) AioCommandCompleted(cookie uint64) (bool, error) {
	r, err := h.call(C.nbd_go_aio_command_completed, args{a: cookie})
	return r > 0, err
}

// AioPeekCommandCompleted is the cookie of a command that has ended, or 0. It is
// an error if there are no commands.
func (h *Libnbd) AioPeekCommandCompleted() (uint64, error) {
	return h.number(C.nbd_go_aio_peek_command_completed, args{})
}

// AioInFlight is how many commands have not been retired.
func (h *Libnbd) AioInFlight() (uint, error) { return h.count(C.nbd_go_aio_in_flight, args{}) }

// AioGetFd is the socket, for a main loop other than Poll: wait on it for what
// AioGetDirection says, then call AioNotifyRead or AioNotifyWrite.
func (h *Libnbd) AioGetFd() (int, error) {
	r, err := h.call(C.nbd_go_aio_get_fd, args{})
	return int(r), err
}
func (h *Libnbd) AioGetDirection() (uint, error) {
	return h.word(C.nbd_go_aio_get_direction, args{})
}
func (h *Libnbd) AioNotifyRead() error  { return h.do(C.nbd_go_aio_notify_read, args{}) }
func (h *Libnbd) AioNotifyWrite() error { return h.do(C.nbd_go_aio_notify_write, args{}) }

// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

import (
	"fmt"
	"io"
	"syscall"
	"unsafe"
)

// streamBlock is how many bytes the All methods move at once: what fits into
// one message of libvirt's protocol, of any version.
const streamBlock = 256<<10 - 24

// Stream carries the data of a volume. Give it to an Upload or a Download,
// send or receive all of it, end it with Finish, or with Abort if something
// went wrong, and free it. It is for one goroutine.
type Stream struct {
	ptr C.virStreamPtr
}

// NewStream makes a stream.
func (c *Connect) NewStream(flags StreamFlags) (*Stream, error) {
	var e C.callError
	p := C.go_virStreamNew(&e, c.ptr, C.uint(flags))
	if p == nil {
		return nil, newError(&e)
	}
	return &Stream{p}, nil
}

// Free gives back one reference. After the last one v must not be used.
func (v *Stream) Free() error {
	var e C.callError
	return check(C.go_virStreamFree(&e, v.ptr), &e)
}

// Ref takes a reference, which another Free gives back.
func (v *Stream) Ref() error {
	var e C.callError
	return check(C.go_virStreamRef(&e, v.ptr), &e)
}

// Finish ends the stream and says whether the other end got all of it.
func (v *Stream) Finish() error {
	var e C.callError
	return check(C.go_virStreamFinish(&e, v.ptr), &e)
}

// Abort ends the stream because something went wrong.
func (v *Stream) Abort() error {
	var e C.callError
	return check(C.go_virStreamAbort(&e, v.ptr), &e)
}

// What a call on a stream says beside -1 for failure.
const (
	wouldBlock = -2 // only where the stream is non-blocking
	atHole     = -3
)

// moved is the answer of a call that moves n bytes.
func moved(n C.int, e *C.callError) (int, error) {
	if n == wouldBlock {
		return 0, syscall.EAGAIN
	}
	return max(0, int(n)), check(n, e)
}

// Send sends the beginning of p, as much as it says. On a non-blocking stream
// the error may be EAGAIN.
func (v *Stream) Send(p []byte) (int, error) {
	var e C.callError
	n := C.go_virStreamSend(&e, v.ptr, (*C.char)(unsafe.Pointer(unsafe.SliceData(p))), C.size_t(len(p)))
	return moved(n, &e)
}

// SendHole sends len zero bytes without sending them. The transfer must be a
// sparse one.
func (v *Stream) SendHole(len int64, flags uint32) error {
	var e C.callError
	return check(C.go_virStreamSendHole(&e, v.ptr, C.longlong(len), C.uint(flags)), &e)
}

// Recv receives up to len(p) bytes, io.EOF after the last one, EAGAIN as for
// Send.
func (v *Stream) Recv(p []byte) (int, error) {
	var e C.callError
	n, err := moved(C.go_virStreamRecv(&e, v.ptr, (*C.char)(unsafe.Pointer(unsafe.SliceData(p))), C.size_t(len(p))), &e)
	return atEnd(n, p, err)
}

// RecvFlags is Recv with flags. With [STREAM_RECV_STOP_AT_HOLE] it returns 0
// and no error where a hole begins, for [Stream.RecvHole] to take.
func (v *Stream) RecvFlags(p []byte, flags StreamRecvFlagsValues) (int, error) {
	var e C.callError
	r := C.go_virStreamRecvFlags(&e, v.ptr, (*C.char)(unsafe.Pointer(unsafe.SliceData(p))), C.size_t(len(p)), C.uint(flags))
	if r == atHole {
		return 0, nil
	}
	n, err := moved(r, &e)
	return atEnd(n, p, err)
}

func atEnd(n int, p []byte, err error) (int, error) {
	if n == 0 && len(p) > 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

// RecvHole is the length of the hole that begins here, and goes behind it.
func (v *Stream) RecvHole(flags uint32) (int64, error) {
	var e C.callError
	var length C.longlong
	err := check(C.go_virStreamRecvHole(&e, v.ptr, &length, C.uint(flags)), &e)
	return int64(length), err
}

// StreamSinkFunc takes data that came, and says how much of it.
type StreamSinkFunc func(*Stream, []byte) (int, error)

// StreamSinkHoleFunc takes a hole that came, by its length.
type StreamSinkHoleFunc func(*Stream, int64) error

// StreamSourceFunc gives up to that many bytes to send, none at the end.
type StreamSourceFunc func(*Stream, int) ([]byte, error)

// StreamSourceHoleFunc says whether the source is in data, and how much data
// or hole there is from here. Neither, (false, 0), is the end.
type StreamSourceHoleFunc func(*Stream) (bool, int64, error)

// StreamSourceSkipFunc moves the source behind a hole.
type StreamSourceSkipFunc func(*Stream, int64) error

// guard aborts the stream if the transfer failed.
func (v *Stream) guard(err error) error {
	if err != nil {
		_ = v.Abort() // the first error is the one that tells
	}
	return err
}

// RecvAll receives until the end and gives it to handler. If that fails the
// stream is aborted and its error returned.
func (v *Stream) RecvAll(handler StreamSinkFunc) error {
	return v.guard(v.receive(handler, nil))
}

// SparseRecvAll is RecvAll for a sparse transfer.
func (v *Stream) SparseRecvAll(handler StreamSinkFunc, holeHandler StreamSinkHoleFunc) error {
	return v.guard(v.receive(handler, holeHandler))
}

func (v *Stream) receive(handler StreamSinkFunc, holeHandler StreamSinkHoleFunc) error {
	buf := make([]byte, streamBlock)
	for {
		n, err := v.recvUpToHole(buf, holeHandler != nil)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case n == 0:
			err = v.receiveHole(holeHandler)
		default:
			err = deliver(v, buf[:n], handler)
		}
		if err != nil {
			return err
		}
	}
}

func (v *Stream) recvUpToHole(buf []byte, sparse bool) (int, error) {
	if sparse {
		return v.RecvFlags(buf, STREAM_RECV_STOP_AT_HOLE)
	}
	return v.Recv(buf)
}

func (v *Stream) receiveHole(holeHandler StreamSinkHoleFunc) error {
	length, err := v.RecvHole(0)
	if err != nil {
		return err
	}
	return holeHandler(v, length)
}

// deliver gives all of data to handler.
func deliver(v *Stream, data []byte, handler StreamSinkFunc) error {
	for len(data) > 0 {
		n, err := handler(v, data)
		if err != nil {
			return err
		}
		if n <= 0 || n > len(data) {
			return fmt.Errorf("libvirt stream: the handler took %d of %d bytes: %w", n, len(data), io.ErrShortWrite)
		}
		data = data[n:]
	}
	return nil
}

// SendAll sends what handler gives, until that gives nothing. If it fails the
// stream is aborted and its error returned.
func (v *Stream) SendAll(handler StreamSourceFunc) error {
	return v.guard(v.sendUpTo(1<<63-1, handler))
}

// sendUpTo sends length bytes, or fewer if handler has no more.
func (v *Stream) sendUpTo(length int64, handler StreamSourceFunc) error {
	for length > 0 {
		data, err := handler(v, int(min(length, streamBlock)))
		if err != nil || len(data) == 0 {
			return err
		}
		if int64(len(data)) > length {
			return fmt.Errorf("libvirt stream: the handler gave %d bytes where %d were asked for", len(data), length)
		}
		length -= int64(len(data))
		if err := v.sendBytes(data); err != nil {
			return err
		}
	}
	return nil
}

func (v *Stream) sendBytes(data []byte) error {
	for len(data) > 0 {
		n, err := v.Send(data)
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// SparseSendAll is SendAll for a sparse transfer: holeHandler tells data from
// holes, and skipHandler goes behind a hole that was sent.
func (v *Stream) SparseSendAll(handler StreamSourceFunc, holeHandler StreamSourceHoleFunc, skipHandler StreamSourceSkipFunc) error {
	return v.guard(v.sendSparse(handler, holeHandler, skipHandler))
}

func (v *Stream) sendSparse(handler StreamSourceFunc, holeHandler StreamSourceHoleFunc, skipHandler StreamSourceSkipFunc) error {
	for {
		inData, length, err := holeHandler(v)
		switch {
		case err != nil:
			return err
		case length == 0:
			return nil
		case inData:
			err = v.sendUpTo(length, handler)
		default:
			if err = v.SendHole(length, 0); err == nil {
				err = skipHandler(v, length)
			}
		}
		if err != nil {
			return err
		}
	}
}

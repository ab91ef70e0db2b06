// SPDX-License-Identifier: Apache-2.0

package nbdkit

import (
	"errors"
	"fmt"
	"runtime/debug"
	"syscall"
)

// PluginError is an error with the errno that the client gets. Methods may
// return it as a value or as a pointer, alone or wrapped in another error.
// NBD knows EPERM, EIO, ENOMEM, EINVAL, ENOSPC and ESHUTDOWN, and ENOTSUP for
// a fast zero; nbdkit turns another errno into one of these, EINVAL as a rule.
type PluginError struct {
	Errmsg string        // logged by nbdkit
	Errno  syscall.Errno // 0 means EIO
}

// Error is the message, or the text of Errno where there is no message.
func (e PluginError) Error() string {
	if e.Errmsg == "" && e.Errno != 0 {
		return e.Errno.Error()
	}
	return e.Errmsg
}

// String is the message and the text of Errno.
func (e PluginError) String() string {
	if e.Errmsg != "" && e.Errno != 0 {
		return e.Errmsg + ": " + e.Errno.Error()
	}
	return e.Error()
}

// missing is the error of a default method that should have been overridden.
func missing(method string) error {
	return PluginError{Errmsg: "the plugin has no method " + method, Errno: syscall.ENOTSUP}
}

// errnoOf finds the errno that err carries, 0 if there is none. An errno that
// the plugin chose (PluginError) goes before one of a system call.
func errnoOf(err error) syscall.Errno {
	var value PluginError
	if errors.As(err, &value) && value.Errno != 0 {
		return value.Errno
	}
	var pointer *PluginError
	if errors.As(err, &pointer) && pointer != nil && pointer.Errno != 0 {
		return pointer.Errno
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return 0
}

// try runs a callback of nbdkit and says whether it succeeded. It reports the
// error or the panic that it ended with, so that the caller only has to
// answer nbdkit with -1.
func try(callback string, f func() error) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			ok = false
			reportPanic(callback, v)
		}
	}()
	if err := f(); err != nil {
		report(err)
		return false
	}
	return true
}

// report hands an error to nbdkit, in the thread of the callback. %v and not
// err.Error, because fmt survives an Error method that panics.
func report(err error) {
	text := fmt.Sprintf("%v", err)
	if errno := errnoOf(err); errno != 0 {
		SetError(errno)
	}
	Error(text)
}

// reportPanic hands a recovered panic to nbdkit as EIO. It is called in the
// deferred function that recovered, where the stack is still that of the
// panic.
func reportPanic(callback string, v any) {
	Debug(fmt.Sprintf("panic in %s: %v\n%s", callback, v, debug.Stack()))
	SetError(syscall.EIO)
	Error(fmt.Sprintf("panic in %s: %v", callback, v))
}

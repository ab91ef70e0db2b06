// SPDX-License-Identifier: Apache-2.0

package virt

import (
	"context"
	"fmt"
	"sync"
)

// Guest agents hang: a filesystem that waits for its storage, an agent that
// was stopped with the guest. libvirt then waits without end, and a C call
// cannot be interrupted. So the calls here run in goroutines that are left
// behind when the context ends. A freeze that succeeds afterwards is undone by
// its goroutine, for nobody else knows that the guest is frozen.

// Quiescer is what of a domain is needed here; *libvirt.Domain has it.
type Quiescer interface {
	FSFreeze(mounts []string, flags uint32) error
	FSThaw(mounts []string, flags uint32) error
	Counted
}

// Counted is what can be kept for a call that goes on; *libvirt.Domain is.
type Counted interface {
	Ref() error
	Free() error
}

// late are the calls that were left behind.
var late sync.WaitGroup

// Freeze lets the guest agent freeze the filesystems mounted at mounts, or all
// of them. When ctx ends it returns an error, and the guest is not frozen or
// will be thawed, see [WaitLate].
func Freeze(ctx context.Context, dom Quiescer, mounts []string) error {
	return leave(ctx, dom, "freeze the filesystems", func() error { return dom.FSFreeze(mounts, 0) }, func() {
		_ = dom.FSThaw(nil, 0) // nobody is there to hear of it
	})
}

// Thaw lets the guest agent thaw all filesystems, and returns an error when
// ctx ends before that is done; the agent may still do it.
func Thaw(ctx context.Context, dom Quiescer) error {
	return leave(ctx, dom, "thaw the filesystems", func() error { return dom.FSThaw(nil, 0) }, func() {})
}

// Ask calls call, which asks the agent of dom for something and changes nothing
// in the guest. When ctx ends it returns an error; call may go on. In errors,
// what was asked for is what.
func Ask(ctx context.Context, dom Counted, what string, call func() error) error {
	return leave(ctx, dom, what, call, func() {})
}

// WaitLate waits until no call is left behind any more, or ctx ends. A program
// that ends earlier may leave a guest frozen.
func WaitLate(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		late.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the guest agent still has not answered: %w", context.Cause(ctx))
	}
}

// leave calls call, which uses dom, in a goroutine and waits for it as long as
// ctx lasts. undo is called where call had success and nobody waited.
func leave(ctx context.Context, dom Counted, what string, call func() error, undo func()) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	if err := dom.Ref(); err != nil {
		return Failed(what, err)
	}
	answer := make(chan error)
	late.Go(func() {
		defer func() { _ = dom.Free() }()
		err := call()
		select {
		case answer <- err:
		case <-ctx.Done():
			if err == nil {
				undo()
			}
		}
	})
	select {
	case err := <-answer:
		return Failed(what, err)
	case <-ctx.Done():
		return fmt.Errorf("%s: the guest agent does not answer: %w", what, context.Cause(ctx))
	}
}

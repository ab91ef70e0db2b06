// SPDX-License-Identifier: Apache-2.0

package virt

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"libvirt.org/go/libvirt"
)

// agent is a domain whose guest agent answers a freeze after delay.
type agent struct {
	delay  time.Duration
	err    error
	frozen atomic.Bool
	mounts []string
	refs   atomic.Int32
}

func (a *agent) FSFreeze(mounts []string, _ uint32) error {
	time.Sleep(a.delay)
	if a.mounts = mounts; a.err == nil {
		a.frozen.Store(true)
	}
	return a.err
}

func (a *agent) FSThaw([]string, uint32) error {
	time.Sleep(a.delay)
	a.frozen.Store(false)
	return a.err
}

func (a *agent) Ref() error  { a.refs.Add(1); return nil }
func (a *agent) Free() error { a.refs.Add(-1); return nil }

func TestFreezeAndThaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &agent{delay: time.Second}
		if err := Freeze(t.Context(), a, []string{"/", "/home"}); err != nil || !a.frozen.Load() || len(a.mounts) != 2 {
			t.Errorf("frozen: %v (%v)", a.frozen.Load(), err)
		}
		if err := Thaw(t.Context(), a); err != nil || a.frozen.Load() {
			t.Errorf("frozen: %v (%v)", a.frozen.Load(), err)
		}
		synctest.Wait()
		if n := a.refs.Load(); n != 0 {
			t.Errorf("%d references are left", n)
		}
	})
}

// TestFreezeComesTooLate is given up in time, and undone when it comes.
func TestFreezeComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &agent{delay: time.Hour}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		err := Freeze(ctx, a, nil)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "guest agent") {
			t.Errorf("the error is %v", err)
		}
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("it took %v", waited)
		}
		if n := a.refs.Load(); n != 1 {
			t.Errorf("%d references are held", n)
		}
		time.Sleep(time.Hour - 4*time.Second)
		if !a.frozen.Load() {
			t.Error("the freeze has not come")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if a.frozen.Load() {
			t.Error("the guest stays frozen")
		}
		if n := a.refs.Load(); n != 0 {
			t.Errorf("%d references are left", n)
		}
	})
}

func TestFreezeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &agent{err: libvirt.Error{Code: libvirt.ERR_AGENT_UNRESPONSIVE, Message: "Guest agent is not responding"}}
		err := Freeze(t.Context(), a, nil)
		if !errors.Is(err, libvirt.ERR_AGENT_UNRESPONSIVE) || !strings.Contains(err.Error(), "Guest agent is not responding") {
			t.Errorf("the error is %v", err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("SIGTERM"))
		if err := Freeze(ctx, &agent{}, nil); err == nil || !strings.Contains(err.Error(), "SIGTERM") {
			t.Errorf("the error is %v", err)
		}
		synctest.Wait()
	})
}

// TestWaitLate waits for what was left behind, but not without end. Not in a
// bubble of its own: what is waited for belongs to the process.
func TestWaitLate(t *testing.T) {
	a := &agent{delay: 300 * time.Millisecond}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := Freeze(ctx, a, nil); err == nil {
		t.Fatal("the agent answered in time")
	}
	if err := WaitLate(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	if err := WaitLate(t.Context()); err != nil {
		t.Error(err)
	}
	if a.frozen.Load() || a.refs.Load() != 0 {
		t.Error("the guest stays frozen, or the domain is held")
	}
}

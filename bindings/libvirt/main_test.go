// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// TestMain runs the event loop, which must be there before any connection.
func TestMain(m *testing.M) {
	if os.Getenv(connectOnly) != "" {
		os.Exit(tryToConnect())
	}
	if err := EventRegisterDefaultImpl(); err != nil {
		fmt.Fprintln(os.Stderr, "the event loop:", err)
		os.Exit(1)
	}
	go func() {
		for {
			if err := EventRunDefaultImpl(); err != nil {
				panic(fmt.Sprintf("the event loop: %v", err))
			}
		}
	}()
	os.Exit(m.Run())
}

// must is the value of a call that has to succeed.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		ok(t, err)
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code ErrorNumber) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Errorf("error is %v, want code %d", err, int(code))
	}
}

// eventually waits until what is true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came: %s", what)
		}
	}
}

// receive waits for an event.
func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("it never came: %s", what)
		panic("unreachable")
	}
}

// openTest connects to libvirt's test driver, with a domain called test and a
// pool called default-pool that are its own.
func openTest(t *testing.T) *Connect {
	t.Helper()
	conn := must(NewConnectWithAuthDefault("test:///default", 0))(t)
	t.Cleanup(func() {
		if n, err := conn.Close(); err != nil || n != 0 {
			t.Errorf("after Close there are %d references (%v)", n, err)
		}
	})
	return conn
}

// free is Free for t.Cleanup or defer.
func free(t *testing.T, v interface{ Free() error }) {
	t.Helper()
	if err := v.Free(); err != nil {
		t.Error(err)
	}
}

func lookup(t *testing.T, conn *Connect, name string) *Domain {
	t.Helper()
	dom := must(conn.LookupDomainByName(name))(t)
	t.Cleanup(func() { free(t, dom) })
	return dom
}

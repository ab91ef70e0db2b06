// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestLifecycleEvents: in order, of the domain asked for and of all.
func TestLifecycleEvents(t *testing.T) {
	conn := openTest(t)
	dom, other := define(t, conn, "vm1"), define(t, conn, "vm2")
	before := handles.Load()
	type news struct {
		domain string
		event  DomainEventLifecycle
	}
	listen := func(of *Domain) (int, chan news) {
		c := make(chan news, 100)
		return must(conn.DomainEventLifecycleRegister(of, func(_ *Connect, d *Domain, event *DomainEventLifecycle) {
			name, _ := d.GetName()
			c <- news{name, *event}
		}))(t), c
	}
	oneID, one := listen(dom)
	allID, all := listen(nil)

	ok(t, other.Create())
	ok(t, dom.Create())
	ok(t, dom.Suspend())
	ok(t, dom.Resume())
	ok(t, dom.Destroy())
	want := []DomainEventLifecycle{
		{DOMAIN_EVENT_STARTED, int(DOMAIN_EVENT_STARTED_BOOTED)},
		{DOMAIN_EVENT_SUSPENDED, int(DOMAIN_EVENT_SUSPENDED_PAUSED)},
		{DOMAIN_EVENT_RESUMED, int(DOMAIN_EVENT_RESUMED_UNPAUSED)},
		{DOMAIN_EVENT_STOPPED, int(DOMAIN_EVENT_STOPPED_DESTROYED)},
	}
	if got := receive(t, "an event of any domain", all); got.domain != "vm2" {
		t.Errorf("the first event is %+v", got)
	}
	for _, w := range want {
		if got := receive(t, "an event of vm1", one); got.domain != "vm1" || got.event != w {
			t.Errorf("the event is %+v, want %+v", got, w)
		}
		if got := receive(t, "an event of any domain", all); got.domain != "vm1" || got.event != w {
			t.Errorf("the event is %+v, want %+v", got, w)
		}
	}
	ok(t, conn.DomainEventDeregister(oneID))
	ok(t, conn.DomainEventDeregister(allID))
	if err := conn.DomainEventDeregister(allID); err == nil {
		t.Error("it was deregistered twice")
	}
	eventually(t, "the callbacks are freed", func() bool { return handles.Load() == before })
}

// TestEveryEventIsRegistered, although this driver sends few of them.
func TestEveryEventIsRegistered(t *testing.T) {
	conn := openTest(t)
	before := handles.Load()
	for name, register := range map[string]func(*Domain) (int, error){
		"lifecycle": func(d *Domain) (int, error) {
			return conn.DomainEventLifecycleRegister(d, func(*Connect, *Domain, *DomainEventLifecycle) {})
		},
		"block job": func(d *Domain) (int, error) {
			return conn.DomainEventBlockJobRegister(d, func(*Connect, *Domain, *DomainEventBlockJob) {})
		},
		"block job 2": func(d *Domain) (int, error) {
			return conn.DomainEventBlockJob2Register(d, func(*Connect, *Domain, *DomainEventBlockJob) {})
		},
		"job completed": func(d *Domain) (int, error) {
			return conn.DomainEventJobCompletedRegister(d, func(*Connect, *Domain, *DomainEventJobCompleted) {})
		},
		"agent lifecycle": func(d *Domain) (int, error) {
			return conn.DomainEventAgentLifecycleRegister(d, func(*Connect, *Domain, *DomainEventAgentLifecycle) {})
		},
		"I/O error": func(d *Domain) (int, error) {
			return conn.DomainEventIOErrorReasonRegister(d, func(*Connect, *Domain, *DomainEventIOErrorReason) {})
		},
		"device removed": func(d *Domain) (int, error) {
			return conn.DomainEventDeviceRemovedRegister(d, func(*Connect, *Domain, *DomainEventDeviceRemoved) {})
		},
	} {
		for _, dom := range []*Domain{nil, lookup(t, conn, "test")} {
			id, err := register(dom)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if n := handles.Load(); n != before+1 {
				t.Errorf("%s: there are %d callbacks", name, n-before)
			}
			ok(t, conn.DomainEventDeregister(id))
			eventually(t, name+" is freed", func() bool { return handles.Load() == before })
		}
	}
}

// TestDeregisterBeforeLastClose: until then the callback is there.
func TestDeregisterBeforeLastClose(t *testing.T) {
	before := handles.Load()
	conn := must(NewConnect("test:///default"))(t)
	id := must(conn.DomainEventLifecycleRegister(nil, func(*Connect, *Domain, *DomainEventLifecycle) {}))(t)
	ok(t, conn.Ref())
	if n := must(conn.Close())(t); n != 1 {
		t.Error("nothing holds the connection")
	}
	if n := handles.Load(); n != before+1 {
		t.Errorf("there are %d callbacks", n-before)
	}
	ok(t, conn.DomainEventDeregister(id))
	eventually(t, "the callback is freed", func() bool { return handles.Load() == before })
	if n := must(conn.Close())(t); n != 0 {
		t.Error("something holds the connection")
	}
}

// TestEventIsTakenOnce: a failed registration leaves nothing behind.
func TestEventIsTakenOnce(t *testing.T) {
	conn := openTest(t)
	register := func() (int, error) {
		return conn.DomainEventLifecycleRegister(nil, func(*Connect, *Domain, *DomainEventLifecycle) {})
	}
	before := handles.Load()
	id := must(register())(t)
	_, err := register()
	wantCode(t, err, ERR_INVALID_ARG)
	ok(t, conn.DomainEventDeregister(id))
	eventually(t, "the callbacks are freed", func() bool { return handles.Load() == before })
}

// TestDeregisterInCallback ends itself at the first event.
func TestDeregisterInCallback(t *testing.T) {
	conn := openTest(t)
	dom := define(t, conn, "vm1")
	before := handles.Load()
	ids, done := make(chan int, 1), make(chan error, 2)
	ids <- must(conn.DomainEventLifecycleRegister(dom, func(c *Connect, _ *Domain, _ *DomainEventLifecycle) {
		done <- c.DomainEventDeregister(<-ids)
	}))(t)
	ok(t, dom.Create())
	ok(t, receive(t, "the first event", done))
	ok(t, dom.Destroy())
	eventually(t, "the callback is freed", func() bool { return handles.Load() == before })
	if len(done) > 0 {
		t.Error("there was another event")
	}
}

// TestCallbackKeepsDomain by a reference of its own.
func TestCallbackKeepsDomain(t *testing.T) {
	conn := openTest(t)
	dom := define(t, conn, "vm1")
	before := handles.Load()
	kept := make(chan *Domain, 1)
	id := must(conn.DomainEventLifecycleRegister(dom, func(_ *Connect, d *Domain, _ *DomainEventLifecycle) {
		if d.Ref() == nil {
			kept <- d
		}
	}))(t)
	ok(t, dom.Create())
	d := receive(t, "the domain", kept)
	ok(t, conn.DomainEventDeregister(id))
	eventually(t, "the callback is freed", func() bool { return handles.Load() == before })
	if name := must(d.GetName())(t); name != "vm1" {
		t.Errorf("it is %s", name)
	}
	free(t, d)
}

// TestEventsOfManyConnections at once, registered and ended in goroutines. Each
// has a driver of its own: connections to test:///default share one, which
// loses events when some of them close.
func TestEventsOfManyConnections(t *testing.T) {
	before := handles.Load()
	var wg sync.WaitGroup
	uri := nodeURI(t)
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if err := startAndSee(uri); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	eventually(t, "the callbacks are freed", func() bool { return handles.Load() == before })
}

// nodeURI is that of a test driver of the connection's own.
func nodeURI(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "node.xml")
	ok(t, os.WriteFile(file, []byte("<node/>"), 0o600))
	return "test://" + file
}

// startAndSee starts a domain, sees the event of its end, and leaves nothing
// behind.
func startAndSee(uri string) error {
	conn, err := NewConnect(uri)
	if err != nil {
		return err
	}
	defer conn.Close()
	dom, err := conn.DomainCreateXML("<domain type='test'><name>vm1</name><memory>1024</memory><os><type>hvm</type></os></domain>", 0)
	if err != nil {
		return err
	}
	defer dom.Free()
	stopped := make(chan bool, 100)
	id, err := conn.DomainEventLifecycleRegister(dom, func(*Connect, *Domain, *DomainEventLifecycle) { stopped <- true })
	if err != nil {
		return err
	}
	if err := dom.Destroy(); err != nil {
		return err
	}
	select {
	case <-stopped:
	case <-time.After(patience):
		return errors.New("no event came")
	}
	return conn.DomainEventDeregister(id)
}

func TestJobInfoIsRead(t *testing.T) {
	info := newJobInfo(DOMAIN_JOB_UNBOUNDED, params{
		"operation": int64(DOMAIN_JOB_OPERATION_BACKUP), "disk_total": uint64(1 << 40), "disk_temp_used": uint64(5),
		"success": false, "errmsg": "scratch is full",
	})
	if !info.OperationSet || info.Operation != DOMAIN_JOB_OPERATION_BACKUP || info.DiskTotal != 1<<40 || info.DiskTempUsed != 5 ||
		!info.JobSuccessSet || info.JobSuccess || info.ErrorMessage != "scratch is full" || info.DataTotalSet {
		t.Errorf("the info is %+v", info)
	}
}

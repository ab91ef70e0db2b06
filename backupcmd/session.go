// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"context"
	"fmt"
	"net"
	"time"

	"libvirt.org/go/libvirt"

	"virtnb/internal/domainxml"
	"virtnb/internal/host"
)

// reconnectTime is how long a run tries to reach a libvirtd that went away.
// QEMU and its NBD server do not need it, so data flows meanwhile.
const reconnectTime = 30 * time.Second

// connect connects to libvirt and, where that is on another host, to that host.
func (r *run) connect(ctx context.Context) error {
	conn, err := libvirt.NewConnect(r.o.Host.URI)
	if err != nil {
		return fmt.Errorf("Cant connect libvirt daemon: [%w]", err) //nolint:staticcheck // the peer's words
	}
	r.conn = conn
	r.host = host.Local{}
	return nil
}

func (r *run) disconnect() {
	if r.dom != nil {
		_ = r.dom.Free()
	}
	if r.conn != nil {
		_, _ = r.conn.Close()
	}
	if r.domainLock != nil {
		r.domainLock.Close()
	}
}

func (r *run) remote() bool { return false }

func (r *run) overSSH() bool { return false }

// findDomain looks the domain up, and keeps other backups of it out.
func (r *run) findDomain(ctx context.Context) (err error) {
	if v, err := r.conn.GetLibVersion(); err == nil {
		r.log.Info(fmt.Sprintf("Libvirt library version: [%d]", v))
	}
	if r.dom, err = r.conn.LookupDomainByName(r.o.Domain); err != nil {
		return err
	}
	if r.uuid, err = r.dom.GetUUIDString(); err != nil {
		return err
	}
	if !r.o.KillOnly {
		if r.domainLock, err = lockDomain(r.uuid, r.o.Domain); err != nil {
			return err
		}
	}
	return r.readConfig()
}

// readConfig reads the domain's configuration, which is saved as it is.
func (r *run) readConfig() (err error) {
	if r.xmlText, err = r.dom.GetXMLDesc(0); err != nil {
		return err
	}
	if r.xml, err = domainxml.Parse([]byte(r.xmlText)); err != nil {
		return fmt.Errorf("domain %s: %w", r.o.Domain, err)
	}
	return r.checkCapability()
}

// trackingByDefault is the release of libvirt from on which every domain has
// incremental backups.
const trackingByDefault = 7_006_000

func (r *run) checkCapability() error {
	v, err := r.conn.GetLibVersion()
	if err == nil && v < trackingByDefault && !r.xml.QemuCapability("incremental-backup") {
		err = fmt.Errorf("Domain is missing required incremental-backup capability.") //nolint:staticcheck // the peer's words
	}
	return err
}

// lockDomain keeps two runs on this machine from backing the same domain up,
// into whatever folders. The lock is the name of a socket, which is gone with
// the process. Runs on other machines meet libvirt's own job.
func lockDomain(uuid, name string) (net.Listener, error) {
	l, err := net.Listen("unix", "@virtnb/backup/"+uuid)
	if err != nil {
		return nil, fmt.Errorf("domain %s: %w of it", name, errBusy)
	}
	return l, nil
}

func (r *run) isActive() (active bool, err error) {
	err = r.libvirt("asking for the domain's state", func(dom *libvirt.Domain) error {
		active, err = dom.IsActive()
		return err
	})
	return active, err
}

// libvirt calls f, which can be repeated, and once more after the connection
// was lost and made again.
func (r *run) libvirt(what string, f func(*libvirt.Domain) error) error {
	err := f(r.dom)
	if err == nil {
		return nil
	}
	if alive, aliveErr := r.conn.IsAlive(); aliveErr == nil && alive {
		return fmt.Errorf("%s: %w", what, err)
	}
	r.log.Info("The connection to libvirt is lost, connecting again")
	if again := r.reconnect(); again != nil {
		return fmt.Errorf("%s: %w; and connecting again: %w", what, err, again)
	}
	if err := f(r.dom); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// reconnect makes a new connection, and finds the domain in it.
func (r *run) reconnect() error {
	deadline := time.Now().Add(reconnectTime)
	for {
		conn, dom, err := r.dial()
		if err == nil {
			_ = r.dom.Free()
			_, _ = r.conn.Close()
			r.conn, r.dom = conn, dom
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (r *run) dial() (*libvirt.Connect, *libvirt.Domain, error) {
	conn, err := libvirt.NewConnect(r.o.Host.URI)
	if err != nil {
		return nil, nil, err
	}
	dom, err := conn.LookupDomainByUUIDString(r.uuid)
	if err != nil {
		_, _ = conn.Close()
		return nil, nil, err
	}
	return conn, dom, nil
}

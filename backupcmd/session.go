// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"libvirt.org/go/libvirt"

	"virtnb/internal/domainxml"
	"virtnb/internal/host"
	"virtnb/internal/hostargs"
	"virtnb/internal/virt"
)

// reconnectTime is how long a run tries to reach a libvirtd that went away.
// QEMU and its NBD server do not need it, so data flows meanwhile.
const reconnectTime = 30 * time.Second

// connect connects to libvirt and, where that is on another host, to that host.
//
// Our own connection through SSH is the first, before that of the ssh program
// which libvirt runs: it can say what is wrong and what to do, and a host key
// that it accepts is known to that program as well.
func (r *run) connect(ctx context.Context) error {
	r.host = host.Local{}
	if err := r.connectSSH(ctx, r.o.Host.URI); err != nil {
		return err
	}
	var err error
	if r.conn, err = virt.Connect(ctx, r.virtOptions()); err != nil {
		return fmt.Errorf("Cant connect libvirt daemon: [%w]", err)
	}
	far, remote := r.conn.Remote()
	switch {
	case !remote || r.ssh:
		return nil
	case far.SSH(): // the URI was an alias
		return r.connectSSH(ctx, r.conn.URI().String())
	case r.sameHost(ctx, far.Host):
		return nil
	}
	r.log.Info(fmt.Sprintf("Connecting remote system [%s]", far.Host))
	r.host, r.far = unreachable(far.Host), true
	return nil
}

func (r *run) virtOptions() virt.Options {
	h := r.o.Host
	o := virt.Options{URI: h.URI, User: h.User, Password: h.Password, KeyFile: h.SSHPrivateKey, SSHUser: h.SSHUser}
	if h.SSHPort != hostargs.DefaultSSHPort {
		o.SSHPort = h.SSHPort
	}
	return o
}

// connectSSH connects to the host of the domain, for its files and its data,
// where the URI is one of SSH.
func (r *run) connectSSH(ctx context.Context, uri string) error {
	o, remote, err := r.o.Host.SSH(uri)
	if err != nil || !remote {
		return err
	}
	r.log.Info(fmt.Sprintf("Connecting remote system [%s] via ssh, username: [%s]", o.Host, cmp.Or(o.User, "of the configuration of ssh")))
	ssh, err := host.Connect(ctx, o)
	if err != nil {
		return fmt.Errorf("Remote backup detected but ssh session setup failed: [%w]", err)
	}
	r.host, r.ssh, r.far = ssh, true, true
	return nil
}

// sameHost says whether a libvirt that is reached through the network is on
// this machine, so that files and sockets are, too. Machines can have the same
// name, and a tunnel begins at an address of this one, so both have to fit.
func (r *run) sameHost(ctx context.Context, address string) bool {
	here, err := os.Hostname()
	there, thereErr := r.conn.GetHostname()
	return err == nil && thereErr == nil && sameName(here, there) && isHere(ctx, address)
}

// sameName compares the kernel's name of this machine with libvirt's of its
// own, which has the domain where the resolver knows one.
func sameName(here, there string) bool {
	return here == there || strings.HasPrefix(there, here+".")
}

// isHere says whether all addresses of a name are those of this machine.
func isHere(ctx context.Context, name string) bool {
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return false
	}
	ours, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return len(addresses) > 0 && !slices.ContainsFunc(addresses, func(a netip.Addr) bool {
		return !a.IsLoopback() && !slices.ContainsFunc(ours, func(o net.Addr) bool {
			p, err := netip.ParsePrefix(o.String())
			return err == nil && p.Addr() == a.Unmap().WithZone("")
		})
	})
}

// remote says whether the domain's files are on another machine.
func (r *run) remote() bool { return r.far }

// overSSH says whether they can be reached.
func (r *run) overSSH() bool { return r.ssh }

// lateAnswer is how long the end of a run waits for a guest agent that did not
// answer in time: a guest that freezes later would stay so.
const lateAnswer = time.Minute

func (r *run) disconnect() {
	ctx, cancel := context.WithTimeout(context.Background(), lateAnswer)
	defer cancel()
	if err := virt.WaitLate(ctx); err != nil {
		r.log.Warn(fmt.Sprintf("If the guest freezes its file systems now, thaw them with \"virsh domfsthaw %s\": %v", r.o.Domain, err))
	}
	if r.dom != nil {
		_ = r.dom.Free()
	}
	if r.conn != nil {
		_ = r.conn.Close()
	}
	if r.host != nil {
		_ = r.host.Close()
	}
	if r.domainLock != nil {
		r.domainLock.Close()
	}
}

// findDomain looks the domain up, and keeps other backups of it out.
func (r *run) findDomain(ctx context.Context) (err error) {
	if v, err := r.conn.GetLibVersion(); err == nil {
		r.log.Info(fmt.Sprintf("Libvirt library version: [%d]", v))
	}
	if r.dom, err = r.conn.Domain(r.o.Domain); err != nil {
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
		err = fmt.Errorf("Domain is missing required incremental-backup capability.")
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

// reconnect makes a new connection, and finds the domain in it. A libvirtd that
// did not come back once is not waited for again.
func (r *run) reconnect() error {
	deadline := time.Now().Add(reconnectTime)
	if r.gaveUp {
		deadline = time.Now()
	}
	for {
		conn, dom, err := r.dial()
		if err == nil {
			_ = r.dom.Free()
			_ = r.conn.Close()
			r.conn, r.dom = conn, dom
			return nil
		}
		if time.Now().After(deadline) {
			r.gaveUp = true
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (r *run) dial() (*virt.Connection, *libvirt.Domain, error) {
	ctx, cancel := context.WithTimeout(context.Background(), reconnectTime)
	defer cancel()
	conn, err := virt.Connect(ctx, r.virtOptions())
	if err != nil {
		return nil, nil, err
	}
	dom, err := conn.LookupDomainByUUIDString(r.uuid)
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, dom, nil
}

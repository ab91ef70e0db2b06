// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"

	"virtnb/internal/domainxml"
	"virtnb/internal/virt"
)

// checkDefine finds out, before anything is restored, whether the domain can be
// defined afterwards.
func (r *run) checkDefine(ctx context.Context, p *plan) error {
	if !r.o.Define {
		return nil
	}
	conn, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if far, remote := conn.Remote(); remote && r.far == "" && !sameHost(conn) {
		return fmt.Errorf("the disks would be restored on this machine and the domain defined on %s: use a URI with qemu+ssh to restore to that one", far.Host)
	}
	return wantNoDomain(conn, p.xml.Name)
}

// sameHost says whether a libvirt that is reached through the network is on
// this machine.
func sameHost(conn *virt.Connection) bool {
	here, err := os.Hostname()
	there, thereErr := conn.GetHostname()
	return err == nil && thereErr == nil && here == there
}

// wantNoDomain refuses to replace a domain.
func wantNoDomain(conn *virt.Connection, name string) error {
	dom, err := conn.LookupDomainByName(name)
	if err != nil {
		return nil // or a fault of the connection, which defining meets, too
	}
	_ = dom.Free()
	return fmt.Errorf("a domain %s is defined already: choose another name with -N, or undefine it", name)
}

// define defines the restored domain, which starts by itself where the original
// did.
func (r *run) define(ctx context.Context, p *plan) error {
	conn, err := r.connect(ctx)
	if err == nil {
		defer conn.Close()
		err = r.defineAt(conn, p)
	}
	if err != nil {
		return fmt.Errorf("%w; the disks are restored, and virsh define %s defines the domain", err, r.configPath(p))
	}
	return nil
}

func (r *run) defineAt(conn *virt.Connection, p *plan) error {
	name := p.xml.Name
	if err := wantNoDomain(conn, name); err != nil {
		return err
	}
	r.log.Info("Defining the restored domain based on the adjusted config.")
	dom, err := conn.DomainDefineXMLFlags(string(p.xml.XML), 0)
	if err != nil {
		return peersError("Failed to define domain: [%w]", err)
	}
	defer dom.Free()
	r.log.Info(fmt.Sprintf("Successfully defined domain [%s]", name))
	r.ui.answer.Defined = name
	if _, ok := p.set.SavedFiles(p.point)["autostart"]; ok {
		r.log.Info("Setting autostart configuration.")
		if err := dom.SetAutostart(true); err != nil {
			return fmt.Errorf("autostart of domain %s: %w", name, err)
		}
	}
	r.refreshPool(conn, p.folder())
	return nil
}

func (r *run) connect(ctx context.Context) (*virt.Connection, error) {
	h := r.o.Host
	conn, err := virt.Connect(ctx, virt.Options{URI: h.URI, User: h.User, Password: h.Password, KeyFile: h.SSHPrivateKey})
	if err != nil {
		return nil, peersError("Cant connect libvirt daemon: [%w]", err)
	}
	return conn, nil
}

// refreshPool lets libvirt see the new files, where the folder is one of its
// pools.
func (r *run) refreshPool(conn *virt.Connection, folder string) {
	pool, err := conn.LookupStoragePoolByTargetPath(folder)
	if err != nil {
		return
	}
	defer pool.Free()
	if err := pool.Refresh(0); err != nil {
		r.log.Warn(fmt.Sprintf("The storage pool of [%s] does not refresh: [%v]", folder, err))
	}
}

// networkOf is an NBD export as a disk of a domain.
func networkOf(uri string) *domainxml.Network {
	n := &domainxml.Network{Protocol: "nbd"}
	u, err := url.Parse(uri)
	if err != nil {
		return n
	}
	n.Name = strings.TrimPrefix(u.Path, "/")
	n.TLS = strings.HasPrefix(u.Scheme, "nbds")
	h := domainxml.NetworkHost{Name: u.Hostname(), Port: u.Port(), Transport: "tcp"}
	if strings.HasSuffix(u.Scheme, "+unix") {
		h = domainxml.NetworkHost{Transport: "unix", Socket: u.Query().Get("socket")}
	}
	n.Hosts = []domainxml.NetworkHost{h}
	return n
}

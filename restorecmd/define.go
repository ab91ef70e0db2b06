// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"libvirt.org/go/libvirt"

	"virtnb/internal/domainxml"
)

// define defines the restored domain, which starts by itself where the original
// did. A domain of that name is not replaced.
func (r *run) define(ctx context.Context, p *plan, xml, name string) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	conn, err := r.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	if dom, err := conn.LookupDomainByName(name); err == nil {
		_ = dom.Free()
		return fmt.Errorf("a domain %s is defined already: choose another name with -N, or undefine it; the disks are restored, and virsh define %s defines the new one", name, r.configPath(p))
	}
	r.log.Info("Defining the restored domain based on the adjusted config.")
	dom, err := conn.DomainDefineXMLFlags(xml, 0)
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

func (r *run) connect() (*libvirt.Connect, error) {
	conn, err := libvirt.NewConnect(r.o.Host.URI)
	if err != nil {
		return nil, peersError("Cant connect libvirt daemon: [%w]", err)
	}
	return conn, nil
}

// refreshPool lets libvirt see the new files, where the folder is one of its
// pools.
func (r *run) refreshPool(conn *libvirt.Connect, folder string) {
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

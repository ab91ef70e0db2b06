// SPDX-License-Identifier: Apache-2.0

package virt

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"libvirt.org/go/libvirt"
)

// namesShown is how many names of domains an error lists.
const namesShown = 20

// Domain finds a domain by its name. The error for one that is not there lists
// those that are, and has [libvirt.ERR_NO_DOMAIN]. Free it.
func (c *Connection) Domain(name string) (*libvirt.Domain, error) {
	dom, err := c.LookupDomainByName(name)
	if !errors.Is(err, libvirt.ERR_NO_DOMAIN) {
		return dom, Failed("domain "+name, err)
	}
	names, listErr := c.DomainNames()
	if listErr != nil {
		return nil, Failed("domain "+name, err)
	}
	return nil, &noDomain{name, c.uri.Redacted(), names, err}
}

// noDomain is the error for a domain that is not there.
type noDomain struct {
	name, uri string
	names     []string
	err       error
}

func (e *noDomain) Error() string {
	text := fmt.Sprintf("there is no domain %q at %s; ", e.name, e.uri)
	switch n := len(e.names); {
	case n == 0:
		return text + "there is none at all"
	case n > namesShown:
		return text + fmt.Sprintf("there are %s and %d more", strings.Join(e.names[:namesShown], ", "), n-namesShown)
	}
	return text + "there are: " + strings.Join(e.names, ", ")
}

func (e *noDomain) Unwrap() error { return e.err }

// DomainNames lists all domains, sorted.
func (c *Connection) DomainNames() ([]string, error) {
	doms, err := c.ListAllDomains(0)
	if err != nil {
		return nil, Failed("list the domains", err)
	}
	var names []string
	for i := range doms {
		if name, err := doms[i].GetName(); err == nil {
			names = append(names, name)
		}
		_ = doms[i].Free() // of a reference that we have
	}
	slices.Sort(names)
	return names, nil
}

// State is the state of a domain, and the reason that libvirt gives for it.
type State struct {
	State  libvirt.DomainState
	Reason int
}

// StateOf asks for the state of a domain.
func StateOf(dom *libvirt.Domain) (State, error) {
	state, reason, err := dom.GetState()
	return State{state, reason}, Failed("state of the domain", err)
}

// Off says that no hypervisor runs for the domain.
func (s State) Off() bool {
	return s.State == libvirt.DOMAIN_SHUTOFF || s.State == libvirt.DOMAIN_CRASHED
}

// Running says that the guest's CPUs run, so that its agent can answer.
func (s State) Running() bool {
	return s.State == libvirt.DOMAIN_RUNNING || s.State == libvirt.DOMAIN_BLOCKED || s.State == libvirt.DOMAIN_SHUTDOWN
}

// String is the state in the words of virsh.
func (s State) String() string {
	switch s.State {
	case libvirt.DOMAIN_RUNNING:
		return "running"
	case libvirt.DOMAIN_BLOCKED:
		return "idle"
	case libvirt.DOMAIN_PAUSED:
		return "paused"
	case libvirt.DOMAIN_SHUTDOWN:
		return "in shutdown"
	case libvirt.DOMAIN_SHUTOFF:
		return "shut off"
	case libvirt.DOMAIN_CRASHED:
		return "crashed"
	case libvirt.DOMAIN_PMSUSPENDED:
		return "pmsuspended"
	}
	return "no state"
}

// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"regexp"
	"slices"
	"strings"

	"github.com/beevik/etree"
)

// The XML of a running domain holds what libvirt chose when it started it:
// ports, taps, sockets, security labels. libvirt ignores most of this when a
// domain is defined; the rest would be taken for the user's choice, and clash
// with the domain that it was chosen for. Backups hold the live XML.
//
// What cannot be told from a choice stays: a host-model CPU that was expanded,
// firmware that was found for firmware='efi'.

// dropLive removes the state of a running domain.
func dropLive(root *etree.Element) {
	removeAttrs(root, "id")
	remove(slices.DeleteFunc(children(root, "seclabel"), keepLabel)...)
	for _, e := range child(root, "devices").NotNil().ChildElements() {
		dropAliases(e)
		switch e.FullTag() {
		case "interface":
			dropLiveNetwork(e)
		case "serial", "console", "parallel", "channel":
			dropLiveCharacters(e)
		case "graphics":
			dropLiveGraphics(e)
		case "memory":
			remove(children(child(e, "target"), "current")...)
		case "vsock":
			if cid := child(e, "cid"); attr(cid, "auto") == "yes" {
				removeAttrs(cid, "address")
			}
		}
	}
}

// dropAliases removes the aliases that libvirt gives; those of users start with
// "ua-", and QEMU arguments may rely on them.
func dropAliases(e *etree.Element) {
	remove(slices.DeleteFunc(children(e, "alias"), func(a *etree.Element) bool {
		return strings.HasPrefix(attr(a, "name"), "ua-")
	})...)
}

// keepLabel tells whether a security label is of interest: not a dynamic one,
// which libvirt gives to every domain where the host has the security driver
// (and where it has not, a domain with one does not start). Of one that is, only
// what a user said is left.
func keepLabel(e *etree.Element) bool {
	remove(children(e, "imagelabel")...)
	if attr(e, "type") != "dynamic" {
		return true
	}
	remove(children(e, "label")...)
	return child(e, "baselabel") != nil || attr(e, "relabel") == "no"
}

// generatedTap are the names that libvirt makes; a user cannot choose them.
var generatedTap = regexp.MustCompile(`^(vnet|macvtap|macvlan)[0-9]+$`)

// dropLiveNetwork goes back from what a virtual network led to, a bridge or a
// device of the host, to the network.
func dropLiveNetwork(e *etree.Element) {
	source := child(e, "source")
	removeAttrs(source, "portid")
	if attr(source, "network") != "" {
		setAttr(e, "type", "network")
		removeAttrs(source, "bridge", "dev", "mode")
	}
	if t := child(e, "target"); generatedTap.MatchString(attr(t, "dev")) && attr(t, "managed") != "no" {
		remove(t)
	}
	remove(children(e, "actual")...)
}

// generatedSocket are the paths of sockets that libvirt makes for a domain.
var generatedSocket = regexp.MustCompile(`/libvirt/qemu/((run|lib)/)?(channel|domain-[^/]*)/`)

func dropLiveCharacters(e *etree.Element) {
	source := child(e, "source")
	switch attr(e, "type") {
	case "pty":
		removeAttrs(e, "tty")
		if attr(source, "path") != "" {
			remove(source)
		}
	case "unix":
		if generatedSocket.MatchString(attr(source, "path")) {
			remove(source)
		}
	}
	removeAttrs(child(e, "target"), "state")
}

func dropLiveGraphics(e *etree.Element) {
	if attr(e, "autoport") == "yes" {
		removeAttrs(e, "port", "tlsPort")
	}
	if generatedSocket.MatchString(attr(e, "socket")) {
		removeAttrs(e, "socket")
	}
	for i, l := range children(e, "listen") {
		if generatedSocket.MatchString(attr(l, "socket")) {
			removeAttrs(l, "socket")
		}
		if attr(l, "type") != "network" {
			continue
		}
		removeAttrs(l, "address")
		if i == 0 { // the attribute repeats the first element's address
			removeAttrs(e, "listen")
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/beevik/etree"
)

// newMACs gives every network card an address that no other card of the domain
// has or had, and takes away what else a host can have only once.
func newMACs(root *etree.Element) {
	cards := children(child(root, "devices"), "interface")
	used := map[string]bool{}
	for _, e := range cards {
		used[strings.ToLower(attr(child(e, "mac"), "address"))] = true
	}
	for _, e := range cards {
		mac := child(e, "mac")
		if mac == nil {
			continue // libvirt makes one
		}
		old, unique := attr(mac, "address"), randomMAC(used)
		setAttr(mac, "address", unique)
		for _, p := range children(child(e, "filterref"), "parameter") {
			if old != "" && strings.EqualFold(attr(p, "value"), old) {
				setAttr(p, "value", unique)
			}
		}
		// libvirt makes these as well. A tap that it does not manage exists on
		// the host, and the card cannot do without.
		removeAttrs(child(e, "virtualport", "parameters"), "interfaceid", "instanceid")
		if t := child(e, "target"); attr(t, "managed") != "no" {
			remove(t)
		}
	}
}

// randomMAC makes an address in the range of QEMU and KVM, and notes it.
func randomMAC(used map[string]bool) string {
	for {
		var b [3]byte
		rand.Read(b[:]) // never fails
		mac := fmt.Sprintf("52:54:00:%02x:%02x:%02x", b[0], b[1], b[2])
		if !used[mac] {
			used[mac] = true
			return mac
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

module libvirt.org/go/libvirt

go 1.26

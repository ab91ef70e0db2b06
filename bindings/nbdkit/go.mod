// SPDX-License-Identifier: Apache-2.0

module libguestfs.org/nbdkit

go 1.26

// SPDX-License-Identifier: Apache-2.0

package format

import "golang.org/x/sys/cpu"

// adlerVectors says whether adlerVector can be used.
var adlerVectors = cpu.X86.HasAVX2

// adlerVector adds up n bytes from p on, a multiple of 32 other than 0 and at
// most adlerVectorMax. sums[0] are sums of the bytes; sums[1] are sums of
// the values that those had before each 32 bytes; sums[2] are, as two numbers of
// 32 bits in each, sums of bytes times 32 for the first of each 32 bytes to 1
// for the last.
//
//go:noescape
func adlerVector(p *byte, n int, sums *[3][4]uint64)

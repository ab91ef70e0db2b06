// SPDX-License-Identifier: Apache-2.0

// Package size reads sizes in bytes as people write them in options.
package size

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Parse reads a number of bytes with or without a unit, as in 64M, 64MiB or
// 1G. The units are powers of 1024. It is more than 0.
func Parse(text string) (int64, error) {
	number := strings.TrimRight(text, "iBbKkMmGgTt")
	unit := strings.ToUpper(strings.TrimSuffix(strings.TrimSuffix(text[len(number):], "B"), "i"))
	n, err := strconv.ParseInt(number, 10, 64)
	shift, known := map[string]int{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[unit]
	if err != nil || !known || n <= 0 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is not a size like 64M or 1G", text)
	}
	return n << shift, nil
}

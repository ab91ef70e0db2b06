// SPDX-License-Identifier: Apache-2.0

package size

import "testing"

func TestParse(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "512B": 512, "64k": 64 << 10, "64M": 64 << 20, "64MiB": 64 << 20, "64MB": 64 << 20, "1G": 1 << 30, "8388607T": 8388607 << 40,
	} {
		if n, err := Parse(text); err != nil || n != want {
			t.Errorf("%s: %d, %v", text, n, err)
		}
	}
	for _, text := range []string{"", "M", "0", "-1M", "1.5G", "1P", "1 M", "1Mx", "8388608T", "99999999999999999999"} {
		if n, err := Parse(text); err == nil {
			t.Errorf("%s: %d", text, n)
		}
	}
}

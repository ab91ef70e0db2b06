// SPDX-License-Identifier: Apache-2.0

package hostargs

import (
	"slices"
	"testing"
)

func TestSecrets(t *testing.T) {
	for _, c := range []struct {
		uri, password string
		want          []string
	}{
		{"qemu:///system", "", nil},
		{"qemu:///system", "geheim", []string{"geheim"}},
		{"qemu+ssh://root:p%40ss@host/system", "", []string{"p@ss"}},
		{"qemu+ssh://root@host/system", "", nil},
		{"esx://a:b@host/?no_verify=1", "c", []string{"c", "b"}},
		{"::", "c", []string{"c"}},
	} {
		if got := (Host{URI: c.uri, Password: c.password}).Secrets(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q", c.uri, got)
		}
	}
}

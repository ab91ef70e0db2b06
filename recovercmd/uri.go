// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"net/url"
	"strings"
)

// nbdURI names an export on a Unix socket.
func nbdURI(socket, export string) string {
	u := url.URL{Scheme: "nbd+unix", Path: "/" + export, RawQuery: "socket=" + escaped.Replace(url.QueryEscape(socket))}
	return u.String()
}

// escaped undoes what QueryEscape does to slashes, and to spaces, which libnbd
// and QEMU do not read.
var escaped = strings.NewReplacer("%2F", "/", "+", "%20")

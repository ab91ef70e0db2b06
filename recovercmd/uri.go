// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"net/url"
	"strings"
)

// nbdURI names an export on a Unix socket.
func nbdURI(socket, export string) string {
	u := url.URL{Scheme: "nbd+unix", Path: "/" + export, RawQuery: "socket=" + strings.ReplaceAll(url.QueryEscape(socket), "+", "%20")}
	return u.String()
}

// SPDX-License-Identifier: Apache-2.0

package host

import "strings"

// quoter ends the single quotes around what a shell may see inside them: the
// quote itself, and the backslash, which fish interprets there.
var quoter = strings.NewReplacer(`'`, `'\''`, `\`, `'\\'`)

// Quote makes s one word of a command line, in sh and the shells like it, and
// in fish and csh (there without line ends).
func Quote(s string) string {
	return "'" + quoter.Replace(s) + "'"
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Quote(w)
	}
	return strings.Join(quoted, " ")
}

// SPDX-License-Identifier: Apache-2.0

package logfile

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// hidden stands where a password was.
const hidden = "***"

// Passwords that nobody told us about: in URIs (user:password@host), in
// options, in assignments and attributes of XML (password=, passwd=”).
var passwordPatterns = []*regexp.Regexp{
	regexp.MustCompile(`(://[^\s/:@]*:)[^\s/]*(@)`),
	regexp.MustCompile(`(--pas[a-z]*[= ])(?:"[^"]*"|'[^']*'|[^\s"']\S*)()`),
	regexp.MustCompile(`(?i)((?:password|passwd|passphrase)(?:\s*=\s*|["']\s*:\s*))(?:"[^"]*"|'[^']*'|[^\s"']\S*)()`),
}

// redactor takes passwords out of text.
type redactor struct{ secrets *strings.Replacer }

// newRedactor hides the secrets wherever they stand, also as they are written
// in URIs and in quotes.
func newRedactor(secrets []string) redactor {
	var all []string
	for _, s := range secrets {
		quoted := strconv.Quote(s)
		all = append(all, s, quoted[1:len(quoted)-1], url.QueryEscape(s), url.PathEscape(s),
			strings.TrimPrefix(url.UserPassword("", s).String(), ":"))
	}
	// The longest first: one may be a part of another.
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	var pairs []string
	for _, s := range slices.Compact(all) {
		if s != "" {
			pairs = append(pairs, s, hidden)
		}
	}
	return redactor{strings.NewReplacer(pairs...)}
}

func (r redactor) redact(text string) string {
	text = r.secrets.Replace(text)
	for _, p := range passwordPatterns {
		text = p.ReplaceAllString(text, "${1}"+hidden+"${2}")
	}
	return text
}

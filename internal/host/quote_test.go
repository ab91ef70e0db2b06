// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestQuote has shells read random words, most of them made of what they treat
// specially.
func TestQuote(t *testing.T) {
	word := rapid.StringOfN(rapid.OneOf(rapid.RuneFrom([]rune("'\\\"$`! \n\t;&|<>*?~#{}()ab")), rapid.Rune()), 0, 20, -1).
		Filter(func(s string) bool { return !strings.Contains(s, "\x00") })
	for _, shell := range []string{"sh", "bash"} {
		t.Run(shell, rapid.MakeCheck(func(t *rapid.T) {
			words := rapid.SliceOfN(word, 1, 10).Draw(t, "words")
			out, err := exec.Command(shell, "-c", `printf '%s\0' `+quoteAll(words)).Output()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); !slices.Equal(got, words) {
				t.Fatalf("got %q", got)
			}
		}))
	}
}

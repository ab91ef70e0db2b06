// SPDX-License-Identifier: Apache-2.0

package argparse

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func (o *Option) takesValue() bool {
	switch o.Into.(type) {
	case *bool, error:
		return false
	}
	return true
}

// name is how errors call the option: -d/--domain.
func (o *Option) name() string { return strings.Join(o.Names, "/") }

func (o *Option) errorf(format string, args ...any) error {
	return &UsageError{"argument " + o.name() + ": " + fmt.Sprintf(format, args...)}
}

// set stores the value.
func (o *Option) set(value string) (err error) {
	switch into := o.Into.(type) {
	case error:
		return into
	case *bool:
		*into = true
		return nil
	case *string:
		if len(o.Choices) > 0 && !slices.Contains(o.Choices, value) {
			return o.errorf("invalid choice: %s (choose from %s)", quote(value), quoteAll(o.Choices))
		}
		*into = value
		return nil
	case func(string) error:
		if err := into(value); err != nil {
			return o.errorf("%v", err)
		}
		return nil
	}
	n, err := parseInt(value)
	if err != nil {
		return o.errorf("invalid int value: %s", quote(value))
	}
	switch into := o.Into.(type) {
	case *int:
		*into = int(n)
	case *int64:
		*into = n
	case **int:
		m := int(n)
		*into = &m
	default:
		panic(fmt.Sprintf("option %s: cannot store into %T", o.name(), into))
	}
	return nil
}

// parseInt reads a number as Python's int does: in decimal, with blanks around
// it and single underscores between digits.
func parseInt(s string) (int64, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "_") || strings.HasSuffix(s, "_") || strings.Contains(s, "__") ||
		strings.HasPrefix(s, "+_") || strings.HasPrefix(s, "-_") {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
}

// quote writes a string as Python shows it in messages.
func quote(s string) string {
	q := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = `"`
	}
	var b strings.Builder
	b.WriteString(q)
	for _, r := range s {
		switch {
		case r == '\\' || string(r) == q:
			b.WriteString(`\` + string(r))
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String() + q
}

func quoteAll(list []string) string {
	var quoted []string
	for _, s := range list {
		quoted = append(quoted, quote(s))
	}
	return strings.Join(quoted, ", ")
}

// Name stores a name that must not be empty, for the Into of an option: an
// empty one comes from a script's variable that is not set, and would stand for
// everything. What says of what it is the name.
func Name(what string, into *string) func(string) error {
	return func(text string) error {
		if text == "" {
			return fmt.Errorf("expected the name of %s", what)
		}
		*into = text
		return nil
	}
}

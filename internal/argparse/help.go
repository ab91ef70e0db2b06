// SPDX-License-Identifier: Apache-2.0

package argparse

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Columns of the help: where the texts begin, and the least that they get.
const (
	textColumn   = 24
	leastColumns = 40
)

// Usage is the summary of the options, in lines of the terminal's width.
func (p *Parser) Usage() string {
	head := "usage: " + p.Prog
	var parts []string
	for o := range p.options() {
		part := o.Names[0] + o.valueUsage()
		if !o.Required {
			part = "[" + part + "]"
		}
		parts = append(parts, part)
	}
	indent := strings.Repeat(" ", len(head)+1)
	return head + " " + strings.Join(fill(parts, columns()-len(indent)), "\n"+indent) + "\n"
}

// Help is the whole help.
func (p *Parser) Help() string {
	var b strings.Builder
	b.WriteString(p.Usage())
	b.WriteString("\n" + strings.Join(fill(strings.Fields(p.Description), columns()), "\n") + "\n")
	for _, g := range p.Groups {
		b.WriteString("\n" + g.Title + ":\n")
		for i := range g.Options {
			g.Options[i].describe(&b)
		}
	}
	if p.Epilog != "" {
		b.WriteString("\n" + p.Epilog)
	}
	return b.String()
}

func (o *Option) describe(b *strings.Builder) {
	head := "  " + strings.Join(o.Names, ", ") + o.valueUsage()
	if o.Help == "" || len(head)+2 > textColumn {
		b.WriteString(head + "\n")
		head = ""
	}
	for _, line := range fill(strings.Fields(o.Help), columns()-textColumn) {
		fmt.Fprintf(b, "%-*s%s\n", textColumn, head, line)
		head = ""
	}
}

// valueUsage is what follows the name of the option, with a space before it.
func (o *Option) valueUsage() string {
	value := o.Value
	if value == "" {
		value = strings.ToUpper(strings.TrimLeft(o.Names[len(o.Names)-1], "-"))
	}
	if len(o.Choices) > 0 {
		value = "{" + strings.Join(o.Choices, ",") + "}"
	}
	switch {
	case !o.takesValue():
		return ""
	case o.Bare != "":
		return " [" + value + "]"
	}
	return " " + value
}

// fill joins words to lines no longer than width, unless a word is.
func fill(words []string, width int) (lines []string) {
	line := ""
	for _, w := range words {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(w) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// columns is the width for help: that of the terminal if COLUMNS tells it,
// less the two that argparse leaves free.
func columns() int {
	n, err := strconv.Atoi(os.Getenv("COLUMNS"))
	if err != nil || n <= 0 {
		n = 80
	}
	return max(n-2, leastColumns)
}

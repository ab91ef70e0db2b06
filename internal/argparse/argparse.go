// SPDX-License-Identifier: Apache-2.0

// Package argparse reads command lines as Python's argparse does, for commands
// that take the place of a Python program: its users' scripts abbreviate
// options, cluster flags and leave out values in the way that argparse allows,
// and count on its exit statuses.
//
// Describe the options in a Parser, with a place in memory for each value, set
// the defaults there, and call Run or Parse.
//
// Left out, because the programs concerned do not use it: positional
// arguments, options that take several values, subcommands, files of arguments.
package argparse

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// What Into of an option for help or for the version is set to, and what Parse
// then returns.
var (
	ErrHelp    = errors.New("help requested")
	ErrVersion = errors.New("version requested")
)

// exitUsage is the exit status of argparse for a wrong command line.
const exitUsage = 2

// UsageError says what is wrong with a command line, in argparse's words.
type UsageError struct{ Message string }

func (e *UsageError) Error() string { return e.Message }

// Option is an option and the place for its value.
type Option struct {
	// Names as they are typed, "-d" before "--domain".
	Names []string
	// Into is where the value goes: a *bool, which makes the option a flag
	// without a value; a *string, *int or *int64; a **int for a number that
	// is nil as long as the option is not given; a func(string) error, whose
	// error is shown; or ErrHelp or ErrVersion, which end the parsing.
	Into any
	// Value names the value in the help; without it, the long name does.
	Value string
	// Choices are all that a *string can become, if not empty.
	Choices []string
	// Bare is the value when none follows. If it is empty, one must follow.
	Bare string
	// Required makes a command line without the option an error.
	Required bool
	// Exact options are not found by a part of their name, and so take no
	// abbreviation away from the other options.
	Exact bool
	Help  string
}

// Group is a section of the help.
type Group struct {
	Title   string
	Options []Option
}

// Parser describes the command line of a program.
type Parser struct {
	Prog        string // as usage and errors name the program
	Description string
	Epilog      string
	Version     string
	Groups      []Group
}

// Run parses args, which are without the name of the program. If it says that
// the program is done, help, the version or an error was printed, and the
// program is to end with that status.
func (p *Parser) Run(args []string, out, errOut io.Writer) (status int, done bool) {
	err := p.Parse(args)
	switch {
	case err == nil:
		return 0, false
	case errors.Is(err, ErrHelp):
		io.WriteString(out, p.Help())
		return 0, true
	case errors.Is(err, ErrVersion):
		fmt.Fprintln(out, p.Version)
		return 0, true
	}
	p.Fail(errOut, err)
	return exitUsage, true
}

// Fail writes the usage and the error, and returns the exit status for it.
func (p *Parser) Fail(errOut io.Writer, err error) (status int) {
	fmt.Fprintf(errOut, "%s%s: error: %v\n", p.Usage(), p.Prog, err)
	return exitUsage
}

// Parse stores the values of args, which are without the name of the program.
// When it returns an error some may be stored already: a *UsageError, ErrHelp
// or ErrVersion.
func (p *Parser) Parse(args []string) error {
	words, err := p.classify(args)
	if err != nil {
		return err
	}
	seen := map[*Option]bool{}
	var extra []string
	for len(words) > 0 {
		n := 1
		if words[0].opt == nil {
			extra = append(extra, words[0].text)
		} else if n, err = p.consume(words, seen); err != nil {
			return err
		}
		words = words[n:]
	}
	return p.complete(seen, extra)
}

// complete fails if a required option is missing or something was not understood.
func (p *Parser) complete(seen map[*Option]bool, extra []string) error {
	var missing []string
	for o := range p.options() {
		if o.Required && !seen[o] {
			missing = append(missing, o.name())
		}
	}
	if missing != nil {
		return &UsageError{"the following arguments are required: " + strings.Join(missing, ", ")}
	}
	if extra != nil {
		return &UsageError{"unrecognized arguments: " + strings.Join(extra, " ")}
	}
	return nil
}

// options walks all options in the order of the help.
func (p *Parser) options() func(yield func(*Option) bool) {
	return func(yield func(*Option) bool) {
		for _, g := range p.Groups {
			for i := range g.Options {
				if !yield(&g.Options[i]) {
					return
				}
			}
		}
	}
}

// find gives the option of that name, or nil.
func (p *Parser) find(name string) *Option {
	for o := range p.options() {
		if slices.Contains(o.Names, name) {
			return o
		}
	}
	return nil
}

// abbreviated gives all options that a long name can be the beginning of.
func (p *Parser) abbreviated(name string) (found []word) {
	for o := range p.options() {
		for _, full := range o.Names {
			if !o.Exact && strings.HasPrefix(full, name) {
				found = append(found, word{opt: o, name: full})
			}
		}
	}
	return found
}

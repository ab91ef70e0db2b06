// SPDX-License-Identifier: Apache-2.0

package argparse

import (
	"fmt"
	"strings"
)

// word is an argument, and the option that it is: opt and the name it was
// found by. Attached is a value in the same argument, nil for none.
type word struct {
	text     string
	value    bool // it can be the value of an option
	opt      *Option
	name     string
	attached *string
}

// classify finds out for each argument whether it is an option. All of them are
// looked at before any takes effect, also before a request for help.
func (p *Parser) classify(args []string) ([]word, error) {
	words := make([]word, len(args))
	for i, a := range args {
		if a == "--" {
			words[i].text = a
			for i++; i < len(args); i++ {
				words[i] = word{text: args[i], value: true}
			}
			break
		}
		var err error
		if words[i], err = p.classifyOne(a); err != nil {
			return nil, err
		}
	}
	return words, nil
}

func (p *Parser) classifyOne(arg string) (word, error) {
	if len(arg) < 2 || arg[0] != '-' {
		return word{text: arg, value: true}, nil
	}
	if o := p.find(arg); o != nil {
		return word{text: arg, opt: o, name: arg}, nil
	}
	name, value, assigned := strings.Cut(arg, "=")
	if o := p.find(name); o != nil && assigned {
		return word{text: arg, opt: o, name: name, attached: &value}, nil
	}
	if !strings.HasPrefix(arg, "--") {
		return p.classifyShort(arg), nil
	}
	found := p.abbreviated(name)
	switch {
	case len(found) > 1:
		var names []string
		for _, w := range found {
			names = append(names, w.name)
		}
		return word{}, &UsageError{fmt.Sprintf("ambiguous option: %s could match %s", arg, strings.Join(names, ", "))}
	case len(found) == 1:
		w := found[0]
		w.text = arg
		if assigned {
			w.attached = &value
		}
		return w, nil
	}
	return word{text: arg, value: strings.Contains(arg, " ")}, nil
}

// classifyShort takes apart "-oVALUE" and "-nv". What is no option is a value
// if it is a negative number or has a space in it.
func (p *Parser) classifyShort(arg string) word {
	if o := p.find(arg[:2]); o != nil {
		rest := arg[2:]
		return word{text: arg, opt: o, name: arg[:2], attached: &rest}
	}
	return word{text: arg, value: isNegative(arg) || strings.Contains(arg, " ")}
}

// isNegative says whether the argument is a number as argparse knows them: -1,
// -1.5, -.5.
func isNegative(arg string) bool {
	whole, fraction, point := strings.Cut(arg[1:], ".")
	digits := func(s string) bool { return strings.Trim(s, "0123456789") == "" }
	return digits(whole) && digits(fraction) && (fraction != "" || whole != "" && !point)
}

// consume reads the option that words begin with, the flags that are clustered
// with it, and its value. It says how many words that were.
func (p *Parser) consume(words []word, seen map[*Option]bool) (n int, err error) {
	type step struct {
		opt   *Option
		value string
	}
	var steps []step
	w := words[0]
	for w.attached != nil && !w.opt.takesValue() {
		if strings.HasPrefix(w.name, "--") || *w.attached == "" {
			return 0, w.opt.errorf("ignored explicit argument %s", quote(*w.attached))
		}
		letter, rest := splitLetter(*w.attached)
		next := p.find("-" + letter)
		if next == nil {
			return 0, w.opt.errorf("ignored explicit argument %s", quote(*w.attached))
		}
		steps = append(steps, step{opt: w.opt})
		w.opt, w.name, w.attached = next, "-"+letter, rest
	}
	n = 1
	last := step{opt: w.opt, value: w.opt.Bare}
	switch {
	case !w.opt.takesValue():
	case w.attached != nil:
		last.value = *w.attached
	case len(words) > 1 && words[1].value:
		last.value = words[1].text
		n = 2
	case w.opt.Bare == "":
		return 0, w.opt.errorf("expected one argument")
	}
	for _, s := range append(steps, last) {
		seen[s.opt] = true
		if err := s.opt.set(s.value); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// splitLetter cuts the next flag off a cluster. What follows it is its value or
// more flags, nil if nothing does; "=" between flag and value belongs to neither.
func splitLetter(cluster string) (letter string, rest *string) {
	r := []rune(cluster)
	if len(r) == 1 {
		return cluster, nil
	}
	value := strings.TrimPrefix(string(r[1:]), "=")
	return string(r[:1]), &value
}

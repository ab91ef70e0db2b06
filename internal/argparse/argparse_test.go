// SPDX-License-Identifier: Apache-2.0

package argparse

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// values are what the options of the tests store.
type values struct {
	Domain, Level, Output, Include string
	Raw, Noprogress, Strict        bool
	Compress, Worker               *int
	Port                           int
	Threshold                      int64
	Memory                         string
}

var errOdd = errors.New("must be even")

// testParser has an option of each kind, with defaults in v.
func testParser(v *values) *Parser {
	*v = values{Level: "copy", Port: 10809}
	return &Parser{
		Prog:        "prog",
		Description: "Does this and that.",
		Epilog:      "Examples:\n  prog -d vm\n",
		Version:     "1.2.3",
		Groups: []Group{
			{Title: "options", Options: []Option{
				{Names: []string{"-h", "--help"}, Into: ErrHelp, Help: "show this help message and exit"},
			}},
			{Title: "General options", Options: []Option{
				{Names: []string{"-d", "--domain"}, Into: &v.Domain, Required: true, Help: "the domain"},
				{Names: []string{"-l", "--level"}, Into: &v.Level, Choices: []string{"copy", "full", "inc"}, Help: "the level (default: copy)"},
				{Names: []string{"-o", "--output"}, Into: &v.Output, Required: true, Help: "the folder that all files go to, or - for a zip archive on the standard output, which can be a pipe"},
				{Names: []string{"-i", "--include"}, Into: &v.Include, Value: "DISK"},
				{Names: []string{"-r", "--raw"}, Into: &v.Raw},
				{Names: []string{"-n", "--noprogress"}, Into: &v.Noprogress},
				{Names: []string{"-e", "--strict"}, Into: &v.Strict},
				{Names: []string{"-z", "--compress"}, Into: &v.Compress, Bare: "2", Value: "LEVEL"},
				{Names: []string{"-w", "--worker"}, Into: &v.Worker},
				{Names: []string{"-P", "--nbd-port"}, Into: &v.Port},
				{Names: []string{"--nbd-ip"}, Into: new(string)},
				{Names: []string{"-T", "--threshold"}, Into: &v.Threshold},
				{Names: []string{"-V", "--version"}, Into: ErrVersion},
				{Names: []string{"--memory"}, Exact: true, Into: func(s string) error {
					if len(s)%2 == 1 {
						return errOdd
					}
					v.Memory = s
					return nil
				}},
			}},
		},
	}
}

func number(n int) *int { return &n }

func TestParse(t *testing.T) {
	type lines map[string]func(*values)
	for line, change := range (lines{
		"":                                func(v *values) {},
		"-r -n":                           func(v *values) { v.Raw, v.Noprogress = true, true },
		"-nr":                             func(v *values) { v.Raw, v.Noprogress = true, true },
		"-n=r":                            func(v *values) { v.Raw, v.Noprogress = true, true },
		"-nlfull":                         func(v *values) { v.Noprogress, v.Level = true, "full" },
		"-nl full":                        func(v *values) { v.Noprogress, v.Level = true, "full" },
		"-nl=full":                        func(v *values) { v.Noprogress, v.Level = true, "full" },
		"-l=inc":                          func(v *values) { v.Level = "inc" },
		"--level=inc":                     func(v *values) { v.Level = "inc" },
		"--le inc":                        func(v *values) { v.Level = "inc" },
		"--l=inc -l full":                 func(v *values) { v.Level = "full" },
		"--noprog":                        func(v *values) { v.Noprogress = true },
		"-i -":                            func(v *values) { v.Include = "-" },
		"-i -1":                           func(v *values) { v.Include = "-1" },
		"-i -1.5":                         func(v *values) { v.Include = "-1.5" },
		"-i -.5":                          func(v *values) { v.Include = "-.5" },
		"-ia=b":                           func(v *values) { v.Include = "a=b" },
		"--inc=a=b":                       func(v *values) { v.Include = "a=b" },
		"--include=":                      func(v *values) { v.Include = "" },
		"-i-n":                            func(v *values) { v.Include = "-n" },
		"-z":                              func(v *values) { v.Compress = number(2) },
		"-z3":                             func(v *values) { v.Compress = number(3) },
		"-z 3":                            func(v *values) { v.Compress = number(3) },
		"-z -3":                           func(v *values) { v.Compress = number(-3) },
		"-z=0":                            func(v *values) { v.Compress = number(0) },
		"-z -n":                           func(v *values) { v.Compress, v.Noprogress = number(2), true },
		"-nz 7":                           func(v *values) { v.Compress, v.Noprogress = number(7), true },
		"-nz":                             func(v *values) { v.Compress, v.Noprogress = number(2), true },
		"--compress":                      func(v *values) { v.Compress = number(2) },
		"--compress=0":                    func(v *values) { v.Compress = number(0) },
		"--comp 16":                       func(v *values) { v.Compress = number(16) },
		"-w 1_0 -P +5":                    func(v *values) { v.Worker, v.Port = number(10), 5 },
		"-T 9000000000":                   func(v *values) { v.Threshold = 9000000000 },
		"--memory 64":                     func(v *values) { v.Memory = "64" },
		"--memory=6464":                   func(v *values) { v.Memory = "6464" },
		"--nbd-p 1 -w -3 --work 2 -z -z4": func(v *values) { v.Port, v.Worker, v.Compress = 1, number(2), number(4) },
	}) {
		var got, want values
		testParser(&want)
		want.Domain, want.Output = "vm", "out"
		change(&want)
		args := append(strings.Fields(line), "-d", "vm", "--out", "out")
		if err := testParser(&got).Parse(args); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", args, got, err)
		}
	}
}

func TestParseValuesWithBlanks(t *testing.T) {
	var v values
	if err := testParser(&v).Parse([]string{"-d", "-my vm", "-o", "", "-i", "--a b", "-w", " 4 "}); err != nil {
		t.Fatal(err)
	}
	if v.Domain != "-my vm" || v.Output != "" || v.Include != "--a b" || *v.Worker != 4 {
		t.Errorf("%+v", v)
	}
}

func TestParseErrors(t *testing.T) {
	for line, want := range map[string]string{
		"":                  "the following arguments are required: -d/--domain, -o/--output",
		"-d vm":             "the following arguments are required: -o/--output",
		"-d vm -o":          "argument -o/--output: expected one argument",
		"-d vm -o -- x":     "argument -o/--output: expected one argument",
		"-d -r -o x":        "argument -d/--domain: expected one argument",
		"-d vm -o x y z":    "unrecognized arguments: y z",
		"-d vm -o x -y 1":   "unrecognized arguments: -y 1",
		"-d vm -o x --yes":  "unrecognized arguments: --yes",
		"-d vm -o x -- y":   "unrecognized arguments: -- y",
		"-d vm -o x -z a":   "argument -z/--compress: invalid int value: 'a'",
		"-d vm -o x -z 2 3": "unrecognized arguments: 3",
		"-d vm -o x --nbd":  "ambiguous option: --nbd could match --nbd-port, --nbd-ip",
		"-d vm --nbd-=7":    "ambiguous option: --nbd-=7 could match --nbd-port, --nbd-ip",
		"-l fully":          "argument -l/--level: invalid choice: 'fully' (choose from 'copy', 'full', 'inc')",
		"-l o'full":         `argument -l/--level: invalid choice: "o'full" (choose from 'copy', 'full', 'inc')`,
		"-w=":               "argument -w/--worker: invalid int value: ''",
		"-w _1":             "argument -w/--worker: invalid int value: '_1'",
		"-w 0x10":           "argument -w/--worker: invalid int value: '0x10'",
		"-w 1.0":            "argument -w/--worker: invalid int value: '1.0'",
		"--raw=1":           "argument -r/--raw: ignored explicit argument '1'",
		"-r1":               "argument -r/--raw: ignored explicit argument '1'",
		"-r=":               "argument -r/--raw: ignored explicit argument ''",
		"-rny":              "argument -n/--noprogress: ignored explicit argument 'y'",
		"--memory 6":        "argument --memory: must be even",
		"--mem 64":          "the following arguments are required: -d/--domain, -o/--output",
		"-d vm -o x --mem":  "unrecognized arguments: --mem",
		"-h --nbd":          "ambiguous option: --nbd could match --nbd-port, --nbd-ip",
		"-hy":               "argument -h/--help: ignored explicit argument 'y'",
	} {
		err := testParser(new(values)).Parse(strings.Fields(line))
		if usage := (*UsageError)(nil); !errors.As(err, &usage) || err.Error() != want {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestParseHelpBeforeErrors(t *testing.T) {
	for line, want := range map[string]error{
		"-h": ErrHelp, "--h": ErrHelp, "-nh": ErrHelp, "-l inc --help -w a": ErrHelp,
		"-V": ErrVersion, "--v -h": ErrVersion,
	} {
		if err := testParser(new(values)).Parse(strings.Fields(line)); err != want {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestRun(t *testing.T) {
	t.Setenv("COLUMNS", "")
	for line, want := range map[string]struct {
		status      int
		done        bool
		out, errOut string
	}{
		"-d a -o b": {},
		"--help":    {0, true, helpText, ""},
		"-V":        {0, true, "1.2.3\n", ""},
		"-d":        {2, true, "", usageText + "prog: error: argument -d/--domain: expected one argument\n"},
	} {
		var out, errOut strings.Builder
		status, done := testParser(new(values)).Run(strings.Fields(line), &out, &errOut)
		if status != want.status || done != want.done || out.String() != want.out || errOut.String() != want.errOut {
			t.Errorf("%s: %d, %v\n%s\n%s", line, status, done, &out, &errOut)
		}
	}
}

const usageText = `usage: prog [-h] -d DOMAIN [-l {copy,full,inc}] -o OUTPUT [-i DISK] [-r] [-n]
            [-e] [-z [LEVEL]] [-w WORKER] [-P NBD-PORT] [--nbd-ip NBD-IP]
            [-T THRESHOLD] [-V] [--memory MEMORY]
`

const helpText = usageText + `
Does this and that.

options:
  -h, --help            show this help message and exit

General options:
  -d, --domain DOMAIN   the domain
  -l, --level {copy,full,inc}
                        the level (default: copy)
  -o, --output OUTPUT   the folder that all files go to, or - for a zip
                        archive on the standard output, which can be a pipe
  -i, --include DISK
  -r, --raw
  -n, --noprogress
  -e, --strict
  -z, --compress [LEVEL]
  -w, --worker WORKER
  -P, --nbd-port NBD-PORT
  --nbd-ip NBD-IP
  -T, --threshold THRESHOLD
  -V, --version
  --memory MEMORY

Examples:
  prog -d vm
`

func TestHelpFollowsColumns(t *testing.T) {
	for _, n := range []int{50, 60, 100, 200} {
		t.Setenv("COLUMNS", fmt.Sprint(n))
		for line := range strings.Lines(testParser(new(values)).Help()) {
			if len(strings.TrimRight(line, "\n")) > n-2 {
				t.Errorf("COLUMNS=%d: %q", n, line)
			}
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package argparse

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os/exec"
	"reflect"
	"testing"
)

// python is the one that virtnbdbackup runs with.
const python = "/usr/bin/python3"

// pythonParser is testParser in Python, without the option that is found by
// its whole name only. It answers each line of arguments on stdin with the
// values, or with the status that the program ends with.
const pythonParser = `
import argparse, contextlib, io, json, sys
p = argparse.ArgumentParser(prog="prog")
p.add_argument("-d", "--domain", required=True)
p.add_argument("-l", "--level", default="copy", choices=["copy", "full", "inc"])
p.add_argument("-o", "--output", required=True)
p.add_argument("-i", "--include", default="")
p.add_argument("-r", "--raw", action="store_true")
p.add_argument("-n", "--noprogress", action="store_true")
p.add_argument("-e", "--strict", action="store_true")
p.add_argument("-z", "--compress", nargs="?", type=int, const=2)
p.add_argument("-w", "--worker", type=int)
p.add_argument("-P", "--nbd-port", type=int, default=10809, dest="port")
p.add_argument("--nbd-ip", default="", dest="ip")
p.add_argument("-T", "--threshold", type=int, default=0)
p.add_argument("-V", "--version", action="version", version="1.2.3")
for line in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            answer = {k.capitalize(): v for k, v in vars(p.parse_args(line)).items()}
            del answer["Ip"]
        except SystemExit as e:
            answer = {"Exit": e.code}
    print(json.dumps(answer))
`

// vocabulary of the random command lines. Left out is what the versions of
// Python disagree about: "=" and "" in clusters, "--" among values, help
// together with what is wrong in other ways.
var vocabulary = []string{
	"-d", "--domain", "--dom=a", "-da", "-dd", "-l", "--level", "-lfull", "--le=inc", "full", "inc", "-o", "-o-", "-", "--out", "--output=",
	"-i", "-ix=y", "--inc", "-r", "-n", "-e", "-rn", "-ren", "-nz", "-nz3", "-z", "-z4", "-z=5", "--compress", "--comp=0", "--c",
	"-w", "-w2", "--worker", "--w=x", "-P", "--nbd-p", "--nbd", "--nbd-ip", "-T", "--thr", "--raw=", "-nd", "-ndvm", "-nl",
	"1", "-1", "-2.5", "-.5", "-1x", "3", "x y", "-x y", "--x y", "-d x", "", "a", "vm", "-y", "--yes", "_1", "1_0", " 7", "-rw", "-rw4",
}

func TestParseAsPythonDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var lines [][]string
	for range 5000 {
		line := []string{"-d", "vm", "-o", "out"}[:r.IntN(2)*4]
		for range r.IntN(6) {
			line = append(line[:len(line):len(line)], vocabulary[r.IntN(len(vocabulary))])
		}
		lines = append(lines, line)
	}
	accepted := 0
	for i, answer := range askPython(t, pythonParser, lines) {
		var v values
		err := testParser(&v).Parse(lines[i])
		if usage := (*UsageError)(nil); errors.As(err, &usage) != (answer["Exit"] != nil) {
			t.Errorf("%q: %v, but in Python %v", lines[i], err, answer)
			continue
		} else if err != nil {
			continue
		}
		accepted++
		if got := asJSON(t, v); !reflect.DeepEqual(got, answer) {
			t.Errorf("%q: %v, but in Python %v", lines[i], got, answer)
		}
	}
	if accepted < len(lines)/20 {
		t.Errorf("only %d of %d command lines are right: too few to learn from", accepted, len(lines))
	}
}

// askPython runs a program that answers each line with an object.
func askPython(t *testing.T, program string, lines [][]string) (answers []map[string]any) {
	t.Helper()
	var errOut bytes.Buffer
	cmd := exec.CommandContext(t.Context(), python, "-c", program)
	in, err := json.Marshal(lines)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", python, err, &errOut)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	for range lines {
		var a map[string]any
		if err := dec.Decode(&a); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	return answers
}

// asJSON is v as Python would have written it.
func asJSON(t *testing.T, v values) (object map[string]any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &object)
	}
	if err != nil {
		t.Fatal(err)
	}
	delete(object, "Memory")
	return object
}

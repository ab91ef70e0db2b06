// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What users read says what the programs do.

func readDoc(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// renderManual is a man page as a terminal shows it. Warnings are failures.
func renderManual(t *testing.T, path string) string {
	t.Helper()
	ctx := t.Context()
	cmd := exec.CommandContext(ctx, "man", "--warnings", "-E", "UTF-8", "-l", filepath.Join("..", path))
	cmd.Env = append(os.Environ(), "MANWIDTH=80", "LC_ALL=C.UTF-8", "MANROFFOPT=", "MANOPT=")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil || errOut.Len() > 0 {
		t.Fatalf("%s: %v\n%s", path, err, &errOut)
	}
	return out.String()
}

// matches are the first submatches of a pattern in text, and not none.
func matches(t *testing.T, text, pattern string) (list []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	if list == nil {
		t.Fatalf("nothing like %s in\n%s", pattern, text)
	}
	return list
}

// wantLine fails unless a line of text begins, after blanks, with want as a
// word of its own.
func wantLine(t *testing.T, where, text, want string) {
	t.Helper()
	if !regexp.MustCompile(`(?m)^ *` + regexp.QuoteMeta(want) + `\b`).MatchString(text) {
		t.Errorf("%s does not explain %s", where, want)
	}
}

func TestManualsRender(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.1")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no man pages: %v", err)
	}
	for _, page := range pages {
		text := renderManual(t, filepath.Join("docs", filepath.Base(page)))
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "EXIT STATUS", "SEE ALSO"} {
			if !strings.Contains(text, "\n"+section+"\n") {
				t.Errorf("%s has no section %s", page, section)
			}
		}
	}
}

func TestManualOfPluginExplainsParameters(t *testing.T) {
	help := readDoc(t, "plugin/help.txt")
	manual := renderManual(t, "docs/nbdkit-virtnb-plugin.1")
	sample := readDoc(t, "nbdkit-virtnb.conf")
	for _, key := range matches(t, help, `(?m)^\[?([a-z]+=)\]?[A-Z]`) {
		if key == "set=" {
			wantLine(t, "the manual of the plugin", manual, "[set=]DIR")
		} else {
			wantLine(t, "the manual of the plugin", manual, key)
		}
		if !strings.Contains(sample, key) {
			t.Errorf("the sample configuration does not show %s", key)
		}
	}
}

func TestManualOfCommandExplainsFlags(t *testing.T) {
	virtnb, err := built("virtnb")
	if err != nil {
		t.Fatal(err)
	}
	manual := renderManual(t, "docs/virtnb.1")
	help := run(t, virtnb, "--help")
	wantFlags(t, manual, help)
	_, list, _ := strings.Cut(help, "COMMANDS:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for _, command := range matches(t, list, `(?m)^   ([a-z]+)`) {
		wantLine(t, "the manual of virtnb", manual, "virtnb "+command)
		own := manual
		if page := pageOf(command); inRepository(page) {
			own = renderManual(t, page)
		}
		wantFlags(t, own, run(t, virtnb, command, "--help"))
	}
}

// pageOf is where the manual of a command would be that has one.
func pageOf(command string) string {
	switch command {
	case "boot", "recoveries", "resume", "promote", "discard":
		command = "recover"
	}
	return "docs/virtnb-" + command + ".1"
}

// wantFlags fails for each flag of a help text that the manual does not have.
func wantFlags(t *testing.T, manual, help string) {
	t.Helper()
	for _, flag := range matches(t, help, `[ ,](--?[a-z][a-z-]*)`) {
		if !regexp.MustCompile(`(?m)^ *(--[a-z-]+, )?` + flag + `\b`).MatchString(manual) {
			t.Errorf("the manual of virtnb does not explain %s", flag)
		}
	}
}

func TestReadmeNamesFolders(t *testing.T) {
	_, guide, found := strings.Cut(readDoc(t, "README.md"), "\n## Reading the source\n\n")
	if !found {
		t.Fatal("README.md has no such section")
	}
	guide, _, _ = strings.Cut(guide, "\n\n")
	if n := len(strings.Split(guide, "\n")); n != 10 {
		t.Errorf("the guide has %d lines", n)
	}
	for _, name := range matches(t, guide, "`([a-z]+/[^`]*)`") {
		if !inRepository(name) {
			t.Errorf("README.md names %s, which does not exist", name)
		}
	}
	for _, name := range goFolders(t) {
		if !strings.Contains(guide, "`"+name+"/") {
			t.Errorf("README.md does not say what %s/ owns", name)
		}
	}
}

// inRepository says whether a path of the guide leads to something; loader/
// and main/ are told of as parts of plugin/.
func inRepository(name string) bool {
	return slices.ContainsFunc([]string{"..", "../plugin"}, func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	})
}

// goFolders are the folders at the top that have Go code in them.
func goFolders(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" {
			return err
		}
		top, _, nested := strings.Cut(strings.TrimPrefix(path, "../"), "/")
		if nested && top != "tests" && !slices.Contains(names, top) {
			names = append(names, top)
		}
		return nil
	})
	if err != nil || len(names) == 0 {
		t.Fatalf("folders: %v, %v", names, err)
	}
	return names
}

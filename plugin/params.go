// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"virtnb/overlay"
)

// params are the parameters of the plugin. Exactly one of set, root and files
// is given.
type params struct {
	set    string   // folder of one set, absolute
	root   string   // folder of sets, absolute
	files  []string // savesets, absolute, the full first
	disk   string   // default export: "" for the only disk
	point  string   // default export: "" for the latest
	export string   // with files: the name of the only export, "" for the disk's
	cache  int64    // bytes

	given map[string]bool // keys from the command line
	seen  map[string]bool // keys from the configuration file
}

// keys are the names of the parameters, as help.txt describes them.
var keys = []string{"set", "root", "files", "disk", "point", "export", "cache", "config"}

func newParams() params {
	return params{cache: overlay.DefaultCacheSize, given: map[string]bool{}, seen: map[string]bool{}}
}

// add takes a parameter of the command line. It wins over the same one in a
// configuration file, wherever that is named.
func (p *params) add(key, value string) error {
	if p.given[key] {
		return fmt.Errorf("parameter %s= is given twice", key)
	}
	p.given[key] = true
	if key == "config" && value != "" {
		return p.readFile(value)
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	return p.assign(key, value, dir)
}

// assign stores a value; relative paths are relative to dir.
func (p *params) assign(key, value, dir string) (err error) {
	if !slices.Contains(keys, key) {
		return fmt.Errorf("unknown parameter %q; there are %s", key, strings.Join(keys, "=, ")+"=")
	}
	if value == "" {
		return fmt.Errorf("parameter %s= is empty", key)
	}
	switch key {
	case "set":
		p.set = absolute(dir, value)
	case "root":
		p.root = absolute(dir, value)
	case "files":
		p.files = nil
		for f := range strings.SplitSeq(value, ",") {
			if f == "" {
				return errors.New("parameter files= has an empty name between its commas")
			}
			p.files = append(p.files, absolute(dir, f))
		}
	case "disk":
		p.disk = value
	case "point":
		p.point = value
	case "export":
		p.export = value
	case "cache":
		p.cache, err = parseSize(value)
	}
	return err
}

// absolute: nbdkit changes to the root folder when it goes into the background.
func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// readFile reads a configuration file: key=value lines, # comments.
func (p *params) readFile(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := p.readLine(line, filepath.Dir(path)); err != nil {
			return fmt.Errorf("configuration file %s: line %d: %w", path, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("configuration file %s: %w", path, err)
	}
	return nil
}

func (p *params) readLine(line, dir string) error {
	key, value, ok := strings.Cut(line, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	switch {
	case !ok:
		return fmt.Errorf("%q is not of the form key=value", line)
	case key == "config":
		return errors.New("a configuration file cannot name another")
	case p.seen[key]:
		return fmt.Errorf("parameter %s= is given twice", key)
	}
	p.seen[key] = true
	if p.given[key] {
		var ignored params
		return ignored.assign(key, value, dir) // still has to be right
	}
	return p.assign(key, value, dir)
}

// complete checks the parameters together. What to serve is taken from the
// command line alone where it says so there.
func (p *params) complete() error {
	if p.given["set"] || p.given["root"] || p.given["files"] {
		p.forget("set", func() { p.set = "" })
		p.forget("root", func() { p.root = "" })
		p.forget("files", func() { p.files = nil })
	}
	given := 0
	for _, set := range []bool{p.set != "", p.root != "", p.files != nil} {
		if set {
			given++
		}
	}
	switch {
	case given == 0:
		return errors.New("say what to serve: the folder of a backup set, root=DIR or files=A,B,C")
	case given > 1:
		return errors.New("give only one of set=, root= and files=")
	case p.files != nil && (p.disk != "" || p.point != ""):
		return errors.New("disk= and point= mean nothing together with files=")
	case p.files == nil && p.export != "":
		return errors.New("export= means nothing without files=: exports of a set have fixed names")
	case p.root != "" && p.point != "" && p.disk == "":
		return errors.New("point= needs disk=SET/DISK together with root=")
	case p.root != "" && p.disk != "" && !strings.Contains(p.disk, "/"):
		return fmt.Errorf("disk=%s is not of the form SET/DISK, as it has to be together with root=", p.disk)
	}
	return nil
}

func (p *params) forget(key string, clear func()) {
	if !p.given[key] {
		clear()
	}
}

// parseSize reads a size as nbdkit_parse_size does: a number with an optional
// suffix b, s, k, M, G, T, P or E, in powers of 1024 (s: sectors of 512).
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "bskKmMgGtTpPeE")
	units := map[string]uint{"": 0, "b": 0, "s": 9, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}
	shift, ok := units[strings.ToLower(s[len(digits):])]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !ok || n < 0 || n<<shift>>shift != n {
		return 0, fmt.Errorf("size %q is not a number of bytes such as 67108864 or 64M", s)
	}
	return n << shift, nil
}

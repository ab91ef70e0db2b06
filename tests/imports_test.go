// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowedImports says what each package may import beside the standard
// library: packages of the project, without "virtnb/", and modules. Data goes
// one way, from format through overlay to the packages that use images; those
// do not know each other. A line here is a decision; say why in the commit.
var allowedImports = map[string][]string{
	"format":                 {"github.com/pierrec/lz4/v4", "golang.org/x/sys/cpu"},
	"overlay":                {"format", "github.com/pierrec/lz4/v4", "golang.org/x/sys/unix"},
	"overlay/imagetest":      {"format", "overlay"},
	"fusefs":                 {"format", "overlay", "github.com/hanwen/go-fuse/v2/fs", "github.com/hanwen/go-fuse/v2/fuse", "github.com/diskfs/go-diskfs/partition/gpt", "github.com/diskfs/go-diskfs/partition/mbr", "golang.org/x/sys/unix"},
	"fusefs/mount":           {"fusefs", "golang.org/x/sys/unix", "internal/size"},
	"plugin":                 {"format", "overlay", "libguestfs.org/nbdkit", "github.com/dustin/go-humanize"},
	"plugin/main":            {"overlay", "plugin", "libguestfs.org/nbdkit"},
	"restorecmd":             {"format", "internal/argparse", "internal/domainxml", "internal/host", "internal/hostargs", "internal/logfile", "internal/nbd", "internal/progress", "internal/qemu", "internal/terminal", "internal/virt", "overlay", "github.com/dustin/go-humanize", "golang.org/x/sync/errgroup", "golang.org/x/sys/unix"},
	"cmd/virtnb":             {"backupcmd", "fusefs/mount", "internal/progress", "restorecmd", "github.com/urfave/cli/v2", "internal/size", "recovercmd"},
	"internal/domainxml":     {"github.com/beevik/etree", "github.com/google/uuid"},
	"bindings/api":           {},
	"backupcmd":              {"backupcmd/pipeline", "format", "internal/argparse", "internal/hostargs", "internal/size", "internal/archive", "internal/domainxml", "internal/host", "internal/logfile", "internal/nbd", "internal/progress", "internal/qemu", "internal/terminal", "internal/virt", "golang.org/x/sync/errgroup", "golang.org/x/sys/unix", "libvirt.org/go/libvirt"},
	"recovercmd":             {"format", "internal/argparse", "internal/domainxml", "internal/host", "internal/logfile", "internal/progress", "internal/qemu", "internal/terminal", "internal/virt", "github.com/dustin/go-humanize", "libvirt.org/go/libvirt"},
	"backupcmd/pipeline":     {"format", "internal/nbd"},
	"internal/argparse":      {},
	"internal/hostargs":      {"internal/argparse", "internal/host"},
	"internal/logfile":       {},
	"internal/terminal":      {"golang.org/x/term"},
	"internal/size":          {},
	"internal/nbd":           {"format", "golang.org/x/sys/unix", "libguestfs.org/libnbd"},
	"internal/virt":          {"libvirt.org/go/libvirt"},
	"internal/progress":      {"internal/terminal", "github.com/dustin/go-humanize", "github.com/vbauerster/mpb/v8", "github.com/vbauerster/mpb/v8/decor"},
	"internal/host":          {"github.com/kevinburke/ssh_config", "github.com/pkg/sftp", "github.com/skeema/knownhosts", "golang.org/x/crypto/ssh", "golang.org/x/crypto/ssh/agent", "golang.org/x/crypto/ssh/knownhosts"},
	"internal/host/hosttest": {"internal/host", "golang.org/x/crypto/ssh", "golang.org/x/crypto/ssh/knownhosts"},
	"internal/qemu":          {"internal/host"},
	"internal/qemu/qemutest": {},
	"internal/archive":       {"internal/terminal"},
}

// usesC lists the packages that may import "C"; the others build without cgo.
var usesC = []string{"plugin/main"}

// goPackage is what go list tells of a package.
type goPackage struct {
	ImportPath string
	Imports    []string
	CgoFiles   []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,CgoFiles", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImports(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, "virtnb/")
		if name == "tests" || strings.HasPrefix(name, "tests/") {
			continue
		}
		allowed, known := allowedImports[name]
		if !known {
			t.Errorf("package %s is not in the list of allowed imports", name)
			continue
		}
		for _, path := range p.Imports {
			if isStandard(path) {
				continue
			}
			if !slices.Contains(allowed, strings.TrimPrefix(path, "virtnb/")) {
				t.Errorf("package %s must not import %s", name, path)
			}
		}
		if len(p.CgoFiles) > 0 && !slices.Contains(usesC, name) {
			t.Errorf("package %s must not import C", name)
		}
	}
}

func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && first != "virtnb"
}

// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// connectOnly makes the test program try to connect and say what happened.
const connectOnly = "LIBVIRT_GO_TEST_CONNECT"

func tryToConnect() int {
	conn, err := NewConnect("test:///default")
	if err != nil {
		fmt.Println(err)
		return 0
	}
	defer conn.Close()
	_, err = conn.GetHostname()
	fmt.Println(err)
	return 0
}

// connectWith is what a program says that finds lib as its libvirt.so.0.
func connectWith(t *testing.T, lib string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), connectOnly+"=1", "LD_LIBRARY_PATH="+filepath.Dir(lib))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func TestLibraryIsNotLinked(t *testing.T) {
	program, err := elf.Open(os.Args[0])
	ok(t, err)
	defer program.Close()
	libs, err := program.ImportedLibraries()
	ok(t, err)
	if strings.Contains(strings.Join(libs, " "), "libvirt") {
		t.Errorf("the program does not start without %v", libs)
	}
}

func TestLibraryIsMissing(t *testing.T) {
	lib := filepath.Join(t.TempDir(), "libvirt.so.0")
	ok(t, os.WriteFile(lib, nil, 0o644))
	said := connectWith(t, lib)
	for _, want := range []string{"cannot load the libvirt library", "libvirt.so.0", "package libvirt0"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q does not say %q", said, want)
		}
	}
}

// TestFunctionIsMissing: a library of its own, in which connecting works and
// nothing else is there.
func TestFunctionIsMissing(t *testing.T) {
	lib := filepath.Join(t.TempDir(), "libvirt.so.0")
	source := filepath.Join(t.TempDir(), "old.c")
	ok(t, os.WriteFile(source, []byte("void *virConnectOpen(const char *n) { return \"\"; }\nint virConnectClose(void *c) { return 0; }\n"), 0o644))
	cc := exec.Command("gcc", "-shared", "-fPIC", "-Wl,-soname,libvirt.so.0", "-o", lib, source)
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	said := connectWith(t, lib)
	if !strings.Contains(said, "virConnectGetHostname") || !strings.Contains(said, "libvirt error 3") {
		t.Errorf("%q does not name the function, or is not ERR_NO_SUPPORT", said)
	}
}

// TestErrorsAreNotPrinted: they are the caller's.
func TestErrorsAreNotPrinted(t *testing.T) {
	var stderr strings.Builder
	cmd := exec.Command(os.Args[0], "-test.run=^TestErrorOfLookup$")
	cmd.Stderr = &stderr
	ok(t, cmd.Run())
	if stderr.Len() > 0 {
		t.Errorf("standard error has %q", stderr.String())
	}
}

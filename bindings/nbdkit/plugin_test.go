// SPDX-License-Identifier: Apache-2.0

package nbdkit

import (
	"path/filepath"
	"strings"
	"testing"
)

// optional are the callbacks that a plugin has only where it has the method.
var optional = []string{
	"has_longname=1", "version=1.2.3", "has_description=1",
	"has_config_help=1", "magic_config_key=default", "has_thread_model=1",
	"has_cleanup=1", "has_list_exports=1", "has_default_export=1",
}

func TestDumpPluginFull(t *testing.T) {
	dump := run(t, "nbdkit", "--dump-plugin", fullPlugin)
	wantIn(t, dump, optional...)
	wantIn(t, dump, "name=full\n", "api_version=2\n", "thread_model=parallel\n", "errno_is_preserved=0\n")
	if !strings.HasPrefix(dump, "path=") || !strings.HasSuffix(dump, "\nfull_answer=42\n") {
		t.Errorf("the plugin's line is not the last one:\n%s", dump)
	}
}

func TestDumpPluginMinimal(t *testing.T) {
	dump := run(t, "nbdkit", "--dump-plugin", minimalPlugin)
	wantIn(t, dump, "name=minimal\n", "thread_model=parallel\n")
	for _, line := range optional {
		key, _, _ := strings.Cut(line, "=")
		if strings.Contains("\n"+dump, "\n"+key+"=") {
			t.Errorf("%s in spite of no method:\n%s", key, dump)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	wantIn(t, run(t, "nbdkit", fullPlugin, "--help"),
		"full (full test plugin)", "Plugin with every optional method.", "default=NAME")
	wantIn(t, run(t, "nbdkit", fullPlugin, "--version"), "full 1.2.3")
}

// TestCallbacksInOrder: from the parameters to the end of the server.
func TestCallbacksInOrder(t *testing.T) {
	s := start(t, fullPlugin)
	run(t, "nbdinfo", "--size", s.uri("holes"))
	log := s.stop()
	rest := log
	for _, call := range []string{
		"ConfigComplete", "ThreadModel", "GetReady", "AfterFork",
		"PreConnect", "OpenExport", "Cleanup", "Unload",
	} {
		_, after, ok := strings.Cut(rest, "debug: full: "+call)
		if !ok {
			t.Fatalf("%s is not called in its turn:\n%s", call, log)
		}
		rest = after
	}
}

func TestThreadModel(t *testing.T) {
	log := start(t, fullPlugin, "model=2").stop()
	wantIn(t, log, "using thread model: serialize_requests")
	log = start(t, minimalPlugin).stop()
	wantIn(t, log, "using thread model: parallel")
}

func TestReadonlyOption(t *testing.T) {
	s := start(t, "-r", fullPlugin)
	run(t, "nbdinfo", s.uri("ram"))
	wantIn(t, s.stop(), `OpenExport readonly=true tls=false name="ram"`)
}

// TestStartFails: an error or a panic of a method that has to succeed for the
// server to start ends nbdkit with a message.
func TestStartFails(t *testing.T) {
	fails := func(plugin, param, message string) {
		t.Helper()
		socket := filepath.Join(t.TempDir(), "s")
		wantIn(t, runFails(t, "nbdkit", "-f", "-U", socket, plugin, param), "error: "+message)
	}
	for _, method := range []string{"ConfigComplete", "GetReady", "AfterFork"} {
		fails(fullPlugin, "fail="+method, method+" fails as asked")
		fails(fullPlugin, "panic="+method, "panic in "+method+": runtime error: invalid memory address")
	}
	fails(fullPlugin, "panic=ThreadModel", "panic in ThreadModel")
	fails(fullPlugin, "colour=red", `unknown parameter "colour"`)
	fails(minimalPlugin, "colour=red", `unknown parameter "colour"`)
}

func TestStartFailsAfterPanicInLoad(t *testing.T) {
	t.Setenv("FULL_PANIC_IN_LOAD", "1")
	socket := filepath.Join(t.TempDir(), "s")
	wantIn(t, runFails(t, "nbdkit", "-f", "-U", socket, fullPlugin),
		"error: panic in Load: no plugin today", "error: the plugin failed to load")
}

// TestEndInSpiteOfPanics: the last callbacks have nobody to fail.
func TestEndInSpiteOfPanics(t *testing.T) {
	for _, method := range []string{"Cleanup", "Unload"} {
		log := start(t, fullPlugin, "panic="+method).stop()
		wantIn(t, log, "error: panic in "+method)
	}
}

func TestPreConnectRefuses(t *testing.T) {
	for _, param := range []string{"fail=PreConnect", "panic=PreConnect"} {
		s := start(t, fullPlugin, param)
		if c, err := dial(s.socket, "holes"); err == nil {
			c.close()
			t.Errorf("%s: the client was let in", param)
		}
		s.stop()
	}
}

// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"io"
	"slices"
	"strings"
	"testing"
)

func parseMap(prog, line string) (MapOptions, int, bool) {
	return ParseMapArgs(prog, "1", strings.Fields(line), io.Discard, io.Discard)
}

func TestMapArgs(t *testing.T) {
	for line, want := range map[string]MapOptions{
		"/set":                       {Set: "/set"},
		"-r /set --until p":          {Set: "/set", ReadOnly: true, Until: "p"},
		"--until p -rvt 3 /set":      {Set: "/set", ReadOnly: true, Until: "p", Threads: 3, Verbose: true},
		"-t3 -- /set":                {Set: "/set", Threads: 3},
		"--threads=3 /set --disk d":  {Set: "/set", Threads: 3, Disk: "d"},
		"--thr 3 /set -p 9":          {Set: "/set", Threads: 3, Port: 9, Address: loopback},
		"-f a,b, -l localhost":       {Files: []string{"a", "b"}, Port: defaultPort, Address: "localhost"},
		"/set -l 0.0.0.0 --insecure": {Set: "/set", Port: defaultPort, Address: "0.0.0.0", Insecure: true},
		"/set -l ::1":                {Set: "/set", Port: defaultPort, Address: "::1"},
	} {
		got, status, done := parseMap("virtnb map", line)
		if want.Threads == 0 {
			want.Threads = defaultThreads
		}
		want.TLSDir = defaultTLSDir
		if done || got.Set != want.Set || !slices.Equal(got.Files, want.Files) || got.ReadOnly != want.ReadOnly || got.Until != want.Until ||
			got.Threads != want.Threads || got.Verbose != want.Verbose || got.Disk != want.Disk || got.Port != want.Port || got.Address != want.Address || got.Insecure != want.Insecure {
			t.Errorf("%s: got %+v, status %d, want %+v", line, got, status, want)
		}
	}
}

func TestMapArgsMistakes(t *testing.T) {
	for _, line := range []string{"", "/a /b", "/a -f b", "-f a --until p", "-f a --disk d", "/a -d /dev/sda", "/a -t 0", "/a -p 70000", "/a -l 10.0.0.1", "/a -l host", "/a --nonsense"} {
		if _, status, done := parseMap("virtnb map", line); !done || status != 2 {
			t.Errorf("%q: status %d, %v", line, status, done)
		}
	}
}

// The peer has a device, a port and a log unless told otherwise, and no others.
func TestMapArgsOfPeer(t *testing.T) {
	o, _, done := parseMap(PeerName, "-f a.full.data")
	if done || o.Device != "/dev/nbd0" || o.Address != loopback || o.Port != defaultPort || o.Export != "sda" || !strings.HasSuffix(o.LogFile, "/virtnbdmap.log") {
		t.Errorf("got %+v", o)
	}
	for _, line := range []string{"a.full.data", "-f a --json", "-f a --insecure", "-f a -l 0.0.0.0"} {
		if _, status, done := parseMap(PeerName, line); !done || status != 2 {
			t.Errorf("%q: status %d, %v", line, status, done)
		}
	}
}

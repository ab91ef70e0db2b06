// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"virtnb/fusefs/mount"
)

func TestIsMountHelper(t *testing.T) {
	for line, want := range map[string]bool{
		"/sbin/mount.fuse.virtnb set mnt -o rw": true,
		"mount.virtnb":                          true,
		"virtnb /backup /mnt -o ro,dev,suid":    true,
		"virtnb mount /backup /mnt":             false,
		"virtnb list /backup":                   false,
		"virtnb /backup":                        false,
		"virtnb":                                false,
	} {
		if got := isMountHelper(strings.Fields(line)); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

func TestHelperOptions(t *testing.T) {
	both := mount.Options{Set: "/s", Mountpoint: "/m"}
	ro := both
	ro.ReadOnly = true
	all := ro
	all.Sloppy, all.AllowOther, all.Cache = true, true, 1<<20
	for line, want := range map[string]mount.Options{
		"h /s /m":                   both,
		"h /s /m -o rw":             both,
		"h -o ro /s /m -n -v":       ro,
		"h /s /m -r -t fuse.virtnb": ro,
		"h /s /m -sn -o ro,allow_other,x -ocache=1M -v": all,
	} {
		if o, fake, err := helperOptions(strings.Fields(line)); err != nil || fake || o != want {
			t.Errorf("%s: %+v, %v, %v", line, o, fake, err)
		}
	}
	if _, fake, err := helperOptions(strings.Fields("h /s /m -fv")); err != nil || !fake {
		t.Errorf("fake: %v, %v", fake, err)
	}
	for _, line := range []string{"h", "h /s", "h /s /m /x", "h /s /m -o", "h /s /m -x", "h /s /m -o frob", "h /s /m --help"} {
		if o, _, err := helperOptions(strings.Fields(line)); err == nil {
			t.Errorf("%s: %+v", line, o)
		}
	}
}

func TestMountFlags(t *testing.T) {
	parse := func(line string) (o mount.Options, err error) {
		app := newApp(io.Discard, io.Discard)
		app.Command("mount").Action = func(c *cli.Context) error {
			o, err = mountOptions(c)
			return err
		}
		return o, app.RunContext(t.Context(), flagsFirst(app, strings.Fields(line)))
	}
	for line, want := range map[string]mount.Options{
		"virtnb mount s m": {Set: "s", Mountpoint: "m", Cache: 64 << 20},
		"virtnb mount s m -f -o ro,noauto -o allow_other":                    {Set: "s", Mountpoint: "m", Cache: 64 << 20, Foreground: true, ReadOnly: true, AllowOther: true},
		"virtnb mount -o cache=1M,writable=a s m -d":                         {Set: "s", Mountpoint: "m", Cache: 1 << 20, Writable: "a", Debug: true},
		"virtnb mount --cache 2M --writable b -o cache=1M,writable=a -- s m": {Set: "s", Mountpoint: "m", Cache: 2 << 20, Writable: "b"},
	} {
		if o, err := parse(line); err != nil || o != want {
			t.Errorf("%s: %+v, %v", line, o, err)
		}
	}
	for _, line := range []string{"virtnb mount s", "virtnb mount s m x", "virtnb mount s m -o frob", "virtnb mount s m --cache x", "virtnb mount s m --frob"} {
		if o, err := parse(line); err == nil {
			t.Errorf("%s: %+v", line, o)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"errors"
	"log/slog"
	"testing"
)

func TestSelect(t *testing.T) {
	const (
		qcow2 = `<driver name='qemu' type='qcow2'/>`
		raw   = `<driver name='qemu' type='raw'/>`
	)
	volume := func(pool, volume string) (string, error) {
		if pool != "default" {
			return "", errors.New("Storage pool not found")
		}
		return "/pool/" + volume, nil
	}
	all := SelectOptions{Volume: volume}
	withRaw := SelectOptions{Volume: volume, Raw: true}
	const warn, info, failed = slog.LevelWarn, slog.LevelInfo, slog.LevelError

	for name, c := range map[string]struct {
		disk    string
		o       SelectOptions
		path    string // of a chosen disk
		level   slog.Level
		message string
	}{
		"qcow2":                  {`<disk>` + qcow2 + `<source file='/a'/><target dev='vda'/></disk>`, all, "/a", 0, ""},
		"excluded":               {`<disk>` + qcow2 + `<source file='/a'/><target dev='vda'/></disk>`, SelectOptions{Exclude: []string{"vdb", "vda"}}, "", warn, "Excluding disk [vda] from backup as requested"},
		"excluded and network":   {`<disk type='network'><source protocol='rbd' name='p/i'/><target dev='vda'/></disk>`, SelectOptions{Exclude: []string{"vda"}}, "", warn, "Excluding disk [vda] from backup as requested"},
		"excluded and included":  {`<disk>` + qcow2 + `<source file='/a'/><target dev='vda'/></disk>`, SelectOptions{Include: "vda", Exclude: []string{"vda"}}, "", warn, "Excluding disk [vda] from backup as requested"},
		"included":               {`<disk>` + qcow2 + `<source file='/a'/><target dev='vda'/></disk>`, SelectOptions{Include: "vda"}, "/a", 0, ""},
		"not included":           {`<disk>` + qcow2 + `<source file='/a'/><target dev='vdaa'/></disk>`, SelectOptions{Include: "vda"}, "", info, "Skipping disk: [vdaa] as requested: does not match disk [vda]"},
		"cdrom":                  {`<disk type='file' device='cdrom'>` + raw + `<source file='/a.iso'/><target dev='sda'/></disk>`, withRaw, "", info, "Skipping attached [cdrom] device: [sda]."},
		"floppy without medium":  {`<disk type='file' device='floppy'><target dev='fda'/></disk>`, all, "", info, "Skipping attached [floppy] device: [fda]."},
		"volume":                 {`<disk type='volume'>` + qcow2 + `<source pool='default' volume='v.qcow2'/><target dev='vda'/></disk>`, all, "/pool/v.qcow2", 0, ""},
		"raw volume":             {`<disk type='volume'>` + raw + `<source pool='default' volume='v'/><target dev='vda'/></disk>`, all, "", warn, "Raw disk [vda] excluded by default, use option --raw to include."},
		"volume not found":       {`<disk type='volume'>` + qcow2 + `<source pool='x' volume='v'/><target dev='vda'/></disk>`, all, "", failed, "Unable to detect disk source for disk [vda]: Failed to detect vm disk by volumes: [Storage pool not found]"},
		"volume, nobody to ask":  {`<disk type='volume'>` + qcow2 + `<source pool='p' volume='v'/><target dev='vda'/></disk>`, SelectOptions{}, "", failed, "Unable to detect disk source for disk [vda]: Failed to detect vm disk by volumes: [volume v of pool p: no connection to ask for its path]"},
		"raw":                    {`<disk>` + raw + `<source file='/a'/><target dev='vda'/></disk>`, all, "", warn, "Raw disk [vda] excluded by default, use option --raw to include."},
		"raw, wanted":            {`<disk>` + raw + `<source file='/a'/><target dev='vda'/></disk>`, withRaw, "/a", 0, ""},
		"no driver is raw":       {`<disk><source file='/a'/><target dev='vda'/></disk>`, all, "", warn, "Raw disk [vda] excluded by default, use option --raw to include."},
		"driver without type":    {`<disk><driver name='qemu'/><source file='/a'/><target dev='vda'/></disk>`, withRaw, "/a", 0, ""},
		"raw block device":       {`<disk type='block'>` + raw + `<source dev='/dev/v/l'/><target dev='vda'/></disk>`, all, "", warn, "Skipping direct attached block device [vda], use option --raw to include."},
		"raw block, wanted":      {`<disk type='block'>` + raw + `<source dev='/dev/v/l'/><target dev='vda'/></disk>`, withRaw, "/dev/v/l", 0, ""},
		"qcow2 on block device":  {`<disk type='block'>` + qcow2 + `<source dev='/dev/v/l'/><target dev='vda'/></disk>`, all, "/dev/v/l", 0, ""},
		"target of type block":   {`<disk>` + qcow2 + `<source file='/a'/><target dev='vda' type='block'/></disk>`, all, "", warn, "Block device [vda] excluded by default, use option --raw to include."},
		"lun":                    {`<disk type='block' device='lun'>` + raw + `<source dev='/dev/sdx'/><target dev='sda'/></disk>`, all, "", warn, "Skipping direct attached lun [sda], use option --raw to include."},
		"lun, wanted":            {`<disk type='block' device='lun'>` + raw + `<source dev='/dev/sdx'/><target dev='sda'/></disk>`, withRaw, "/dev/sdx", 0, ""},
		"network":                {`<disk type='network'>` + raw + `<source protocol='rbd' name='p/i'/><target dev='vda'/></disk>`, withRaw, "", failed, "Unable to detect disk volume type for disk [vda]: one in the network is saved only while the domain runs, in whole and with --raw; leave it out with --exclude vda"},
		"network, wanted":        {`<disk type='network'>` + qcow2 + `<source protocol='rbd' name='p/i'/><target dev='vda'/></disk>`, SelectOptions{Network: true}, "", 0, ""},
		"raw network, wanted":    {`<disk type='network'>` + raw + `<source protocol='rbd' name='p/i'/><target dev='vda'/></disk>`, SelectOptions{Network: true, Raw: true}, "", 0, ""},
		"raw network, qcow only": {`<disk type='network'>` + raw + `<source protocol='rbd' name='p/i'/><target dev='vda'/></disk>`, SelectOptions{Network: true}, "", warn, "Raw disk [vda] excluded by default, use option --raw to include."},
		"nvme":                   {`<disk type='nvme'>` + raw + `<source type='pci' namespace='1'/><target dev='vda'/></disk>`, withRaw, "", failed, "Unable to detect disk volume type for disk [vda]: type nvme is not supported, leave it out with --exclude vda"},
		"no source":              {`<disk>` + qcow2 + `<target dev='vda'/></disk>`, all, "", failed, `Unable to detect disk source for disk [vda]: "" is not the path of an image`},
		"relative path":          {`<disk>` + qcow2 + `<source file='a'/><target dev='vda'/></disk>`, all, "", failed, `Unable to detect disk source for disk [vda]: "a" is not the path of an image`},
	} {
		t.Run(name, func(t *testing.T) {
			got := Select(parse(t, domain(c.disk)).Disks(), c.o)
			if len(got) != 1 {
				t.Fatalf("%d decisions", len(got))
			}
			d := got[0]
			if d.Message != c.message || d.Level != c.level || d.Path != c.path || d.Chosen != (c.message == "") {
				t.Errorf("got %v %q level %v path %q", d.Chosen, d.Message, d.Level, d.Path)
			}
		})
	}
}

func TestSelectKeepsTheOrder(t *testing.T) {
	d := parse(t, domain(`<disk><source file='/b'/><target dev='vdb'/></disk><disk device='cdrom'><target dev='hdc'/></disk><disk><source file='/a'/><target dev='vda'/></disk>`))
	var got string
	for _, one := range Select(d.Disks(), SelectOptions{Raw: true}) {
		got += one.Disk.Target + " "
	}
	if got != "vdb hdc vda " {
		t.Error(got)
	}
}

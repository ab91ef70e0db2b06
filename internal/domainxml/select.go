// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
)

// SelectOptions say which disks a backup takes.
type SelectOptions struct {
	Include string   // only this target; "" for all
	Exclude []string // not these
	Raw     bool     // raw images, block devices and LUNs too
	Network bool     // disks in the network too: a running QEMU can export them

	// Volume gives the path of a volume of a storage pool. Without it disks of
	// type volume cannot be taken.
	Volume func(pool, volume string) (path string, err error)
}

// Decision is what becomes of one disk.
type Decision struct {
	Disk   Disk
	Chosen bool
	Path   string // of a chosen disk: its image on the host; "" in the network

	// Message is for the log, in virtnbdbackup's wording where it has one; ""
	// for a chosen disk. At slog.LevelError the run may go on with other disks
	// and must end as failed; a warning counts in strict mode.
	Message string
	Level   slog.Level
}

// Select decides on each disk, in the order given. The tests come in
// virtnbdbackup's order, so that a disk excluded by name never is an error.
func Select(disks []Disk, o SelectOptions) []Decision {
	all := make([]Decision, 0, len(disks))
	for _, d := range disks {
		all = append(all, selectDisk(d, o))
	}
	return all
}

func selectDisk(d Disk, o SelectOptions) Decision {
	no := func(level slog.Level, format string, args ...any) Decision {
		return Decision{Disk: d, Level: level, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case slices.Contains(o.Exclude, d.Target):
		return no(slog.LevelWarn, "Excluding disk [%s] from backup as requested", d.Target)
	case o.Include != "" && o.Include != d.Target:
		return no(slog.LevelInfo, "Skipping disk: [%s] as requested: does not match disk [%s]", d.Target, o.Include)
	case d.Removable():
		return no(slog.LevelInfo, "Skipping attached [%s] device: [%s].", d.Device, d.Target)
	case d.Type == "block" && d.Format == "raw" && d.Device != "lun" && !o.Raw:
		return no(slog.LevelWarn, "Skipping direct attached block device [%s], use option --raw to include.", d.Target)
	}
	path, problem := imagePath(d, o)
	if problem != "" {
		return no(slog.LevelError, "%s", problem)
	}
	switch {
	case o.Raw:
	case d.TargetType == "block":
		return no(slog.LevelWarn, "Block device [%s] excluded by default, use option --raw to include.", d.Target)
	case d.Device == "lun":
		return no(slog.LevelWarn, "Skipping direct attached lun [%s], use option --raw to include.", d.Target)
	case d.Format == "raw":
		return no(slog.LevelWarn, "Raw disk [%s] excluded by default, use option --raw to include.", d.Target)
	}
	return Decision{Disk: d, Chosen: true, Path: path}
}

// imagePath finds the image of a disk, or says what the problem is.
func imagePath(d Disk, o SelectOptions) (path, problem string) {
	path = d.Path
	switch d.Type {
	case "file", "block":
	case "volume":
		var err error
		if path, err = volumePath(d, o); err != nil {
			return "", fmt.Sprintf("Unable to detect disk source for disk [%s]: Failed to detect vm disk by volumes: [%v]", d.Target, err)
		}
	default:
		if d.Type == "network" && o.Network {
			return "", ""
		}
		if d.Type == "network" {
			return "", fmt.Sprintf("Unable to detect disk volume type for disk [%s]: one in the network is saved only while the domain runs, in whole and with --raw; leave it out with --exclude %s", d.Target, d.Target)
		}
		return "", fmt.Sprintf("Unable to detect disk volume type for disk [%s]: type %s is not supported, leave it out with --exclude %s", d.Target, d.Type, d.Target)
	}
	if !filepath.IsAbs(path) {
		return "", fmt.Sprintf("Unable to detect disk source for disk [%s]: %q is not the path of an image", d.Target, path)
	}
	return path, ""
}

func volumePath(d Disk, o SelectOptions) (string, error) {
	if o.Volume == nil {
		return "", fmt.Errorf("volume %s of pool %s: no connection to ask for its path", d.Volume, d.Pool)
	}
	return o.Volume(d.Pool, d.Volume)
}

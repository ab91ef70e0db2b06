// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"virtnb/internal/host"
)

// placeKind is what a disk is restored to.
type placeKind int

const (
	inFolder placeKind = iota // a file, to be named, in a folder
	file                      // a new file
	device                    // a block device
	export                    // of an NBD server
	stream                    // the standard output
)

// place is where a disk goes to.
type place struct {
	kind placeKind
	path string // of a file, folder or device; of an export its URI
}

func (p place) String() string {
	switch p.kind {
	case stream:
		return "the standard output"
	case export:
		if u, err := url.Parse(p.path); err == nil {
			return u.Redacted()
		}
	}
	return p.path
}

var nbdSchemes = []string{"nbd://", "nbds://", "nbd+unix://", "nbds+unix://"}

// placeOf says what the text of an option names on the host.
func (r *run) placeOf(text string) (place, error) {
	if text == stdout {
		return place{stream, text}, nil
	}
	for _, scheme := range nbdSchemes {
		if strings.HasPrefix(text, scheme) {
			return place{export, text}, nil
		}
	}
	if _, local := r.host.(host.Local); local {
		abs, err := filepath.Abs(text)
		if err != nil {
			return place{}, err
		}
		text = abs
	} else if !path.IsAbs(text) {
		return place{}, fmt.Errorf("%s: on another host the path has to be absolute", text)
	}
	info, err := r.host.Stat(text)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return place{inFolder, text}, nil
	case err != nil:
		return place{}, err
	case info.Mode()&(fs.ModeDevice|fs.ModeCharDevice) == fs.ModeDevice:
		return place{device, text}, nil
	}
	return place{inFolder, text}, nil
}

// checkPlace refuses what is there, and what cannot be.
func (r *run) checkPlace(j *job) error {
	switch _, local := r.host.(host.Local); {
	case j.place.kind == device && !local:
		return errors.New("a block device on another host cannot be a target")
	case j.place.kind != file && j.format != "raw":
		return fmt.Errorf("%s takes format raw only", j.place)
	case j.place.kind != file && (r.o.Preallocate || r.o.Compress):
		return fmt.Errorf("-A and --compress are for files, and %s is none", j.place)
	case j.place.kind != file:
		return nil
	case r.o.Compress && j.format != "qcow2":
		return errors.New("--compress needs an image of format qcow2; see --format")
	}
	return r.vacant(j.place.path)
}

// vacant refuses a file that is there, or that an earlier restore left.
func (r *run) vacant(name string) error {
	if err := vacant(r.host, name); err != nil {
		return err
	}
	if err := vacant(r.host, name+partialSuffix); err != nil {
		return fmt.Errorf("%s%s is there: it is of a restore that is running or was interrupted; remove it if none is running", name, partialSuffix)
	}
	return nil
}

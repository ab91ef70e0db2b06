// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Options are those of the commands that have to do with one recovery.
type Options struct {
	Name     string
	StateDir string // "": DefaultStateDir
	JSON     bool

	Out, ErrOut io.Writer
}

// Discard takes a recovery away: its machine, with all that the guest wrote, its
// overlays and its server. It may be called again where it failed.
func Discard(ctx context.Context, o Options) error {
	s, unlock, err := o.open()
	if err != nil {
		return err
	}
	defer unlock()
	var m *machine
	if !s.Plain {
		if m, err = s.find(ctx); err != nil {
			return err
		}
		defer m.close()
	}
	if err := s.enter(Discarding); err != nil {
		return err
	}
	if err := takeAway(s, m); err != nil {
		return fmt.Errorf("%w; virtnb discard %s can be tried again", err, s.Name)
	}
	if o.JSON {
		return writeJSON(o.Out, map[string]string{"name": s.Name, "state": "discarded"})
	}
	_, err = fmt.Fprintf(o.Out, "%s is gone\n", s.Name)
	return err
}

func (o Options) open() (*State, func(), error) {
	dir, err := stateDir(o.StateDir)
	if err != nil {
		return nil, nil, err
	}
	return openState(dir, o.Name)
}

// takeAway removes all of a recovery, and first what uses the rest.
func takeAway(s *State, m *machine) error {
	if err := takeMachineAway(s, m); err != nil {
		return err
	}
	if err := s.server().stop(); err != nil {
		return err
	}
	var failed error
	for _, d := range s.Disks {
		failed = errors.Join(failed, removeFile(d.Overlay))
		for _, path := range d.Copies {
			failed = errors.Join(failed, removeFile(path))
		}
	}
	for _, path := range s.Made {
		failed = errors.Join(failed, removeFile(path))
	}
	if failed != nil {
		return failed
	}
	if s.OwnImages {
		removeEmpty(s.Images)
	}
	return s.remove()
}

func takeMachineAway(s *State, m *machine) error {
	if s.Socket == "" { // nothing was started yet
		return nil
	}
	if s.Plain {
		return s.plain().remove()
	}
	if m.dom == nil && s.UUID != "" {
		if dom, err := m.conn.LookupDomainByUUIDString(s.UUID); err == nil {
			m.dom = dom
		}
	}
	return m.remove()
}

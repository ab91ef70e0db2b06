// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"virtnb/internal/virt"
)

// ListOptions are the options of List.
type ListOptions struct {
	StateDir string // "": DefaultStateDir
	JSON     bool

	Out io.Writer
}

type (
	recoveryJSON struct {
		Name    string         `json:"name"`
		UUID    string         `json:"uuid"`
		URI     string         `json:"uri"`
		Set     string         `json:"set"`
		Point   string         `json:"point"`
		Phase   Phase          `json:"phase"`
		State   string         `json:"state"`  // of the machine, in the words of virsh, or "unknown"
		Server  bool           `json:"server"` // it runs
		Created time.Time      `json:"created"`
		Written int64          `json:"written"` // bytes that the overlays take on the disk
		Disks   []recoveryDisk `json:"disks"`
		Problem string         `json:"problem,omitempty"`
	}
	recoveryDisk struct {
		diskJSON
		Written  int64 `json:"written"`  // bytes that the overlay takes on the disk
		Promoted bool  `json:"promoted"` // does not need the backup any more
		Done     int64 `json:"done"`     // bytes that promote is through with
		Total    int64 `json:"total"`    // bytes that it has to do, 0 if it is not at work
	}
)

// List writes all recoveries.
func List(ctx context.Context, o ListOptions) error {
	dir, err := stateDir(o.StateDir)
	if err != nil {
		return err
	}
	states, failed := readStates(dir)
	list := []recoveryJSON{}
	for _, s := range states {
		list = append(list, s.describe(ctx))
	}
	if o.JSON {
		return errors.Join(writeJSON(o.Out, list), failed)
	}
	return errors.Join(writeTable(o.Out, list), failed)
}

// describe asks for all that is known of a recovery.
func (s *State) describe(ctx context.Context) recoveryJSON {
	r := recoveryJSON{
		Name: s.Name, UUID: s.UUID, URI: s.URI, Set: s.Set, Point: s.Point, Phase: s.Phase, Created: s.Created,
		State: "unknown", Server: s.server().alive(), Disks: []recoveryDisk{},
	}
	for _, d := range s.Disks {
		n := allocated(d.Overlay)
		for _, path := range d.Copies {
			n += allocated(path)
		}
		r.Written += n
		r.Disks = append(r.Disks, recoveryDisk{diskJSON: diskJSON{d.Target, d.Export, d.Overlay, d.Size}, Written: n})
	}
	if err := s.askMachine(ctx, &r); err != nil {
		r.Problem = err.Error()
	}
	return r
}

func (s *State) askMachine(ctx context.Context, r *recoveryJSON) error {
	if s.Plain {
		status, err := s.plain().status()
		r.State = status
		return err
	}
	m, err := s.find(ctx)
	if err != nil {
		return err
	}
	defer m.close()
	if m.dom == nil {
		r.State = "not defined"
		return nil
	}
	state, err := virt.StateOf(m.dom)
	if err != nil {
		return err
	}
	r.State = state.String()
	disks, err := m.disks()
	if err != nil || state.Off() {
		return err
	}
	for i, d := range s.Disks {
		r.Disks[i].Promoted = d.promoted(disks[d.Target], s.Target != "")
		if job, err := m.dom.GetBlockJobInfo(d.Target, 0); err == nil && job.Type != 0 {
			r.Disks[i].Done, r.Disks[i].Total = int64(job.Cur), int64(job.End)
		}
	}
	return nil
}

// allocated is the space that a file takes on the disk, in bytes.
func allocated(path string) int64 {
	if info, err := os.Stat(path); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			return stat.Blocks * 512
		}
	}
	return 0
}

func writeTable(out io.Writer, list []recoveryJSON) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "nothing runs from a backup")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tMACHINE\tSERVER\tPHASE\tWRITTEN\tPROMOTED\tRESTORE POINT\tSET")
	for _, r := range list {
		server := "runs"
		if !r.Server {
			server = "ended"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.State, server, r.Phase, humanize.IBytes(uint64(r.Written)), r.promotion(), r.Point, r.Set)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range list {
		if r.Problem != "" {
			fmt.Fprintf(out, "%s: %s\n", r.Name, r.Problem)
		}
	}
	return nil
}

// promotion is how far the disks are: "1 of 3 disks, 40 %".
func (r recoveryJSON) promotion() string {
	done, now := 0, ""
	for _, d := range r.Disks {
		if d.Promoted {
			done++
		}
		if d.Total > 0 {
			now = fmt.Sprintf(", %s %d %%", d.Name, d.Done*100/d.Total)
		}
	}
	return fmt.Sprintf("%d of %d disks%s", done, len(r.Disks), now)
}

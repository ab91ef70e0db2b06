// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"virtnb/internal/domainxml"
	"virtnb/internal/host"
	"virtnb/internal/qemu"
	"virtnb/internal/virt"
)

// BootOptions say what to boot, and how.
type BootOptions struct {
	Set      string // the folder of a backup set
	Until    string // the restore point; "": the latest
	Name     string // of the machine; "": recovered-NAME
	StateDir string // "": DefaultStateDir
	// Images is the folder for the overlays; "": images/NAME beside StateDir.
	Images string
	URI    string // of libvirt; "": virt.DefaultURI

	Memory   int64  // bytes; 0: as it was
	VCPUs    int    // 0: as it was
	Network  string // none (also ""), isolated, keep
	KeepMACs bool
	// IsolatedNetwork is the libvirt network for "isolated".
	IsolatedNetwork string

	Qemu     bool // without libvirt
	Paused   bool // leave the CPUs stopped
	PrintXML bool // print the domain XML and do nothing
	DryRun   bool // say what would be done and do nothing
	JSON     bool

	Out, ErrOut io.Writer
}

// The JSON of the commands is an interface: programs rely on these names.
type (
	bootJSON struct {
		Name    string     `json:"name"`
		UUID    string     `json:"uuid"`
		URI     string     `json:"uri"`
		Set     string     `json:"set"`
		Point   string     `json:"point"`
		State   string     `json:"state"` // "running", "paused", or "planned" with --dry-run
		Socket  string     `json:"socket"`
		Disks   []diskJSON `json:"disks"`
		Seconds float64    `json:"seconds"`
	}
	diskJSON struct {
		Name        string `json:"name"`
		Export      string `json:"export"`
		Overlay     string `json:"overlay"`
		VirtualSize int64  `json:"virtualSize"` // bytes
	}
)

// Boot starts a machine from its backup and returns when it runs. What it began
// is taken back if it fails before that.
func Boot(ctx context.Context, o BootOptions) error {
	b := &boot{o: o, began: time.Now()}
	if err := b.prepare(); err != nil {
		return err
	}
	if o.PrintXML || o.DryRun {
		return b.show()
	}
	if o.Qemu {
		return b.run(ctx)
	}
	conn, err := connect(ctx, b.state.URI)
	if err != nil {
		return err
	}
	b.machine = &machine{conn: conn}
	defer b.machine.close()
	if err := wantFree(conn, b.state.Name); err != nil {
		return err
	}
	if b.state.Owner, err = qemuOwner(conn); err != nil {
		return err
	}
	return b.run(ctx)
}

// boot is a boot on its way.
type boot struct {
	o       BootOptions
	began   time.Time
	plan    *plan
	state   *State
	files   []bootFile
	machine *machine
}

// prepare finds out all that can be without doing anything.
func (b *boot) prepare() (err error) {
	if b.plan, err = newPlan(b.o.Set, b.o.Until); err != nil {
		return err
	}
	if b.o.StateDir, err = stateDir(b.o.StateDir); err != nil {
		return err
	}
	name := b.o.Name
	if name == "" {
		name, err = b.plan.recoveredName()
	}
	if err = errors.Join(err, domainxml.CheckName(name)); err != nil {
		return err
	}
	images := b.o.Images
	if images == "" {
		images = filepath.Join(filepath.Dir(b.o.StateDir), "images", name)
	}
	if images, err = filepath.Abs(images); err != nil {
		return err
	}
	uri := b.o.URI
	if uri == "" {
		uri = virt.DefaultURI()
	}
	if b.o.Qemu {
		uri = ""
	}
	if b.o.Qemu && b.o.Network != "" && b.o.Network != "none" {
		return fmt.Errorf("--network %s needs libvirt, and --qemu does without", b.o.Network)
	}
	b.state = &State{Name: name, URI: uri, Plain: b.o.Qemu, Set: b.plan.dir, Point: b.plan.point, Disks: b.plan.disks(images), Images: images}
	if b.files, err = b.plan.bootFiles(images); err != nil {
		return err
	}
	for _, f := range b.files {
		b.state.Made = append(b.state.Made, f.to)
	}
	return b.stamp()
}

func (b *boot) stamp() error {
	files, err := b.plan.files()
	if err != nil {
		return err
	}
	b.state.Files, err = stampFiles(files)
	return err
}

// stateDir is the folder as an absolute path.
func stateDir(dir string) (string, error) {
	if dir == "" {
		dir = DefaultStateDir()
	}
	return filepath.Abs(dir)
}

// show prints what would be done.
func (b *boot) show() error {
	b.state.Socket = "/run/virtnb/NEW/nbd"
	xml, err := b.config()
	if err != nil {
		return err
	}
	if b.o.PrintXML {
		_, err := b.o.Out.Write(append(xml, '\n'))
		return err
	}
	return b.report("planned")
}

// config makes the domain XML, and says what of the machine does not come back.
func (b *boot) config() ([]byte, error) {
	r, err := b.plan.machine(b.o, b.state, b.files)
	if err != nil {
		return nil, err
	}
	b.state.UUID = r.UUID
	for _, w := range slices.Concat(b.plan.warnings(), losses(r.Log)) {
		fmt.Fprintf(b.o.ErrOut, "virtnb: warning: %s\n", w)
	}
	return r.XML, nil
}

// run does it, and takes back what it did if the guest does not run.
func (b *boot) run(ctx context.Context) (err error) {
	if err := b.wantNewImages(); err != nil {
		return err
	}
	made, unlock, err := newState(b.o.StateDir, b.state.Name)
	if err != nil {
		return err
	}
	defer unlock()
	planned := *b.state
	*b.state = *made
	b.adopt(planned)
	defer func() {
		if err != nil && b.state.Phase == Starting {
			err = errors.Join(err, takeAway(b.state, b.machine))
		}
	}()
	if b.state.Socket, err = newSocket(); err != nil {
		return err
	}
	xml, err := b.config()
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(b.state.folder, configFile), xml); err != nil {
		return err
	}
	if err := b.state.save(); err != nil {
		return err
	}
	return b.start(ctx, xml)
}

// wantNewImages says whether all that is to be made is not there yet: what is
// belongs to somebody else.
func (b *boot) wantNewImages() error {
	paths := slices.Clone(b.state.Made)
	for _, d := range b.state.Disks {
		paths = append(paths, d.Overlay)
	}
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s is there already: choose another folder with --overlay-dir, or another --name", path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// adopt takes what was planned into the state that has a folder now.
func (b *boot) adopt(p State) {
	s := b.state
	s.Plain = p.Plain
	s.URI, s.Set, s.Point, s.Disks, s.Images, s.Made, s.Files, s.Owner = p.URI, p.Set, p.Point, p.Disks, p.Images, p.Made, p.Files, p.Owner
}

// start brings up the server, the overlays and the machine.
func (b *boot) start(ctx context.Context, xml []byte) error {
	if _, err := b.state.server().start(ctx); err != nil {
		return err
	}
	if err := b.makeImages(ctx); err != nil {
		return err
	}
	if b.state.Plain {
		return b.bootPlain(ctx, xml)
	}
	if err := b.machine.define(xml); err != nil {
		return err
	}
	if err := b.machine.startPaused(); err != nil {
		return err
	}
	tellToWait(b.state, b.machine, b.o.ErrOut)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	// From here on the guest may write.
	if err := b.state.enter(Running); err != nil {
		return err
	}
	if b.o.Paused {
		return b.report("paused")
	}
	if err := b.machine.resume(); err != nil {
		return fmt.Errorf("%w; it is there, paused: virtnb resume %s, or virtnb discard %[2]s", err, b.state.Name)
	}
	return b.report("running")
}

// tellToWait has QEMU wait for a server that is gone, or says that it will not.
func tellToWait(s *State, m *machine, errOut io.Writer) {
	if err := m.waitForServer(s); err != nil {
		fmt.Fprintf(errOut, "virtnb: warning: if its server ends, the guest is stopped until virtnb resume, and does not wait: %v\n", err)
	}
}

// makeImages makes the overlays, and copies of what the machine boots with.
func (b *boot) makeImages(ctx context.Context) error {
	s := b.state
	if err := imageFolder(s); err != nil {
		return err
	}
	for _, d := range s.Disks {
		err := qemu.Create(ctx, host.Local{}, d.Overlay, qemu.CreateOptions{
			Format: "qcow2", Size: d.Size, Backing: nbdURI(s.Socket, d.Export), BackingFormat: "raw",
		})
		if err != nil {
			return err
		}
	}
	for _, f := range b.files {
		if err := copyFile(f.from, f.to); err != nil {
			return fmt.Errorf("the %s of the machine: %w", f.role, err)
		}
	}
	return nil
}

// imageFolder makes the folder for the overlays. Where QEMU is another user, it
// has to get at them, and libvirt gives it the files only.
func imageFolder(s *State) error {
	mode := fs.FileMode(folderMode)
	if s.Owner.Other {
		mode = 0o711
	}
	if err := os.MkdirAll(filepath.Dir(s.Images), 0o711); err != nil {
		return err
	}
	if _, err := os.Lstat(s.Images); err == nil {
		return nil
	}
	s.OwnImages = true
	return errors.Join(s.save(), os.Mkdir(s.Images, mode))
}

func (b *boot) report(state string) error {
	s := b.state
	r := bootJSON{
		Name: s.Name, UUID: s.UUID, URI: s.URI, Set: s.Set, Point: s.Point, Socket: s.Socket, State: state,
		Disks: []diskJSON{}, Seconds: time.Since(b.began).Seconds(),
	}
	for _, d := range s.Disks {
		r.Disks = append(r.Disks, diskJSON{d.Target, d.Export, d.Overlay, d.Size})
	}
	if b.o.JSON {
		return writeJSON(b.o.Out, r)
	}
	if state == "planned" {
		fmt.Fprintf(b.o.Out, "would boot %s from %s at restore point %s\n", s.Name, s.Set, s.Point)
		for _, d := range s.Disks {
			fmt.Fprintf(b.o.Out, "%s: %s on the export %s\n", d.Target, d.Overlay, d.Export)
		}
		return nil
	}
	fmt.Fprintf(b.o.Out, "%s is %s, from %s at restore point %s, after %.1f s\n", s.Name, state, s.Set, s.Point, r.Seconds)
	if s.Plain {
		_, err := fmt.Fprintf(b.o.Out, "QEMU's sockets (qmp, serial, vnc, agent) are in %s; virtnb discard %s takes it away\n", filepath.Dir(s.Socket), s.Name)
		return err
	}
	_, err := fmt.Fprintf(b.o.Out, "virtnb promote %s makes it permanent; virtnb discard %[1]s takes it away\n", s.Name)
	return err
}

func writeJSON(out io.Writer, value any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}

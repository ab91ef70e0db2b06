// SPDX-License-Identifier: Apache-2.0

package recovercmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"virtnb/format"
	"virtnb/internal/host"
	"virtnb/internal/logfile"
	"virtnb/internal/terminal"
)

// What is mapped is served by an nbdkit for each disk: the filter that lets
// clients write keeps one set of changes for all exports, and mixes them up
// where there is more than one. They end with us.

// MapMain is the command: prog is the name that it was called by, args are the
// words behind it. It serves until ctx ends and returns the exit status: 0, 1 for
// a failure, 2 for a wrong command line.
func MapMain(ctx context.Context, prog, version string, args []string, out, errOut *os.File) int {
	o, status, done := ParseMapArgs(prog, version, args, out, errOut)
	if done {
		return status
	}
	log, err := logfile.Open(logfile.Options{Path: o.LogFile, Stderr: errOut, Verbose: o.Verbose, Color: !o.NoColor && terminal.Colors(errOut), Tag: prog})
	if err != nil {
		fmt.Fprintf(errOut, "%s: Failed to open logfile: [%v].\n", prog, err)
		return 1
	}
	defer log.Close()
	m := &mapping{o: o, log: slog.New(log), out: out}
	if err := m.run(ctx); err != nil {
		m.log.Error(err.Error())
		return 1
	}
	return 0
}

// mapGrace is how long a server waits for its clients at the end: what they wrote
// is gone in any case.
const mapGrace = 2 * time.Second

// mapping is a call of map.
type mapping struct {
	o     MapOptions
	log   *slog.Logger
	out   *os.File
	disks []*mapped
}

// mapped is a disk that is served.
type mapped struct {
	name   string
	point  string
	size   int64
	files  []string
	socket string // "": TCP
	port   int
	server *host.Process
}

func (m *mapping) run(ctx context.Context) error {
	if err := m.findDisks(); err != nil {
		return err
	}
	if m.o.Device != "" {
		if err := m.checkDevice(); err != nil {
			return err
		}
	}
	defer m.stop()
	for i, d := range m.disks {
		if err := m.serve(ctx, d, i); err != nil {
			return ended(ctx, fmt.Errorf("disk %s: %w", d.name, err))
		}
	}
	if m.o.Device != "" {
		disconnect, err := m.connectDevice(ctx)
		if err != nil {
			return ended(ctx, err)
		}
		defer disconnect()
	}
	if err := m.report(); err != nil {
		return err
	}
	return ended(ctx, m.wait(ctx))
}

// ended drops the error of a mapping that was ended by a signal.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// findDisks looks for what is to be served.
func (m *mapping) findDisks() error {
	if m.o.Set == "" {
		return m.findFiles()
	}
	dir, err := filepath.Abs(m.o.Set)
	if err != nil {
		return err
	}
	set, err := format.ReadSet(dir)
	if err != nil {
		return err
	}
	point, err := choosePoint(set, m.o.Until)
	if err != nil {
		return err
	}
	for _, d := range set.Disks {
		if m.o.Disk != "" && d.Name != m.o.Disk {
			continue
		}
		p, err := d.Find(point)
		if err != nil && m.o.Until == "" {
			p, err = d.Latest(), nil // of a disk that has no such point
		}
		if err != nil {
			m.log.Warn(err.Error())
			continue
		}
		files, err := p.Files()
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.Name, err)
		}
		m.disks = append(m.disks, &mapped{name: d.Name, point: p.Name, size: p.Meta.VirtualSize, files: files})
	}
	if len(m.disks) == 0 {
		return fmt.Errorf("%s has no disk %s at restore point %s; there are: %s", dir, m.o.Disk, point, strings.Join(set.DiskNames(), ", "))
	}
	if len(m.disks) > 1 && (m.o.Device != "" || m.o.Export != "") {
		return fmt.Errorf("%s has the disks %s: choose one with --disk for -d and -e", dir, strings.Join(set.DiskNames(), ", "))
	}
	return nil
}

func (m *mapping) findFiles() error {
	d := &mapped{}
	for _, name := range m.o.Files {
		path, err := filepath.Abs(name)
		if err != nil {
			return err
		}
		d.files = append(d.files, path)
	}
	last, err := format.OpenSaveset(d.files[len(d.files)-1])
	if err != nil {
		return err
	}
	d.name, d.point, d.size = last.Meta.DiskName, last.Meta.CheckpointName, last.Meta.VirtualSize
	m.disks = []*mapped{d}
	return last.Close()
}

// export is the name of the export of a disk.
func (m *mapping) export(d *mapped) string {
	if m.o.Export != "" {
		return m.o.Export
	}
	return d.name
}

// serve starts the server of the disk with this index, and returns when it
// listens.
func (m *mapping) serve(ctx context.Context, d *mapped, i int) error {
	argv, remove, err := m.command(d, i)
	if err != nil {
		return err
	}
	m.log.Debug("Starting " + strings.Join(argv, " "))
	if d.server, err = (host.Local{}).Start(ctx, host.Command{Argv: argv, Remove: remove, Grace: mapGrace}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("nbdkit does not listen after %v", startTimeout))
	defer cancel()
	return poll(ctx, func() (bool, error) {
		select {
		case <-d.server.Done():
			if err := d.server.Wait(); err != nil {
				return false, err
			}
			return false, errors.New("nbdkit ended at once")
		default:
			_, err := os.Stat(remove[0])
			return err == nil, nil
		}
	})
}

// command is that of a server, with the files that are to be removed after it,
// the one first that is there when it listens.
func (m *mapping) command(d *mapped, i int) (argv, remove []string, err error) {
	plugin, err := findPlugin()
	if err != nil {
		return nil, nil, err
	}
	socket, err := newSocket()
	if err != nil {
		return nil, nil, err
	}
	dir := filepath.Dir(socket)
	if _, err := ownFolder(dir, folderMode); err != nil {
		return nil, nil, err
	}
	pid := filepath.Join(dir, "pid")
	argv = []string{"nbdkit", "--foreground", "--pidfile", pid, "--threads", strconv.Itoa(m.o.Threads)}
	if m.o.Port == 0 {
		d.socket = socket
		argv = append(argv, "--unix", socket)
	} else {
		d.port = m.o.Port + i
		argv = append(argv, "--ipaddr", m.o.Address, "--port", strconv.Itoa(d.port))
	}
	if m.o.TLS {
		argv = append(argv, "--tls=require", "--tls-certificates="+m.o.TLSDir, "--tls-verify-peer")
	}
	if m.o.BlockSize > 0 {
		argv = append(argv, "--filter=blocksize")
	}
	if !m.o.ReadOnly {
		argv = append(argv, "--filter=cow")
	}
	argv = append(argv, plugin, "files="+strings.Join(d.files, ","), "export="+m.export(d))
	if m.o.BlockSize > 0 {
		argv = append(argv, "maxlen="+strconv.Itoa(m.o.BlockSize))
	}
	return argv, []string{pid, socket, dir}, nil
}

// uri names the export of a disk.
func (m *mapping) uri(d *mapped) string {
	if d.port == 0 {
		return nbdURI(d.socket, m.export(d))
	}
	address := m.o.Address
	if ip := net.ParseIP(address); ip != nil && ip.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			address = name
		}
	}
	u := url.URL{Scheme: "nbd", Host: net.JoinHostPort(address, strconv.Itoa(d.port)), Path: "/" + m.export(d)}
	if m.o.TLS {
		u.Scheme = "nbds"
	}
	return u.String()
}

// The JSON of map is an interface: programs rely on these names.
type (
	mapJSON struct {
		ReadOnly bool            `json:"readonly"`
		Device   string          `json:"device,omitempty"`
		Exports  []mapExportJSON `json:"exports"`
	}
	mapExportJSON struct {
		Disk        string `json:"disk"`
		Point       string `json:"point"`
		Name        string `json:"name"`
		URI         string `json:"uri"`
		Socket      string `json:"socket,omitempty"`
		VirtualSize int64  `json:"virtualSize"` // bytes
	}
)

func (m *mapping) report() error {
	r := mapJSON{ReadOnly: m.o.ReadOnly, Device: m.o.Device, Exports: []mapExportJSON{}}
	for _, d := range m.disks {
		r.Exports = append(r.Exports, mapExportJSON{d.name, d.point, m.export(d), m.uri(d), d.socket, d.size})
	}
	if m.o.JSON {
		return writeLine(m.out, r)
	}
	for _, e := range r.Exports {
		m.log.Info(fmt.Sprintf("Serving disk [%s] at restore point [%s]", e.Disk, e.Point))
		fmt.Fprintf(m.out, "%s\n", e.URI)
	}
	first := r.Exports[0].URI
	fmt.Fprintf(m.out, "\n    nbdcopy '%s' %s.raw\n    qemu-img convert -O qcow2 '%[1]s' %[2]s.qcow2\n    guestfish --ro --format=raw -a '%[1]s' -i\n", first, r.Exports[0].Disk)
	if m.o.Device != "" {
		m.log.Info(fmt.Sprintf("Done mapping to device [%s]", m.o.Device))
	}
	_, err := fmt.Fprintln(m.out, "\nEnd it with Ctrl-C, or kill -TERM.")
	return err
}

// wait waits for the end, of us or of a server.
func (m *mapping) wait(ctx context.Context) error {
	failed := make(chan error, len(m.disks))
	for _, d := range m.disks {
		go func() {
			err := d.server.Wait()
			failed <- errors.Join(fmt.Errorf("the server of disk %s has ended", d.name), err)
		}()
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		m.log.Info("Ending")
		return nil
	}
}

func (m *mapping) stop() {
	for _, d := range m.disks {
		if d.server != nil {
			_ = d.server.Stop() // how it ends is of no interest
		}
	}
}

// checkDevice says whether there is such a device, and what else there is.
func (m *mapping) checkDevice() error {
	info, err := os.Stat(m.o.Device)
	if err == nil && info.Mode()&fs.ModeDevice != 0 {
		return nil
	}
	return fmt.Errorf("there is no device %s: load the module (modprobe nbd max_part=8), or, where the kernel has none, use virtnb mount, which shows the disks as files, or virtnb map without -d", m.o.Device)
}

// connectDevice gives the disk to the kernel, by qemu-nbd. Call disconnect.
func (m *mapping) connectDevice(ctx context.Context) (disconnect func(), err error) {
	argv := []string{"qemu-nbd", "--connect=" + m.o.Device, "--format=raw"}
	if m.o.ReadOnly {
		argv = append(argv, "--read-only")
	}
	if err := runDaemon(ctx, append(argv, m.uri(m.disks[0]))); err != nil {
		return nil, err
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if _, err := (host.Local{}).Run(ctx, []string{"qemu-nbd", "--disconnect", m.o.Device}); err != nil {
			m.log.Error(err.Error())
		}
		time.Sleep(pollInterval) // the kernel closes its connection before the server goes
	}, nil
}

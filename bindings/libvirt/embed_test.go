// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// The tests of this file run a QEMU, without an operating system in it, under
// the driver in this process: qemu:///embed. A process has one such driver.

const qemuConf = `user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
`

// openEmbedded starts the driver, which lasts as long as its root.
func openEmbedded(t *testing.T) (*Connect, string) {
	t.Helper()
	// Paths of Unix sockets are short.
	root, err := os.MkdirTemp("", "lv")
	ok(t, err)
	t.Cleanup(func() { os.RemoveAll(root) })
	ok(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
	ok(t, os.WriteFile(filepath.Join(root, "etc", "qemu.conf"), []byte(qemuConf), 0o644))
	conn := must(NewConnectWithAuthDefault("qemu:///embed?root="+root, 0))(t)
	t.Cleanup(func() { conn.Close() })
	return conn, root
}

// run is the output of a program that has to succeed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.String())
	}
	return string(out)
}

const guestXML = `<domain type='qemu'>
  <name>vm1</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='DISK'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
    <controller type='usb' model='none'/><memballoon model='none'/>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
  </devices>
</domain>`

// guest is a paused domain with a disk of 64 MiB.
type guest struct {
	t      *testing.T
	conn   *Connect
	dom    *Domain
	dir    string
	blocks chan DomainEventBlockJob
	jobs   chan DomainJobInfo
}

func newGuest(t *testing.T) *guest {
	conn, root := openEmbedded(t)
	disk := filepath.Join(root, "vm1.qcow2")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", disk, "64M")
	dom := must(conn.DomainDefineXML(strings.Replace(guestXML, "DISK", disk, 1)))(t)
	t.Cleanup(func() { free(t, dom) })
	ok(t, dom.CreateWithFlags(DOMAIN_START_PAUSED))
	t.Cleanup(func() { dom.Destroy() })
	g := &guest{t, conn, dom, root, make(chan DomainEventBlockJob, 100), make(chan DomainJobInfo, 100)}
	g.listen()
	return g
}

// listen fills the channels.
func (g *guest) listen() {
	before := handles.Load()
	ids := []int{
		must(g.conn.DomainEventBlockJob2Register(g.dom, func(_ *Connect, _ *Domain, e *DomainEventBlockJob) { g.blocks <- *e }))(g.t),
		must(g.conn.DomainEventJobCompletedRegister(g.dom, func(_ *Connect, _ *Domain, e *DomainEventJobCompleted) { g.jobs <- e.Info }))(g.t),
	}
	g.t.Cleanup(func() {
		for _, id := range ids {
			ok(g.t, g.conn.DomainEventDeregister(id))
		}
		eventually(g.t, "the callbacks are freed", func() bool { return handles.Load() == before })
	})
}

// write does what the guest would: bytes of a value into the disk.
func (g *guest) write(value byte, offset, length string) {
	g.t.Helper()
	dev := "/machine/peripheral/virtio-disk0/virtio-backend"
	for _, cmd := range []string{fmt.Sprintf("write -P %d %s %s", value, offset, length), "flush"} {
		out := must(g.dom.QemuMonitorCommand(fmt.Sprintf(`qemu-io -d %s "%s"`, dev, cmd), DOMAIN_QEMU_MONITOR_COMMAND_HMP))(g.t)
		if strings.Contains(strings.ToLower(out), "error") {
			g.t.Fatalf("%s: %s", cmd, out)
		}
	}
}

// blockJob waits for an event of the disk with that status.
func (g *guest) blockJob(status ConnectDomainEventBlockJobStatus) DomainEventBlockJob {
	g.t.Helper()
	e := receive(g.t, "a block job event", g.blocks)
	for e.Type == DOMAIN_BLOCK_JOB_TYPE_BACKUP { // the ends of the backups
		e = receive(g.t, "a block job event", g.blocks)
	}
	if e.Disk != "vda" || e.Status != status {
		g.t.Fatalf("the event is %+v, want status %d of vda", e, status)
	}
	return e
}

func backupXML(dir, name, incremental string) string {
	if incremental != "" {
		incremental = "<incremental>" + incremental + "</incremental>"
	}
	return fmt.Sprintf(`<domainbackup mode='pull'>%s
  <server transport='unix' socket='%s/%s.sock'/>
  <disks><disk name='vda' backup='yes' type='file' exportname='vda'><scratch file='%s/%s.scratch'/></disk></disks>
</domainbackup>`, incremental, dir, name, dir, name)
}

func checkpointXML(name string) string {
	return fmt.Sprintf(`<domaincheckpoint><name>%s</name><disks><disk name='vda' checkpoint='bitmap' bitmap='%s'/></disks></domaincheckpoint>`, name, name)
}

// backup runs a pull backup with a checkpoint and calls during while it lasts.
func (g *guest) backup(name, incremental string, during func(socket string)) {
	g.t.Helper()
	ok(g.t, g.dom.BackupBegin(backupXML(g.dir, name, incremental), checkpointXML(name), 0))
	during(filepath.Join(g.dir, name+".sock"))
	ok(g.t, g.dom.AbortJob())
	end := receive(g.t, "the end of the backup", g.jobs)
	if !end.OperationSet || end.Operation != DOMAIN_JOB_OPERATION_BACKUP {
		g.t.Errorf("the job that ended is %+v", end)
	}
}

// inNamespace runs the test again in a mount namespace, where the user and the
// group libvirt-qemu are, which libvirt looks up whatever qemu.conf says, and
// where it leaves nothing in /run. It says whether this was the outer one.
func inNamespace(t *testing.T) (outer bool) {
	t.Helper()
	const inside = "LIBVIRT_GO_TEST_INSIDE"
	if os.Getenv(inside) != "" {
		return false
	}
	script := `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
{ cat /etc/passwd; echo 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin'; } >/run/passwd
{ cat /etc/group; echo 'libvirt-qemu:x:64055:'; } >/run/group
mount --bind /run/passwd /etc/passwd
mount --bind /run/group /etc/group
exec "$@"`
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", script, "sh", os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), inside+"=1", "LIBVIRT_LOG_OUTPUTS=4:stderr")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v (this test needs root)\n%s", err, out)
	}
	return true
}

func TestEmbeddedQEMU(t *testing.T) {
	if inNamespace(t) {
		return
	}
	g := newGuest(t)
	t.Run("state", func(t *testing.T) { g.with(t).state() })
	t.Run("backup", func(t *testing.T) { g.with(t).backups() })
	t.Run("copy and pivot", func(t *testing.T) { g.with(t).copyAndPivot() })
	t.Run("pull", func(t *testing.T) { g.with(t).pull() })
	t.Run("cdrom", func(t *testing.T) { g.with(t).changeMedium() })
	t.Run("agent", func(t *testing.T) { g.with(t).noAgent() })
	t.Run("many goroutines", func(t *testing.T) { g.with(t).manyGoroutines() })
}

func (g *guest) with(t *testing.T) *guest {
	same := *g
	same.t = t
	return &same
}

func (g *guest) state() {
	t := g.t
	s, reason, err := g.dom.GetState()
	if err != nil || s != DOMAIN_PAUSED || (reason != int(DOMAIN_PAUSED_USER) && reason != int(DOMAIN_PAUSED_STARTING_UP)) {
		t.Errorf("the state is %d for %d (%v)", s, reason, err)
	}
	var answer struct{ Return struct{ Status string } }
	ok(t, json.Unmarshal([]byte(must(g.dom.QemuMonitorCommand(`{"execute":"query-status"}`, DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT))(t)), &answer))
	if answer.Return.Status == "" || answer.Return.Status == "running" {
		t.Errorf("QEMU is %+v", answer)
	}
	if info := must(g.dom.GetControlInfo(0))(t); info.State != DOMAIN_CONTROL_OK {
		t.Errorf("the control is %+v", info)
	}
	if info := must(g.dom.GetBlockInfo("vda", 0))(t); info.Capacity != 64<<20 || info.Physical == 0 {
		t.Errorf("the disk is %+v", info)
	}
	if xml := must(g.dom.GetXMLDesc(DOMAIN_XML_MIGRATABLE | DOMAIN_XML_SECURE))(t); !strings.Contains(xml, "vm1.qcow2") {
		t.Errorf("the XML is %s", xml)
	}
	if errors := must(g.dom.GetDiskErrors(0))(t); len(errors) != 0 {
		t.Errorf("the disk has %+v", errors)
	}
	if caps := must(g.conn.GetDomainCapabilities("", "x86_64", "pc", "qemu", 0))(t); !strings.Contains(caps, "<domainCapabilities>") {
		t.Errorf("the capabilities are %s", caps)
	}
	if args := must(g.conn.DomainXMLToNative("qemu-argv", must(g.dom.GetXMLDesc(0))(t), 0))(t); !strings.Contains(args, "qemu-system-x86_64") {
		t.Errorf("the command is %s", args)
	}
	if job := must(g.dom.GetJobStats(0))(t); job.Type != DOMAIN_JOB_NONE {
		t.Errorf("the job is %+v", job)
	}
	if job := must(g.dom.GetJobInfo())(t); job.Type != DOMAIN_JOB_NONE {
		t.Errorf("the job is %+v", job)
	}
}

// dirty are the extents of a bitmap that an NBD server exports, with status.
func (g *guest) dirty(socket, bitmap string) string {
	return run(g.t, "nbdinfo", "--map=qemu:dirty-bitmap:"+bitmap, "nbd+unix:///vda?socket="+socket)
}

func (g *guest) backups() {
	t := g.t
	g.write(0xa5, "1M", "1M")
	g.backup("virtnbdbackup.0", "", func(socket string) {
		job := must(g.dom.GetJobStats(0))(t)
		if job.Type != DOMAIN_JOB_UNBOUNDED || job.Operation != DOMAIN_JOB_OPERATION_BACKUP || job.DiskTempTotal != 64<<20 || !job.DiskTempUsedSet {
			t.Errorf("the job is %+v", job)
		}
		if xml := must(g.dom.BackupGetXMLDesc(0))(t); !strings.Contains(xml, socket) {
			t.Errorf("the backup is %s", xml)
		}
		g.write(0x77, "1M", "64k") // not in the backup
		image := filepath.Join(g.dir, "full.raw")
		run(t, "qemu-img", "convert", "-O", "raw", "nbd+unix:///vda?socket="+socket, image)
		data, err := os.ReadFile(image)
		ok(t, err)
		if len(data) != 64<<20 || data[1<<20-1] != 0 || data[1<<20] != 0xa5 || data[2<<20-1] != 0xa5 || data[2<<20] != 0 {
			t.Error("the backup is not what the guest wrote")
		}
	})
	g.write(0x11, "8M", "128k")
	g.backup("virtnbdbackup.1", "virtnbdbackup.0", func(socket string) {
		bitmap := "backup-vda"
		if got := g.dirty(socket, bitmap); !strings.Contains(got, "8388608") || !strings.Contains(got, "131072") || strings.Count(got, "dirty") != 2 {
			t.Errorf("the dirty extents are\n%s", got)
		}
	})
	_, err := g.dom.BackupGetXMLDesc(0)
	wantCode(t, err, ERR_NO_DOMAIN_BACKUP)
	g.checkpoints()
}

// checkpoints are those of the backups, with the sizes of their bitmaps.
func (g *guest) checkpoints() {
	t := g.t
	if got := checkpointNames(t, must(g.dom.ListAllCheckpoints(DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL))(t)); len(got) != 2 {
		t.Errorf("the checkpoints are %q", got)
	}
	g.write(0x22, "16M", "64k")
	c := must(g.dom.CheckpointLookupByName("virtnbdbackup.1", 0))(t)
	defer free(t, c)
	if xml := must(c.GetXMLDesc(DOMAIN_CHECKPOINT_XML_SIZE))(t); !strings.Contains(xml, "size='65536'") {
		t.Errorf("the checkpoint is %s", xml)
	}
	ok(t, c.Delete(0))
	wantCode(t, g.dom.BackupBegin(backupXML(g.dir, "x", "virtnbdbackup.1"), "", 0), ERR_NO_DOMAIN_CHECKPOINT)
}

func (g *guest) copyAndPivot() {
	t := g.t
	for _, c := range g.allCheckpoints() {
		ok(t, c.Delete(0))
		free(t, &c)
	}
	target := filepath.Join(g.dir, "copy.qcow2")
	dest := fmt.Sprintf("<disk type='file'><driver type='qcow2'/><source file='%s'/></disk>", target)
	wantCode(t, g.dom.BlockCopy("vda", dest, nil, 0), ERR_OPERATION_INVALID) // not transient
	params := &DomainBlockCopyParameters{BandwidthSet: true, Bandwidth: 1 << 40, GranularitySet: true, Granularity: 65536, BufSizeSet: true, BufSize: 1 << 20}
	ok(t, g.dom.BlockCopy("vda", dest, params, DOMAIN_BLOCK_COPY_TRANSIENT_JOB))
	if e := g.blockJob(DOMAIN_BLOCK_JOB_READY); e.Type != DOMAIN_BLOCK_JOB_TYPE_COPY {
		t.Errorf("the event is %+v", e)
	}
	info := must(g.dom.GetBlockJobInfo("vda", DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES))(t)
	if info.Type != DOMAIN_BLOCK_JOB_TYPE_COPY || info.Bandwidth != 1<<40 || info.End == 0 || info.Cur != info.End {
		t.Errorf("the job is %+v", info)
	}
	g.write(0x33, "32M", "64k") // goes to both
	ok(t, g.dom.BlockJobAbort("vda", DOMAIN_BLOCK_JOB_ABORT_PIVOT))
	g.blockJob(DOMAIN_BLOCK_JOB_COMPLETED)
	if xml := must(g.dom.GetXMLDesc(0))(t); !strings.Contains(xml, target) {
		t.Errorf("the disk is not the copy: %s", xml)
	}
	g.abortedCopy(dest)
}

func (g *guest) allCheckpoints() []DomainCheckpoint {
	return must(g.dom.ListAllCheckpoints(DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL))(g.t)
}

// abortedCopy ends without a pivot.
func (g *guest) abortedCopy(dest string) {
	t := g.t
	dest = strings.Replace(dest, "copy.qcow2", "aborted.qcow2", 1)
	ok(t, g.dom.BlockCopy("vda", dest, &DomainBlockCopyParameters{}, DOMAIN_BLOCK_COPY_TRANSIENT_JOB))
	g.blockJob(DOMAIN_BLOCK_JOB_READY)
	ok(t, g.dom.BlockJobSetSpeed("vda", 1<<20, DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES))
	ok(t, g.dom.BlockJobAbort("vda", 0))
	// libvirt says that a copy was completed where it was ready.
	if e := receive(t, "the end of the copy", g.blocks); e.Status != DOMAIN_BLOCK_JOB_CANCELED && e.Status != DOMAIN_BLOCK_JOB_COMPLETED {
		t.Errorf("the event is %+v", e)
	}
	if info := must(g.dom.GetBlockJobInfo("vda", 0))(t); *info != (DomainBlockJobInfo{}) {
		t.Errorf("the job is %+v", info)
	}
}

// pull makes an overlay stand alone.
func (g *guest) pull() {
	t := g.t
	base, top := filepath.Join(g.dir, "base.raw"), filepath.Join(g.dir, "top.qcow2")
	ok(t, os.WriteFile(base, []byte(strings.Repeat("x", 4<<20)), 0o600))
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, top)
	ok(t, g.dom.AttachDeviceFlags(fmt.Sprintf("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/><target dev='vdb' bus='virtio'/></disk>", top), DOMAIN_DEVICE_MODIFY_LIVE))
	ok(t, g.dom.BlockPull("vdb", 0, 0))
	if e := receive(t, "the end of the pull", g.blocks); e.Disk != "vdb" || e.Type != DOMAIN_BLOCK_JOB_TYPE_PULL || e.Status != DOMAIN_BLOCK_JOB_COMPLETED {
		t.Errorf("the event is %+v", e)
	}
	if info := run(t, "qemu-img", "info", "-U", top); strings.Contains(info, "backing file") {
		t.Errorf("the image has a backing file:\n%s", info)
	}
	ok(t, g.dom.BlockResize("vdb", 8<<20, DOMAIN_BLOCK_RESIZE_BYTES))
	if info := must(g.dom.GetBlockInfo("vdb", 0))(t); info.Capacity != 8<<20 {
		t.Errorf("the disk is %+v", info)
	}
	wantCode(t, g.dom.BlockPull("vdz", 0, 0), ERR_INVALID_ARG)
}

// changeMedium puts a file into the cdrom.
func (g *guest) changeMedium() {
	t := g.t
	iso := filepath.Join(g.dir, "x.iso")
	ok(t, os.WriteFile(iso, []byte("CD"+strings.Repeat("x", 1<<20)), 0o600))
	ok(t, g.dom.UpdateDeviceFlags(fmt.Sprintf("<disk type='file' device='cdrom'><source file='%s'/><target dev='sda' bus='sata'/><readonly/></disk>", iso), DOMAIN_DEVICE_MODIFY_LIVE))
	if xml := must(g.dom.GetXMLDesc(0))(t); !strings.Contains(xml, iso) {
		t.Errorf("the medium is not in %s", xml)
	}
	if data := must(g.dom.BlockPeek("sda", 1, 4, 0))(t); string(data) != "Dxxx" {
		t.Errorf("the medium has %q", data)
	}
}

// noAgent runs in this guest.
func (g *guest) noAgent() {
	t := g.t
	ok(t, g.dom.Resume())
	_, err := g.dom.QemuAgentCommand(`{"execute":"guest-ping"}`, 5, 0)
	wantCode(t, err, ERR_AGENT_UNRESPONSIVE)
	ok(t, g.dom.AgentSetResponseTimeout(5, 0))
	wantCode(t, g.dom.FSFreeze(nil, 0), ERR_AGENT_UNRESPONSIVE)
	_, err = g.dom.GetFSInfo(0)
	wantCode(t, err, ERR_AGENT_UNRESPONSIVE)
	_, err = g.dom.GetGuestInfo(DOMAIN_GUEST_INFO_OS, 0)
	wantCode(t, err, ERR_AGENT_UNRESPONSIVE)
}

// manyGoroutines use one domain.
func (g *guest) manyGoroutines() {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				if _, err := g.dom.GetXMLDesc(0); err != nil {
					g.t.Error(err)
				}
				if _, err := g.dom.QemuMonitorCommand(`{"execute":"query-block"}`, 0); err != nil {
					g.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

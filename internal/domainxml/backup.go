// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/beevik/etree"
)

// BackupJob is a pull backup: libvirt starts an NBD server that exports the
// chosen disks as they were at the start of the job.
type BackupJob struct {
	Socket string // absolute path of the server's Unix socket; or:
	Host   string // name or address to listen at
	Port   int
	TLS    bool // with Host: only TLS

	Incremental string // checkpoint since which changes are asked for; "" for everything
	Disks       []BackupDisk
}

// BackupDisk is a disk of a job. All disks of a domain may be listed, those
// that are not saved with Skip; libvirt treats an unlisted disk the same way.
type BackupDisk struct {
	Name    string // target
	Skip    bool
	Scratch string // absolute path of the file that keeps what the guest overwrites; libvirt 9.0 chooses none

	// In an incremental job a disk may be saved as a whole (it is new, raw, or
	// its bitmap is broken), or since another checkpoint than the others.
	Full        bool
	Incremental string

	ExportName string // "": the target
	Bitmap     string // name of the dirty bitmap's meta context; "": backup-TARGET
}

// BackupXML is the first argument of virDomainBackupBegin.
func BackupXML(job BackupJob) (string, error) {
	doc, root := newDocument("domainbackup")
	root.CreateAttr("mode", "pull")
	if job.Incremental != "" {
		if err := CheckCheckpoint(job.Incremental); err != nil {
			return "", fmt.Errorf("backup job: %w", err)
		}
		root.CreateElement("incremental").SetText(job.Incremental)
	}
	if err := addServer(root, job); err != nil {
		return "", fmt.Errorf("backup job: %w", err)
	}
	if err := addBackupDisks(root, job.Disks); err != nil {
		return "", fmt.Errorf("backup job: %w", err)
	}
	return newXML(doc)
}

func addServer(root *etree.Element, job BackupJob) error {
	server := root.CreateElement("server")
	if job.Socket != "" {
		if job.Host != "" || job.TLS {
			return errors.New("a socket takes no host and no TLS")
		}
		server.CreateAttr("transport", "unix")
		server.CreateAttr("socket", job.Socket)
		return checkPath("socket", job.Socket)
	}
	if job.Host == "" || job.Port < 1 || job.Port > 65535 {
		return fmt.Errorf("cannot listen at host %q, port %d", job.Host, job.Port)
	}
	server.CreateAttr("transport", "tcp")
	server.CreateAttr("tls", yesNo(job.TLS))
	server.CreateAttr("name", job.Host)
	server.CreateAttr("port", strconv.Itoa(job.Port))
	return nil
}

func addBackupDisks(root *etree.Element, disks []BackupDisk) error {
	list := root.CreateElement("disks")
	seen, chosen := map[string]bool{}, 0
	for _, d := range disks {
		if err := CheckTarget(d.Name); err != nil {
			return err
		}
		if seen[d.Name] {
			return fmt.Errorf("disk %s is listed twice", d.Name)
		}
		seen[d.Name] = true
		e := list.CreateElement("disk")
		e.CreateAttr("name", d.Name)
		e.CreateAttr("backup", yesNo(!d.Skip))
		if d.Skip {
			continue
		}
		chosen++
		if err := describeBackupDisk(e, d); err != nil {
			return fmt.Errorf("disk %s: %w", d.Name, err)
		}
	}
	if chosen == 0 {
		return errors.New("no disk to save")
	}
	return nil
}

func describeBackupDisk(e *etree.Element, d BackupDisk) error {
	e.CreateAttr("type", "file") // libvirt 9.0 wants it beside backup='yes'
	switch {
	case d.Full && d.Incremental != "":
		return errors.New("cannot be saved as a whole and since a checkpoint")
	case d.Full:
		e.CreateAttr("backupmode", "full")
	case d.Incremental != "":
		if err := CheckCheckpoint(d.Incremental); err != nil {
			return err
		}
		e.CreateAttr("backupmode", "incremental")
		e.CreateAttr("incremental", d.Incremental)
	}
	if d.ExportName != "" {
		e.CreateAttr("exportname", d.ExportName)
	}
	if d.Bitmap != "" {
		e.CreateAttr("exportbitmap", d.Bitmap)
	}
	e.CreateElement("scratch").CreateAttr("file", d.Scratch)
	return checkPath("scratch file", d.Scratch)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/pkg/sftp"
)

// files is the SFTP client, made at its first use.
func (h *SSH) files() (*sftp.Client, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.clients) == 0 {
		return nil, fmt.Errorf("ssh %s: %w", h, net.ErrClosed)
	}
	if h.sftp != nil {
		return h.sftp, nil
	}
	client, err := sftp.NewClient(h.clients[0], sftp.UseConcurrentWrites(true))
	if err != nil {
		return nil, fmt.Errorf("ssh %s: SFTP, which sshd_config there must allow (Subsystem sftp): %w", h, err)
	}
	h.sftp = client
	return client, nil
}

// fileError tells an error of SFTP as package os tells its own.
func (h *SSH) fileError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return &fs.PathError{Op: op, Path: h.String() + ":" + name, Err: err}
}

// onFile does one thing with a file.
func onFile[T any](h *SSH, op, name string, do func(*sftp.Client) (T, error)) (T, error) {
	client, err := h.files()
	if err != nil {
		var none T
		return none, err
	}
	value, err := do(client)
	return value, h.fileError(op, name, err)
}

// Open is documented at Host.
func (h *SSH) Open(name string) (fs.File, error) {
	f, err := onFile(h, "open", name, func(c *sftp.Client) (*sftp.File, error) { return c.Open(name) })
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Stat is documented at Host.
func (h *SSH) Stat(name string) (fs.FileInfo, error) {
	return onFile(h, "stat", name, func(c *sftp.Client) (fs.FileInfo, error) { return c.Stat(name) })
}

// ReadDir is documented at Host.
func (h *SSH) ReadDir(name string) ([]fs.DirEntry, error) {
	infos, err := onFile(h, "read folder", name, func(c *sftp.Client) ([]fs.FileInfo, error) { return c.ReadDir(name) })
	if err != nil {
		return nil, err
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	entries := make([]fs.DirEntry, len(infos))
	for i, info := range infos {
		entries[i] = fs.FileInfoToDirEntry(info)
	}
	return entries, nil
}

// Mkdir is documented at Host.
func (h *SSH) Mkdir(name string, mode fs.FileMode) error {
	name = path.Clean(name)
	if info, err := h.Stat(name); err == nil {
		if !info.IsDir() {
			return h.fileError("mkdir", name, errors.New("not a folder"))
		}
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if parent := path.Dir(name); parent != name {
		if err := h.Mkdir(parent, mode); err != nil {
			return err
		}
	}
	_, err := onFile(h, "mkdir", name, func(c *sftp.Client) (struct{}, error) {
		if err := c.Mkdir(name); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, c.Chmod(name, mode.Perm())
	})
	return err
}

// Remove is documented at Host.
func (h *SSH) Remove(name string) error {
	_, err := onFile(h, "remove", name, func(c *sftp.Client) (struct{}, error) { return struct{}{}, c.Remove(name) })
	return err
}

// Create is documented at Host. SFTP cannot sync the folder: the file's content
// is durable at Commit, its name soon after.
func (h *SSH) Create(name string, mode fs.FileMode) (*Upload, error) {
	client, err := h.files()
	if err != nil {
		return nil, err
	}
	return newUpload(&remoteFiles{h, client}, name, mode)
}

// remoteFiles are the files of a machine reached over SSH, for Upload.
type remoteFiles struct {
	host   *SSH
	client *sftp.Client
}

func (r *remoteFiles) createNew(name string, mode fs.FileMode) (uploadFile, error) {
	f, err := r.client.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, r.host.fileError("create", name, err)
	}
	if err := f.Chmod(mode); err != nil {
		f.Close()
		r.client.Remove(name)
		return nil, r.host.fileError("chmod", name, err)
	}
	return f, nil
}

// sync does what the server can: not all have it.
func (r *remoteFiles) sync(f uploadFile) error {
	if _, ok := r.client.HasExtension("fsync@openssh.com"); !ok {
		return nil
	}
	file := f.(*sftp.File)
	return r.host.fileError("sync", file.Name(), file.Sync())
}

// rename takes the place of what is there. A server without OpenSSH's rename
// has one that does not, so the old file goes first.
func (r *remoteFiles) rename(from, to string) error {
	if _, ok := r.client.HasExtension("posix-rename@openssh.com"); ok {
		return r.host.fileError("rename", to, r.client.PosixRename(from, to))
	}
	if err := r.client.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r.host.fileError("replace", to, err)
	}
	return r.host.fileError("rename", to, r.client.Rename(from, to))
}

func (r *remoteFiles) remove(name string) error {
	return r.host.fileError("remove", name, r.client.Remove(name))
}

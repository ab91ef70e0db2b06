// SPDX-License-Identifier: Apache-2.0

// Package qemu runs qemu-img and qemu-nbd on a [host.Host]: it tells what an
// image is, makes one like it, edits its bitmaps, and serves it over NBD.
//
//	raw, info, err := qemu.Info(ctx, h, "/var/lib/images/vm1.qcow2", "qcow2")
//	server, err := qemu.ServeReadOnly(ctx, h, qemu.Export{Path: path, Format: "qcow2", Name: "sda"})
//	defer server.Stop()
//	conn, err := server.Dial(ctx) // NBD
package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"virtnb/internal/host"
)

// ImageInfo is what qemu-img info tells of an image. What an older qemu-img
// did not tell is the zero value.
type ImageInfo struct {
	Filename        string   `json:"filename"`
	Format          string   `json:"format"`
	VirtualSize     int64    `json:"virtual-size"` // bytes
	ActualSize      int64    `json:"actual-size"`  // bytes
	ClusterSize     int64    `json:"cluster-size"` // bytes
	Encrypted       bool     `json:"encrypted"`
	Dirty           bool     `json:"dirty-flag"`
	BackingFile     string   `json:"backing-filename"`      // as the image names it
	FullBackingFile string   `json:"full-backing-filename"` // as a path
	BackingFormat   string   `json:"backing-filename-format"`
	Specific        Specific `json:"format-specific"`
}

// Specific is what only images of one format have.
type Specific struct {
	Type  string `json:"type"`
	QCOW2 QCOW2  `json:"-"` // when Type is qcow2
}

// QCOW2 is what a qcow2 image has.
type QCOW2 struct {
	Compat          string   `json:"compat"` // "0.10" or "1.1"
	CompressionType string   `json:"compression-type"`
	LazyRefcounts   bool     `json:"lazy-refcounts"`
	RefcountBits    int      `json:"refcount-bits"`
	ExtendedL2      bool     `json:"extended-l2"`
	Corrupt         bool     `json:"corrupt"`
	DataFile        string   `json:"data-file"`
	DataFileRaw     bool     `json:"data-file-raw"`
	Bitmaps         []Bitmap `json:"bitmaps"`
}

// Bitmap is a dirty bitmap that is kept in an image.
type Bitmap struct {
	Name        string   `json:"name"`
	Granularity int64    `json:"granularity"` // bytes
	Flags       []string `json:"flags"`
}

// InUse tells of a bitmap that was not closed well: it cannot be used, and has
// to be removed. In the image of a running domain every bitmap is.
func (b Bitmap) InUse() bool { return b.has("in-use") }

// Enabled tells whether writes are recorded.
func (b Bitmap) Enabled() bool { return b.has("auto") }

func (b Bitmap) has(flag string) bool {
	for _, f := range b.Flags {
		if f == flag {
			return true
		}
	}
	return false
}

// UnmarshalJSON reads the part of the format that there is a type for.
func (s *Specific) UnmarshalJSON(data []byte) error {
	var any struct {
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(data, &any); err != nil {
		return err
	}
	s.Type = any.Type
	if any.Type != "qcow2" || any.Data == nil {
		return nil
	}
	return json.Unmarshal(any.Data, &s.QCOW2)
}

// Bitmap is the bitmap of that name.
func (i ImageInfo) Bitmap(name string) (Bitmap, bool) {
	for _, b := range i.Specific.QCOW2.Bitmaps {
		if b.Name == name {
			return b, true
		}
	}
	return Bitmap{}, false
}

// ParseInfo reads the JSON of qemu-img info, for instance that of a
// D.IDENT.qcow.json file.
func ParseInfo(raw []byte) (ImageInfo, error) {
	var info ImageInfo
	if err := json.Unmarshal(raw, &info); err != nil {
		return ImageInfo{}, fmt.Errorf("output of qemu-img info: %w", err)
	}
	return info, nil
}

// Info gives the JSON of qemu-img info without the white space around it, as
// it is kept in a backup set, and what it says. The image may be in use.
// Without a format qemu-img guesses it, which the guest can mislead when the
// image is a raw one.
func Info(ctx context.Context, h host.Host, path, format string) ([]byte, ImageInfo, error) {
	raw, err := h.Run(ctx, infoCommand(path, format))
	if err != nil {
		return nil, ImageInfo{}, err
	}
	raw = bytes.TrimSpace(raw)
	info, err := ParseInfo(raw)
	return raw, info, err
}

// Chain gives the image and the backing files below it, the image first.
func Chain(ctx context.Context, h host.Host, path, format string) ([]ImageInfo, error) {
	raw, err := h.Run(ctx, infoCommand(path, format, "--backing-chain"))
	if err != nil {
		return nil, err
	}
	var chain []ImageInfo
	if err := json.Unmarshal(raw, &chain); err != nil {
		return nil, fmt.Errorf("output of qemu-img info: %w", err)
	}
	return chain, nil
}

func infoCommand(path, format string, more ...string) []string {
	argv := append([]string{"qemu-img", "info", "--output", "json", "--force-share"}, more...)
	return append(append(argv, formatFlag(format)...), "--", filename(path))
}

func formatFlag(format string) []string {
	if format == "" {
		return nil
	}
	return []string{"-f", format}
}

// filename keeps QEMU from taking a path for a protocol, as in "nbd:...": that
// cannot be after a slash.
func filename(name string) string {
	if path.IsAbs(name) {
		return name
	}
	return "./" + name
}

// escape makes a value part of an option list, where a comma is written twice.
func escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }

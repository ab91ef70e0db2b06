// SPDX-License-Identifier: Apache-2.0

package fusefs

import (
	"io"
	"io/fs"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"

	"virtnb/format"
	"virtnb/overlay"
)

// partition is a part of a disk, by the number that the kernel gives it.
type partition struct {
	format.Extent
	number    int
	allocated int64 // bytes of data
}

const (
	// maxLogical bounds the chain of logical partitions, which can be a ring.
	maxLogical = 128

	firstLogical = 5 // number of the first logical partition
)

// partitions reads the partition table of img; no table is no partitions. What
// reaches past the disk is left out.
func partitions(img overlay.Image) []partition {
	disk := section(img, format.Extent{Length: img.Size()})
	if table, err := gpt.Read(disk, sector, sector); err == nil {
		var parts []partition
		for i, p := range table.Partitions {
			if p.Type != gpt.Unused && p.Size > 0 {
				number := p.Index
				if number == 0 {
					number = i + 1
				}
				parts = add(parts, img, number, p.GetStart(), p.GetSize())
			}
		}
		return parts
	}
	table, err := mbr.Read(disk, sector, sector)
	if err != nil {
		return nil
	}
	var parts []partition
	for i, p := range table.Partitions {
		start, size := int64(p.Start)*sector, int64(p.Size)*sector
		switch {
		case p.Size == 0 || p.Type == mbr.Empty:
		case isExtended(p.Type):
			parts = append(parts, logical(img, start)...)
		default:
			parts = add(parts, img, i+1, start, size)
		}
	}
	return parts
}

func add(parts []partition, img overlay.Image, number int, start, size int64) []partition {
	if start <= 0 || size <= 0 || start > img.Size() || size > img.Size()-start {
		return parts
	}
	return append(parts, partition{Extent: format.Extent{Start: start, Length: size}, number: number})
}

func isExtended(t mbr.Type) bool { return t == 0x05 || t == 0x0f || t == 0x85 }

// logical follows the chain of tables in the extended partition at extended.
// Each has one logical partition, relative to itself, and the next table,
// relative to the extended partition.
func logical(img overlay.Image, extended int64) (parts []partition) {
	at := extended
	for number := firstLogical; number < firstLogical+maxLogical; number++ {
		if at < 0 || at >= img.Size() {
			return parts
		}
		table, err := mbr.Read(section(img, format.Extent{Start: at, Length: img.Size() - at}), sector, sector)
		if err != nil {
			return parts
		}
		next := int64(0)
		for _, p := range table.Partitions {
			switch {
			case p.Size == 0 || p.Type == mbr.Empty:
			case isExtended(p.Type):
				next = extended + int64(p.Start)*sector
			default:
				parts = add(parts, img, number, at+int64(p.Start)*sector, int64(p.Size)*sector)
			}
		}
		if next <= at {
			return parts
		}
		at = next
	}
	return parts
}

// tableFile is a part of an image as the library of partition tables wants it.
type tableFile struct{ *io.SectionReader }

func section(img overlay.Image, e format.Extent) tableFile {
	return tableFile{io.NewSectionReader(img, e.Start, e.Length)}
}

func (tableFile) Stat() (fs.FileInfo, error) { return nil, fs.ErrInvalid }
func (tableFile) Close() error               { return nil }

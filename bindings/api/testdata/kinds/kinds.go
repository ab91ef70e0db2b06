// SPDX-License-Identifier: Apache-2.0

// Package kinds has one exported name of every kind, and unexported ones.
package kinds

// typedef unsigned long size;
import "C"

import "io"

const (
	Big         = 1 << 20
	Red  Colour = 1
	blue Colour = 2
)

var Default = &Disk{size: 1}

type Colour int

func (Colour) String() string { return "" }

type Disk struct {
	io.Reader
	Next *Disk
	size C.size
}

func Open(name string, flags ...uint32) (*Disk, error) { return nil, nil }

func (d *Disk) Close()       {}
func (d *Disk) Size() C.size { return d.size }
func (d *Disk) grow()        {}

type Hook func(d *Disk) bool

type Seeker interface {
	Seek(off int64) error
	hidden()
}

type optional interface{ Grow() }

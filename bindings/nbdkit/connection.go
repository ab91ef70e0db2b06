// SPDX-License-Identifier: Apache-2.0

package nbdkit

// ConnectionInterface is what nbdkit calls for one client; see
// nbdkit-plugin(3) for when. Methods may be called from many threads at once.
// Offsets and counts are bytes and lie within GetSize. Embed [Connection] for
// the methods that a connection does not need.
type ConnectionInterface interface {
	// GetSize is the size of the export in bytes, at most 2^63-1.
	GetSize() (uint64, error)

	// IsRotational says that the export is like a spinning disk.
	IsRotational() (bool, error)

	// CanMultiConn promises that a flush on one connection covers the
	// completed writes of all connections to the same export.
	CanMultiConn() (bool, error)

	// PRead fills buf, all of it. buf is the server's own memory: it must
	// not be kept after PRead returned.
	PRead(buf []byte, offset uint64, flags uint32) error

	// CanWrite says that the export can be written to. Where it is false,
	// PWrite, Trim and Zero are not called.
	CanWrite() (bool, error)

	// PWrite writes buf, all of it. buf is the server's own memory: it
	// must be neither changed nor kept.
	PWrite(buf []byte, offset uint64, flags uint32) error

	// CanFlush says that Flush works.
	CanFlush() (bool, error)

	// Flush makes completed writes durable. flags is 0.
	Flush(flags uint32) error

	// CanTrim says that Trim works.
	CanTrim() (bool, error)

	// Trim punches a hole, whose content may be anything afterwards.
	Trim(count uint32, offset uint64, flags uint32) error

	// CanZero says that Zero works; otherwise nbdkit writes zeros.
	CanZero() (bool, error)

	// Zero makes the range read as zeros. An error of ENOTSUP or
	// EOPNOTSUPP makes nbdkit write zeros instead, unless flags has
	// FlagFastZero.
	Zero(count uint32, offset uint64, flags uint32) error

	// Close is called once, after the last other call.
	Close()
}

// Connection has the default methods of a [ConnectionInterface], to embed:
// every Can is false. GetSize, PRead, PWrite, Flush, Trim and Zero fail.
type Connection struct{}

// GetSize fails: a connection has its own.
func (*Connection) GetSize() (uint64, error) { return 0, missing("GetSize") }

// IsRotational is false.
func (*Connection) IsRotational() (bool, error) { return false, nil }

// CanMultiConn is false.
func (*Connection) CanMultiConn() (bool, error) { return false, nil }

// PRead fails: a connection has its own.
func (*Connection) PRead(buf []byte, offset uint64, flags uint32) error {
	return missing("PRead")
}

// CanWrite is false.
func (*Connection) CanWrite() (bool, error) { return false, nil }

// PWrite fails: a connection with CanWrite has its own.
func (*Connection) PWrite(buf []byte, offset uint64, flags uint32) error {
	return missing("PWrite")
}

// CanFlush is false.
func (*Connection) CanFlush() (bool, error) { return false, nil }

// Flush fails: a connection with CanFlush has its own.
func (*Connection) Flush(flags uint32) error { return missing("Flush") }

// CanTrim is false.
func (*Connection) CanTrim() (bool, error) { return false, nil }

// Trim fails: a connection with CanTrim has its own.
func (*Connection) Trim(count uint32, offset uint64, flags uint32) error {
	return missing("Trim")
}

// CanZero is false.
func (*Connection) CanZero() (bool, error) { return false, nil }

// Zero fails: a connection with CanZero has its own.
func (*Connection) Zero(count uint32, offset uint64, flags uint32) error {
	return missing("Zero")
}

// Close does nothing.
func (*Connection) Close() {}

// The optional methods of a connection; see those of the plugin.
type (
	exportDescriber interface{ ExportDescription() string }
	blockSizer      interface {
		BlockSize() (minimum, preferred, maximum uint32, err error)
	}
	extentChecker interface{ CanExtents() (bool, error) }
	extentLister  interface {
		Extents(count uint32, offset uint64, flags uint32, add func(offset, length uint64, typ uint32) error) error
	}
	cacheChecker interface{ CanCache() (uint32, error) }
	cacher       interface {
		Cache(count uint32, offset uint64, flags uint32) error
	}
	fuaChecker      interface{ CanFUA() (uint32, error) }
	fastZeroChecker interface{ CanFastZero() (bool, error) }
)

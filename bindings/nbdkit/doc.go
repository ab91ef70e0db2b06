// SPDX-License-Identifier: Apache-2.0

// Package nbdkit lets an nbdkit plugin be written in Go.
//
// It has the exported names and signatures of the Go package that comes with
// nbdkit (see nbdkit-golang-plugin(3)), so that a plugin written for one
// builds with the other. It is a new implementation on top of the C plugin
// API, version 2, described in nbdkit-plugin(3).
//
// # Writing a plugin
//
// A plugin is a main package built with -buildmode=c-shared into
// nbdkit-NAME-plugin.so:
//
//	import "C"
//
//	type plugin struct{ nbdkit.Plugin }
//	type disk struct{ nbdkit.Connection }
//
//	func (*plugin) Open(readonly bool) (nbdkit.ConnectionInterface, error) { return &disk{}, nil }
//	func (*disk) GetSize() (uint64, error)                                 { return 1 << 20, nil }
//	func (*disk) PRead(buf []byte, offset uint64, flags uint32) error      { clear(buf); return nil }
//
//	//export plugin_init
//	func plugin_init() unsafe.Pointer { return nbdkit.PluginInitialize("zero", &plugin{}) }
//
//	func main() {}
//
// # Optional methods
//
// A plugin or a connection that also has one of the methods below gets the
// callback of nbdkit that belongs to it; without the method nbdkit behaves as
// nbdkit-plugin(3) says for a callback that is left out. The methods use
// built-in types only, so that a plugin that has them still builds with the
// upstream package, which does not look for them. A method of another
// signature is not found and nothing says so: assert it in the plugin, as in
//
//	var _ interface{ CanExtents() (bool, error) } = (*disk)(nil)
//
// On the plugin:
//
//	OpenExport(readonly, tls bool, name string) (ConnectionInterface, error)
//	ListExports(readonly, tls bool, add func(name, description string) error) error
//	DefaultExport(readonly, tls bool) (string, error)
//	AfterFork() error
//	Cleanup()
//	ThreadModel() uint32
//	LongName() string
//	Version() string
//	Description() string
//	ConfigHelp() string
//	MagicConfigKey() string
//
// OpenExport is called instead of Open and learns which export the client
// asked for (after DefaultExport had its say for the empty name). The name
// and help methods are called once, by [PluginInitialize].
//
// On the connection:
//
//	ExportDescription() string
//	BlockSize() (minimum, preferred, maximum uint32, err error)
//	CanExtents() (bool, error)
//	Extents(count uint32, offset uint64, flags uint32, add func(offset, length uint64, typ uint32) error) error
//	CanCache() (uint32, error)
//	Cache(count uint32, offset uint64, flags uint32) error
//	CanFUA() (uint32, error)
//	CanFastZero() (bool, error)
//
// Connections of one plugin may differ in which of these they have. Extents
// without CanExtents means true, Cache without CanCache means [CacheNative].
// The add functions are valid until the method returns, in its goroutine.
//
// # Concurrency
//
// The thread model is [ThreadModelParallel] unless ThreadModel lowers it:
// every method of a connection may be called from many threads at once, and
// connections are opened and closed at the same time. Methods run in the
// thread of nbdkit that serves the request.
//
// # Errors and panics
//
// An error that a method returns fails the request, is logged with its text,
// and reaches the client as the errno of a [PluginError] or [syscall.Errno]
// found in it by [errors.As], else as EIO. Before the connection is up (Open,
// GetSize, the Can methods) the client hears that there is no such export.
// A panic in a method is an error with EIO that names it, and the stack goes
// to the debug log (nbdkit -v). Methods without a result can only log; a panic
// in Load fails the server's start.
//
// # Background and --run
//
// Go does not survive the fork that nbdkit does to go into the background or
// for --run. A plugin that was loaded before such a fork ends the server with
// a message that says so, instead of hanging. Start nbdkit with -f, or
// by socket activation, or load the plugin after the fork.
package nbdkit

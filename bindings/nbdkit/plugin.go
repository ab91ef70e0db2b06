// SPDX-License-Identifier: Apache-2.0

package nbdkit

import "fmt"

// PluginInterface is what nbdkit calls on the plugin as a whole; see
// nbdkit-plugin(3) for when. Embed [Plugin] for the methods that a plugin
// does not need.
type PluginInterface interface {
	// Load is called once, right after the plugin was loaded.
	Load()

	// Unload is called once, as the server ends.
	Unload()

	// DumpPlugin prints key=value lines for nbdkit --dump-plugin on
	// standard output.
	DumpPlugin()

	// Config is called for every key=value of the command line, in order.
	Config(key string, value string) error

	// ConfigComplete is called when the parameters are complete.
	ConfigComplete() error

	// GetReady is called before the server starts to serve.
	GetReady() error

	// PreConnect is called for each new client before the handshake.
	PreConnect(readonly bool) error

	// Open answers with the connection that serves a new client. readonly
	// says that the server was started with -r.
	Open(readonly bool) (ConnectionInterface, error)
}

// Plugin has the default methods of a [PluginInterface], to embed. Its Open
// fails, and its Config refuses every parameter.
type Plugin struct{}

// Load does nothing.
func (*Plugin) Load() {}

// Unload does nothing.
func (*Plugin) Unload() {}

// DumpPlugin prints nothing.
func (*Plugin) DumpPlugin() {}

// Config refuses every parameter.
func (*Plugin) Config(key string, value string) error {
	return fmt.Errorf("unknown parameter %q", key)
}

// ConfigComplete accepts the parameters.
func (*Plugin) ConfigComplete() error { return nil }

// GetReady does nothing.
func (*Plugin) GetReady() error { return nil }

// PreConnect accepts every client.
func (*Plugin) PreConnect(readonly bool) error { return nil }

// Open fails: a plugin has its own.
func (*Plugin) Open(readonly bool) (ConnectionInterface, error) {
	return nil, missing("Open")
}

// The optional methods of a plugin. They are interfaces of one method each so
// that a plugin has any subset of them, and unexported so that a plugin that
// uses them names nothing that upstream lacks.
type (
	exportOpener interface {
		OpenExport(readonly, tls bool, name string) (ConnectionInterface, error)
	}
	exportLister interface {
		ListExports(readonly, tls bool, add func(name, description string) error) error
	}
	exportDefaulter interface {
		DefaultExport(readonly, tls bool) (string, error)
	}
	afterForker      interface{ AfterFork() error }
	cleaner          interface{ Cleanup() }
	threadModeler    interface{ ThreadModel() uint32 }
	longNamer        interface{ LongName() string }
	versioner        interface{ Version() string }
	describer        interface{ Description() string }
	configHelper     interface{ ConfigHelp() string }
	magicConfigKeyer interface{ MagicConfigKey() string }
)

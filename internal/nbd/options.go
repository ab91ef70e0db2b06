// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"libguestfs.org/libnbd"
)

// Names of meta contexts; that of a bitmap follows DirtyBitmap.
const (
	Allocation  = libnbd.CONTEXT_BASE_ALLOCATION
	DirtyBitmap = libnbd.CONTEXT_QEMU_DIRTY_BITMAP
)

const (
	defaultPort = "10809"
	defaultWait = 30 * time.Second
)

// Files in the folder of certificates.
const (
	caFile     = "ca-cert.pem"
	clientFile = "client-cert.pem"
)

// Options say which export of which server, and how to use it. One of URI,
// Socket and Host is the server.
type Options struct {
	URI    string // nbd://, nbds://, nbd+unix://, nbds+unix://; it names the export, so Export is empty
	Socket string // path of a Unix socket
	Host   string // name or address
	Port   string // of Host, 10809 if empty
	Export string
	TLS    *TLS // nil: in the clear

	// Contexts are the meta contexts that the server is asked for. One that it
	// does not have is an error, *[ContextError], but for [Allocation]: without
	// that, all is data.
	Contexts []string

	// Connections is how many are opened where the server says that several
	// see the same disk; 0 means 1. Those behind the first are opened
	// meanwhile, and missed by nobody if the server has no room for them.
	Connections int

	// Wait is how long a server that is not there yet is waited for, the
	// handshake included; 0 means 30 s.
	Wait time.Duration
}

// TLS is required where it is given at all.
type TLS struct {
	// Dir has ca-cert.pem, by which the server is verified, and client-cert.pem
	// and client-key.pem where the server wants them.
	Dir string

	// VerifyPeer is off for a server with a certificate that nobody can verify:
	// then whoever is between can read and change everything.
	VerifyPeer bool

	// Hostname is the name in the server's certificate, where that is not
	// Host. It needs a libnbd newer than 1.14.
	Hostname string
}

// server names the server and the export in messages.
func (o *Options) server() string {
	if o.URI != "" {
		return "NBD export " + o.URI
	}
	at := o.Socket
	if o.Host != "" {
		at = net.JoinHostPort(o.Host, o.port())
	}
	return fmt.Sprintf("export %q of the NBD server at %s", o.Export, at)
}

func (o *Options) port() string {
	if o.Port == "" {
		return defaultPort
	}
	return o.Port
}

// Check finds contradictions, and TLS that would not protect. Connect begins
// with it.
func (o Options) Check() error {
	given := 0
	for _, s := range []string{o.URI, o.Socket, o.Host} {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		return errors.New("NBD server: one of a URI, a socket and a host is needed")
	}
	scheme := ""
	if o.URI != "" && o.Export != "" {
		return fmt.Errorf("%s: the URI names the export, %q is one too many", o.server(), o.Export)
	}
	if o.URI != "" {
		u, err := url.Parse(o.URI)
		if err != nil {
			return fmt.Errorf("NBD server: %w", err)
		}
		scheme = u.Scheme
	}
	if strings.HasPrefix(scheme, "nbds") && o.TLS == nil {
		return fmt.Errorf("%s: TLS needs a folder with certificates", o.server())
	}
	if o.TLS == nil {
		return nil
	}
	return o.checkTLS(o.Socket != "" || strings.HasSuffix(scheme, "+unix"))
}

// checkTLS refuses what libnbd would leave unverified without a word: it does
// not verify where it has no CA, and not where it knows no host name.
func (o *Options) checkTLS(unix bool) error {
	if !o.TLS.VerifyPeer {
		return nil
	}
	if unix && o.TLS.Hostname == "" {
		return fmt.Errorf("%s: on a Unix socket the name in the server's certificate has to be given, to verify it", o.server())
	}
	ca := filepath.Join(o.TLS.Dir, caFile)
	if _, err := os.Stat(ca); err != nil {
		return fmt.Errorf("%s: the certificate of the CA, to verify the server: %w", o.server(), err)
	}
	return nil
}

// hint says what to do about TLS that came to nothing. A server that wants a
// certificate and got none often just hangs up.
func (o *Options) hint(err error) string {
	text := err.Error()
	switch {
	case o.TLS == nil || !strings.Contains(text, "gnutls"):
		return ""
	case strings.Contains(text, "certificate verification"):
		return fmt.Sprintf("; the server's certificate must be one of the authority in %s, and for the name or address that is connected to", filepath.Join(o.TLS.Dir, caFile))
	}
	if _, err := os.Stat(filepath.Join(o.TLS.Dir, clientFile)); err != nil {
		return fmt.Sprintf("; a server that wants a certificate of its client needs %s and client-key.pem in %s", clientFile, o.TLS.Dir)
	}
	return ""
}

// apply sets h up.
func (o *Options) apply(h *libnbd.Libnbd) error {
	// Buffers need not be cleared: who gets an error does not look at them.
	errs := []error{h.SetExportName(o.Export), h.SetPreadInitialize(false)}
	for _, name := range o.Contexts {
		errs = append(errs, h.AddMetaContext(name))
	}
	errs = append(errs, h.SetUriAllowLocalFile(false))
	if o.TLS != nil {
		errs = append(errs, h.SetTls(libnbd.TLS_REQUIRE), h.SetUriAllowTls(libnbd.TLS_REQUIRE), h.SetTlsVerifyPeer(o.TLS.VerifyPeer))
		if o.TLS.Dir != "" {
			errs = append(errs, h.SetTlsCertificates(o.TLS.Dir))
		}
		if o.TLS.Hostname != "" {
			errs = append(errs, h.SetTlsHostname(o.TLS.Hostname))
		}
	}
	return errors.Join(errs...)
}

// dial begins to connect h.
func (o *Options) dial(h *libnbd.Libnbd) error {
	switch {
	case o.Socket != "":
		return h.AioConnectUnix(o.Socket)
	case o.Host != "":
		return h.AioConnectTcp(o.Host, o.port())
	}
	return h.AioConnectUri(o.URI)
}

// ContextError says that the server does not have a meta context: for a dirty
// bitmap, that there is no such bitmap.
type ContextError struct {
	Server  string // the export and where it is
	Context string
}

func (e *ContextError) Error() string {
	if name, ok := strings.CutPrefix(e.Context, DirtyBitmap); ok {
		return fmt.Sprintf("%s has no dirty bitmap %s", e.Server, name)
	}
	return fmt.Sprintf("%s has no meta context %s", e.Server, e.Context)
}

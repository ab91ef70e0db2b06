// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// hostKeys checks the keys that hosts show.
type hostKeys struct {
	*settings
	db *knownhosts.HostKeyDB
}

func openHostKeys(s *settings) (*hostKeys, error) {
	there := slices.DeleteFunc(slices.Clone(s.known), func(name string) bool {
		_, err := os.Stat(name)
		return errors.Is(err, fs.ErrNotExist)
	})
	db, err := knownhosts.NewDB(there...)
	if err != nil {
		return nil, fmt.Errorf("known host keys: %w", err)
	}
	return &hostKeys{s, db}, nil
}

// algorithms prefers those of the keys that are known, so that a host is asked
// for the key that can be checked; the others follow, so that a host that has
// it no more is told to have changed.
func (k *hostKeys) algorithms() []string {
	known := k.db.HostKeyAlgorithms(k.keyName)
	for _, other := range ssh.SupportedAlgorithms().HostKeys {
		if !slices.Contains(known, other) {
			known = append(known, other)
		}
	}
	return known
}

// check is an ssh.HostKeyCallback.
func (k *hostKeys) check(_ string, remote net.Addr, key ssh.PublicKey) error {
	err := k.db.HostKeyCallback()(k.keyName, remote, key)
	switch {
	case err == nil:
		return nil
	case knownhosts.IsHostKeyChanged(err):
		return k.changed(err, key)
	case knownhosts.IsHostUnknown(err) && k.acceptNew:
		return k.add(key)
	case knownhosts.IsHostUnknown(err):
		return k.unknown(key)
	}
	return err // revoked, or a certificate that does not fit
}

func (k *hostKeys) unknown(key ssh.PublicKey) error {
	host, port, _ := net.SplitHostPort(k.address)
	return fmt.Errorf("its host key (%s) is not known: log in once with \"ssh -p %s %s@%s\", which shows the key and asks, "+
		"or add it with \"ssh-keyscan -p %s %s >>%s\" after comparing its fingerprint, or accept new keys with --%s",
		fingerprint(key), port, k.user, host, port, host, k.known[0], AcceptNewKeysFlag)
}

func (k *hostKeys) changed(err error, key ssh.PublicKey) error {
	where := "another one"
	if e, ok := errors.AsType[*xknownhosts.KeyError](err); ok {
		where = fmt.Sprintf("%s:%d", e.Want[0].Filename, e.Want[0].Line)
	}
	return fmt.Errorf("its host key (%s) is not the one in %s: either the host was installed anew or somebody listens in between; "+
		"when you know that it is right, remove the old one with \"ssh-keygen -R %s\" and add the new one",
		fingerprint(key), where, Quote(xknownhosts.Normalize(k.keyName)))
}

func fingerprint(key ssh.PublicKey) string {
	return key.Type() + " " + ssh.FingerprintSHA256(key)
}

// add writes a key to the first file of known hosts.
func (k *hostKeys) add(key ssh.PublicKey) error {
	name := k.known[0]
	err := os.MkdirAll(filepath.Dir(name), 0o700)
	if err == nil {
		err = appendLine(name, k.line(key))
	}
	if err != nil {
		return fmt.Errorf("its new host key cannot be kept: %w", err)
	}
	return nil
}

func (k *hostKeys) line(key ssh.PublicKey) string {
	if !k.hash {
		return xknownhosts.Line([]string{k.keyName}, key)
	}
	hashed := xknownhosts.HashHostname(xknownhosts.Normalize(k.keyName))
	return hashed + " " + string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(key)))
}

// appendLine adds a line in one write, after what others add at the same time.
func appendLine(name, line string) error {
	old, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(old) > 0 && !bytes.HasSuffix(old, []byte("\n")) {
		line = "\n" + line
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// identities are the keys to log in with, in the order in which they are
// tried. A server ends the login after some (6 by default), so those that were
// asked for come first.
type identities struct {
	signers []ssh.Signer
	agent   net.Conn // open while the agent's keys are in use, or nil
	tried   []string // for the message of a failure
}

func (s *settings) openIdentities() (*identities, error) {
	ids := new(identities)
	fromAgent := ids.openAgent(s)
	if s.keyFile != "" {
		if err := ids.addKeyFile(s.keyFile, fromAgent); err != nil {
			ids.close()
			return nil, err
		}
		ids.add(fromAgent...)
		return ids, nil
	}
	if !s.identitiesOnly {
		ids.add(fromAgent...)
	}
	for _, name := range s.identityFiles {
		err := ids.addKeyFile(name, fromAgent)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			ids.tried = append(ids.tried, err.Error())
		}
	}
	return ids, nil
}

// openAgent gives the keys of the agent, none when there is no agent.
func (ids *identities) openAgent(s *settings) []ssh.Signer {
	if s.agent == "" {
		ids.tried = append(ids.tried, "no agent (SSH_AUTH_SOCK is not set)")
		return nil
	}
	conn, err := net.DialTimeout("unix", s.agent, connectTimeout)
	if err != nil {
		ids.tried = append(ids.tried, fmt.Sprintf("no agent (%v)", err))
		return nil
	}
	ids.agent = conn
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		ids.tried = append(ids.tried, fmt.Sprintf("no keys of the agent (%v)", err))
		return nil
	}
	ids.tried = append(ids.tried, fmt.Sprintf("%d keys of the agent", len(signers)))
	return signers
}

// addKeyFile adds the key in a file. One that is encrypted is taken from the
// agent, which has been given the passphrase, or is an error.
func (ids *identities) addKeyFile(name string, fromAgent []ssh.Signer) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("private key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(data)
	if missing, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
		signer = findSigner(fromAgent, publicKey(name, missing))
		if signer == nil {
			return fmt.Errorf("private key %s is protected by a passphrase and not in the agent: run \"eval $(ssh-agent); ssh-add %s\" first", name, Quote(name))
		}
		err = nil
	}
	if err != nil {
		return fmt.Errorf("private key %s: %w", name, err)
	}
	ids.tried = append(ids.tried, name)
	ids.add(signer)
	return nil
}

// publicKey is that of an encrypted private key, or nil: old formats have it
// only in the file beside it.
func publicKey(name string, missing *ssh.PassphraseMissingError) ssh.PublicKey {
	if missing.PublicKey != nil {
		return missing.PublicKey
	}
	data, err := os.ReadFile(name + ".pub")
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		return nil
	}
	return key
}

func findSigner(signers []ssh.Signer, key ssh.PublicKey) ssh.Signer {
	for _, s := range signers {
		if key != nil && bytes.Equal(s.PublicKey().Marshal(), key.Marshal()) {
			return s
		}
	}
	return nil
}

// add adds the signers whose key is not among those already there.
func (ids *identities) add(signers ...ssh.Signer) {
	for _, s := range signers {
		if findSigner(ids.signers, s.PublicKey()) == nil {
			ids.signers = append(ids.signers, s)
		}
	}
}

func (ids *identities) method() ssh.AuthMethod {
	return ssh.PublicKeysCallback(func() ([]ssh.Signer, error) { return slices.Clone(ids.signers), nil })
}

// refused is the error of a login that failed.
func (ids *identities) refused(notes []string) error {
	return fmt.Errorf("login refused, no key was accepted; tried: %s; "+
		"add your public key there with ssh-copy-id, or choose another with --ssh-private-key or the agent",
		strings.Join(slices.Concat(ids.tried, notes), ", "))
}

func (ids *identities) close() {
	if ids.agent != nil {
		ids.agent.Close()
	}
}

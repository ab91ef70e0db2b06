// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kevinburke/ssh_config"
)

// AcceptNewKeysFlag is the name of the flag of the commands that sets
// SSHOptions.AcceptNewKeys; messages name it.
const AcceptNewKeysFlag = "ssh-accept-new-keys"

// SSHOptions says which machine to reach and how. What is not set comes from
// ~/.ssh/config and /etc/ssh/ssh_config, then from the defaults of ssh.
//
// Of these files HostName, User, Port, IdentityFile, IdentitiesOnly,
// IdentityAgent, UserKnownHostsFile, GlobalKnownHostsFile, HashKnownHosts,
// HostKeyAlias and ProxyJump are read; ProxyCommand is refused; the rest is
// not used. A file with a Match block is not read.
type SSHOptions struct {
	Host string // name, address or alias of ssh_config
	Port int    // 0: not set
	User string
	// KeyFile is a private key to log in with, tried first; then only the
	// agent's keys are.
	KeyFile string
	// KnownHosts replaces the files of known host keys of the user.
	KnownHosts []string
	// AcceptNewKeys accepts the key of a host that is not known yet, and adds
	// it to the first file of known hosts. A key that is not the known one is
	// refused in any case.
	AcceptNewKeys bool
}

// FromURI takes the SSH options out of a libvirt URI: host, port and user, and
// the parameters keyfile, known_hosts and no_verify=1, which libvirt itself
// takes for accepting new keys. remote is false for a URI without SSH. The
// host of a URI without one is localhost.
func FromURI(uri string) (o SSHOptions, remote bool, err error) {
	u, err := url.Parse(uri)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // what it failed on may hold a password
		}
		return o, false, fmt.Errorf("libvirt URI: %w", err)
	}
	_, transport, _ := strings.Cut(u.Scheme, "+")
	if !slices.Contains([]string{"ssh", "libssh", "libssh2"}, transport) {
		return o, false, nil
	}
	o.Host = u.Hostname()
	if o.Host == "" {
		o.Host = "localhost"
	}
	if text := u.Port(); text != "" {
		if o.Port, err = parsePort(text); err != nil {
			return o, true, fmt.Errorf("libvirt URI %s: %w", u.Redacted(), err)
		}
	}
	q := u.Query()
	o.User, o.KeyFile = u.User.Username(), q.Get("keyfile")
	o.AcceptNewKeys = q.Get("no_verify") == "1"
	if file := q.Get("known_hosts"); file != "" {
		o.KnownHosts = []string{file}
	}
	return o, true, nil
}

func parsePort(text string) (int, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%q is not a port", text)
	}
	return int(port), nil
}

// settings is SSHOptions with everything filled in.
type settings struct {
	name           string // as it was asked for
	address        string // host and port to connect to
	keyName        string // host and port as known_hosts has them
	user           string
	keyFile        string
	identityFiles  []string
	identitiesOnly bool
	agent          string // socket
	known          []string
	acceptNew      bool
	hash           bool
	jumps          []SSHOptions
	notes          []string // for the messages of failures
}

// String names the machine for messages.
func (s *settings) String() string { return s.user + "@" + s.name }

// resolve fills in what the options leave open.
func resolve(o SSHOptions) (*settings, error) {
	if o.Host == "" || strings.HasPrefix(o.Host, "-") {
		return nil, fmt.Errorf("ssh: %q is not a host", o.Host)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, fmt.Errorf("ssh: home folder: %w", err)
	}
	me, err := user.Current()
	if err != nil {
		return nil, fmt.Errorf("ssh: %w", err)
	}
	s := &settings{name: o.Host, acceptNew: o.AcceptNewKeys}
	c := readConfig(s, o.Host, filepath.Join(home, ".ssh", "config"), "/etc/ssh/ssh_config")
	if command := c.get("ProxyCommand"); command != "" && command != "none" {
		return nil, fmt.Errorf("ssh %s: ProxyCommand of ssh_config is not supported: use ProxyJump, or set ProxyCommand none for this host", o.Host)
	}
	host := strings.NewReplacer("%h", o.Host, "%%", "%").Replace(first(c.get("HostName"), o.Host))
	s.user = first(o.User, c.get("User"), me.Username)
	port := first(c.get("Port"), "22")
	if o.Port != 0 {
		port = strconv.Itoa(o.Port)
	}
	if _, err := parsePort(port); err != nil {
		return nil, fmt.Errorf("ssh %s: %w", o.Host, err)
	}
	s.address = net.JoinHostPort(host, port)
	s.keyName = s.address
	if alias := c.get("HostKeyAlias"); alias != "" {
		s.keyName = net.JoinHostPort(alias, "22")
	}
	if s.jumps, err = parseJumps(c.get("ProxyJump"), o); err != nil {
		return nil, err
	}
	expand := pathExpander(home, map[string]string{"%d": home, "%h": host, "%p": port, "%r": s.user, "%u": me.Username, "%n": o.Host})
	s.setKeys(o, c, expand)
	s.setKnownHosts(o, c, expand)
	return s, nil
}

// setKeys says where the keys to log in with are.
func (s *settings) setKeys(o SSHOptions, c config, expand func(string) string) {
	s.keyFile = o.KeyFile
	s.identitiesOnly = c.get("IdentitiesOnly") == "yes"
	files := c.all("IdentityFile")
	if len(files) == 0 {
		files = []string{"~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"}
	}
	for _, file := range files {
		if file = unquote(file); file != "none" {
			s.identityFiles = append(s.identityFiles, expand(file))
		}
	}
	switch agent := unquote(c.get("IdentityAgent")); {
	case agent == "none":
	case agent == "" || agent == "SSH_AUTH_SOCK":
		s.agent = os.Getenv("SSH_AUTH_SOCK")
	case strings.HasPrefix(agent, "$"):
		s.agent = os.Getenv(strings.Trim(agent, "${}"))
	default:
		s.agent = expand(agent)
	}
}

// setKnownHosts says where the keys of hosts are.
func (s *settings) setKnownHosts(o SSHOptions, c config, expand func(string) string) {
	s.hash = c.get("HashKnownHosts") == "yes"
	own := strings.Fields(first(c.get("UserKnownHostsFile"), "~/.ssh/known_hosts ~/.ssh/known_hosts2"))
	if len(o.KnownHosts) > 0 {
		own = o.KnownHosts
	}
	global := strings.Fields(first(c.get("GlobalKnownHostsFile"), "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"))
	for _, file := range slices.Concat(own, global) {
		if file = unquote(file); file != "none" {
			s.known = append(s.known, expand(file))
		}
	}
}

// parseJumps reads ProxyJump: [user@]host[:port], also as ssh:// URI, nearest
// first.
func parseJumps(text string, o SSHOptions) ([]SSHOptions, error) {
	if text == "" || text == "none" {
		return nil, nil
	}
	var jumps []SSHOptions
	for one := range strings.SplitSeq(text, ",") {
		u, err := url.Parse("ssh://" + strings.TrimPrefix(strings.TrimSpace(one), "ssh://"))
		if err != nil || u.Hostname() == "" {
			return nil, fmt.Errorf("ssh %s: ProxyJump %q of ssh_config is not [user@]host[:port]", o.Host, one)
		}
		jump := SSHOptions{Host: u.Hostname(), User: u.User.Username(), KnownHosts: o.KnownHosts, AcceptNewKeys: o.AcceptNewKeys}
		if u.Port() != "" {
			if jump.Port, err = parsePort(u.Port()); err != nil {
				return nil, fmt.Errorf("ssh %s: ProxyJump: %w", o.Host, err)
			}
		}
		jumps = append(jumps, jump)
	}
	return jumps, nil
}

// config is what the ssh_config files say about one host.
type config struct {
	host  string
	files []*ssh_config.Config
}

// readConfig reads files that exist. What cannot be read becomes a note: a
// backup does not fail for a setting that it may not need.
func readConfig(s *settings, host string, names ...string) config {
	c := config{host: host}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var file *ssh_config.Config
		if err == nil {
			file, err = ssh_config.DecodeBytes(data)
		}
		if err != nil {
			s.notes = append(s.notes, fmt.Sprintf("%s was not used: %v", name, err))
			continue
		}
		c.files = append(c.files, file)
	}
	return c
}

// get is the value that counts, the first, or nothing.
func (c config) get(key string) string {
	for _, file := range c.files {
		if value, err := file.Get(c.host, key); err == nil && value != "" {
			return value
		}
	}
	return ""
}

// all is every value of a key that may come several times.
func (c config) all(key string) []string {
	var values []string
	for _, file := range c.files {
		if more, err := file.GetAll(c.host, key); err == nil {
			values = append(values, more...)
		}
	}
	return values
}

// pathExpander replaces a leading ~ and the tokens of ssh_config.
func pathExpander(home string, tokens map[string]string) func(string) string {
	pairs := []string{"%%", "%"}
	for token, value := range tokens {
		pairs = append(pairs, token, value)
	}
	replacer := strings.NewReplacer(pairs...)
	return func(path string) string {
		if rest, ok := strings.CutPrefix(path, "~/"); ok {
			path = filepath.Join(strings.ReplaceAll(home, "%", "%%"), rest)
		}
		return replacer.Replace(path)
	}
}

func unquote(value string) string { return strings.Trim(value, `"`) }

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

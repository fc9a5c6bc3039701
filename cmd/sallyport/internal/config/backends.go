package config

import (
	"strings"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/tlsutil"
)

// backendConfig is one entry of backends:.
type backendConfig struct {
	value
	login    credentials
	name     acl.Text
	nodes    []address
	tls      *clientFiles
	client   *tlsutil.Client // loaded from tls
	own      backend.Connections
	logins   []userLogin // of users of the policy, in the file's order
	discover bool        // its commands are learned
	used     bool        // by a listener
	topology
}

// credentials are how something logs in to a node.
type credentials struct {
	user         string
	password     string
	passwordFile named
}

// clientFiles is tls: of a backend.
type clientFiles struct {
	value
	ca, certificate, key named
	serverName           string
}

func (r *reader) backends(s *section) []*backendConfig {
	var out []*backendConfig
	s.each(func(name acl.Text, v value) {
		if !plainName.MatchString(name.Value) {
			r.faultHint(name.At, s.path, "letters, digits, - _ and ., at most 64", "%s can't be a name", quoted(name.Value))
		}
		r.rest()
		b := r.backend(v.section())
		b.name = name
		out = append(out, b)
	})
	if s.present() && len(out) == 0 && !s.failedHere() {
		s.fault("is empty: there is nothing to forward to")
	}
	return out
}

func (r *reader) backend(s *section) *backendConfig {
	b := &backendConfig{value: s.value}
	b.kind = topologyKind(s.get("topology"))
	b.nodes = r.nodes(b, s)
	b.discover = s.get("discover").flag()
	b.login = loginAs(s)
	b.logins = userLogins(s.get("logins"))
	b.tls = r.clientFiles(s.get("tls").section())
	r.several(b, s)
	if c := s.get("connections").section(); c.present() {
		b.own.Pinned = c.get("pinned").number(1000, 1, 1<<20)
		b.own.PerUser = c.get("per_user").number(100, 1, 1<<20)
		b.own.Logins = c.get("logins").number(1000, 1, 1<<20)
		c.close()
	}
	s.close("server_version")
	return b
}

// loginAs reads user, password and password_file.
func loginAs(s *section) (c credentials) {
	user, password, passwordFile := s.get("user"), s.get("password"), s.get("password_file")
	c.user = user.text().Value
	t := password.nonempty()
	c.password = t.Value
	c.passwordFile = passwordFile.passwordFile()
	switch {
	case password.present() && passwordFile.present():
		passwordFile.fault("password and password_file exclude each other")
	case c.user != "" && !password.present() && !passwordFile.present():
		user.faultHint("add password_file", "a user needs a password")
	}
	if t.set && !t.expanded && t.Value != "" {
		password.warn(`use password_file, or password: "${VARIABLE}"`, "a password stands in the file")
	}
	if strings.ContainsAny(t.Value, "\r\n") {
		password.fault("holds a line end")
	}
	return c
}

// ask gives the password at each login, nil if there is none.
func (c *credentials) ask() func() (string, error) {
	switch path, password := c.passwordFile.path, c.password; {
	case path != "":
		return func() (string, error) { return readPassword(path) }
	case password != "":
		return func() (string, error) { return password, nil }
	}
	return nil
}

func (r *reader) clientFiles(s *section) *clientFiles {
	if !s.present() {
		return nil
	}
	f := &clientFiles{
		value:       s.value,
		ca:          s.get("ca").named(),
		certificate: s.get("certificate").named(),
		key:         s.get("key").named(),
		serverName:  s.get("server_name").nonempty().Value,
	}
	certificate, key := s.get("certificate"), s.get("key")
	if certificate.present() != key.present() {
		s.faultHint("give both, or neither", "certificate and key belong together")
	}
	if f.serverName != "" && !isHostName(f.serverName) && !isIP(f.serverName) {
		s.get("server_name").fault("%s is not a host", quoted(f.serverName))
	}
	s.close()
	return f
}

package config

import (
	"strings"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/tlsutil"
)

// backendConfig is one entry of backends:.
type backendConfig struct {
	value
	name         acl.Text
	nodes        []address
	user         string
	password     string
	passwordFile named
	tls          *clientFiles
	client       *tlsutil.Client // loaded from tls
	discover     bool            // its commands are learned
	used         bool            // by a listener
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
	r.topology(s.get("topology"))
	b.nodes = r.nodes(s.required("nodes"))
	b.user = s.get("user").text().Value
	b.discover = s.get("discover").flag()
	r.backendPassword(b, s)
	b.tls = r.clientFiles(s.get("tls").section())
	unsafe := s.get("unsafe_plaintext")
	for _, n := range b.nodes {
		r.plaintext(unsafe, s.get("tls").present(), n, s.path+".nodes[0]", "a node on another machine needs tls")
	}
	s.close("connections", "announce", "reads", "wait", "nodes_allow", "server_version")
	return b
}

func (r *reader) topology(v value) {
	t := v.text()
	if !t.set || v.failedHere() {
		return
	}
	switch t.Value {
	case "standalone":
	case "replicated", "sentinel", "cluster", "sharded":
		v.faultHint("only standalone works yet", "%s is not supported in this version", quoted(t.Value))
	default:
		v.word("standalone", "standalone")
	}
}

func (r *reader) nodes(v value) []address {
	items := v.list()
	switch {
	case !v.present() || v.failedHere():
		return nil
	case len(items) == 0:
		v.fault("is empty: there is nothing to forward to")
		return nil
	case len(items) > 1:
		items[1].fault("a standalone backend has exactly one node")
	}
	var out []address
	for _, item := range items {
		if a := item.address(false); a.network != "" {
			out = append(out, a)
		}
	}
	return out
}

func (r *reader) backendPassword(b *backendConfig, s *section) {
	password, passwordFile := s.get("password"), s.get("password_file")
	user := s.get("user")
	t := password.nonempty()
	b.password = t.Value
	b.passwordFile = passwordFile.passwordFile()
	switch {
	case password.present() && passwordFile.present():
		passwordFile.fault("password and password_file exclude each other")
	case b.user != "" && !password.present() && !passwordFile.present():
		user.faultHint("add password_file", "a user needs a password")
	}
	if t.set && !t.expanded && t.Value != "" {
		password.warn(`use password_file, or password: "${VARIABLE}"`, "a password stands in the file")
	}
	if strings.ContainsAny(t.Value, "\r\n") {
		password.fault("holds a line end")
	}
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

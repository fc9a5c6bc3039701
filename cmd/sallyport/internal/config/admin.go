package config

import (
	"fmt"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/tlsutil"
)

// Admin is where the admin endpoints listen, and who may use them.
type Admin struct {
	Network string // "tcp" or "unix"
	Address string
	Hosts   []string        // names the Host header may have besides this machine's own
	TLS     *tlsutil.Server // nil: plain HTTP
	// Users knows them; nil: whoever connects may do everything.
	Users *acl.Holders
	Roles map[string]string // by the names of Users: viewer, member or owner

	at    address
	path  string
	files *serverFiles
}

// adminRoles are the words of role:.
var adminRoles = []string{"viewer", "member", "owner"}

// admin reads who may look and steer, and where. Whoever reaches the endpoints
// sees sessions and can end them: on an address that other machines reach, only
// who shows a certificate, and then has a role.
func (r *reader) admin(s *section) *Admin {
	if !s.present() {
		return nil
	}
	v := s.required("address")
	a := v.address(true)
	out := &Admin{Network: a.network, Address: a.text, at: a, path: v.path}
	out.files = r.serverFiles(s.get("tls").section())
	for _, h := range s.get("hosts").items() {
		t := h.nonempty()
		if t.Value != "" && !isHostName(t.Value) {
			h.faultHint("a name without a port", "%s is not a host name", quoted(t.Value))
			continue
		}
		out.Hosts = append(out.Hosts, t.Value)
	}
	users := s.get("users")
	r.adminUsers(out, users.section())
	if a.network != "" && !a.local() {
		switch {
		case out.files == nil:
			v.faultHint("add tls: with client_ca, or take a loopback address or a unix socket", "admin on an address that other machines reach needs mutual TLS")
		case out.files.clientAuth != "require":
			s.get("tls").faultHint("client_auth: require", "admin on an address that other machines reach needs a certificate of everybody")
		}
		if !users.present() {
			s.faultHint("users: { NAME: { role: viewer, certificate: { cn: … } } }", `"users" is missing: nobody could do anything`)
		}
	}
	s.close("console")
	return out
}

// adminUsers reads users: of admin.
func (r *reader) adminUsers(out *Admin, s *section) {
	if !s.present() {
		return
	}
	out.Roles = make(map[string]string)
	var list []acl.HolderSource
	s.each(func(name acl.Text, v value) {
		u := v.section()
		role := u.required("role")
		holder := acl.HolderSource{Name: name, Certificates: u.get("certificate").certificates(), Tokens: u.get("tokens").opaque()}
		u.close()
		if !plainName.MatchString(name.Value) {
			r.faultHint(name.At, s.path, "letters, digits, - _ and ., at most 64", "%s can't be a name", quoted(name.Value))
		}
		if !u.get("certificate").present() && !u.get("tokens").present() {
			v.faultHint("certificate: or tokens:", "has nothing to be known by")
		}
		if u.get("certificate").present() && (out.files == nil || out.files.clientAuth == "off") {
			u.get("certificate").faultHint("add tls: with client_ca", "nobody can show one: admin asks for no certificates")
		}
		out.Roles[name.Value] = role.word("", adminRoles...)
		list = append(list, holder)
	})
	if len(list) == 0 && !s.failedHere() {
		s.faultHint("leave it out where only this machine connects", "is empty: nobody could do anything")
	}
	users, problems := acl.CompileHolders("admin.users", list)
	r.take(problems)
	out.Users = users
}

// adminTLS loads the endpoints' certificate.
func (r *reader) adminTLS(c *Config) {
	if c.Admin != nil && c.Admin.files != nil {
		c.Admin.TLS = r.server(c.Admin.files)
	}
}

// adminAddress checks that no listener has the admin's address.
func (r *reader) adminAddress(c *Config) {
	if c.Admin == nil {
		return
	}
	for _, l := range c.listeners {
		if c.Admin.at.collides(l.address) {
			r.fault(c.Admin.at.at, c.Admin.path, "%s is already taken by the listener in line %d", quoted(c.Admin.at.shown), l.address.at.Line)
		}
	}
}

// where is the address as one word, empty for no admin endpoints; whether it
// speaks TLS and whether anybody is asked who they are belong to it.
func (a *Admin) where() string {
	if a == nil {
		return ""
	}
	where := a.Network + ":" + a.Address
	if a.files != nil {
		where += " tls"
	}
	if a.Users != nil {
		where += " users"
	}
	return where
}

// succeeds is Succeeds for the admin endpoints.
func (a *Admin) succeeds(old *Admin) error {
	if a == nil || old == nil || a.TLS == nil || old.TLS == nil {
		return nil
	}
	if err := a.TLS.Succeeds(old.TLS); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

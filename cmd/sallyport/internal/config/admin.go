package config

// Admin is where the admin endpoints listen.
type Admin struct {
	Network string // "tcp" or "unix"
	Address string
	at      address
	path    string
}

// admin reads the admin endpoints' address. Whoever reaches them sees sessions
// and can end them, so without mutual TLS they stay on this machine.
func (r *reader) admin(s *section) *Admin {
	if !s.present() {
		return nil
	}
	v := s.required("address")
	a := v.address(true)
	if a.network != "" && !a.local() {
		v.faultHint("a loopback address or a unix socket", "admin on an address that other machines reach needs mutual TLS, which is not supported in this version")
	}
	s.close("tls", "users", "console")
	return &Admin{Network: a.network, Address: a.text, at: a, path: v.path}
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

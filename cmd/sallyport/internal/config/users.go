package config

import (
	"slices"

	"github.com/sallyport/sallyport/acl"
	yaml "go.yaml.in/yaml/v4"
)

// roles reads roles:. A role is a string of rules, or a mapping with where it
// holds and why it exists.
func (r *reader) roles(s *section) []acl.RoleSource {
	var out []acl.RoleSource
	s.each(func(name acl.Text, v value) {
		src := acl.RoleSource{Name: name}
		rules := v
		if v.mapping() {
			role := v.section()
			rules = role.required("rules")
			src.From = role.get("from").names()
			src.Listeners = role.get("listeners").names()
			src.Note = role.note()
			role.close()
		}
		t := rules.rules()
		rules.warnRules(t)
		src.Rules = t.Text
		out = append(out, src)
	})
	return out
}

// users reads users:.
func (r *reader) users(s *section) []acl.UserSource {
	var out []acl.UserSource
	s.each(func(name acl.Text, v value) {
		u := v.section()
		rules := u.required("rules")
		t := rules.rules()
		src := acl.UserSource{
			Name: name, Rules: t.Text,
			Roles:          u.get("roles").words(),
			From:           u.get("from").names(),
			Require:        u.get("require").names(),
			Certificates:   u.get("certificate").certificates(),
			Token:          u.get("token").section().issuer(),
			Tokens:         u.get("tokens").opaque(),
			PasswordHashes: u.get("password_hashes").names(),
			Listeners:      u.get("listeners").names(),
			Note:           u.note(),
			Limits:         u.get("limits").section().userLimits(),
			Backend:        u.get("backend").nonempty().Text,
		}
		scripts := u.get("unsafe_scripts")
		if src.UnsafeScripts = scripts.flag(); src.UnsafeScripts {
			scripts.warn("give it rules and a backend user of its own", "%s may run scripts, and a script reaches every key", quoted(name.Value))
		}
		u.close()
		rules.warnRules(t)
		rules.warnUser(name.Value, t.Value, len(src.Certificates) > 0 || src.Token != nil || src.Tokens != nil || src.PasswordHashes != nil)
		out = append(out, src)
	})
	return out
}

// names reads one string or a list of them, which must hold something where it
// is written at all: an empty list would mean nobody. Absent is nil, and so is
// a list of faults.
func (v value) names() []acl.Text {
	items := v.items()
	if v.present() && len(items) == 0 && !v.failedHere() {
		v.faultHint("name at least one", "is empty")
	}
	var out []acl.Text
	for _, item := range items {
		if t := item.nonempty(); t.Value != "" {
			t.At = item.inside(t)
			out = append(out, t.Text)
		}
	}
	return out
}

// certificates reads certificate: of a user, one mapping or a list of them.
func (v value) certificates() []acl.CertificateSource {
	if !v.present() {
		return nil
	}
	items := []value{v}
	if v.node.Kind == yaml.SequenceNode {
		items = v.list()
	}
	if len(items) == 0 {
		v.faultHint("leave it out if no certificate proves the user", "is empty")
	}
	var out []acl.CertificateSource
	for _, item := range items {
		before := len(v.r.problems)
		s := item.section()
		c := acl.CertificateSource{
			At:  item.at,
			URI: s.get("uri").names(), DNS: s.get("dns").names(), Email: s.get("email").names(),
			CN: s.get("cn").names(), Fingerprint: s.get("fingerprint").names(),
		}
		s.close()
		switch {
		case len(c.URI)+len(c.DNS)+len(c.Email)+len(c.CN)+len(c.Fingerprint) > 0:
			out = append(out, c)
		case len(v.r.problems) == before:
			item.faultHint("uri, dns, email, cn or fingerprint", "names nothing that a certificate could be known by")
		}
	}
	return out
}

// issuer reads token: of a user.
func (s *section) issuer() *acl.TokenUserSource {
	if !s.present() {
		return nil
	}
	t := &acl.TokenUserSource{Issuer: s.required("issuer").nonempty().Text, Subject: s.get("subject").nonempty().Text}
	s.close()
	if t.Issuer.Value == "" {
		return nil // a fault already
	}
	return t
}

// opaque reads tokens: of a user.
func (v value) opaque() []acl.OpaqueTokenSource {
	var out []acl.OpaqueTokenSource
	for _, item := range v.list() {
		s := item.section()
		hash := s.required("hash").nonempty()
		t := acl.OpaqueTokenSource{Hash: hash.Text, Expires: s.get("expires").date()}
		s.close()
		if hash.Value != "" {
			out = append(out, t)
		}
	}
	return out
}

// unusedRoles reports roles that neither a user has nor a token can give.
func (r *reader) unusedRoles(src acl.Source) {
	has := func(list []acl.Text, name string) bool {
		return slices.ContainsFunc(list, func(t acl.Text) bool { return t.Value == name })
	}
	for _, role := range src.Roles {
		used := slices.ContainsFunc(src.Users, func(u acl.UserSource) bool { return has(u.Roles, role.Name.Value) }) ||
			slices.ContainsFunc(src.Tokens, func(t acl.TokenSource) bool { return has(t.Roles, role.Name.Value) })
		if !used {
			r.warn(role.Name.At, joined("roles", role.Name.Value), "", "no user has this role")
		}
	}
}

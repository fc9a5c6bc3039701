package config

import (
	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/backend"
)

// userLogin is one entry of logins: of a backend, who a user of the policy is there.
type userLogin struct {
	of acl.Text
	as credentials
	at value
}

// userLogins reads logins:.
func userLogins(v value) []userLogin {
	s := v.section()
	var out []userLogin
	s.each(func(name acl.Text, v value) {
		if !v.mapping() {
			v.faultHint("{ user: NAME, password_file: FILE }", "wants a user and where its password is")
			return
		}
		one := v.section()
		l := userLogin{of: name, at: v}
		one.required("user").nonempty()
		l.as = loginAs(one)
		one.close()
		out = append(out, l)
	})
	if v.present() && len(out) == 0 && !v.failedHere() {
		v.faultHint("leave it out if all users are the backend's user", "is empty")
	}
	return out
}

// knownLogins reports logins of users that there are not. Theirs would be nobody's,
// and whoever was meant would go on as the backend's user unnoticed.
func (r *reader) knownLogins(c *Config) {
	if c.Policy == nil {
		return
	}
	for _, b := range c.backends {
		for _, l := range b.logins {
			if c.Policy.User(l.of.Value) != nil {
				continue
			}
			var names []string
			for _, u := range c.Policy.Users() {
				names = append(names, u.Name())
			}
			r.faultHint(l.of.At, l.at.path, DidYouMean(l.of.Value, names), "the policy has no user %s", quoted(l.of.Value))
		}
	}
}

// userLogins gives what the backend makes of logins:.
func (b *backendConfig) userLogins() map[string]backend.UserLogin {
	if len(b.logins) == 0 {
		return nil
	}
	out := make(map[string]backend.UserLogin, len(b.logins))
	for _, l := range b.logins {
		source := l.as.passwordFile.path
		if source == "" {
			source = l.at.path // the password stands there
		}
		out[l.of.Value] = backend.UserLogin{User: l.as.user, Password: l.as.ask(), Source: source}
	}
	return out
}

// usersBackends reports users whose backend there is not.
func (r *reader) usersBackends(c *Config, names []string) {
	for _, u := range c.rules.source.Users {
		if u.Backend.Value == "" {
			continue
		}
		found := false
		for _, b := range c.backends {
			if b.name.Value == u.Backend.Value {
				b.used, found = true, true
			}
		}
		if !found {
			r.faultHint(u.Backend.At, joined(joined("users", u.Name.Value), "backend"), DidYouMean(u.Backend.Value, names), "there is no backend %s", quoted(u.Backend.Value))
		}
	}
}

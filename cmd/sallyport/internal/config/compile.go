package config

import (
	"regexp"
	"strings"

	"github.com/sallyport/sallyport/acl"
)

// compile makes the policy and puts its problems among ours.
func (r *reader) compile(c *Config, src acl.Source) *acl.Policy {
	src.Table, src.Now, src.Hits, src.Discovery = c.Table, r.now, r.keep.Hits, c.Discovers()
	src.Rest = r.keep.Rest
	for i, l := range c.listeners {
		if l.name.Value == "" || listed(c.listeners[:i], l.name.Value) {
			continue // a fault already
		}
		if len(l.allow) == 0 {
			l.allow = nil // an empty list is a fault already
		}
		src.Listeners = append(src.Listeners, acl.ListenerSource{Name: l.name.Text, Allow: l.allow, AllowNotes: l.notes, Anonymous: l.anonymous, Auth: l.auth})
	}
	policy, problems := r.policyOf(src)
	r.take(problems)
	if policy != nil {
		r.anonymous(c, policy)
	}
	return policy
}

// listed tells whether a listener of that name stands among others.
func listed(among []listener, name string) bool {
	for _, l := range among {
		if l.name.Value == name {
			return true
		}
	}
	return false
}

// anonymous reports listeners that would let clients in without any proof, were
// there a user to speak for them.
func (r *reader) anonymous(c *Config, p *acl.Policy) {
	for _, l := range c.listeners {
		if l.anonymous && p.Anonymous(l.name.Value) == nil {
			l.saidSo.warn(`give the policy a user default with "on nopass"`, "has no effect: the user default is not on and nopass")
		}
	}
}

// passwordWord is a password or a hash in a message about rules.
var passwordWord = regexp.MustCompile(`([><])[^\s"]+|([#!])[0-9a-fA-F]{6,}`)

// maskRules keeps passwords out of messages about rules, whoever wrote them.
func maskRules(s string) string {
	if !strings.ContainsAny(s, "><#!") {
		return s
	}
	return passwordWord.ReplaceAllString(s, "${1}${2}"+mask)
}

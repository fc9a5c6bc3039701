package acl

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// Compile builds a Policy. It returns every problem it finds, not only the
// first; the Policy is nil if any of them is not a warning.
func Compile(src Source) (*Policy, []Problem) {
	if src.Table == nil {
		return nil, []Problem{{What: "no command table to read the rules against"}}
	}
	c := &compiler{
		lang:      &language{table: src.Table, specs: src.Table.Specs(), discovery: src.Discovery, open: src.OpenChannels},
		now:       src.Now,
		usedRoles: make(map[string]bool),
	}
	c.checkModes(src.Modes)
	p := &Policy{
		lang:      c.lang,
		specs:     c.lang.specs,
		guard:     c.compileGuard(src.Guard), // before any rules: the listing asks what is guarded
		users:     make(map[string]*User, len(src.Users)),
		listeners: make(map[string]*listener, len(src.Listeners)),
		modes:     src.Modes,
		now:       src.Now,
		bound:     make(map[tokenBinding]*User),
		passwords: src.Passwords,
		source:    src,
		bare:      newSelector("root", Origin{}, len(c.lang.specs)),
	}
	p.source.Rest = nil
	c.lang.passwords = src.Passwords
	src.rest()
	p.attrs = make([]attr, len(p.specs))
	for id, spec := range p.specs {
		p.attrs[id] = attrOf(spec, p.guard)
	}
	src.rest()
	p.roles = c.compileRoles(src.Roles, src.Listeners)
	p.roleNames = slices.Sorted(maps.Keys(p.roles))
	c.compileTokens(p, src.Tokens, src.Listeners)
	for i := range src.Users {
		src.rest()
		if u := c.compileUser(p, &src.Users[i], src.Listeners); u != nil {
			p.users[u.name] = u
		}
	}
	for i := range src.ACLFile {
		src.rest()
		if u := c.compileFileUser(p, &src.ACLFile[i]); u != nil {
			p.users[u.name] = u
		}
	}
	c.indexCertificates(p)
	if p.expiry = c.compileExpiry(src.Expiry); len(p.expiry) > 0 {
		for id, spec := range p.specs {
			if lifetimes[spec.Name] != nil {
				p.attrs[id] |= attrExpiry
			}
		}
	}
	for i := range src.Listeners {
		c.compileListener(&src.Listeners[i], p.listeners)
	}
	p.listenerNames = slices.Sorted(maps.Keys(p.listeners))
	c.checkDefault(p)
	if c.failed {
		return nil, c.problems
	}
	p.index()
	c.warnWithoutEffect(p)
	src.rest()
	p.counters = src.Hits
	p.counters.lend(p)
	return p, c.problems
}

// compiler gathers problems on the way.
type compiler struct {
	lang     *language
	problems []Problem
	failed   bool

	now       time.Time
	usedRoles map[string]bool
}

func (c *compiler) report(p Problem) {
	c.problems = append(c.problems, p)
	c.failed = c.failed || !p.Warning
}

func (c *compiler) fail(at Origin, what, hint string) {
	c.report(Problem{At: at, What: what, Hint: hint})
}

func (c *compiler) checkModes(m Modes) {
	for _, layer := range []struct {
		name string
		mode Mode
	}{{"allow", m.Allow}, {"guard", m.Guard}, {"acl", m.ACL}} {
		if layer.mode > Off {
			c.fail(Origin{}, "policy.modes."+layer.name+": no such mode", "enforce, report or off")
		}
	}
}

// compileRoles gives each role as one selector, which all users of the role share.
func (c *compiler) compileRoles(sources []RoleSource, listeners []ListenerSource) map[string]*role {
	roles := make(map[string]*role, len(sources))
	for _, src := range sources {
		name, field := src.Name.Value, "roles."+src.Name.Value
		if name == "" {
			c.fail(src.Name.At, "roles: a role has no name", "")
		}
		if roles[name] != nil {
			c.fail(src.Name.At, field+": defined twice", "")
			continue
		}
		s := newSelector("role "+name, src.Name.At, len(c.lang.specs))
		words, f := splitRules(src.Rules.Value, src.Rules.At)
		for _, w := range words {
			c.judge(field+".rules", s.apply(c.lang, w))
		}
		if f != nil {
			f.what, f.hint = "a parenthesis does not belong in a role", "make a role of its own for each selector"
		}
		c.judge(field+".rules", f)
		roles[name] = &role{
			name: name, at: src.Name.At, selector: s, from: c.networks(field+".from", src.From),
			scope: c.scope(field, src.Listeners, listeners), note: c.note(field, src.Note),
		}
	}
	return roles
}

// judge reports a fault, if there is one.
func (c *compiler) judge(field string, f *fault) {
	if f == nil {
		return
	}
	p := f.problem(field)
	if p.Warning = f.mild; f.unknownCommand && c.lang.discovery {
		p.Warning, p.Hint = true, untilDiscovered(p.Hint)
	}
	c.report(p)
}

// newUser checks the name of a user and gives it, nil if it will not do.
func (c *compiler) newUser(p *Policy, src *UserSource, kind userKind) *User {
	name, field := src.Name.Value, "users."+src.Name.Value
	if name == "" || hasSpaceOrNUL(name) {
		c.fail(src.Name.At, "users: "+strconv.Quote(name)+" is no name for a user", "a name has no white space and no NUL byte, and is not empty")
		return nil
	}
	if other := p.users[name]; other != nil {
		c.fail(src.Name.At, field+": defined twice", "the other one is at "+other.at.String())
		return nil
	}
	u := newUser(c.lang, name, src.Name.At)
	u.kind = kind
	return u
}

// applyRules reads a user's rules.
func (c *compiler) applyRules(u *User, src *UserSource) {
	field := "users." + u.name
	words, unclosed := splitRules(src.Rules.Value, src.Rules.At)
	for _, w := range words {
		c.judge(field+".rules", u.apply(c.lang, w))
		for _, f := range c.lang.skipped {
			c.judge(field+".rules", f)
		}
		c.lang.skipped = nil
		if w.text == ">" {
			c.warnEmptyPassword(field, w)
		}
	}
	c.judge(field+".rules", unclosed)
}

// compileFileUser reads one line of the aclfile.
func (c *compiler) compileFileUser(p *Policy, src *UserSource) *User {
	u := c.newUser(p, src, inFile)
	if u != nil {
		u.filed, u.written = true, src
		c.applyRules(u, src)
	}
	return u
}

// compileUser reads one entry of users: in policy.yaml.
func (c *compiler) compileUser(p *Policy, src *UserSource, listeners []ListenerSource) *User {
	u := c.newUser(p, src, inPolicy)
	if u == nil {
		return nil
	}
	field := "users." + u.name
	u.unsafeScripts, u.limits, u.backend = src.UnsafeScripts, src.Limits, src.Backend.Value
	c.applyRules(u, src)
	for _, role := range src.Roles {
		c.addRole(u, role, p.roles)
	}
	u.note = c.note(field, src.Note)
	u.scope = c.scope(field, src.Listeners, listeners)
	u.from = c.networks(field+".from", src.From)
	c.compileCertificates(u, field, src.Certificates)
	if src.Token != nil {
		c.bindTokens(p, u, src.Token)
	}
	c.compileOpaque(u, field, src.Tokens)
	c.compileArgon(u, field, src.PasswordHashes)
	if set := src.PasswordsSet; set.Value != "" {
		var err error
		if u.passwordsSet, err = time.Parse(time.DateOnly, set.Value); err != nil {
			c.fail(set.At, field+".passwords_set: "+quoted("not a day:", set.Value), "write 2026-12-31")
		}
	}
	c.compileRequire(u, field, src)
	return u
}

// compileRequire reads users.X.require: every proof must be one the user has.
func (c *compiler) compileRequire(u *User, field string, src *UserSource) {
	for _, t := range src.Require {
		f, ok := factorOf(t.Value)
		if !ok {
			c.fail(t.At, field+".require: "+quoted("unknown proof", t.Value), "certificate, password, token or network")
			continue
		}
		u.require |= f
		if what, hint := u.cannotProve(f); what != "" {
			c.fail(t.At, field+".require: "+what, hint)
		}
	}
	at := src.Name.At
	switch {
	case src.Require != nil && len(src.Require) == 0:
		c.fail(at, field+".require: empty", "leave it out, or name certificate, password, token or network")
	case u.require&FactorPassword != 0 && u.require&FactorToken != 0:
		c.fail(src.Require[0].At, field+".require: AUTH carries a password or a token, never both", "require one of them, with certificate or network")
	case u.require == FactorNetwork:
		c.fail(src.Require[0].At, field+".require: an address alone proves nobody", "name certificate, password or token beside it")
	case u.nopass && !u.opens():
		c.report(Problem{
			At: u.nopassAt, What: field + ".rules: nopass has no effect beside a certificate, token or password hash", Warning: true,
			Hint: "drop it: else whoever knows the name could log in without proof",
		})
	}
}

// cannotProve says why the user could never give a proof that is required.
func (u *User) cannotProve(f Factors) (what, hint string) {
	switch {
	case f == FactorPassword && u.nopass:
		return "password, but the user is nopass", "give the user a password"
	case f == FactorPassword && len(u.hashes) == 0 && len(u.argon) == 0:
		return "password, but the user has none", "add #hash to the rules: sallyport acl hash"
	case f == FactorCertificate && len(u.certificates) == 0:
		return "certificate, but none is named", "add certificate: { uri: … }"
	case f == FactorToken && u.binding == nil && len(u.tokens) == 0:
		return "token, but none may enter as this user", "add token: { issuer: … } or tokens:"
	case f == FactorNetwork && u.from == nil:
		return "network, but from: names none", "add from: [10.0.0.0/8]"
	}
	return "", ""
}

func (c *compiler) warnEmptyPassword(field string, w word) {
	c.report(Problem{
		At: w.at, What: field + ".rules: > alone is the empty password", Warning: true,
		Hint: "the password follows the > without a blank",
	})
}

func (c *compiler) addRole(u *User, role Text, roles map[string]*role) {
	field := "users." + u.name + ".roles: "
	c.usedRoles[role.Value] = true
	r := roles[role.Value]
	if r == nil {
		c.fail(role.At, field+quoted("unknown role", role.Value), didYouMean(role.Value, func(yield func(string) bool) {
			for name := range roles {
				if !yield(name) {
					return
				}
			}
		}))
		return
	}
	for _, have := range u.roles {
		if have == role.Value {
			c.report(Problem{At: role.At, What: field + quoted("role", role.Value) + " is named twice", Warning: true})
			return
		}
	}
	u.roles = append(u.roles, role.Value)
	u.selectors = append(u.selectors, r.selector)
}

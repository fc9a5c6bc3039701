package acl

import "strconv"

// Compile builds a Policy. It returns every problem it finds, not only the
// first; the Policy is nil if any of them is not a warning.
func Compile(src Source) (*Policy, []Problem) {
	if src.Table == nil {
		return nil, []Problem{{What: "no command table to read the rules against"}}
	}
	c := &compiler{lang: &language{table: src.Table, specs: src.Table.Specs(), discovery: src.Discovery}}
	c.checkModes(src.Modes)
	p := &Policy{
		lang:      c.lang,
		specs:     c.lang.specs,
		guard:     c.compileGuard(src.Guard), // before any rules: the listing asks what is guarded
		users:     make(map[string]*User, len(src.Users)),
		listeners: make(map[string]*listener, len(src.Listeners)),
		modes:     src.Modes,
	}
	p.attrs = make([]attr, len(p.specs))
	for id, spec := range p.specs {
		p.attrs[id] = attrOf(spec, p.guard)
	}
	roles := c.compileRoles(src.Roles)
	for i := range src.Users {
		if u := c.compileUser(&src.Users[i], roles, p.users); u != nil {
			p.users[u.name] = u
		}
	}
	for i := range src.Listeners {
		c.compileListener(&src.Listeners[i], p.listeners)
	}
	c.checkDefault(p.users[defaultUser], src.Listeners)
	if c.failed {
		return nil, c.problems
	}
	p.index()
	return p, c.problems
}

// compiler gathers problems on the way.
type compiler struct {
	lang     *language
	problems []Problem
	failed   bool
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
func (c *compiler) compileRoles(sources []RoleSource) map[string]*selector {
	roles := make(map[string]*selector, len(sources))
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
		roles[name] = s
	}
	return roles
}

// judge reports a fault, if there is one.
func (c *compiler) judge(field string, f *fault) {
	if f == nil {
		return
	}
	p := f.problem(field)
	p.Warning = f.unknownCommand && c.lang.discovery
	c.report(p)
}

func (c *compiler) compileUser(src *UserSource, roles map[string]*selector, users map[string]*User) *User {
	name, field := src.Name.Value, "users."+src.Name.Value
	if name == "" || hasSpaceOrNUL(name) {
		c.fail(src.Name.At, "users: "+strconv.Quote(name)+" is no name for a user", "a name has no white space and no NUL byte, and is not empty")
		return nil
	}
	if users[name] != nil {
		c.fail(src.Name.At, field+": defined twice", "the other one is at "+users[name].at.String())
		return nil
	}
	u := newUser(c.lang, name, src.Name.At)
	u.unsafeScripts = src.UnsafeScripts
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
	for _, role := range src.Roles {
		c.addRole(u, role, roles)
	}
	return u
}

func (c *compiler) warnEmptyPassword(field string, w word) {
	c.report(Problem{
		At: w.at, What: field + ".rules: > alone is the empty password", Warning: true,
		Hint: "the password follows the > without a blank",
	})
}

func (c *compiler) addRole(u *User, role Text, roles map[string]*selector) {
	field := "users." + u.name + ".roles: "
	s := roles[role.Value]
	if s == nil {
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
	u.selectors = append(u.selectors, s)
}

// checkDefault refuses a default user who lets everybody in, unless every
// listener says by name that it wants that.
func (c *compiler) checkDefault(u *User, listeners []ListenerSource) {
	if u == nil || !u.enabled || !u.nopass {
		return
	}
	for _, l := range listeners {
		if !l.Anonymous {
			at := u.nopassAt
			if at == (Origin{}) {
				at = u.at
			}
			c.fail(at, "users.default.rules: on and nopass lets everybody in through listener "+strconv.Quote(l.Name.Value),
				"give default a password, switch it off, or set anonymous: true on that listener")
			return
		}
	}
}

package acl

import (
	"maps"
	"strconv"
	"strings"
)

// ParseFile reads the text of a Redis ACL file as it is: a line for each user,
// "user <name> <rules>", and blank lines. It gives the users with their places,
// for Source.ACLFile or WithFile, and the lines that are none; rules are read
// only there. name is what problems call the file.
func ParseFile(name, text string) ([]UserSource, []Problem) {
	var users []UserSource
	var problems []Problem
	line := 0
	for row := range strings.Lines(text) {
		line++
		row = strings.TrimRight(row, " \t\r\n")
		body := strings.TrimLeft(row, " \t")
		if body == "" {
			continue
		}
		column := len(row) - len(body) + 1
		at := func(offset int) Origin { return Origin{File: name, Line: line, Column: column + offset} }
		word, rest, _ := strings.Cut(body, " ")
		rest = strings.TrimLeft(rest, " ")
		if lowerASCII(word) != "user" || rest == "" {
			hint := "user app on #… ~app:* +@read"
			if body[0] == '#' {
				hint = "such a file has no comments"
			}
			problems = append(problems, Problem{At: at(0), What: "a line begins with user and a name", Hint: hint})
			continue
		}
		user, rules, _ := strings.Cut(rest, " ")
		users = append(users, UserSource{
			Name:  Text{user, at(len(body) - len(rest))},
			Rules: Text{rules, at(len(body) - len(rules))},
		})
	}
	return users, problems
}

// FileText gives the text of an ACL file that holds the users who are not in
// policy.yaml, sorted by name: what ACL SAVE writes. Reading it back gives the
// same users. Write it to a new file in the same folder, sync it, and rename it.
func (p *Policy) FileText() string {
	var b strings.Builder
	for _, name := range p.names {
		if u := p.users[name]; u.kind != inPolicy {
			b.WriteString(u.Line())
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Saved gives the policy as it is once FileText has been written: no user is
// unsaved any more.
func (p *Policy) Saved() *Policy {
	next := *p
	next.users = maps.Clone(p.users)
	for name, u := range p.users {
		if u.kind == atRunTime {
			c := *u
			c.kind, c.filed = inFile, true
			next.users[name] = &c
		}
	}
	return &next
}

// Unsaved names the users that ACL SETUSER made or changed and no file holds:
// a reload loses what was done to them. Sorted; the caller owns the slice.
func (p *Policy) Unsaved() []string {
	var names []string
	for _, name := range p.names {
		if p.users[name].kind == atRunTime {
			names = append(names, name)
		}
	}
	return names
}

// WithFile gives a policy in which the users of an ACL file stand in the place
// of all that are not in policy.yaml: the effect of ACL LOAD. All or nothing:
// the policy is nil if any problem is not a warning. The receiver is unchanged.
func (p *Policy) WithFile(users []UserSource) (*Policy, []Problem) {
	lang := *p.lang
	c := &compiler{lang: &lang, now: p.now, usedRoles: make(map[string]bool)}
	next := *p
	next.users = maps.Clone(p.users)
	maps.DeleteFunc(next.users, func(_ string, u *User) bool { return u.kind != inPolicy })
	for i := range users {
		if u := c.compileFileUser(&next, &users[i]); u != nil {
			next.users[u.name] = u
		}
	}
	c.checkDefault(&next)
	if c.failed {
		return nil, c.problems
	}
	next.index()
	next.counters.lend(&next)
	return &next, c.problems
}

// checkDefault refuses a default user who lets everybody in, unless every
// listener says by name that it wants that.
func (c *compiler) checkDefault(p *Policy) {
	u := p.users[defaultUser]
	if u == nil || !u.enabled || !u.opens() {
		return
	}
	for _, name := range p.listenerNames {
		if !p.listeners[name].anonymous && u.scope.holds(name) {
			at := u.nopassAt
			if at == (Origin{}) {
				at = u.at
			}
			c.fail(at, "users.default.rules: on and nopass lets everybody in through listener "+strconv.Quote(name),
				"give default a password, switch it off, or set anonymous: true on that listener")
			return
		}
	}
}

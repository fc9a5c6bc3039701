package acl

import "github.com/sallyport/sallyport/acl/command"

// untilDiscovered is the hint where a rule names a command that may turn up.
func untilDiscovered(hint string) string {
	const waits = "as discover is on, it has no effect until a backend says that it has the command"
	if hint == "" {
		return waits
	}
	return hint + " Otherwise, " + waits
}

// WithTable gives the policy as it is, read against another command table: what
// a discovery asks for. Rules that named what was unknown so far hold now, and
// those that name what is no longer known hold no more. Users that ACL SETUSER or
// ACL LOAD changed stay as changed, and still count as unsaved; sessions go on
// with the user of their name. The receiver is unchanged. Where it can't be done
// the policy is nil, and the problems say why.
//
// It costs what Compile does and belongs on no event loop.
func (p *Policy) WithTable(table *command.Table) (*Policy, []Problem) {
	src := p.source
	src.Table, src.Now, src.Hits, src.ACLFile = table, p.now, p.counters, nil
	for _, name := range p.names {
		if u := p.users[name]; u.kind != inPolicy {
			src.ACLFile = append(src.ACLFile, u.asWritten())
		}
	}
	next, problems := Compile(src)
	if next == nil {
		return nil, problems
	}
	for name, u := range next.users {
		old := p.users[name]
		u.past, u.kind, u.filed, u.written, u.at = old.past, old.kind, old.filed, old.written, old.at
	}
	return next, problems
}

// asWritten gives the user in the words of the aclfile, or in those that ACL
// LIST has for it where it was changed since.
func (u *User) asWritten() UserSource {
	if u.written != nil {
		return *u.written
	}
	users, _ := ParseFile("", u.Line())
	return users[0]
}

// Filed says whether the ACL file held the user when it was last read or
// written, however it was changed since.
func (u *User) Filed() bool { return u.filed }

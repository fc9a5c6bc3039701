package acl

import (
	"slices"
	"time"
)

// issuer is a compiled TokenSource.
type issuer struct {
	name  string
	at    Origin
	login string
	scope scope
	note  note
}

// tokenBinding is a compiled TokenUserSource.
type tokenBinding struct {
	issuer  string
	subject string // the user claim's value
}

// opaqueToken is a static token of a user.
type opaqueToken struct {
	hash    passwordHash
	id      string // the first digits of the hash, for the record
	expires time.Time
}

func (t *opaqueToken) ended(now time.Time) bool { return !t.expires.IsZero() && !now.Before(t.expires) }

// enterByToken finds whom a verified token speaks for.
//
// A user of policy.yaml is entered only if it names the issuer and the claim's
// value (or the issuer alone, if it is named as the claim). Otherwise the
// principal is the claim itself, with nothing but the token's roles: it is
// refused without a role, and where a user of its name exists.
func (p *Policy) enterByToken(l *listener, a *Attempt) (Principal, Reason) {
	t := a.Token
	is := p.issuers[t.Issuer]
	switch {
	case l.methods&FactorToken == 0:
		return Principal{}, MethodRefused
	case is == nil || t.Opaque || is.note.ended(a.Now):
		return Principal{}, TokenInvalid
	case !is.scope.holds(a.Listener):
		return Principal{}, ListenerNotAllowed
	case t.Expires.IsZero() || !a.Now.Before(t.Expires):
		return Principal{}, TokenExpired
	case t.User == "" || hasSpaceOrNUL(t.User) || unprintable(t.User):
		return Principal{}, TokenInvalid
	case a.User != t.User && (is.login == "" || a.User != is.login):
		return Principal{}, TokenForOther
	}
	claims := *t
	claims.Roles = slices.Clone(t.Roles)
	pr := Principal{
		Method: MethodToken, Factors: FactorToken, TokenID: t.ID, Issuer: t.Issuer, Subject: t.Subject,
		Expires: t.Expires, claims: &claims,
	}
	u := p.bound[tokenBinding{t.Issuer, t.User}]
	if u != nil {
		if r := u.mayEnter(a); r != None {
			return Principal{}, r
		}
		return p.complete(pr, u, l, a, t.Roles)
	}
	if p.users[t.User] != nil {
		return Principal{}, TokenForOther
	}
	u = p.inRole(&User{name: t.User, at: is.at, enabled: true, table: p.lang.table, selectors: []*selector{p.bare}}, a.Listener, a.Addr, a.Now, t.Roles)
	if len(u.roles) == 0 {
		return Principal{}, TokenWithoutRole
	}
	return p.complete(pr, u, l, a, t.Roles)
}

// compileTokens reads tokens:, as far as it decides.
func (c *compiler) compileTokens(p *Policy, src []TokenSource, listeners []ListenerSource) {
	p.issuers = make(map[string]*issuer, len(src))
	for i := range src {
		t := &src[i]
		name, field := t.Name.Value, "tokens."+t.Name.Value
		switch {
		case name == "":
			c.fail(t.Name.At, "tokens: an issuer has no name", "")
			continue
		case p.issuers[name] != nil:
			c.fail(t.Name.At, field+": defined twice", "the other one is at "+p.issuers[name].at.String())
			continue
		}
		for _, role := range t.Roles {
			if p.roles[role.Value] == nil {
				c.fail(role.At, field+".roles: "+quoted("unknown role", role.Value), didYouMean(role.Value, p.eachRole))
				continue
			}
			c.usedRoles[role.Value] = true
		}
		if hasSpaceOrNUL(t.Login.Value) {
			c.fail(t.Login.At, field+": a name to log in with has no white space", "")
		}
		p.issuers[name] = &issuer{
			name: name, at: t.Name.At, login: t.Login.Value,
			scope: c.scope(field, t.Listeners, listeners), note: c.note(field, t.Note),
		}
	}
}

// bindTokens reads users.X.token once all issuers are known.
func (c *compiler) bindTokens(p *Policy, u *User, src *TokenUserSource) {
	field := "users." + u.name + ".token"
	name := src.Issuer.Value
	if p.issuers[name] == nil {
		c.fail(src.Issuer.At, field+".issuer: "+quoted("unknown issuer", name), didYouMean(name, func(yield func(string) bool) {
			for n := range p.issuers {
				if !yield(n) {
					return
				}
			}
		}))
	}
	b := tokenBinding{name, src.Subject.Value}
	if b.subject == "" {
		b.subject = u.name
	}
	if other := p.bound[b]; other != nil {
		c.fail(src.Issuer.At, field+": the same subject of this issuer is user "+other.name+", too", "one token speaks for one user")
		return
	}
	u.binding = &b
	p.bound[b] = u
}

// compileOpaque reads users.X.tokens.
func (c *compiler) compileOpaque(u *User, field string, list []OpaqueTokenSource) {
	for i := range list {
		src := &list[i]
		text := src.Hash.Value
		if len(text) > 0 && text[0] == '#' {
			text = text[1:]
		}
		h, ok := parseHash(text)
		if !ok {
			c.fail(src.Hash.At, field+".tokens: a token's hash is 64 lower-case hexadecimal digits", "sallyport acl hash makes one")
			continue
		}
		t := opaqueToken{hash: h, id: "sha256:" + text[:16]}
		switch until, ok := parseUntil(src.Expires.Value); {
		case src.Expires.Value == "":
			c.report(Problem{At: src.Hash.At, What: field + ".tokens: a token that never expires", Warning: true, Hint: "give it expires: 2026-12-31"})
		case !ok:
			c.fail(src.Expires.At, field+".tokens.expires: "+quoted("not a day or time:", src.Expires.Value), "write 2026-12-31, or 2026-12-31T18:00:00Z")
		default:
			t.expires = until
			if t.ended(c.now) {
				c.report(Problem{At: src.Expires.At, What: field + ".tokens: a token that has expired", Warning: true, Hint: "remove it"})
			}
		}
		if slices.ContainsFunc(u.tokens, func(o opaqueToken) bool { return o.hash == h }) || slices.Contains(u.hashes, h) {
			c.fail(src.Hash.At, field+".tokens: the same token or password twice", "")
			continue
		}
		u.tokens = append(u.tokens, t)
	}
}

package acl

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/netip"
	"slices"
	"time"
)

// Authenticate proves a name with a password or a token. AUTH with a password
// alone speaks for user default. On success the Reason is None and the
// Principal's User not nil.
//
// Unknown user, disabled user and wrong password cost the same: one hash and
// the same number of comparisons, each in constant time; argon2id alone costs
// more, see Slow. Clients must get one answer for whatever reason; the Reason
// is for the record.
//
// The user must be on, inside until, listeners and from; the listener must take
// the method; and where require names several proofs all of them must be there.
// A password rule in force may refuse what fits. Authenticate keeps nothing.
func (p *Policy) Authenticate(a *Attempt) (Principal, Reason) {
	u := p.users[a.User]
	passwordFits, tokenFits := p.compare(u, a.Password)
	l := p.listeners[a.Listener]
	switch {
	case l == nil || l.methods&(FactorPassword|FactorToken) == 0:
		return Principal{}, MethodRefused
	case a.Token != nil:
		return p.enterByToken(l, a)
	case u == nil:
		return Principal{}, NoSuchUser
	}
	if r := u.mayEnter(a); r != None {
		return Principal{}, r
	}
	pr := Principal{Method: MethodPassword, Factors: FactorPassword, secret: secret{hash: sha256.Sum256(a.Password)}}
	switch {
	case passwordFits:
	case tokenFits >= 0:
		t := &u.tokens[tokenFits]
		if t.ended(a.Now) {
			return Principal{}, TokenExpired
		}
		pr = Principal{Method: MethodToken, Factors: FactorToken, TokenID: t.id, Expires: t.expires}
	case a.Password != nil && len(u.argon) > 0:
		if pr.secret.argon = a.Proved; !u.hasArgon(a.Proved) {
			pr.secret.argon = u.argonFits(a.Password)
		}
		if pr.secret.argon != "" {
			break
		}
		if !u.opens() {
			return Principal{}, WrongPassword
		}
		pr.Factors = 0
	case u.opens():
		pr.Factors = 0
	default:
		return Principal{}, WrongPassword
	}
	if pr.Factors == FactorPassword {
		pr.Weak = p.passwords.Weak(u.name, a.Password)
		if p.passwords.Old(u.passwordsSet, a.Now) {
			pr.Weak |= PasswordOld
		}
		switch {
		case pr.Weak == 0 || p.passwords.Mode != Enforce:
		case pr.Weak == PasswordOld:
			return Principal{}, PasswordExpired
		default:
			return Principal{}, PasswordWeak
		}
	}
	return p.complete(pr, u, l, a, nil)
}

// Slow says whether judging the attempt means argon2id, which takes tens of
// milliseconds and mebibytes: it must not run on an event loop.
func (p *Policy) Slow(a *Attempt) bool {
	u := p.users[a.User]
	return u != nil && len(u.argon) > 0 && a.Token == nil && a.Password != nil && !u.hasArgon(a.Proved)
}

// Identify finds who a connection speaks for by its certificate alone, at
// admission and after RESET. Reason None with a nil User means that it stays
// unauthenticated: there is no certificate, the listener does not take them,
// nobody is named by it, or its user needs more than the certificate. Any other
// Reason is for the record; the connection stays unauthenticated, too.
func (p *Policy) Identify(a *Attempt) (Principal, Reason) {
	l := p.listeners[a.Listener]
	if l == nil {
		return Principal{}, MethodRefused
	}
	if a.Cert == nil || l.methods&FactorCertificate == 0 || len(p.byName) == 0 {
		return Principal{}, None
	}
	if !a.Cert.clear() {
		return Principal{}, CertificateAmbiguous
	}
	holders := p.holders(a.Cert, a.Listener)
	switch {
	case len(holders) == 0:
		return Principal{}, None
	case len(holders) > 1:
		return Principal{}, CertificateAmbiguous
	}
	u := holders[0]
	if u.require&^(FactorCertificate|FactorNetwork) != 0 {
		return Principal{}, None
	}
	if r := u.mayEnter(a); r != None {
		return Principal{}, r
	}
	return p.complete(Principal{Method: MethodCertificate, Factors: FactorCertificate}, u, l, a, nil)
}

// Renew holds a live session against the policy: pr is what it had, a says where
// it is and which certificate it holds (User and Password are ignored). Token is
// what the principal's own token means now, where that was judged anew; nil:
// what it meant.
// The Principal it gives is what the session has from now on; any Reason but
// None means that it ends: the user is gone, off or ended, its listener, network
// or certificate does not fit any more, its method is switched off, or its token
// is over or no longer known, or the password it gave is its user's no more; the
// last not where a.Lenient says so.
func (p *Policy) Renew(pr Principal, a *Attempt) (Principal, Reason) {
	l := p.listeners[a.Listener]
	switch {
	case l == nil || pr.User == nil:
		return Principal{}, MethodRefused
	case pr.Method == MethodNone:
		u := p.Anonymous(a.Listener)
		if u == nil || u.name != pr.User.name {
			return Principal{}, UserDisabled
		}
		return p.complete(Principal{}, u, l, a, nil)
	case !pr.Expires.IsZero() && !a.Now.Before(pr.Expires):
		return Principal{}, TokenExpired
	case pr.claims != nil:
		now := *a
		if now.Token == nil {
			now.Token = pr.claims
		}
		now.User = now.Token.User
		next, r := p.enterByToken(l, &now)
		if r == None && next.User.name != pr.User.name {
			return Principal{}, TokenForOther // a live session never becomes somebody else
		}
		return next, r
	case pr.Method == MethodCertificate:
		next, r := p.Identify(a)
		if r == None && (next.User == nil || next.User.name != pr.User.name) {
			return Principal{}, FactorMissing
		}
		return next, r
	}
	u := p.users[pr.User.name]
	if u == nil {
		return Principal{}, NoSuchUser
	}
	if r := u.mayEnter(a); r != None {
		return Principal{}, r
	}
	next := pr
	if pr.Method == MethodToken {
		i := slices.IndexFunc(u.tokens, func(t opaqueToken) bool { return t.id == pr.TokenID && !t.ended(a.Now) })
		if i < 0 {
			return Principal{}, TokenInvalid
		}
		next.Expires = u.tokens[i].expires // which may be another than at the login
	}
	if pr.Factors&FactorToken == 0 && !u.opens() && !u.keeps(pr.secret) {
		if !a.Lenient {
			return Principal{}, WrongPassword // what it gave is no password of the user's any more, or never was
		}
		next.secret = secret{waived: true}
	}
	next.Factors &= FactorPassword | FactorToken
	return p.complete(next, u, l, a, nil)
}

// Anonymous gives the user that sessions of the listener start as without any
// proof: default, if the listener is anonymous and default is on, nopass and
// bound to no network, listener or proof. Otherwise nil.
func (p *Policy) Anonymous(listener string) *User {
	l, u := p.listeners[listener], p.users[defaultUser]
	if l == nil || !l.anonymous || u == nil || !u.enabled || !u.opens() || u.from != nil || u.require != 0 ||
		!u.scope.holds(listener) || u.note.ended(p.now) {
		return nil
	}
	return u
}

// compare holds a password against the hashes of a user, nil for one who does
// not exist. It does the same work whoever is asked about. token is the index
// of the opaque token that fits, -1 for none.
func (p *Policy) compare(u *User, password []byte) (fits bool, token int) {
	given := sha256.Sum256(password)
	var hashes []passwordHash
	var tokens []opaqueToken
	if u != nil && password != nil {
		hashes, tokens = u.hashes, u.tokens
	}
	found, at := 0, 0
	for i := range p.mostHashes {
		var stored passwordHash
		present := 0
		if i < len(hashes) {
			stored, present = hashes[i], 1
		}
		found |= present & subtle.ConstantTimeCompare(stored[:], given[:])
	}
	for i := range p.mostTokens {
		var stored passwordHash
		present := 0
		if i < len(tokens) {
			stored, present = tokens[i].hash, 1
		}
		at = subtle.ConstantTimeSelect(present&subtle.ConstantTimeCompare(stored[:], given[:]), i+1, at)
	}
	return found == 1, at - 1
}

// opens says whether any password fits. A user whom a certificate or a token
// proves is never open: whoever knows the name could walk round the proof.
func (u *User) opens() bool {
	return u.nopass && len(u.certificates) == 0 && u.binding == nil && len(u.tokens) == 0 && len(u.argon) == 0
}

// mayEnter holds whatever is no proof against an attempt.
func (u *User) mayEnter(a *Attempt) Reason {
	switch {
	case !u.enabled:
		return UserDisabled
	case u.note.ended(a.Now):
		return UserExpired
	case !u.scope.holds(a.Listener):
		return ListenerNotAllowed
	case !u.from.holds(a.Addr):
		return SourceNotAllowed
	}
	return None
}

// complete adds the proofs that come with the connection, asks for all that are
// required, for the listener's consent to the method, and gives the user the
// roles that hold here.
func (p *Policy) complete(pr Principal, u *User, l *listener, a *Attempt, tokenRoles []string) (Principal, Reason) {
	if u.from != nil {
		pr.Factors |= FactorNetwork
	}
	if l.methods&FactorCertificate != 0 && p.isOf(a.Cert, u, a.Listener) {
		pr.Factors |= FactorCertificate
	}
	if pr.Method.factor()&^l.methods != 0 {
		return Principal{}, MethodRefused
	}
	if u.require&^pr.Factors != 0 {
		return Principal{}, FactorMissing
	}
	pr.User = p.inRole(u, a.Listener, a.Addr, a.Now, tokenRoles)
	return pr, None
}

func (m Method) factor() Factors {
	switch m {
	case MethodPassword:
		return FactorPassword
	case MethodToken:
		return FactorToken
	case MethodCertificate:
		return FactorCertificate
	}
	return 0
}

// inRole gives the user as it is at a listener, for an address and at a time:
// without the roles that do not hold there, and with those of a token. It is
// the policy's own user where that makes no difference.
func (p *Policy) inRole(u *User, listener string, addr netip.Addr, now time.Time, tokenRoles []string) *User {
	own := len(u.selectors) - len(u.roles)
	var roles []string
	for _, name := range u.roles {
		if p.roles[name].holds(listener, addr, now) {
			roles = append(roles, name)
		}
	}
	for _, name := range tokenRoles {
		if r := p.roles[name]; r != nil && r.holds(listener, addr, now) && !slices.Contains(roles, name) {
			roles = append(roles, name)
		}
	}
	if slices.Equal(roles, u.roles) {
		return u
	}
	c := *u
	c.roles = roles
	c.selectors = slices.Clone(u.selectors[:own])
	for _, name := range roles {
		c.selectors = append(c.selectors, p.roles[name].selector)
	}
	return &c
}

// role is a named selector and where it holds.
type role struct {
	name     string
	at       Origin
	selector *selector
	from     *networks
	scope    scope
	note     note
}

func (r *role) holds(listener string, addr netip.Addr, now time.Time) bool {
	return r.scope.holds(listener) && r.from.holds(addr) && !r.note.ended(now)
}

const defaultUser = "default"

// hasArgon reports whether a hash is still one of the user's.
func (u *User) hasArgon(key string) bool {
	return key != "" && slices.ContainsFunc(u.argon, func(h argonHash) bool { return string(h.key) == key })
}

// keeps reports whether the password that was taken is still one of the user's.
func (u *User) keeps(s secret) bool {
	switch {
	case s.waived:
		return true
	case s.argon != "":
		return u.hasArgon(s.argon)
	}
	return slices.Contains(u.hashes, s.hash)
}

package proxy

import (
	"bytes"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/token"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/resp"
)

// auth is AUTH [user] password. A failure leaves the session as it was.
func (s *session) auth(args [][]byte) {
	switch len(args) {
	case 2:
		if u := s.w.policy.User("default"); u != nil && u.NoPass() {
			s.fail(errAuthNoPassword)
			return
		}
		s.try("default", args[1], s.ok)
	case 3:
		s.try(string(args[1]), args[2], s.ok)
	default:
		s.fail("ERR syntax error")
	}
}

// hello is HELLO [protover [AUTH user password] [SETNAME name]]. Everything is
// checked before anything acts, as Redis 7.2 and later do.
func (s *session) hello(args [][]byte) {
	proto := s.proto
	if len(args) > 1 {
		n, ok := integer(args[1])
		if !ok {
			s.fail("ERR Protocol version is not an integer or out of range")
			return
		}
		if n < 2 || n > 3 || n == 3 && !s.resp3() {
			s.fail("NOPROTO unsupported protocol version")
			return
		}
		proto = int(n)
	}
	var user, secret, name []byte
	for i := 2; i < len(args); i++ {
		switch {
		case fold(args[i], "auth") && i+2 < len(args):
			user, secret = args[i+1], args[i+2]
			i += 2
		case fold(args[i], "setname") && i+1 < len(args):
			if name = args[i+1]; !validName(name) {
				s.fail(errClientName)
				return
			}
			i++
		default:
			s.fail("ERR Syntax error in HELLO option '" + excerpt(args[i]) + "'")
			return
		}
	}
	if user == nil && s.user == nil {
		s.refuse(acl.NotAuthenticated, args, acl.Decision{})
		return
	}
	name = bytes.Clone(name) // the answer may come after these bytes are gone
	greet := func() {
		if name != nil {
			s.rename(name)
		}
		if proto != s.proto && s.apart != nil && s.apart.why != 0 {
			s.speakOwn(proto)
			return
		}
		s.setProto(proto)
		s.emit(s.greeting(s.w.scratch[:0]))
	}
	if user == nil {
		greet()
		return
	}
	s.try(string(user), secret, greet)
}

// attempt is what the connection brings to any proof, whatever is tried.
func (s *session) attempt() acl.Attempt {
	return acl.Attempt{Listener: s.facts.listener, Addr: s.facts.client, Cert: s.facts.shown, Now: s.w.now()}
}

// try proves a secret for a user name, and gives the answer of success by then.
// The answer of failure is the same for every cause, and comes at the same time
// after the receipt.
func (s *session) try(user string, secret []byte, then func()) {
	a := s.attempt()
	a.User, a.Password = user, secret
	if !s.keeps() {
		return
	}
	t := &trial{attempt: a, method: acl.MethodPassword, then: then}
	proofs, verifier := &s.w.srv.proofs, s.w.srv.tokens.Load()
	isToken := verifier != nil && token.LooksLike(secret)
	if isToken {
		t.method = acl.MethodToken
	}
	switch {
	case len(secret) > s.w.secretMost():
		s.judged(t, acl.Principal{}, acl.WrongPassword)
	case !proofs.allow(&a):
		s.judged(t, acl.Principal{}, acl.AuthThrottled)
	case isToken:
		s.proveAside(t, proofs.checkToken(verifier))
	case s.w.policy.Slow(&a) && !proofs.recent.prove(s.w.policy, &a):
		s.proveAside(t, proofs.checkHash)
	default:
		pr, reason := s.w.policy.Authenticate(&a)
		s.judged(t, pr, reason)
	}
}

// secretMost bounds what is hashed for a password: a client that has logged in
// may send arguments far longer than any password that could have let it in.
func (w *worker) secretMost() int { return max(w.loginLimits.AuthBulk, w.loginLimits.Bulk) }

// judged ends a trial: it goes on record, counts against its source, and acts.
func (s *session) judged(t *trial, pr acl.Principal, reason acl.Reason) {
	proofs := &s.w.srv.proofs
	switch {
	case reason != acl.None:
	case !pr.Expires.IsZero() && !s.w.now().Before(pr.Expires):
		reason = acl.TokenExpired
	case !s.w.srv.opts.Auth.TokenSwitch && s.who.Method == acl.MethodToken && pr.Method == acl.MethodToken && !sameHolder(&s.who, &pr):
		reason = acl.TokenForOther
	}
	if pr.Method != acl.MethodNone {
		t.method = pr.Method // an opaque token is known as one only now
	}
	proofs.judged(&t.attempt, reason)
	fixed := reason == acl.None && s.fixed(&pr)
	if fixed {
		reason = acl.LoginBound
	}
	crowded := reason == acl.None && !s.enroll(&pr, false)
	if crowded {
		reason = acl.UserConnections
	}
	if !s.w.authEvent(s, t.method, t.attempt.User, &pr, reason) {
		s.unrecorded()
		return
	}
	if crowded {
		s.fail(errMaxClients) // to its own user, who has proved to be one
		return
	}
	if fixed {
		s.fail(errLoginBound)
		return
	}
	if reason != acl.None {
		s.refuseLogin(t)
		return
	}
	s.become(pr)
	t.then()
}

// sameHolder reports whether two tokens speak for one principal.
func sameHolder(a, b *acl.Principal) bool {
	return a.Issuer == b.Issuer && a.Subject == b.Subject && a.User.Name() == b.User.Name()
}

// become lets the session speak for a principal and lifts the limits that hold before login.
func (s *session) become(pr acl.Principal) {
	s.speakFor(pr)
	s.authTimer.Stop()
	s.reader.SetLimits(s.w.readerLimits)
}

// speakFor changes whose rights the session has, and until when.
func (s *session) speakFor(pr acl.Principal) {
	if !pr.Expires.Equal(s.who.Expires) {
		s.until(pr.Expires)
	}
	s.who, s.user, s.method = pr, pr.User, methods[pr.Method]
	s.relocate(pr.User)
	s.enroll(&pr, true)
	s.belong(&pr)
}

// methods are the record's words for how a principal was proved.
var methods = [...]audit.Method{
	acl.MethodNone: audit.MethodNone, acl.MethodPassword: audit.MethodPassword,
	acl.MethodToken: audit.MethodToken, acl.MethodCertificate: audit.MethodCertificate,
}

// begin puts the session into the state after admission: its certificate's user
// where the certificate alone suffices, else what its listener grants everybody,
// else nobody.
func (s *session) begin() {
	if s.facts.shown != nil {
		a := s.attempt()
		pr, reason := s.w.policy.Identify(&a)
		if reason == acl.None && !s.enroll(&pr, false) {
			s.crowdedOut(acl.MethodCertificate, &pr)
			return
		}
		if (reason != acl.None || pr.User != nil) && !s.w.authEvent(s, acl.MethodCertificate, "", &pr, reason) {
			s.unrecorded()
			return
		}
		if reason == acl.None && pr.User != nil {
			s.become(pr)
			return
		}
	}
	if u := s.w.policy.Anonymous(s.facts.listener); u != nil {
		pr := acl.Principal{User: u}
		if !s.enroll(&pr, false) {
			s.crowdedOut(acl.MethodNone, &pr)
			return
		}
		if !s.w.authEvent(s, acl.MethodNone, "", &pr, acl.None) {
			s.unrecorded()
			return
		}
		s.become(pr)
		return
	}
	s.speakFor(acl.Principal{})
	s.reader.SetLimits(s.w.loginLimits)
}

// crowdedOut ends a session whose user nobody asked for by AUTH, where an error
// would be an answer, and has as many connections as it may. It is told as Redis
// tells those who come too late.
func (s *session) crowdedOut(method acl.Method, pr *acl.Principal) {
	s.w.authEvent(s, method, pr.User.Name(), pr, acl.UserConnections)
	s.speakFor(acl.Principal{})
	s.reader.SetLimits(s.w.loginLimits)
	s.fail(errMaxClients)
	s.finish(audit.CloseUserConnections)
}

// reset is RESET: back to the state after admission. The time to log in begins
// anew for who was somebody; a stranger's goes on, or RESETs would prolong it for ever.
func (s *session) reset() {
	stranger := s.user == nil
	s.closeOwn()
	s.apart, s.slots.mute = nil, false
	s.db, s.pipe, s.name = 0, nil, nil
	s.setProto(2)
	if s.begin(); s.ended {
		return
	}
	if !stranger && s.user == nil {
		s.awaitAuth()
	}
	s.emit(resp.AppendSimple(s.w.scratch[:0], "RESET"))
}

// awaitAuth ends the session unless it authenticates in time.
func (s *session) awaitAuth() {
	if d := s.w.limits.AuthTimeout; d > 0 {
		s.w.arm(&s.authTimer, d, func() { s.expire(audit.CloseAuthTimeout) })
	}
}

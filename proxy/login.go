package proxy

import (
	"github.com/sallyport/sallyport/acl"
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
		s.login("default", args[1])
	case 3:
		s.login(string(args[1]), args[2])
	default:
		s.fail("ERR syntax error")
		return
	}
}

// login proves a password and answers AUTH.
func (s *session) login(user string, password []byte) {
	if s.prove(user, password) {
		s.ok()
	} else {
		s.fail(errWrongPass)
	}
}

// prove tries a user name and a password, records the attempt, and lets the
// session speak for that user if they fit.
func (s *session) prove(user string, password []byte) bool {
	pr, reason := s.w.policy.Authenticate(&acl.Attempt{
		Listener: s.facts.listener, Addr: s.facts.client, User: user, Password: password, Now: s.w.now(),
	})
	u := pr.User
	s.w.authEvent(s, audit.MethodPassword, user, reason)
	if u == nil || reason != acl.None {
		return false
	}
	s.become(u, audit.MethodPassword)
	return true
}

// become lets the session speak for a user and lifts the limits that hold before login.
func (s *session) become(u *acl.User, method audit.Method) {
	s.user, s.method = u, method
	s.authTimer.Stop()
	s.reader.SetLimits(s.w.readerLimits)
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
		if n < 2 || n > 3 || n == 3 && !s.w.resp3(s.facts.backend) {
			s.fail("NOPROTO unsupported protocol version")
			return
		}
		proto = int(n)
	}
	var user, password, name []byte
	for i := 2; i < len(args); i++ {
		switch {
		case fold(args[i], "auth") && i+2 < len(args):
			user, password = args[i+1], args[i+2]
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
	if user != nil && !s.prove(string(user), password) {
		s.fail(errWrongPass)
		return
	}
	if s.user == nil {
		s.refuse(acl.NotAuthenticated, args, acl.Decision{})
		return
	}
	if name != nil {
		s.rename(name)
	}
	s.setProto(proto)
	s.emit(s.greeting(s.w.scratch[:0]))
}

// reset is RESET: back to the state after admission.
func (s *session) reset() {
	s.db, s.pipe, s.name = 0, nil, nil
	s.setProto(2)
	s.user, s.method = s.w.policy.Anonymous(s.facts.listener), audit.MethodNone
	if s.user == nil {
		s.reader.SetLimits(s.w.loginLimits)
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

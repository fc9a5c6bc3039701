package proxy

import (
	"errors"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/resp"
)

// local answers a call that never leaves the proxy. The answer takes its turn
// behind the replies still owed. A call counts once: as refused if that is the
// answer.
func (s *session) local(args [][]byte) {
	refused := s.refused
	s.answer(args)
	if s.refused == refused {
		s.w.count.Command(uint8(command.Local), s.decision, 1)
	}
}

func (s *session) answer(args [][]byte) {
	name := s.call.Spec.Name
	switch name {
	case "ping":
		s.ping(args)
	case "echo":
		s.emit(resp.AppendBulk(s.w.scratch[:0], args[1]))
	case "auth":
		s.auth(args)
	case "hello":
		s.hello(args)
	case "select":
		s.selectDB(args)
	case "reset":
		s.reset()
	case "quit":
		s.emit(resp.AppendSimple(s.w.scratch[:0], "OK"))
		s.finish(audit.CloseClient)
	case "acl|whoami":
		s.emit(resp.AppendBulk(s.w.scratch[:0], []byte(s.user.Name())))
	case "command", "command|count", "command|list", "command|info", "command|docs", "command|getkeys":
		s.commandFamily(args)
	default:
		s.client(args)
	}
}

func (s *session) ping(args [][]byte) {
	switch len(args) {
	case 1:
		s.emit(resp.AppendSimple(s.w.scratch[:0], "PONG"))
	case 2:
		s.emit(resp.AppendBulk(s.w.scratch[:0], args[1]))
	default: // the command table says -1, Redis itself says at most one
		s.refuse(acl.WrongArity, args, acl.Decision{})
	}
}

func (s *session) ok() { s.emit(resp.AppendSimple(s.w.scratch[:0], "OK")) }

func (s *session) fail(msg string) { s.emit(resp.AppendError(s.w.scratch[:0], msg)) }

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
	u, reason := s.w.policy.Authenticate(s.facts.listener, user, password)
	s.w.authEvent(s, audit.MethodPassword, user, reason)
	if u == nil || reason != acl.None {
		return false
	}
	s.proof = acl.ProofOf(password)
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

// setProto changes the protocol version; the pipeline follows at the next call.
func (s *session) setProto(proto int) {
	if proto != s.proto {
		s.proto, s.pipe = proto, nil
	}
}

// greeting is HELLO's answer. A connection id is ours: the backend's never shows.
func (s *session) greeting(b []byte) []byte {
	b = resp.AppendMap(b, s.proto, 7)
	b = appendPair(b, "server", "redis")
	b = appendPair(b, "version", s.w.version(s.facts.backend))
	b = resp.AppendInt(resp.AppendBulk(b, []byte("proto")), int64(s.proto))
	b = resp.AppendInt(resp.AppendBulk(b, []byte("id")), int64(s.facts.id))
	b = appendPair(b, "mode", "standalone")
	b = appendPair(b, "role", "master")
	b = resp.AppendBulk(b, []byte("modules"))
	return resp.AppendArray(b, 0)
}

func appendPair(b []byte, key, value string) []byte {
	return resp.AppendBulk(resp.AppendBulk(b, []byte(key)), []byte(value))
}

// selectDB changes the database: later calls travel on that database's pipeline.
// Whether it exists is for Redis to say.
func (s *session) selectDB(args [][]byte) {
	n, ok := integer(args[1])
	switch {
	case !ok:
		s.fail("ERR value is not an integer or out of range")
		return
	case n != int64(int32(n)):
		s.fail("ERR value is out of range, value must between -2147483648 and 2147483647")
		return
	case n < 0:
		s.fail(errDBRange)
		return
	}
	if int(n) == s.db {
		s.ok()
		return
	}
	s.waiting = true
	s.w.probe(s.facts.backend, backend.Key{DB: int(n), Proto: s.proto}, func(err error) {
		s.waiting = false
		if s.ended {
			return
		}
		var refused *backend.RefusedError
		switch {
		case err == nil:
			s.db, s.pipe = int(n), nil
			s.ok()
		case errors.As(err, &refused) && refused.Step == "SELECT":
			s.fail(refused.Reply)
		default:
			s.emit(failureText(backend.Unavailable))
		}
		s.answered()
	})
}

// answered goes on after an answer that was made elsewhere.
func (s *session) answered() {
	if s.finishing && s.slots.len() == 0 {
		s.end(s.reason)
		return
	}
	s.resume()
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

// watchIdle ends the session once it has been silent for the idle timeout. The
// timer is not moved at each call: when it fires it looks how long is left.
func (s *session) watchIdle() {
	limit := s.w.limits.IdleTimeout
	if limit <= 0 || s.finishing || s.ended {
		return
	}
	left := limit - s.w.now().Sub(s.active)
	if left <= 0 && s.slots.len() == 0 {
		s.expire(audit.CloseIdle)
		return
	}
	s.w.arm(&s.idleTimer, max(left, 10*time.Millisecond), s.watchIdle)
}

// integer reads a number as strictly as Redis does: no sign but a minus, no
// leading zeros, no blanks.
func integer(b []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == string(b)
}

// fold compares an option word as Redis does, ASCII case aside and over its whole length.
func fold(arg []byte, word string) bool {
	if len(arg) != len(word) {
		return false
	}
	for i := range arg {
		c := arg[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// validName is what CLIENT SETNAME accepts: printable ASCII without a blank.
func validName(name []byte) bool {
	for _, c := range name {
		if c < '!' || c > '~' {
			return false
		}
	}
	return true
}

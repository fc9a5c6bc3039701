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
	case "acl|whoami", "acl|cat", "acl|users", "acl|list", "acl|getuser", "acl|genpass", "acl|dryrun", "acl|log",
		"acl|setuser", "acl|deluser", "acl|load", "acl|save", "acl|help":
		s.aclFamily(args)
	case "command", "command|count", "command|list", "command|info", "command|docs", "command|getkeys",
		"command|getkeysandflags", "command|help":
		s.commandFamily(args)
	default:
		s.client(args, false)
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
	bound := s.apart != nil && s.apart.why != 0
	switch {
	case bound && s.routes == nil:
		s.selectOwn(args, int(n))
		return
	case bound: // its own connection has to follow, and the other backends must have it too
		args = copiedArgs(args)
	case int(n) == s.db:
		s.ok()
		return
	}
	spec := s.call.Spec
	s.waiting = true
	s.probeDB(int(n), func(err error) {
		s.waiting = false
		if s.ended {
			return
		}
		var refused *backend.RefusedError
		switch {
		case err == nil && bound && s.ownHolds():
			s.call.Spec = spec
			s.selectOwn(args, int(n))
		case err == nil && bound:
			s.emit(failureText(backend.Unavailable))
		case err == nil:
			s.db, s.pipe = int(n), nil
			s.ok()
		case errors.As(err, &refused) && refused.Step == "SELECT":
			s.fail(refused.Reply)
		case errors.Is(err, backend.ErrLogin):
			s.emit(failureText(backend.NoLogin))
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

// watchIdle ends the session once it has been silent for the idle timeout. The
// timer is not moved at each call: when it fires it looks how long is left.
func (s *session) watchIdle() {
	limit := s.w.limits.IdleTimeout
	if limit <= 0 || s.finishing || s.ended {
		return
	}
	left := limit - s.w.now().Sub(s.active)
	if s.unattended() {
		left = limit // it hears what others do: silence says nothing
	}
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

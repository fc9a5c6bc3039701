package proxy

import (
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
)

// A request over bigRequest goes over a connection on which nobody else is. If all
// that is big is its last argument, and that is a value which decides nothing, it
// is judged before that argument has come, which is then handed on as it comes and
// never held. Everything else is held until it is whole, up to limits.request_buffer.

// bigRequest is from which size on a request has a connection to itself. No
// server's own limits can be set below it.
const bigRequest = 1 << 20

// mostPoured is how much of a request may wait for the node before its sender is
// not read.
const mostPoured = 1 << 20

// pour is a request whose last argument is being handed on, or thrown away.
type pour struct {
	pipe *backend.Pipeline // nil: nobody wants it
}

// lastIsValue tells, by the number of arguments, whether a command's last one is a
// value: neither a key or channel, nor an option, nor anything rules look at.
var lastIsValue = map[string]func(argc int) bool{
	"set": exactly(3), "setnx": exactly(3), "getset": exactly(3), "append": exactly(3),
	"setex": exactly(4), "psetex": exactly(4), "setrange": exactly(4), "restore": exactly(4),
	"hsetnx": exactly(4), "lset": exactly(4), "linsert": exactly(5),
	"hset": even(4), "hmset": even(4), "mset": odd(3), "msetnx": odd(3),
	"lpush": from(3), "rpush": from(3), "lpushx": from(3), "rpushx": from(3),
	"sadd": from(3), "pfadd": from(3), "xadd": odd(5),
	"publish": exactly(3), "spublish": exactly(3),
}

func exactly(n int) func(int) bool { return func(argc int) bool { return argc == n } }
func from(n int) func(int) bool    { return func(argc int) bool { return argc >= n } }
func even(n int) func(int) bool    { return func(argc int) bool { return argc >= n && argc%2 == 0 } }
func odd(n int) func(int) bool     { return func(argc int) bool { return argc >= n && argc%2 == 1 } }

// unseen stands for an argument that has not come.
var unseen = []byte{0}

// takeLarge looks whether the command at hand is one whose last argument need not
// be held, and begins to hand it on. It reports whether there is anything to go on with.
func (s *session) takeLarge() bool {
	head, n := s.reader.Large()
	if head == nil {
		return false
	}
	args := append(head[:len(head):len(head)], unseen)
	if !s.pourable(args) {
		s.reader.Keep()
		return true
	}
	if s.slots.len() > 0 { // it changes the connection
		s.pace.alone = true
		return false
	}
	s.pour, s.pace.announced = &pour{}, n
	s.serve(args)
	s.pace.announced = 0
	return true
}

// goesAside reports a big call that has to have a connection to itself. A session
// that is bound to a connection of its own has that already. Where there are several nodes
// calls go the way of all others, held whole.
func (s *session) goesAside(call *command.Call) bool {
	return s.reader.Size() > bigRequest && call.Class == command.Shared && !s.bound() && s.router == nil && (s.routes == nil || !s.routes.apart)
}

// bound reports a session whose calls have to go over its own connection, or wait
// for an EXEC.
func (s *session) bound() bool {
	return s.apart != nil && (s.apart.why != 0 || s.apart.txn != nil)
}

// pourable reports whether nothing that is decided about a call hangs on its last argument.
func (s *session) pourable(args [][]byte) bool {
	if s.user == nil || s.bound() || s.router != nil || s.routes != nil {
		return false
	}
	if s.names != nil {
		if s.hidden = s.names.Translate(args); s.hidden != nil {
			return false
		}
	}
	if s.w.table.Parse(args, &s.call) != nil || s.call.Class != command.Shared {
		return false
	}
	fits := lastIsValue[s.call.Spec.Name]
	return fits != nil && fits(len(args))
}

// forwardAside sends a big call, or all but the last argument of one, over a
// connection of its own.
func (s *session) forwardAside(args [][]byte) {
	pipe, f := s.w.aside(s.facts.backend, s.key(), s.payer())
	if f == backend.Limited {
		s.declined(f)
		return
	}
	s.w.count.Command(uint8(command.Shared), s.decision, 1)
	if f == 0 {
		if n := s.pace.announced; n > 0 {
			args = args[:len(args)-1]
			f = pipe.Begin(s, s.slots.next, s.at, args, n)
		} else {
			f = pipe.Send(s, s.slots.next, s.at, args)
		}
	}
	if f != 0 {
		s.emit(failureText(f))
		return
	}
	s.slots.push(pipe, wireSize(args), s.at)
	s.pace.alone = true // the next call goes another way, so it waits for this one's reply
	if s.pour != nil {
		s.pour.pipe = pipe
	}
}

// pourOn hands on what has come of the last argument. It reports whether there is
// anything to go on with.
func (s *session) pourOn() bool {
	p, done, err := s.reader.Pour()
	if err != nil {
		s.stopPouring()
		s.protocolError(err)
		return false
	}
	pipe := s.pour.pipe
	if pipe != nil && len(p) > 0 {
		if !pipe.Pour(p) {
			s.pour.pipe = nil // its node is gone, which the client has been told
		} else if s.gaugePour(); s.stuck {
			return false
		}
	}
	if done {
		if s.pour.pipe != nil {
			s.pour.pipe.End()
		}
		s.pour = nil
		return true
	}
	if len(p) == 0 && s.eof {
		s.finish(audit.CloseClient)
	}
	return len(p) > 0
}

// gaugePour looks how far the node is behind.
func (s *session) gaugePour() {
	s.stuck = s.pour.pipe.Backlog() > mostPoured
	s.w.congested = s.w.congested || s.stuck
}

// stopPouring ends the connection that has half a request, so that Redis never
// sees a whole one.
func (s *session) stopPouring() {
	if s.pour == nil {
		return
	}
	pipe := s.pour.pipe
	s.pour = nil
	if pipe != nil {
		pipe.Abort()
	}
}

// pouredFull reports a session that waits for nothing but its node to take what it sent.
func (s *session) pouredFull() bool { return s.pour != nil && s.pour.pipe != nil && s.stuck }

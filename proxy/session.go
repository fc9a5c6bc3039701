package proxy

import (
	"bytes"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/metrics"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/loop"
	"github.com/sallyport/sallyport/proxy/resp"
)

// How far a session may run ahead of its replies. Beyond it the session is not
// fed and its socket not read, until replies have gone out.
const (
	maxInFlight      = 1024
	maxInFlightBytes = 1 << 20
	outputHighWater  = 256 << 10
)

// farewell is how long owed replies may take to leave once the proxy ended a session.
const farewell = time.Second

// port is the connection below a session: *loop.Conn, or a test's.
type port interface {
	Out() []byte
	SetOut([]byte)
	Unsent() int
	Blocked() bool // the kernel took less than it was given; Drained follows
	Pause()
	Resume()
	Again()
	QuickAck()
	CloseAfterFlush(time.Duration)
	Close()
}

// session is one client's state machine. It is given bytes and replies and
// gives bytes; all of it belongs to one loop's goroutine.
type session struct {
	w      *worker
	port   port
	facts  facts // what is known of the connection since admission
	reader resp.Reader
	call   command.Call
	slots  slots

	user      *acl.User     // nil: not authenticated
	who       acl.Principal // user, and how that was proved
	proto     int
	db        int
	name      []byte
	libName   []byte
	libVer    []byte
	pipe      *backend.Pipeline
	method    audit.Method
	commands  uint64
	refused   uint64
	bytesIn   uint64
	bytesOut  uint64
	began     time.Time
	active    time.Time
	at        int64 // this turn's clock, Unix ns
	fold      audit.Folder
	authTimer loop.Timer
	idleTimer loop.Timer
	trial     *trial // an attempt to log in that is not answered yet
	lease     *lease // nil: what was proved does not end by itself

	kept      int64            // what account last counted
	held      [][]byte         // a call that waits until every owed reply has arrived
	waiting   bool             // a call's answer is being made elsewhere; not fed
	paused    bool             // the socket is not read
	eof       bool             // the client has said all it will say
	finishing bool             // nothing new is read; closes when owed replies have left
	ended     bool             // the connection is closing, nothing more is appended
	cut       bool             // what it is still owed was dropped
	full      bool             // more output waits than a client that is read may have
	stuck     bool             // the node takes calls slower than they come; eased follows
	decision  metrics.Decision // on the call being served, if it is served
	reason    audit.CloseReason

	prev, next *session // the worker's list
}

var _ loop.Handler = (*session)(nil)
var _ backend.Waiter = (*session)(nil)

// Data implements loop.Handler.
func (s *session) Data(_ *loop.Conn, p []byte) { s.feed(p) }

// EOF implements loop.Handler: requests end, owed replies are still delivered.
func (s *session) EOF(*loop.Conn) {
	s.eof = true
	if s.held == nil && !s.waiting && s.reader.Buffered() == 0 {
		s.finish(audit.CloseClient)
		return
	}
	s.resume()
}

// Drained implements loop.Handler.
func (s *session) Drained(*loop.Conn) { s.resume() }

// Closed implements loop.Handler.
func (s *session) Closed(_ *loop.Conn, cause error) { s.w.leave(s, cause) }

// feed takes what the client sent. p is nil when the loop calls again for what
// was left over.
func (s *session) feed(p []byte) {
	if s.finishing || s.ended {
		return
	}
	if len(p) > 0 {
		s.bytesIn += uint64(len(p))
		s.w.count.Received += uint64(len(p))
		s.active = s.w.now()
	}
	s.at = s.w.now().UnixNano()
	s.gauge()
	s.reader.Feed(p)
	s.drive()
	s.reader.Release()
	s.account()
	if s.reader.Partial() && len(p) > 0 {
		// The sender may hold back the rest until what it sent is acknowledged.
		s.port.QuickAck()
	}
}

// drive serves calls until there is none whole or the session has to wait.
func (s *session) drive() {
	for s.fed() {
		var args [][]byte
		if s.held != nil {
			args, s.held = s.held, nil
		} else {
			var err error
			args, err = s.reader.Next()
			if err != nil {
				s.protocolError(err)
				return
			}
		}
		if args == nil {
			if s.eof {
				s.finish(audit.CloseClient)
			}
			break
		}
		s.serve(args)
	}
	s.backpressure()
}

// fed reports whether the next call may be taken now.
func (s *session) fed() bool {
	if s.finishing || s.ended || s.waiting {
		return false
	}
	if s.held != nil {
		return s.slots.len() == 0
	}
	return s.roomy()
}

// roomy reports whether the session is within its window.
func (s *session) roomy() bool { return s.inWindow() && !s.full && !s.stuck }

func (s *session) inWindow() bool {
	return s.slots.len() < maxInFlight && s.slots.owed < maxInFlightBytes
}

// gauge looks at both ends. Calls that the node does not take would pile up in
// front of it, where closing a client frees nothing: they stay with their senders.
func (s *session) gauge() {
	s.full = s.port.Unsent() >= outputHighWater
	if s.stuck = s.pipe != nil && s.pipe.Congested(); s.stuck {
		s.w.congested = true
	}
}

// backpressure stops reading a client that has to wait, and sees to it that it
// is looked at again.
func (s *session) backpressure() {
	if s.finishing || s.ended || s.fed() {
		return
	}
	if !s.paused {
		s.paused = true
		s.port.Pause()
	}
	s.retry()
}

// retry has a session that only its own unsent output holds back looked at
// after this turn's flush, which may well take all of it. Where the kernel has
// already taken less than it was given, Drained will come instead.
func (s *session) retry() {
	if !s.waiting && s.held == nil && s.inWindow() && !s.stuck && !s.port.Blocked() {
		s.port.Again()
	}
}

// resume looks whether a session that had to wait may go on.
func (s *session) resume() {
	if s.finishing || s.ended {
		return
	}
	s.gauge()
	if !s.fed() {
		if s.paused {
			s.retry()
		}
		return
	}
	if s.paused {
		if s.slots.len() > maxInFlight/2 {
			return
		}
		s.paused = false
		s.port.Resume()
		s.port.Again()
	} else if s.held != nil || s.eof {
		s.port.Again()
	}
}

// serve judges one call and answers or forwards it.
func (s *session) serve(args [][]byte) {
	s.commands++
	fault := s.w.table.Parse(args, &s.call)
	call := &s.call
	if s.user == nil && (fault != nil || call.Spec.Flags&command.FlagNoAuth == 0) {
		s.refuse(acl.NotAuthenticated, args, acl.Decision{})
		return
	}
	if fault != nil {
		s.refuse(faultReason(fault), args, acl.Decision{})
		return
	}
	if turning(call.Spec) && s.holdBack(args) {
		return
	}
	s.decision = metrics.Allowed
	if s.user != nil {
		d := s.w.policy.Decide(s.user, call)
		s.w.hit(d.Rule)
		if !d.Allowed {
			if !s.probe(args, d) {
				s.refuse(d.Reason, args, d)
			}
			return
		}
		if d.Reported || d.Lifted {
			s.noteworthy(d)
		}
	}
	switch {
	case call.Class == command.Refused:
		s.refuse(acl.CommandRefused, args, acl.Decision{})
	case !Offered(call):
		s.refuse(acl.CommandUnsupported, args, acl.Decision{})
	case call.Class == command.Local:
		s.local(args)
	default:
		s.forward(args)
	}
}

// forward sends the call as it was judged to the node.
func (s *session) forward(args [][]byte) {
	if s.pipe == nil || s.pipe.Gone() {
		s.pipe = s.w.pipeline(s.facts.backend, backend.Key{DB: s.db, Proto: s.proto})
	}
	s.w.count.Command(uint8(command.Shared), s.decision, 1)
	// The slot is taken after the call: one that was not taken over must not lie
	// in a run with those before it, which are owed replies.
	if f := s.pipe.Send(s, s.slots.next, s.at, args); f != 0 {
		s.emit(failureText(f))
		return
	}
	s.slots.push(s.pipe, wireSize(args), s.at)
}

// wireSize is about what a call holds of the window.
func wireSize(args [][]byte) int {
	n := 16
	for _, a := range args {
		n += len(a) + 8
	}
	return n
}

// Reply implements backend.Waiter.
func (s *session) Reply(tag uint64, n int, p []byte, last bool) {
	if s.ended {
		return // the client has left: its replies are swallowed
	}
	r, head := s.slots.find(tag, n)
	if r == nil {
		// A reply out of turn: this stream and this session can't be trusted any
		// more. The turn's edge ends the stream.
		s.cutOff(audit.ClosePanic)
		panic("proxy: a reply for a call that is owed none")
	}
	if !head {
		s.slots.hold(r, n, p, last)
		s.outputLimit()
		return
	}
	s.send(p)
	r.take(n, last)
	if last {
		s.slots.left(n)
		s.settle()
	}
	s.outputLimit()
}

// Fail implements backend.Waiter: no reply will come.
func (s *session) Fail(tag uint64, f backend.Failure) {
	if f == backend.Broken {
		s.cutOff(audit.ClosePanic)
		return
	}
	if s.ended {
		return
	}
	if r, _ := s.slots.find(tag, 1); r == nil || r.part {
		// Half a reply is out, or about to leave. Nothing can be said any more but goodbye.
		s.end(audit.CloseBackendLost)
		return
	}
	s.Reply(tag, 1, failureText(f), true)
}

// send appends to the client's output.
func (s *session) send(p []byte) {
	s.port.SetOut(append(s.port.Out(), p...))
	s.bytesOut += uint64(len(p))
	s.w.count.Sent += uint64(len(p))
}

// emit gives the reply to the call being served, when it is made here.
func (s *session) emit(p []byte) {
	if s.slots.len() == 0 {
		s.send(p)
		s.full = s.port.Unsent() >= outputHighWater
		return
	}
	s.slots.literal(p)
}

// settle ends runs that are over, lets out what had to wait for them, and goes
// on if there is room again.
func (s *session) settle() {
	for s.slots.n > 0 {
		r := s.slots.at(0)
		if len(r.buf) > 0 {
			s.slots.held -= len(r.buf)
			s.send(r.buf)
			r.buf = nil
		}
		if r.got < r.n {
			break
		}
		if r.via != nil {
			s.w.commandLatency(time.Duration(s.w.now().UnixNano()-r.at), uint64(r.n))
		}
		s.slots.pop()
	}
	if s.slots.n == 0 {
		s.slots.release()
		if s.finishing && !s.waiting {
			s.end(s.reason)
			return
		}
	}
	s.resume()
}

// outputLimit ends a client that does not read what it asked for.
func (s *session) outputLimit() {
	unsent := s.port.Unsent()
	if unsent < outputHighWater && s.slots.held == 0 {
		return
	}
	if int64(unsent+s.slots.held) > s.w.limits.OutputBytes {
		s.cutOff(audit.CloseOutputLimit)
		return
	}
	s.account()
	if s.w.srv.overfull() {
		s.w.relieve()
	}
}

// finish stops reading and ends the session when every owed reply has left.
func (s *session) finish(reason audit.CloseReason) {
	if s.finishing || s.ended {
		return
	}
	s.finishing, s.reason = true, reason
	if s.slots.len() == 0 && !s.waiting {
		s.end(reason)
		return
	}
	if !s.paused {
		s.paused = true
		s.port.Pause()
	}
}

// end closes the connection after what has been appended has left.
func (s *session) end(reason audit.CloseReason) {
	if s.ended {
		return
	}
	within := farewell
	if reason == audit.CloseClient || reason == audit.CloseDrain {
		within = 0 // what it asked for is its own: it may read at its pace
	}
	s.depart(reason, within)
}

// depart closes the connection, giving what has been appended some time to leave;
// 0: as long as the client goes on reading.
func (s *session) depart(reason audit.CloseReason, within time.Duration) {
	s.ended, s.reason = true, reason
	s.stopTimers()
	s.port.CloseAfterFlush(within)
}

func (s *session) stopTimers() {
	s.authTimer.Stop()
	s.idleTimer.Stop()
	s.abandon()
	if s.lease != nil {
		s.lease.timer.Stop()
	}
}

// expire ends the session for a reason of ours: nothing new is decided, owed
// replies may still leave for a moment.
func (s *session) expire(reason audit.CloseReason) {
	if s.ended {
		s.w.arm(&s.idleTimer, farewell, s.port.Close) // it may still be reading at its pace
		return
	}
	if s.trial != nil {
		s.abandon()
		s.waiting = false
	}
	if s.finishing { // for a milder reason
		s.reason = reason
		if s.slots.len() == 0 && !s.waiting {
			s.end(reason)
		}
	}
	s.finish(reason)
	if !s.ended {
		s.idleTimer.Stop()
		s.w.arm(&s.idleTimer, farewell, func() {
			if !s.ended {
				s.depart(reason, time.Millisecond) // what has come until now has had its time
			}
		})
	}
}

// turning reports a call that changes how later ones are made.
func turning(spec *command.Spec) bool {
	if spec.Class != command.Local {
		return false
	}
	switch spec.Name {
	case "hello", "select", "reset":
		return true
	}
	return false
}

// holdBack keeps a turning call, not yet judged, until every reply owed before
// it has arrived.
func (s *session) holdBack(args [][]byte) bool {
	if s.slots.len() == 0 {
		return false
	}
	s.commands--
	s.held = make([][]byte, len(args))
	for i, a := range args {
		s.held[i] = bytes.Clone(a) // an empty argument stays one, it is not an absent one
	}
	return true
}

// protocolError answers bytes that are no request and ends the session.
func (s *session) protocolError(err error) {
	reason, text := protocolFault(err)
	s.w.refusedRequest(s, reason)
	if text != "" {
		s.emit(resp.AppendError(nil, text))
	}
	s.finish(closeFor(reason))
}

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
	names  *command.Names // what this listener calls commands; nil: as everybody does
	hidden error          // the call being served names what the listener doesn't have

	user       *acl.User     // nil: not authenticated
	who        acl.Principal // user, and how that was proved
	proto      int
	db         int
	name       []byte
	libName    []byte
	libVer     []byte
	as         backend.Identity // the login of its own that its user has at the backend; 0: none
	pipe       *backend.Pipeline
	router     *backend.Router // nil: the backend is one node
	routes     *routes         // nil: all keys are of one backend
	reads      *backend.Reads  // nil: all calls go to primaries
	seat       uint64          // which replica its reads go to
	method     audit.Method
	commands   uint64
	refused    uint64
	bytesIn    uint64
	bytesOut   uint64
	began      time.Time
	active     time.Time
	at         int64 // this turn's clock, Unix ns
	fold       audit.Folder
	authTimer  loop.Timer
	idleTimer  loop.Timer
	generation uint64 // of the topology by which the last call was routed
	detours    int    // calls that are being sent on to another node
	wrote      int32  // over several nodes: the group of the last write's keys, counted from 1; 0: none
	trial      *trial // an attempt to log in that is not answered yet
	lease      *lease // nil: what was proved does not end by itself
	kin        *kin   // the user's sessions on this loop; nil: not authenticated

	pace pace  // the limits it is held to
	pour *pour // a request whose last argument is being handed on

	apart     *apart   // nil: nothing but shared calls
	gathered  int64    // of answers that shards have given to calls made of parts
	kept      int64    // what account last counted
	held      [][]byte // a call that waits until every owed reply has arrived
	waiting   bool     // a call's answer is being made elsewhere; not fed
	paused    bool     // the socket is not read
	eof       bool     // the client has said all it will say
	finishing bool     // nothing new is read; closes when owed replies have left
	ended     bool     // the connection is closing, nothing more is appended
	cut       bool     // what it is still owed was dropped

	bequeathed bool             // its calls count as ones of a client that has left
	full       bool             // more output waits than a client that is read may have
	pushing    bool             // a push is half out: nothing may stand within it
	stuck      bool             // the node takes calls slower than they come; eased follows
	decision   metrics.Decision // on the call being served, if it is served
	reason     audit.CloseReason

	gone       bool     // it has left the list
	duty       uint64   // the last one it has done, see oblige
	prev, next *session // the worker's list
}

var _ loop.Handler = (*session)(nil)
var _ backend.Owner = (*session)(nil)

// Data implements loop.Handler.
func (s *session) Data(_ *loop.Conn, p []byte) { s.feed(p) }

// EOF implements loop.Handler: requests end, owed replies are still delivered.
func (s *session) EOF(*loop.Conn) {
	s.eof = true
	if s.blocked() {
		// What it waits for must not be taken from the others for nobody.
		s.end(audit.CloseClient)
		return
	}
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
	s.letGo()
	s.breathe()
	if s.duty != s.w.duty {
		s.fulfil()
	}
	if s.finishing || s.ended {
		return
	}
	if len(p) > 0 {
		s.bytesIn += uint64(len(p))
		s.w.count.Received += uint64(len(p))
		s.active = s.w.now()
	}
	s.at = max(s.at, s.w.now().UnixNano()) // it may have gone on, see step
	s.pace.turn = s.commands + turnCalls
	s.gauge()
	s.reader.Feed(p)
	s.drive()
	s.reader.Release()
	s.account()
	s.watchSender()
	if s.reader.Partial() && len(p) > 0 {
		// The sender may hold back the rest until what it sent is acknowledged.
		s.port.QuickAck()
	}
}

// drive serves calls until there is none whole or the session has to wait.
func (s *session) drive() {
	for s.fed() {
		if s.pour != nil {
			if !s.pourOn() {
				break
			}
			continue
		}
		var args [][]byte
		if s.held != nil {
			args, s.held = s.held, nil
		} else {
			more, err := true, error(nil)
			if s.unhindered() {
				if args, more, err = s.run(); !more {
					continue
				}
			} else {
				args, err = s.reader.Next()
			}
			if err != nil {
				s.protocolError(err)
				return
			}
			if s.names != nil {
				s.hidden = s.names.Translate(args)
			}
		}
		if args == nil {
			if s.takeLarge() {
				continue
			}
			if s.eof {
				s.finish(audit.CloseClient)
			}
			break
		}
		s.serve(args)
	}
	s.backpressure()
}

// serve judges one call and answers or forwards it.
func (s *session) serve(args [][]byte) {
	s.commands++
	fault := s.hidden
	if fault == nil {
		fault = s.w.table.Parse(args, &s.call)
	} else {
		s.unheardOf(args)
	}
	call := &s.call
	if s.routes != nil && fault == nil {
		s.choose(args)
	}
	if fault == nil && (call.Class != command.Shared && s.turns(call) || s.pipe != nil && s.pipe.Gone() || s.shifted() || s.goesAside(call) || s.routes != nil && s.strays()) && s.holdBack(args) {
		return
	}
	if s.apart != nil {
		s.step()
	}
	if s.user == nil && (fault != nil || call.Spec.Flags&command.FlagNoAuth == 0) {
		s.refuse(acl.NotAuthenticated, args, acl.Decision{})
		return
	}
	if s.exceeds() && (fault != nil || call.Spec.Flags&command.FlagNoAuth == 0) {
		s.refuse(acl.RateLimited, args, acl.Decision{})
		return
	}
	if fault != nil {
		s.refuse(faultReason(fault), args, acl.Decision{})
		return
	}
	s.decision = metrics.Allowed
	if s.user != nil {
		d := s.w.policy.Decide(s.user, call)
		s.w.hit(d.Rule)
		if !d.Allowed {
			if s.inMulti() || !s.probe(args, d) {
				s.refuse(d.Reason, args, d)
			}
			return
		}
		if d.Reported || d.Lifted || s.w.watches(call) {
			s.noteworthy(d)
		}
	}
	switch {
	case call.Class == command.Refused:
		s.refuse(acl.CommandRefused, args, acl.Decision{})
	case !Offered(call):
		s.refuse(acl.CommandUnsupported, args, acl.Decision{})
	case s.apart != nil && (s.outOfTurn(args) || s.apart.txn != nil && s.queue(args)):
	case call.Class == command.Local:
		s.local(args)
	case call.Class == command.Pinned:
		s.pinned(args)
	default:
		s.forward(args)
	}
}

// forward sends the call as it was judged to the node.
func (s *session) forward(args [][]byte) {
	if s.routes != nil && s.spread(args) {
		return
	}
	if s.pace.announced > 0 || s.goesAside(&s.call) {
		s.forwardAside(args)
		return
	}
	if s.router != nil {
		s.route(args)
		return
	}
	if s.spreads() && s.read(args) {
		return
	}
	if s.pipe == nil || s.pipe.Gone() {
		s.pipe = s.w.pipeline(s.facts.backend, s.key())
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
	if s.ended { // the client has left
		if last {
			s.swallow(tag, n)
		}
		return
	}
	r, head := s.slots.find(tag, n)
	if r == nil {
		// A reply out of turn: this stream and this session can't be trusted any
		// more. The turn's edge ends the stream.
		s.cutOff(audit.ClosePanic)
		panic("proxy: a reply for a call that is owed none")
	}
	if s.apart != nil && s.apart.turn.kind != noTurn {
		if s.router != nil {
			if p = s.astray(tag, n, p, last); p == nil {
				return // it goes to another node, or may have to
			}
		}
		s.apart.turn.heard(p)
		if s.apart.txn != nil {
			s.apart.txn.heard(p, s.proto)
		}
	}
	if !head || s.pushing { // over several nodes it may come amid a push of another one
		s.slots.hold(r, n, p, last)
		if head && last {
			s.slots.left(n)
		}
		s.outputLimit()
		return
	}
	if !r.mute {
		s.send(p)
	}
	r.take(n, last)
	if last {
		s.slots.left(n)
		s.settle()
	}
	if s.apart != nil {
		s.choke()
	}
	s.outputLimit()
}

// Fail implements backend.Waiter: no reply will come.
func (s *session) Fail(tag uint64, f backend.Failure) {
	if f == backend.Broken {
		s.cutOff(audit.ClosePanic)
	}
	if s.ended {
		s.swallow(tag, 1)
		return
	}
	r, _ := s.slots.find(tag, 1)
	if r == nil || r.part {
		// Half a reply is out, or about to leave. Nothing can be said any more but goodbye.
		s.end(audit.CloseBackendLost)
		return
	}
	n := 1
	if s.apart != nil {
		s.apart.turn.fault = nil
	}
	if s.apart != nil && s.apart.turn.kind == turnSubscribe {
		n = int(r.n - r.got)                                            // one answer for all of its channels
		s.apart.subs.unsure = s.apart.subs.unsure || s.apart.turn.n > 0 // some of them were confirmed
	}
	if s.outlasts(tag, n, f) {
		return
	}
	s.Reply(tag, n, failureText(f), true)
}

// send appends to the client's output.
func (s *session) send(p []byte) {
	s.port.SetOut(append(s.port.Out(), p...))
	s.bytesOut += uint64(len(p))
	s.w.count.Sent += uint64(len(p))
}

// emit gives the reply to the call being served, when it is made here.
func (s *session) emit(p []byte) {
	if s.slots.mute {
		return
	}
	if s.slots.len() == 0 && !s.pushing {
		s.send(p)
		s.full = s.port.Unsent() >= s.highWater()
		return
	}
	s.slots.literal(p)
}

// settle ends runs that are over, lets out what had to wait for them, and goes
// on if there is room again.
func (s *session) settle() {
	for s.slots.n > 0 && !s.pushing {
		r := s.slots.at(0)
		if len(r.buf) > 0 {
			s.slots.held -= len(r.buf)
			s.send(r.buf)
			r.buf = nil
		}
		if r.got < r.n {
			break
		}
		if r.via != nil && !s.blocked() {
			s.w.commandLatency(time.Duration(s.w.now().UnixNano()-r.at), uint64(r.n))
		}
		s.slots.pop()
	}
	if s.slots.n == 0 {
		s.slots.release()
		if s.apart != nil {
			s.turned()
		}
		if s.finishing && !s.waiting {
			s.end(s.reason)
			return
		}
	}
	s.resume()
}

// holdBack keeps a turning call, not yet judged, until every reply owed before
// it has arrived, and a push that is half out.
func (s *session) holdBack(args [][]byte) bool {
	if s.slots.len() == 0 && !s.pushing {
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

package proxy

import (
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/metrics"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
)

// apart is what a session needs beyond the calls that everybody's connection
// carries: a transaction, a backend connection of its own, modes of its replies.
// Most sessions never have one.
//
// A session has one current connection. It changes it only while it is owed no
// reply: what needs that is held back until then (turns), and the call that may
// change it again is the last one sent until its reply is there (turn).
type apart struct {
	own     *backend.Own
	why     why              // what binds the session to own; 0: nothing
	tainted bool             // own has carried what may have left something behind
	waited  bool             // own has carried WAIT: nobody else gets it
	choked  bool             // own is not read, its session has enough output waiting
	at      backend.Endpoint // over several nodes: where own leads, or is to
	spot    spot             // that at was found by
	watched int              // and the group of the keys that were watched last

	turn  turn
	txn   *transaction
	subs  subscriptions
	again *relistening // own was lost, and the subscriptions with it; nil: they stand

	resumed time.Time // when they stood again last
	tracked bool      // other sessions have what they track told to own
	track
	mode replyMode
}

// why is a set of reasons to stay on a connection of one's own.
type why uint8

const (
	whyWatch why = 1 << iota
	whySubscribed
	whyTracking
	whyMonitor
	whyNoEvict
	whyNoTouch
	whySticky // prepared imports live on the connection
)

// turn is the call a session waits for before it takes another one.
type turn struct {
	kind turnKind
	spec *command.Spec
	head [4]byte  // how the reply begins
	n    int      // bytes in head
	args [][]byte // of a subscription its names, of what blocks the whole call
	mode why      // kind turnMode: what its success begins or ends
	off  bool

	// Over several nodes, where the call may have to be made once more.
	again [][]byte
	fault []byte // an error reply, until it is whole
	hops  uint8
	until int64 // Unix ns: so long it may wait for a node, if it has not been sent
	stray *stray
}

type turnKind uint8

const (
	noTurn turnKind = iota
	turnAlone
	turnExec
	turnWatch
	turnUnwatch
	turnSubscribe
	turnMonitor
	turnMode
	turnSelect
)

// aside gives the session's apart, which begins now if it has none.
func (s *session) aside() *apart {
	if s.apart == nil {
		s.apart = &apart{}
	}
	return s.apart
}

// turns reports a call that may change which connection, or who, later calls
// are made with. Such a one waits until no reply is owed.
func (s *session) turns(call *command.Call) bool {
	name := call.Spec.Name
	switch call.Class {
	case command.Local:
		switch name {
		case "auth", "hello", "select", "reset", "client|tracking", "client|caching", "client|no-evict", "client|no-touch":
			return true
		case "quit": // its answer must not stand within a push, nor be lost behind half of one
			return s.pushing
		}
		return false
	case command.Pinned:
		switch {
		case name == "multi":
			return false
		case s.apart == nil || s.apart.txn == nil, name == "exec":
			return true
		default: // it is queued, unless it ends the transaction and what binds it
			return name == "discard" && s.apart.why != 0
		}
	}
	return false
}

// have gives the session a connection of its own to send on.
func (s *session) have() backend.Failure {
	a := s.aside()
	key := s.key()
	if s.router != nil {
		if key.Node = s.boundTo(); key.Node == (backend.Endpoint{}) {
			key.Node = a.at
		}
		if key.Node == (backend.Endpoint{}) {
			return backend.Unavailable // nobody has it now; see adrift
		}
	}
	if a.own != nil && a.own.Key() != key {
		a.own.Close() // it rests, and was for what the session has left since
		a.own = nil
	}
	if a.own == nil {
		own, f := s.w.own(s.facts.backend, key, s.payer(), s)
		if f != 0 {
			return f
		}
		a.own, a.tainted, a.waited = own, false, false
		if s.routes != nil {
			s.routes.own = s.routes.now
		}
	}
	a.own.Wake()
	s.pipe = a.own.Pipeline()
	return 0
}

// payer is whose limit of own connections the session counts against.
func (s *session) payer() string {
	if s.user == nil {
		return ""
	}
	return s.who.Issuer + "\x00" + s.user.Name()
}

// alone sends a call over the session's own connection and takes no other until
// its reply is there.
func (s *session) alone(kind turnKind, args [][]byte) bool {
	if f := s.have(); f != 0 {
		if s.adrift(kind, args, 1) {
			return true
		}
		s.declined(f)
		return false
	}
	if f := s.pipe.Send(s, s.slots.next, s.at, args); f != 0 {
		s.declined(f)
		s.unpin()
		return false
	}
	s.slots.push(s.pipe, wireSize(args), s.at)
	s.beginTurn(kind, args)
	return true
}

// declined answers a call that can't have a connection now.
func (s *session) declined(f backend.Failure) {
	if f == backend.Limited {
		s.refuse(acl.ConnectionLimit, nil, acl.Decision{})
		return
	}
	s.emit(failureText(f))
}

// pinned carries out a call of class Pinned.
func (s *session) pinned(args [][]byte) {
	refused := s.refused
	s.carry(args)
	if s.refused == refused {
		s.w.count.Command(uint8(command.Pinned), s.decision, 1)
	}
}

func (s *session) carry(args [][]byte) {
	if s.eof && s.call.Spec.Flags&command.FlagBlocking != 0 {
		s.end(audit.CloseClient) // it hung up before this call's turn: what comes would be nobody's
		return
	}
	if s.routes != nil && !s.steer() {
		return
	}
	if s.router != nil && !s.aim(args) {
		return
	}
	switch name := s.call.Spec.Name; name {
	case "multi":
		s.multi()
	case "exec":
		s.exec()
	case "discard":
		s.discard()
	case "watch":
		s.watch(args)
	case "unwatch":
		s.unwatch(args)
	case "subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe":
		s.subscribe(args)
	case "monitor":
		s.alone(turnMonitor, args)
	case "wait", "waitaof":
		s.waitFor(args)
	case "readonly", "readwrite", "asking":
		if s.router != nil && s.router.Clustered() {
			s.ok() // it is as if the one node that the client sees had all slots
			return
		}
		s.fail(errNoCluster)
	default:
		if s.alone(turnAlone, args) && s.call.Spec.Flags&command.FlagLeavesNothing == 0 && s.call.Spec.Flags&command.FlagBlocking == 0 {
			s.apart.tainted = true
		}
	}
}

// waitFor is WAIT and WAITAOF. They ask for what their own connection has
// written, and a server takes any call for that: it notes at each how far it had
// written itself. So a question before, on whatever connection, covers all that
// the session has been answered until now.
func (s *session) waitFor(args [][]byte) {
	if f := s.have(); f != 0 {
		if !s.adrift(turnAlone, args, 1) {
			s.declined(f)
		}
		return
	}
	if f := s.pipe.Send(unheard{}, 0, s.at, pingCall); f != 0 {
		s.declined(f)
		s.unpin()
		return
	}
	if s.alone(turnAlone, args) {
		s.apart.waited = true
	}
}

var pingCall = [][]byte{[]byte("PING")}

// unheard waits for replies that nobody wants to know.
type unheard struct{}

func (unheard) Reply(uint64, int, []byte, bool) {}
func (unheard) Fail(uint64, backend.Failure)    {}

// blocked reports whether the call that is waited for may take as long as it
// likes, and nothing is lost if it ends: it has not run before it answers.
func (s *session) blocked() bool {
	return s.apart != nil && s.apart.turn.kind == turnAlone && s.apart.turn.spec.Flags&command.FlagBlocking != 0
}

// unattended reports a session that may hear nothing for long: nobody waits for
// the end of what it is doing before it is closed.
func (s *session) unattended() bool {
	return s.blocked() || s.apart != nil && s.apart.why&(whySubscribed|whyMonitor) != 0
}

// heard notes how the reply to the call that is waited for begins.
func (t *turn) heard(p []byte) {
	t.n += copy(t.head[t.n:], p)
}

// failed reports an error reply.
func (t *turn) failed() bool { return t.head[0] == '-' }

// transacted reports that EXEC has ended what MULTI began. Any other refusal, such
// as that the backend user may not EXEC, leaves the connection within it.
func (t *turn) transacted() bool { return !t.failed() || string(t.head[:]) == "-EXE" }

// turned acts on the end of the call that was waited for. It runs while replies
// are being handed over, so nothing is sent here.
func (s *session) turned() {
	a := s.apart
	t := a.turn
	if t.kind == noTurn || s.slots.n > 0 {
		s.unlisten()
		return
	}
	a.turn = turn{}
	switch t.kind {
	case turnExec:
		s.executed(&t)
		a.tainted = a.tainted || !t.transacted()
	case turnWatch:
		if !t.failed() {
			a.why |= whyWatch
		}
	case turnUnwatch:
		if !t.failed() {
			a.why &^= whyWatch
		}
	case turnSubscribe:
		s.subscribed(&t)
	case turnMonitor:
		if a.tainted = true; !t.failed() {
			a.why |= whyMonitor
			a.own.Monitored()
		}
	case turnMode:
		s.modeSet(&t)
	case turnSelect:
		if !t.failed() {
			s.db = int(a.track.db)
			a.own.Moved(s.db)
		}
	}
	if a.own != nil && a.why == 0 {
		s.part(t.kind == turnExec || t.kind == turnUnwatch)
	}
	s.account()
	s.settled()
}

// part leaves the own connection, which nothing binds the session to any more.
// A connection that has done a transaction is as good as new and may be
// anybody's; others wait for this session's next use, and one that may still
// hold something is closed.
func (s *session) part(clean bool) {
	a := s.apart
	s.pipe = nil
	if a.choked { // nobody would read it again who gets it next
		a.choked = false
		a.own.Resume()
	}
	switch {
	case a.tainted || a.own.Ended():
		a.own.Close()
		a.own = nil
	case clean && !a.waited:
		a.own.Give()
		a.own = nil
	default:
		a.own.Rest()
	}
}

// unpin gives up the own connection after a call that could not be sent.
func (s *session) unpin() {
	if a := s.apart; a != nil && a.why == 0 {
		s.leaveOwn()
	}
}

// leaveOwn closes the own connection, whatever state it is in.
func (s *session) leaveOwn() {
	if s.apart == nil || s.apart.own == nil {
		return
	}
	own := s.apart.own
	s.apart.own, s.pipe = nil, nil
	own.Close()
}

// settled lets go of an apart that says nothing any more.
func (s *session) settled() {
	if a := s.apart; a != nil && a.own == nil && a.txn == nil && a.turn.kind == noTurn && a.mode == replyOn {
		s.apart = nil
	}
}

// Push implements backend.Owner: what the node says unasked goes straight to the
// client. Everything owed before it has come over the same connection, and what
// is answered here waits while a push is half out.
func (s *session) Push(p []byte, last bool) {
	if s.duty != s.w.duty {
		s.fulfil() // it may not be to hear this any more
	}
	if s.ended {
		return
	}
	if a := s.apart; a != nil {
		a.subs.overheard(p, !s.pushing, last)
	}
	s.pushing = !last
	s.send(p)
	if last {
		if s.settle(); s.ended {
			return
		}
		s.unlisten()
	}
	s.choke()
	s.outputLimit()
}

// choke stops reading the own connection while its client does not keep up, or
// its user's bytes are spent: what it is to hear then waits at the node, whose own
// limit ends it there.
func (s *session) choke() {
	a := s.apart
	if a == nil || a.own == nil || a.choked || s.ended {
		return
	}
	if s.meter(); !s.pace.broke && s.port.Unsent() < ownHighWater {
		return
	}
	a.choked = true
	a.own.Pause()
	if !s.port.Blocked() {
		s.port.Again()
	}
}

// ownHighWater is how much output may wait before the own connection is not read
// any more.
const ownHighWater = 1 << 20

// breathe reads the own connection again.
func (s *session) breathe() {
	a := s.apart
	switch {
	case a == nil || !a.choked || s.pace.broke:
		return
	case s.port.Unsent() < ownHighWater/2:
		a.choked = false
		if a.own != nil {
			a.own.Resume()
		}
	case !s.ended && !s.port.Blocked():
		s.port.Again() // this turn's flush may take all of it
	}
}

// Lost implements backend.Owner. With the connection went whatever it held: a
// session that relied on that can't go on as if nothing had happened.
func (s *session) Lost() {
	a := s.apart
	if a == nil || a.own == nil {
		return
	}
	if s.pipe == a.own.Pipeline() {
		s.pipe = nil
	}
	a.own, a.choked = nil, false
	if a.why&whySubscribed != 0 && a.subs.none() && !a.subs.unsure && a.again == nil {
		a.why &^= whySubscribed // its node had ended the last one, amid a call: there is nothing to be had again
	}
	switch {
	case s.ended:
		return
	case a.again != nil && !s.pushing:
		s.listenLater()
		return
	case a.why != 0 && s.listensAgain():
		return
	case a.why != 0 || s.pushing:
		if a.again != nil {
			s.w.count.Resubscribed[metrics.ListenersClosed]++
		}
		s.depart(audit.CloseBackendLost, farewell)
		return
	}
	s.settled()
}

// ownHolds reports that something binds the session to its own connection, and that
// this is still there.
func (s *session) ownHolds() bool { return s.apart != nil && s.apart.why != 0 && s.apart.own != nil }

// selectOwn is SELECT while the session is on its own connection, which carries it.
func (s *session) selectOwn(args [][]byte, db int) {
	s.goToOwn()
	if s.alone(turnSelect, args) {
		s.apart.track.db = int32(db)
	}
}

// closeOwn ends what the session has at the node, as it ends itself.
func (s *session) closeOwn() {
	s.leaveOwn()
	if s.apart != nil {
		if st := s.apart.turn.stray; st != nil {
			if s.landed(false); s.ended {
				s.swallow(st.tag, st.n) // nobody else will: it is on no connection
			}
		}
		s.silence()
		s.apart.txn, s.apart.why, s.apart.turn = nil, 0, turn{}
		s.apart.subs = subscriptions{}
	}
	if s.ended {
		s.bequeath()
	}
}

// inTurn reports that a call is under way which may change the connection.
func (s *session) inTurn() bool { return s.apart != nil && s.apart.turn.kind != noTurn }

package proxy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
)

// A listener with routes has several backends behind it, and the longest prefix
// of a key says which of them has it. A session there is at one backend at a
// time: what it needs for forwarding stands in its own fields, and is swapped
// when a call belongs elsewhere. So whatever deals with one backend deals with
// the right one, whichever topology it has, and replies find their slots by tag
// as ever. Calls whose keys are of one backend run there in the order in which
// they were made; so all calls to one key do.

// routes is what a session has at each of several backends.
type routes struct {
	table *backend.Prefixes
	sides []side // in the order of table's names; 0 has all that no prefix names, and is the user's own if it has one
	to    []int  // for each side the first one of the same backend, which stands for all of them
	now   int    // where the session is: that side's state is in the session itself
	apart bool   // the call being served concerns several sides
	own   int    // the side of the session's own connection
	wrote int    // the side of the last write; wroteSpread: several
}

// side is what a session has at one backend while it is at another one.
type side struct {
	name       string
	router     *backend.Router // nil: the backend is one node
	reads      *backend.Reads  // nil: all calls go to its primaries
	pipe       *backend.Pipeline
	db, proto  int // of pipe
	as         backend.Identity
	generation uint64
	wrote      int32
}

const (
	errSides       = "CROSSSLOT Keys in request belong to different backends"
	errBoundSide   = "CROSSSLOT this session is bound to another backend, by what it watches or listens to"
	errSidePoints  = "ERR SORT with BY or GET is not supported over several backends: the keys may be on another one"
	errNoDatabases = "ERR SELECT is not allowed in cluster mode"
	errSideModes   = "ERR this mode is not supported over several backends: it would hold on one of them"
	errSidesTxn    = "its keys belong to different backends"
	errSideBound   = "this session is bound to another backend, by what it watches or listens to"
)

// enter begins a session of a listener with routes, at the backend for all else.
func (s *session) enter(table *backend.Prefixes) {
	if table == nil {
		return
	}
	x := &routes{table: table, sides: make([]side, len(table.Names()))}
	for i, name := range table.Names() {
		p := s.w.pool(name)
		s.seatAt(p)
		x.sides[i] = side{name: name, router: p.Router(), reads: s.reads}
	}
	s.reads = x.sides[0].reads
	s.routes = x
	x.unite()
}

// unite finds out which sides are of the same backend.
func (x *routes) unite() {
	x.to = make([]int, len(x.sides))
	for i := range x.sides {
		name := x.sides[i].name
		x.to[i] = slices.IndexFunc(x.sides, func(d side) bool { return d.name == name })
	}
}

// clustered reports that one of the backends is a cluster, which has database 0 alone.
func (x *routes) clustered() bool {
	return slices.ContainsFunc(x.sides, func(d side) bool { return d.router != nil && d.router.Clustered() })
}

// of is the side that has a key.
func (x *routes) of(key []byte) int { return x.to[x.table.Of(key)] }

// next is the first side after i that stands for its backend, len(x.sides) after
// the last. Before the first one is -1.
func (x *routes) next(i int) int {
	for i++; i < len(x.sides) && x.to[i] != i; i++ {
	}
	return i
}

// choose goes to the backend that the call being served belongs to, and finds out
// whether it is the only one.
func (s *session) choose(args [][]byte) {
	x, call := s.routes, &s.call
	x.apart = false
	if len(call.Keys) == 0 {
		s.goTo(s.sideWithoutKeys())
		return
	}
	at := x.of(args[call.Keys[0].Arg])
	for _, k := range call.Keys[1:] {
		if x.of(args[k.Arg]) != at {
			x.apart = true
			break
		}
	}
	s.goTo(at)
}

// sideWithoutKeys is where a call goes that names no key: to the backend for all
// else, unless it speaks of something that was done elsewhere.
func (s *session) sideWithoutKeys() int {
	x := s.routes
	switch name := s.call.Spec.Name; name {
	case "exec":
		if t := s.txn(); t != nil && t.placed {
			return t.side
		}
		fallthrough
	case "discard", "unwatch":
		if s.bound() && s.apart.own != nil {
			return x.own
		}
	case "wait", "waitaof":
		return max(x.wrote, 0)
	case "randomkey": // now, before it is looked whether what is owed there could be overtaken
		if s.txn() == nil {
			return x.to[rand.IntN(len(x.sides))]
		}
	default:
		_, all := everywhere[name]
		x.apart = all && !strings.HasPrefix(name, "pubsub|") || name == "scan"
	}
	return 0
}

func (s *session) txn() *transaction {
	if s.apart == nil {
		return nil
	}
	return s.apart.txn
}

// goTo changes the backend that the session is at.
func (s *session) goTo(i int) {
	x := s.routes
	if i == x.now {
		return
	}
	was, is := &x.sides[x.now], &x.sides[i]
	was.pipe, was.db, was.proto, was.as, was.generation, was.wrote = s.pipe, s.db, s.proto, s.as, s.generation, s.wrote
	if a := s.apart; a != nil && a.own != nil && s.pipe == a.own.Pipeline() {
		was.pipe = nil // it is found again as long as it is the session's
	}
	x.now = i
	s.facts.backend, s.router, s.reads, s.pipe, s.as = is.name, is.router, is.reads, is.pipe, is.as
	s.generation, s.wrote = is.generation, is.wrote
	if is.db != s.db || is.proto != s.proto {
		s.pipe = nil // the session is in another database since, or speaks otherwise
	}
	if s.ownHere() && s.apart.why != 0 {
		s.pipe = s.apart.own.Pipeline()
	}
}

// ownHere reports whether the session's own connection, if it has one, leads to
// the backend that it is at.
func (s *session) ownHere() bool {
	return s.apart != nil && s.apart.own != nil && (s.routes == nil || s.routes.own == s.routes.now)
}

// goToOwn goes to the backend that the session's own connection leads to, for a
// call that names no key and is for that connection.
func (s *session) goToOwn() {
	if s.routes != nil && s.apart != nil && s.apart.own != nil {
		s.goTo(s.routes.own)
	}
}

// asAt is the login that the session's user has at one of the backends.
func (s *session) asAt(i int) backend.Identity {
	if i == s.routes.now {
		return s.as
	}
	return s.routes.sides[i].as
}

// relocateSides is relocate where there are several backends: all keys that no
// prefix names go to the user's own backend, if it has one, and all calls over
// connections of its login wherever it has one.
func (s *session) relocateSides(u *acl.User) {
	x, at := s.routes, s.routes.now
	bound := s.apart != nil && s.apart.why != 0
	if name := s.home(u); name != x.sides[0].name {
		if bound || s.w.srv.backend(name) == nil {
			s.expire(audit.ClosePolicyChanged)
			return
		}
		s.leaveOwn()
		pool := s.w.pool(name)
		s.goTo(0)
		s.facts.backend, s.router, s.db, s.wrote, x.wrote = name, pool.Router(), 0, 0, 0
		s.seatAt(pool)
		x.sides[0] = side{name: name, router: s.router, reads: s.reads}
		x.unite()
		s.moveOn()
		s.goTo(x.to[at])
	}
	for i := range x.sides {
		id := s.w.identityOf(x.sides[i].name, u)
		switch {
		case id == s.asAt(i):
		case bound && x.own == i:
			s.expire(audit.ClosePolicyChanged)
			return
		case i == x.now:
			s.as = id
			s.moveOn()
		default:
			d := &x.sides[i]
			if d.as, d.pipe, d.generation = id, nil, ^uint64(0); d.router == nil {
				d.pipe = backend.Departed()
			}
		}
	}
}

// ownAt is the backend that the session's own connection leads to.
func (s *session) ownAt() string {
	if s.routes == nil {
		return s.facts.backend
	}
	return s.routes.sides[s.routes.own].name
}

// strays reports that a call over several backends has to wait until all that is
// owed has come: one of its parts could overtake an earlier call.
func (s *session) strays() bool {
	x := s.routes
	if !x.apart {
		return false
	}
	at, late := x.now, false
	for i := x.next(-1); i < len(x.sides); i = x.next(i) {
		s.goTo(i)
		if s.slots.len() == 0 {
			s.upToDate() // else each such call would wait, where no other one ever goes there
		}
		late = late || s.shifted() || s.pipe != nil && s.pipe.Gone()
	}
	s.goTo(at)
	return late
}

// upToDate is for a session that is owed nothing: no call of it can be overtaken,
// whichever way the next ones go.
func (s *session) upToDate() {
	if s.router != nil {
		s.generation = s.router.Generation
	}
	if s.pipe != nil && s.pipe.Gone() {
		s.pipe = nil
	}
}

// serves reports whether a session needs a backend.
func (s *session) needs(name string) bool {
	if s.routes == nil {
		return s.facts.backend == name
	}
	for i := range s.routes.sides {
		if s.routes.sides[i].name == name {
			return true
		}
	}
	return false
}

// behindCongested reports that some backend takes calls slower than they come.
func (s *session) behindCongested() bool {
	for i := range s.routes.sides {
		d := &s.routes.sides[i]
		if i != s.routes.now && (d.pipe != nil && d.pipe.Congested() || d.router != nil && d.router.Congested() || d.reads != nil && d.reads.Congested()) {
			return true
		}
	}
	return false
}

// resp3 reports whether whatever is behind the session speaks HELLO 3, as far as is known.
func (s *session) resp3() bool {
	if s.routes == nil {
		return s.w.resp3(s.facts.backend)
	}
	for i := range s.routes.sides {
		if !s.w.resp3(s.routes.sides[i].name) {
			return false
		}
	}
	return true
}

// noteSide remembers for WAIT where the session has written last.
func (s *session) noteSide() {
	if writes(s.call.Spec) {
		s.routes.wrote = s.routes.now
	}
}

// steer prepares a call that needs a connection of the session's own. It reports
// false if it has answered the call, which has none.
func (s *session) steer() bool {
	x, name := s.routes, s.call.Spec.Name
	switch {
	case name == "multi", name == "exec", name == "discard", name == "unwatch":
		return true // nothing is sent, or it looks after itself
	case name == "monitor":
		s.fail(errSideModes)
		return false
	case (name == "wait" || name == "waitaof") && x.wrote == wroteSpread:
		s.fail(errManyWritten)
		return false
	case x.apart && len(s.call.Keys) > 0:
		s.fail(errSides)
		return false
	case x.apart, nowhere[name]:
		s.fail(errNotSpread)
		return false
	case !s.freeOwn():
		s.fail(errBoundSide)
		return false
	}
	s.noteSide()
	return true
}

// freeOwn sees to it that the session may have its own connection at the backend
// it is at. It reports false while something binds it to another one.
func (s *session) freeOwn() bool {
	a := s.apart
	if a == nil || a.own == nil || s.ownHere() {
		return true
	}
	if a.why != 0 {
		return false
	}
	a.own.Close() // it rests
	a.own = nil
	return true
}

// queueSide notes which backend a call belongs to that is queued. It reports
// false if it has refused it.
func (s *session) queueSide() bool {
	x, t, call := s.routes, s.apart.txn, &s.call
	name, text := call.Spec.Name, ""
	switch {
	case call.PatternArg != 0:
		text = errSidePoints
	case x.apart && len(call.Keys) > 0:
		text = errSides
	case everyShards(name):
		text = errNotSpread
	case len(call.Keys) == 0 && (call.Class == command.Local || name == "unwatch" || name == "wait" || name == "waitaof"):
		return true // wherever the transaction runs
	case t.placed && t.side != x.now:
		t.torn = true
	default:
		t.placed, t.side = true, x.now
	}
	if text != "" {
		t.dirty = true
		s.fail(text)
		return false
	}
	t.wrote = t.wrote || writes(call.Spec)
	return true
}

// execSide looks whether a transaction has one backend to run on, and ends one
// that has not.
func (s *session) execSide(t *transaction) bool {
	text := ""
	switch {
	case t.torn:
		text = errSidesTxn
	case !s.freeOwn():
		text = errSideBound
	}
	if text != "" {
		s.endTransaction()
		s.fail(errExecRefused + text)
		return false
	}
	if t.wrote {
		s.routes.wrote = s.routes.now
	}
	return true
}

// routed reports routes that lead to no backend.
func (o *ListenerOptions) routed(known func(name string) bool) error {
	if o.Routes == nil {
		return nil
	}
	for i, name := range o.Routes.Names() {
		if i == 0 && name != o.Backend {
			return fmt.Errorf("listener %s: its routes leave all else to backend %q, and it to %q", o.Name, name, o.Backend)
		}
		if !known(name) {
			return fmt.Errorf("listener %s: no backend %q", o.Name, name)
		}
	}
	return nil
}

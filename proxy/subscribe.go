package proxy

import (
	"bytes"
	"strings"

	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/resp"
)

// subscriptions are what a session has subscribed to: by SUBSCRIBE, PSUBSCRIBE
// and SSUBSCRIBE.
type subscriptions struct {
	names [3]map[string]struct{}
	bytes int // about what they hold

	fewer  []byte // a push that says that the node has ended one, until it is whole
	unsure bool   // it is not known any more which ones the node has
}

const (
	bySubscribe = iota
	byPsubscribe
	bySsubscribe
)

var monitorCall = [][]byte{[]byte("MONITOR")}

// nameCost is about what one subscription holds besides its name.
const nameCost = 64

func family(verb string) int {
	switch strings.TrimPrefix(verb, "un") {
	case "psubscribe", "punsubscribe":
		return byPsubscribe
	case "ssubscribe", "sunsubscribe":
		return bySsubscribe
	}
	return bySubscribe
}

func leaves(verb string) bool { return strings.Contains(verb, "unsub") }

func (u *subscriptions) count(f int) int { return len(u.names[f]) }

func (u *subscriptions) none() bool {
	return len(u.names[bySubscribe])+len(u.names[byPsubscribe])+len(u.names[bySsubscribe]) == 0
}

func (u *subscriptions) add(f int, name []byte) {
	if u.names[f] == nil {
		u.names[f] = make(map[string]struct{})
	}
	if _, known := u.names[f][string(name)]; !known {
		u.names[f][string(name)] = struct{}{}
		u.bytes += len(name) + nameCost
	}
}

func (u *subscriptions) drop(f int, name []byte) {
	if _, known := u.names[f][string(name)]; known {
		delete(u.names[f], string(name))
		u.bytes -= len(name) + nameCost
	}
}

func (u *subscriptions) dropAll(f int) {
	for name := range u.names[f] {
		u.bytes -= len(name) + nameCost
	}
	u.names[f] = nil
}

// overheard takes a piece of a push, first and last as it may be: a node ends
// subscriptions of its own accord when the slot of their channels moves away.
func (u *subscriptions) overheard(p []byte, first, last bool) {
	if first && u.names[bySsubscribe] != nil && bytes.Contains(p[:min(len(p), 32)], unsubscribedWord) || len(u.fewer) > 0 {
		u.ending(p, last)
	}
}

var unsubscribedWord = []byte("\r\nsunsubscribe\r\n")

// named is a call with every name that a family has.
func (u *subscriptions) named(verb []byte, f int) [][]byte {
	args := [][]byte{verb}
	for name := range u.names[f] {
		args = append(args, []byte(name))
	}
	return args
}

// subscribe is the SUBSCRIBE family. The node answers one call with as many
// confirmations as it names channels.
func (s *session) subscribe(args [][]byte) {
	verb := s.call.Spec.Name
	var subs *subscriptions
	if s.apart != nil {
		subs = &s.apart.subs
	}
	n := len(args) - 1
	if leaves(verb) {
		if subs == nil || subs.none() {
			s.unsubscribedAlready(verb, args[1:])
			return
		}
		if n == 0 {
			n = max(1, subs.count(family(verb)))
			if subs.unsure && family(verb) == bySsubscribe {
				args = subs.named(args[0], bySsubscribe) // so that each is answered, known to the node or not
			}
		}
	}
	if f := s.have(); f != 0 {
		s.subscribeLater(args, n, f)
		return
	}
	a := s.apart
	a.own.Subscribed(s.proto == 2)
	if f := a.own.Subscribe(verb, s.slots.next, n, s.at, args); f != 0 {
		s.declined(f)
		s.unpin()
		return
	}
	loud := s.slots.mute
	s.slots.mute = false // confirmations come whatever CLIENT REPLY says
	for range n {
		s.slots.push(s.pipe, 0, s.at)
	}
	s.slots.mute = loud
	a.tainted = true
	s.beginTurn(turnSubscribe, args)
	a.turn.args = copiedArgs(args[1:])
}

// subscribeLater is subscribe where there is no connection to be had.
func (s *session) subscribeLater(args [][]byte, n int, f backend.Failure) {
	loud := s.slots.mute
	s.slots.mute = false // as above
	waits := s.adrift(turnSubscribe, args, n)
	if s.slots.mute = loud; !waits {
		s.declined(f)
		return
	}
	s.apart.tainted, s.apart.turn.args = true, copiedArgs(args[1:])
}

// subscribed acts on the last confirmation.
func (s *session) subscribed(t *turn) {
	a, f := s.apart, family(t.spec.Name)
	switch {
	case t.failed():
	case !leaves(t.spec.Name):
		for _, name := range t.args {
			a.subs.add(f, name)
		}
	case len(t.args) == 0:
		a.subs.dropAll(f)
	default:
		for _, name := range t.args {
			a.subs.drop(f, name)
		}
	}
	if a.why &^= whySubscribed; !a.subs.none() {
		a.why |= whySubscribed
	}
	if a.own != nil {
		a.own.Subscribed(s.proto == 2 && !a.subs.none())
	}
}

// unsubscribedAlready answers a session that has no subscription: there is no
// connection to tell.
func (s *session) unsubscribedAlready(verb string, names [][]byte) {
	b := s.w.scratch[:0]
	if len(names) == 0 {
		b = resp.AppendBulkString(resp.AppendPush(b, s.proto, 3), verb)
		b = resp.AppendInt(resp.AppendNull(b, s.proto), 0)
	}
	for _, name := range names {
		b = resp.AppendBulkString(resp.AppendPush(b, s.proto, 3), verb)
		b = resp.AppendInt(resp.AppendBulk(b, name), 0)
	}
	loud := s.slots.mute
	s.slots.mute = false // as below: whatever CLIENT REPLY says
	s.emit(b)
	s.slots.mute = loud
}

// listening reports a RESP2 session with subscriptions, in which little else
// may be asked: replies could not be told from messages.
func (s *session) listening() bool { return s.proto == 2 && s.apart.why&whySubscribed != 0 }

// outOfTurn refuses what a session can't ask for in the state it is in. It
// reports whether it did, or answered otherwise.
func (s *session) outOfTurn(args [][]byte) bool {
	name := s.call.Spec.Name
	switch {
	case s.apart.why&whyMonitor != 0:
		if name == "quit" || name == "reset" {
			return false
		}
		s.fail("ERR Can't execute '" + name + "': only QUIT / RESET are allowed while monitoring")
		return true
	case !s.listening():
		return false
	}
	switch name {
	case "subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe", "quit", "reset":
		return false
	case "ping":
		if len(args) > 2 {
			return false
		}
		b := resp.AppendBulkString(resp.AppendArray(s.w.scratch[:0], 2), "pong")
		if len(args) == 2 {
			s.emit(resp.AppendBulk(b, args[1]))
		} else {
			s.emit(resp.AppendBulkString(b, ""))
		}
		return true
	}
	s.fail("ERR Can't execute '" + name + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context")
	return true
}

// mayListen reports whether the user may still have what the session is to hear,
// as Redis asks when rights change: what it has subscribed to, what others do,
// the names of keys it tracks, the element a call of its blocks for; also where
// the node has not answered the call for it yet.
func (s *session) mayListen() bool {
	a := s.apart
	switch {
	case a == nil:
		return true
	case (a.why&whyMonitor != 0 || a.turn.kind == turnMonitor) && !s.mayNow(monitorCall),
		a.turn.kind == turnSubscribe && !leaves(a.turn.spec.Name) && !s.mayNow(append([][]byte{[]byte(a.turn.spec.Name)}, a.turn.args...)),
		a.track.next != nil && !s.mayNow((&track{flags: a.track.next.flags, prefixes: a.track.next.prefixes}).call()),
		a.why&whyTracking != 0 && !s.mayNow(a.track.call()),
		s.blocked() && !s.mayNow(a.turn.args):
		return false
	}
	for f, verb := range [...]string{"subscribe", "psubscribe", "ssubscribe"} {
		for name := range a.subs.names[f] {
			if !s.mayNow([][]byte{[]byte(verb), []byte(name)}) {
				return false
			}
		}
	}
	return true
}

// mayNow holds a call that was made before against the policy now in force.
func (s *session) mayNow(args [][]byte) bool {
	var call command.Call
	return s.w.table.Parse(args, &call) == nil && s.w.policy.Decide(s.user, &call).Allowed
}

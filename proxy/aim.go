package proxy

import (
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/resp"
)

// Over several nodes a session has one connection of its own, to the node that
// has the keys of what it is for. While something binds the session to it, that
// node's calls all go over it and those of other nodes go their own way; what
// would need a second one is refused, as a node refuses keys that aren't its own.

const (
	errBound        = "CROSSSLOT this session is bound to another node, by what it watches or listens to"
	errManyWritten  = "ERR WAIT speaks of one node, and the last write of this session went to several"
	errPatterns     = "ERR PSUBSCRIBE is not supported over shards: channels are on the shard that their name hashes to"
	errOneNodeModes = "ERR this mode is not supported over several shards: it would hold on one of them"
)

// spot is the group that all keys of something belong to.
type spot struct {
	group int
	set   bool
}

// narrow adds the keys of a call, or its channels where these have a place. It
// reports false where keys lie apart.
func (p *spot) narrow(r *backend.Router, call *command.Call, args [][]byte) bool {
	for _, k := range call.Keys {
		if !p.add(r, args[k.Arg]) {
			return false
		}
	}
	if r.Clustered() && !shardChannels[call.Spec.Name] {
		return true
	}
	for _, ch := range call.Channels {
		if !p.add(r, args[ch.Arg]) {
			return false
		}
	}
	return true
}

func (p *spot) add(r *backend.Router, key []byte) bool {
	_, group := r.Place(key)
	if !p.set {
		*p = spot{group, true}
	}
	return p.group == group
}

// shardChannels are the calls whose channels belong to slots as keys do.
var shardChannels = map[string]bool{"ssubscribe": true, "sunsubscribe": true, "spublish": true}

// boundTo is the node of the connection that the session is bound to, zero if there is none.
func (s *session) boundTo() backend.Endpoint {
	if a := s.apart; a != nil && a.why != 0 && s.ownHere() {
		return a.own.Key().Node
	}
	return backend.Endpoint{}
}

// aim finds the node for a call that needs a connection of the session's own. It
// reports false if it has answered the call, which has none.
func (s *session) aim(args [][]byte) bool {
	name, r := s.call.Spec.Name, s.router
	switch name {
	case "multi", "exec", "discard", "unwatch", "unsubscribe", "punsubscribe", "sunsubscribe":
		return true
	case "readonly", "readwrite", "asking":
		return true
	}
	if !r.Ready() {
		s.emit(failureText(backend.Unavailable))
		return false
	}
	s.generation = r.Generation
	var at spot
	switch {
	case name == "monitor":
		s.fail(errOneNodeModes)
		return false
	case name == "psubscribe" && !r.Clustered():
		s.fail(errPatterns)
		return false
	case name == "wait" || name == "waitaof":
		if s.wrote == wroteSpread {
			s.fail(errManyWritten)
			return false
		}
		at = spot{int(s.wrote) - 1, s.wrote > 0}
	case !at.narrow(r, &s.call, args):
		s.fail(errCrossSlot)
		return false
	case !at.set && name != "subscribe" && name != "psubscribe":
		s.fail(errNotSpread) // a node can answer it, and it is not known which is meant
		return false
	}
	if !s.aimAt(at) {
		return false
	}
	if name == "watch" {
		s.apart.watched = at.group
	}
	return true
}

// aimAt settles the node for a spot. It reports false if it has said why not.
func (s *session) aimAt(at spot) bool {
	node, bound := s.boundTo(), s.boundTo() != backend.Endpoint{}
	if at.set || !bound {
		if at.set {
			node = s.router.Holder(at.group)
		} else {
			node = s.router.Primary(s.router.Home())
		}
	}
	switch {
	case node == backend.Endpoint{} && (bound || at.set && !s.router.Vacant(at.group) || s.router.Patience() == 0):
		s.unowned()
		return false
	case bound && node != s.boundTo():
		s.fail(errBound)
		return false
	}
	s.aside().at, s.apart.spot = node, at
	return true
}

// aimBlock is aim for a transaction, whose end it is if it has no place to go to.
func (s *session) aimBlock(t *transaction) bool {
	if s.router == nil {
		return true
	}
	if !s.router.Ready() || t.homeless {
		s.endTransaction()
		s.emit(failureText(backend.Unavailable))
		return false
	}
	if t.apart {
		s.endTransaction()
		s.fail(errCrossSlot)
		return false
	}
	s.generation = s.router.Generation
	a := s.apart
	if at := s.boundTo(); at != (backend.Endpoint{}) && a.why&whyWatch != 0 && t.at.set && t.at.group == a.watched {
		// Where it is watched it has to run, even if that node is only about to get the slot.
		t.asking = at != s.router.Holder(t.at.group)
		a.at = at
	} else if !s.aimAt(t.at) {
		s.endTransaction()
		return false
	}
	if t.writes {
		s.noteWrite(t.at)
	}
	return true
}

// queuePlace notes where a call that is queued belongs. It reports false if it
// has refused it.
func (s *session) queuePlace(args [][]byte) bool {
	call, t, r := &s.call, s.apart.txn, s.router
	text, at := "", t.at
	var alone spot
	switch name := call.Spec.Name; {
	case !r.Ready():
		t.homeless = true // EXEC says so, even if a place for it is known by then: this call was not looked at
		return true
	case call.Spec.Container != nil && call.Spec.Container.Name == "cluster":
		text = errNotInMulti
	case !alone.narrow(r, call, args):
		text = errCrossSlot
	case alone.set:
		if !at.narrow(r, call, args) {
			t.apart = true
		}
		t.at, t.writes = at, t.writes || writes(call.Spec)
	case everyShards(name), call.Class == command.Pinned && name != "unwatch" && name != "wait" && name != "waitaof":
		text = errNotSpread
	}
	if text == "" {
		return true
	}
	t.dirty = true
	s.fail(text)
	return false
}

// everyShards reports a call without keys that speaks of all shards.
func everyShards(name string) bool {
	_, all := everywhere[name]
	return all || nowhere[name] || name == "scan"
}

// noteWrite remembers for WAIT where the session may have written last.
func (s *session) noteWrite(at spot) {
	if at.set {
		s.wrote = int32(at.group) + 1
	}
}

// writes reports a call that may write.
func writes(spec *command.Spec) bool {
	return spec.Flags&(command.FlagWrite|command.FlagScript) != 0
}

// wroteSpread says that the last write went to several nodes.
const wroteSpread = -1

// toShard sends a shared call to a shard: over the session's own connection, if
// it is bound to one that leads there.
func (s *session) toShard(w backend.Caller, tag uint64, shard int, args [][]byte) backend.Failure {
	if s.spreads() {
		if taken, f := s.readFrom(w, tag, shard, args); taken {
			return f
		}
	}
	if at := s.boundTo(); at != (backend.Endpoint{}) && at == s.router.Primary(shard) {
		return s.router.Over(s.apart.own, w, tag, s.at, shard, args)
	}
	return s.router.Send(w, tag, s.at, s.key(), shard, args)
}

// nullArray is EXEC's answer where what was watched has changed.
func (s *session) nullArray() []byte { return resp.AppendNullArray(nil, s.proto) }

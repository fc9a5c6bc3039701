package proxy

import (
	"math/rand/v2"
	"slices"

	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/backend"
)

// Calls to a backend of several shards go where their keys are. Which keys a
// call names is known since it was judged; here it is only decided who has them.

var _ backend.Caller = (*session)(nil)

// routed stands for "some shard" where a run of slots says which way it went.
var routed = new(backend.Pipeline)

const (
	errCrossSlot   = "CROSSSLOT Keys in request don't hash to the same slot"
	errSlotUnowned = "CLUSTERDOWN Hash slot not served"
	errNotSpread   = "ERR this command is not supported over several shards"
)

// Detour implements backend.Caller: while a call of this session is being sent on
// to another node, no later one may overtake it.
func (s *session) Detour(by int) {
	s.detours += by
	if s.detours == 0 && !s.ended {
		s.resume()
	}
}

// shifted reports that it has changed who has which keys since the calls whose
// replies are owed were made: one of them could be overtaken by the next one.
func (s *session) shifted() bool {
	return s.router != nil && s.generation != s.router.Generation && s.slots.len() > 0
}

// route sends a judged call where it belongs, or answers it.
func (s *session) route(args [][]byte) {
	s.generation = s.router.Generation
	call, r := &s.call, s.router
	s.w.count.Command(uint8(command.Shared), s.decision, 1)
	if !r.Ready() {
		s.emit(failureText(backend.Unavailable))
		return
	}
	if call.Spec.Container != nil && call.Spec.Container.Name == "cluster" && r.Clustered() {
		s.cluster(args)
		return
	}
	if len(call.Keys) > 0 {
		s.routeKeys(args)
		return
	}
	s.routeKeyless(args)
}

// routeKeys is route for a call that names keys.
func (s *session) routeKeys(args [][]byte) {
	call, r := &s.call, s.router
	shard, group := r.Place(args[call.Keys[0].Arg])
	if writes(call.Spec) {
		s.wrote = int32(group) + 1
	}
	for _, k := range call.Keys[1:] {
		if _, other := r.Place(args[k.Arg]); other != group {
			if m, ok := splits[call.Spec.Name]; ok && r.Splits() {
				if writes(call.Spec) {
					s.wrote = wroteSpread
				}
				s.split(m, args)
				return
			}
			s.fail(errCrossSlot)
			return
		}
	}
	s.single(shard, args)
}

// single sends a call to one shard.
func (s *session) single(shard int, args [][]byte) {
	if shard < 0 {
		s.unowned()
		return
	}
	if s.bound() && s.apart.why&whySubscribed != 0 {
		// Its reply may come from another node than the messages do, which must not
		// stand within it: it is handed over when it is whole.
		g := s.gather(mergeSame, 1)
		g.send(0, shard, args)
		g.sent(wireSize(args))
		return
	}
	if f := s.toShard(s, s.slots.next, shard, args); f != 0 {
		s.emit(failureText(f))
		return
	}
	s.slots.alone(routed, wireSize(args), s.at)
}

// routeKeyless is route for a call that names none.
func (s *session) routeKeyless(args [][]byte) {
	call, r := &s.call, s.router
	name := call.Spec.Name
	switch how, ok := everywhere[name]; {
	case name == "scan":
		s.scan(args)
	case ok:
		if writes(call.Spec) {
			s.wrote = wroteSpread
		}
		s.everyShard(how, args)
	case len(call.Channels) > 0 && (!r.Clustered() || name == "spublish"):
		shard, _ := r.Place(args[call.Channels[0].Arg])
		s.single(shard, args)
	case nowhere[name]:
		s.fail(errNotSpread)
	case name == "randomkey":
		if all := r.All(false); len(all) > 0 {
			s.single(all[rand.IntN(len(all))], args)
			return
		}
		s.unowned()
	default:
		s.single(r.Home(), args)
	}
}

// everyShard makes a call at every shard. One whose node is ejected is left out
// of those that only look.
func (s *session) everyShard(how merge, args [][]byte) {
	all := s.router.All(writes(s.call.Spec))
	if len(all) == 0 {
		s.unowned()
		return
	}
	g := s.gather(how, len(all))
	for i, shard := range all {
		g.send(i, shard, args)
	}
	g.sent(wireSize(args))
}

// unowned answers a call for keys that nobody has at present.
func (s *session) unowned() {
	if s.router.Clustered() {
		s.fail(errSlotUnowned)
		return
	}
	s.emit(failureText(backend.Unavailable))
}

// splits are the calls that may be made key by key, and how their replies come
// together. What they lose is that all of it happens at one moment.
var splits = map[string]merge{
	"mget": mergePlaces, "mset": mergeSame, "del": mergeSum, "unlink": mergeSum, "exists": mergeSum, "touch": mergeSum,
}

// everywhere are the calls without keys that concern every shard.
var everywhere = map[string]merge{
	"flushall": mergeSame, "flushdb": mergeSame, "dbsize": mergeSum, "keys": mergeLists,
	"script|load": mergeSame, "script|flush": mergeSame, "script|exists": mergeLeast,
	"function|load": mergeSame, "function|delete": mergeSame, "function|flush": mergeSame, "function|restore": mergeSame,
	"config|set": mergeSame, "config|resetstat": mergeSame, "config|rewrite": mergeSame, "memory|purge": mergeSame,
	"slowlog|reset": mergeSame, "slowlog|len": mergeSum, "latency|reset": mergeSum, "pubsub|channels": mergeLists,
	"pubsub|shardchannels": mergeLists, "pubsub|numpat": mergeSum, "pubsub|numsub": mergeCounts, "pubsub|shardnumsub": mergeCounts,
}

// nowhere are the calls that mean something on one node only.
var nowhere = map[string]bool{"swapdb": true, "clusterscan": true}

// piece is the part of a call that goes to one group of keys.
type piece struct {
	shard, group int
	args         [][]byte
	at           []int // which of the call's keys
}

// What is kept for cutting up the next call.
const (
	sparePieces    = 64
	sparePieceArgs = 1024
)

// split makes one call for each group of keys and puts the replies together.
func (s *session) split(how merge, args [][]byte) {
	pieces, ok := s.cutUp(args)
	if !ok {
		s.unowned()
		return
	}
	g := s.gather(how, len(pieces))
	g.places = len(s.call.Keys)
	for i := range pieces {
		p := &pieces[i]
		if how == mergePlaces {
			g.parts[i].at = append(g.parts[i].at[:0], p.at...)
		}
		g.send(i, p.shard, p.args)
		if clear(p.args); cap(p.args) > sparePieceArgs {
			p.args, p.at = nil, nil
		}
	}
	g.sent(wireSize(args))
	if s.w.pieces = pieces[:0]; cap(pieces) > sparePieces {
		s.w.pieces = nil
	}
}

// cutUp gives the pieces of a call, which hold until the next one is cut up; false: nobody has one of its keys.
func (s *session) cutUp(args [][]byte) ([]piece, bool) {
	call, r := &s.call, s.router
	width := 1
	if call.Spec.Name == "mset" {
		width = 2
	}
	pieces := s.w.pieces[:0]
	var index map[int]int // from group to piece, where there are many
	for i, k := range call.Keys {
		shard, group := r.Place(args[k.Arg])
		if shard < 0 {
			return nil, false
		}
		n, known := 0, false
		if index != nil {
			n, known = index[group]
		} else {
			n = slices.IndexFunc(pieces, func(p piece) bool { return p.group == group })
			known = n >= 0
		}
		if !known {
			n = len(pieces)
			pieces = nextPiece(pieces)
			p := &pieces[n]
			p.shard, p.group, p.args, p.at = shard, group, append(p.args[:0], args[0]), p.at[:0]
			index = indexed(index, pieces)
		}
		p := &pieces[n]
		p.args = append(p.args, args[k.Arg:int(k.Arg)+width]...)
		p.at = append(p.at, i)
	}
	return pieces, true
}

// nextPiece makes room for one more, and keeps what memory the place has.
func nextPiece(pieces []piece) []piece {
	if len(pieces) < cap(pieces) {
		return pieces[:len(pieces)+1]
	}
	return append(pieces, piece{})
}

// indexed puts the last piece into the index, which there is once they are too many to be looked through.
func indexed(index map[int]int, pieces []piece) map[int]int {
	const few = 16
	switch {
	case index != nil:
		index[pieces[len(pieces)-1].group] = len(pieces) - 1
	case len(pieces) > few:
		index = make(map[int]int, 4*few)
		for at := range pieces {
			index[pieces[at].group] = at
		}
	}
	return index
}

// scan is SCAN over all shards, one after another. The cursor says where to go on
// to whoever reads it: another proxy can.
func (s *session) scan(args [][]byte) {
	value, ok := backend.ParseCursor(args[1])
	if !ok {
		s.fail("ERR invalid cursor")
		return
	}
	shard, cursor := s.router.Resume(value)
	call := append([][]byte{args[0], cursor}, args[2:]...)
	g := s.gather(mergeScan, 1)
	g.shard, g.router = shard, s.router
	g.send(0, shard, call)
	g.sent(wireSize(args))
}

// announced is where cluster clients find this proxy.
func (s *session) announced() string {
	if a := s.w.srv.backend(s.facts.backend).Announce(); a != "" {
		return a
	}
	return s.facts.local
}

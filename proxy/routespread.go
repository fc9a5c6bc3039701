package proxy

import (
	"math/rand/v2"
	"strconv"

	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/resp"
)

// Calls that concern several backends of a listener with routes: made once for
// each of them, and for each shard of one that has shards, and put together as
// over shards.

// spread carries out a shared call if it is not one backend's alone. It reports
// whether it did.
func (s *session) spread(args [][]byte) bool {
	x, call := s.routes, &s.call
	name := call.Spec.Name
	switch {
	case call.PatternArg != 0:
		s.fail(errSidePoints)
	case x.apart && len(call.Keys) > 0:
		s.splitSides(args)
	case x.apart && name == "scan":
		s.scanSides(args)
	case x.apart:
		s.everySide(args)
	case nowhere[name]:
		s.fail(errNotSpread)
	default:
		if name == "randomkey" {
			s.goTo(x.to[rand.IntN(len(x.sides))])
		}
		s.noteSide()
		if s.router != nil || !s.hears() {
			return false
		}
		s.wholeReply(args)
	}
	return true
}

// hears reports that pushes may come over the session's own connection, which
// leads to another backend: nothing may stand within one, nor it within a reply.
func (s *session) hears() bool {
	return s.apart != nil && s.apart.why&whySubscribed != 0 && s.apart.own != nil && !s.ownHere()
}

// wholeReply sends a call whose reply is handed over when it is whole.
func (s *session) wholeReply(args [][]byte) {
	s.w.count.Command(uint8(command.Shared), s.decision, 1)
	g := s.gather(mergeSame, 1)
	g.sendHere(0, args)
	g.sent(wireSize(args))
}

// sendHere makes one of the calls at the backend the session is at, which is one node.
func (g *gather) sendHere(part int, args [][]byte) {
	s := g.s
	if s.spreads() {
		if taken, f := s.readFrom(g, uint64(part), 0, args); taken {
			if f != 0 {
				g.Fail(uint64(part), f)
			}
			return
		}
	}
	if s.pipe == nil || s.pipe.Gone() {
		s.pipe = s.w.pipeline(s.facts.backend, s.key())
	}
	if f := s.pipe.Send(g, uint64(part), s.at, args); f != 0 {
		g.Fail(uint64(part), f)
	}
}

// sidePart is a part of a call for one group of keys of one backend.
type sidePart struct {
	side, group, shard int
	args               [][]byte
	at                 []int
}

// splitSides is split over several backends.
func (s *session) splitSides(args [][]byte) {
	x, call := s.routes, &s.call
	how, ok := splits[call.Spec.Name]
	if !ok {
		s.fail(errSides)
		return
	}
	width := 1
	if call.Spec.Name == "mset" {
		width = 2
	}
	var parts []*sidePart
	index := make(map[[2]int]*sidePart, 8)
	for i, k := range call.Keys {
		key := args[k.Arg]
		at := [2]int{x.of(key)}
		s.goTo(at[0])
		shard := -1
		if s.router != nil {
			if refusal := s.sideRefuses(); refusal != nil {
				s.emit(refusal)
				return
			}
			if shard, at[1] = s.router.Place(key); shard < 0 {
				s.unowned()
				return
			}
		}
		p := index[at]
		if p == nil {
			p = &sidePart{side: at[0], group: at[1], shard: shard, args: [][]byte{args[0]}}
			index[at] = p
			parts = append(parts, p)
		}
		p.args = append(p.args, args[k.Arg:int(k.Arg)+width]...)
		p.at = append(p.at, i)
	}
	if writes(call.Spec) {
		x.wrote = wroteSpread
	}
	s.w.count.Command(uint8(command.Shared), s.decision, 1)
	g := s.gather(how, len(parts))
	g.places = len(call.Keys)
	for i, p := range parts {
		g.parts[i].at = p.at
		s.goTo(p.side)
		if s.router == nil {
			g.sendHere(i, p.args)
			continue
		}
		s.generation = s.router.Generation
		if writes(call.Spec) {
			s.wrote = wroteSpread
		}
		g.send(i, p.shard, p.args)
	}
	g.sent(wireSize(args))
}

// sideRefuses says why the backend that the session is at, one of shards, can't
// have a part of a call; nil: it can.
func (s *session) sideRefuses() []byte {
	switch {
	case !s.router.Ready():
		return failureText(backend.Unavailable)
	case !s.router.Splits():
		return resp.AppendError(nil, errSides)
	}
	return nil
}

// everySide is everyShard over all backends.
func (s *session) everySide(args [][]byte) {
	x, spec := s.routes, s.call.Spec
	how := everywhere[spec.Name]
	type part struct{ side, shard int }
	var parts []part
	for i := x.next(-1); i < len(x.sides); i = x.next(i) {
		s.goTo(i)
		switch {
		case s.router == nil:
			parts = append(parts, part{i, -1})
		case !s.router.Ready():
			s.emit(failureText(backend.Unavailable))
			return
		default:
			s.generation = s.router.Generation
			for _, shard := range s.router.All(writes(spec)) {
				parts = append(parts, part{i, shard})
			}
		}
	}
	if writes(spec) {
		x.wrote = wroteSpread
	}
	s.w.count.Command(uint8(command.Shared), s.decision, 1)
	g := s.gather(how, len(parts))
	for n, p := range parts {
		s.goTo(p.side)
		if s.router == nil {
			g.sendHere(n, args)
			continue
		}
		if writes(spec) {
			s.wrote = wroteSpread
		}
		g.send(n, p.shard, args)
	}
	g.sent(wireSize(args))
}

// scanSides is SCAN over all backends, one after another. The cursor is that of
// the backend, or of its shards, times the number of backends, plus the number of
// this one: another proxy with the same routes can go on with it.
func (s *session) scanSides(args [][]byte) {
	value, ok := backend.ParseCursor(args[1])
	if !ok {
		s.fail("ERR invalid cursor")
		return
	}
	n := uint64(len(s.routes.sides))
	at := int(value % n)
	if s.routes.to[at] != at { // the user's own backend is another one now
		at = s.routes.to[at]
		value = uint64(at)
	}
	s.goTo(at)
	call := append([][]byte{args[0], nil}, args[2:]...)
	g := s.gather(mergeScan, 1)
	g.sides, g.side, g.after, g.router = n, uint64(at), uint64(s.routes.next(at)), s.router
	s.w.count.Command(uint8(command.Shared), s.decision, 1)
	switch {
	case s.router == nil:
		call[1] = strconv.AppendUint(nil, value/n, 10)
		g.sendHere(0, call)
	case !s.router.Ready():
		g.Fail(0, backend.Unavailable)
	default:
		s.generation = s.router.Generation
		g.shard, call[1] = s.router.Resume(value / n)
		g.send(0, g.shard, call)
	}
	g.sent(wireSize(args))
}

// advance gives the cursor that follows a backend's own one.
func (g *gather) advance(node []byte) (string, bool) {
	next := string(node)
	if g.router != nil {
		var ok bool
		if next, ok = g.router.Advance(g.shard, node); !ok {
			return "", false
		}
	}
	if g.sides == 0 {
		return next, true
	}
	at, ok := backend.ParseCursor([]byte(next))
	switch {
	case !ok || at > (1<<63-1)/g.sides-1:
		return "", false
	case at != 0:
		return strconv.FormatUint(at*g.sides+g.side, 10), true
	case g.after == g.sides:
		return "0", true
	}
	return strconv.FormatUint(g.after, 10), true
}

// probeDB asks whether a database can be had: at every backend, where there are
// several, so that no later call fails for want of it.
func (s *session) probeDB(n int, done func(error)) {
	k := s.key()
	k.DB = n
	if s.routes == nil {
		s.w.probe(s.facts.backend, k, done)
		return
	}
	x := s.routes
	left := 1 // until all have been asked
	var failed error
	answered := func(err error) {
		if failed == nil {
			failed = err
		}
		if left--; left == 0 {
			done(failed)
		}
	}
	for i := x.next(-1); i < len(x.sides); i = x.next(i) {
		left++
		k.As = s.asAt(i)
		s.w.probe(x.sides[i].name, k, answered)
	}
	answered(nil)
}

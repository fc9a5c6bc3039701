package proxy

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/resp"
)

// track is what a session's own connection was told about its modes, for the
// answers that are given here.
type track struct {
	flags    []string // CLIENT TRACKINGINFO's, but "on"
	prefixes [][]byte
	redirect int64 // our number of the session that gets the invalidations; 0: none
	watched  int32
	db       int32 // of the SELECT under way

	next *tracking // of the call under way
}

// tracking is what one CLIENT TRACKING asks for.
type tracking struct {
	flags    []string
	prefixes [][]byte
	redirect int64
}

// replyMode is what CLIENT REPLY has set.
type replyMode uint8

const (
	replyOn replyMode = iota
	replyOff
	replySkipNext // the call after this one
	replySkip     // this one
)

// step moves SKIP on, as a call begins, and says whether its reply is wanted.
func (s *session) step() {
	a := s.apart
	switch a.mode {
	case replySkipNext:
		a.mode = replySkip
	case replySkip:
		a.mode = replyOn
	}
	if mute := a.mode == replyOff || a.mode == replySkip; mute != s.slots.mute {
		s.slots.mute = mute
		s.at++ // calls of one moment share a run, whose replies are wanted or not together
	}
	s.settled()
}

// reply is CLIENT REPLY: replies are dropped here, whoever makes them.
func (s *session) reply(arg []byte) {
	switch {
	case fold(arg, "on"):
		if s.apart != nil {
			s.apart.mode = replyOn
		}
		if s.slots.mute {
			s.slots.mute = false
			s.at++
		}
		s.ok()
		s.settled()
	case fold(arg, "off"):
		s.aside().mode = replyOff
	case fold(arg, "skip"):
		if a := s.aside(); a.mode != replyOff {
			a.mode = replySkipNext
		}
	default:
		s.fail(errSyntax)
	}
}

// mode is a call that sets a mode of the own connection, or ends it.
func (s *session) setMode(bit why, args [][]byte, off bool) {
	if off && (s.apart == nil || s.apart.why&bit == 0) {
		s.ok() // it is off
		return
	}
	if s.router != nil {
		s.fail(errOneNodeModes)
		return
	}
	if s.routes != nil {
		s.fail(errSideModes)
		return
	}
	if s.alone(turnMode, args) {
		s.apart.turn.mode, s.apart.turn.off = bit, off
		s.apart.tainted = true
	}
}

// modeSet acts on the reply to such a call.
func (s *session) modeSet(t *turn) {
	a := s.apart
	next := a.track.next
	a.track.next = nil
	switch {
	case t.failed():
	case t.off:
		if a.why &^= t.mode; t.mode == whyTracking {
			a.track.flags, a.track.prefixes, a.track.redirect = nil, nil, 0
		}
	default:
		if a.why |= t.mode; t.mode == whyTracking && next != nil {
			a.track.flags, a.track.redirect = next.flags, next.redirect
			a.track.prefixes = append(a.track.prefixes, next.prefixes...)
			slices.SortFunc(a.track.prefixes, bytes.Compare)
			a.track.prefixes = slices.CompactFunc(a.track.prefixes, bytes.Equal)
		}
	}
}

// setTracking is CLIENT TRACKING ON|OFF … The node keeps track of what this
// session reads over its own connection and says there when it has changed.
func (s *session) setTracking(args [][]byte) {
	off := fold(args[2], "off")
	if off || !fold(args[2], "on") {
		s.setMode(whyTracking, args, off && len(args) == 3)
		return
	}
	next := &tracking{}
	var to []byte
	for i := 3; i < len(args); i++ {
		switch {
		case fold(args[i], "redirect") && i+1 < len(args):
			to = args[i+1]
			i++
		case fold(args[i], "prefix") && i+1 < len(args):
			next.prefixes = append(next.prefixes, bytes.Clone(args[i+1]))
			i++
		case fold(args[i], "bcast"), fold(args[i], "optin"), fold(args[i], "optout"), fold(args[i], "noloop"):
			next.flags = append(next.flags, string(bytes.ToLower(args[i])))
		}
	}
	if to == nil {
		s.beginTracking(args, next)
		return
	}
	id, ok := integer(to)
	if !ok {
		s.fail("ERR value is not an integer or out of range")
		return
	}
	if id == 0 {
		s.beginTracking(args, next)
		return
	}
	next.redirect = id
	s.redirect(copiedArgs(args), id, next)
}

// call is a CLIENT TRACKING that asks for what there is.
func (t *track) call() [][]byte {
	args := [][]byte{[]byte("CLIENT"), []byte("TRACKING"), []byte("ON")}
	for _, f := range t.flags {
		args = append(args, []byte(f))
	}
	for _, p := range t.prefixes {
		args = append(args, []byte("PREFIX"), p)
	}
	return args
}

// beginTracking has the own connection begin to track.
func (s *session) beginTracking(args [][]byte, next *tracking) {
	if s.setMode(whyTracking, args, false); s.inTurn() {
		s.apart.track.next = next
	}
}

// redirect finds the connection that a session's invalidations are to reach,
// which must be one of the same user's own, and sends its number at the node
// instead of ours.
func (s *session) redirect(args [][]byte, id int64, next *tracking) {
	f := s.clientFilter(true)
	f.ids = []int64{id}
	srv, name := s.w.srv, s.facts.backend
	spec := s.call.Spec
	s.elsewhere(func() func() {
		var node int64
		for _, n := range ask(srv, func(w *worker) int64 { return w.ownID(&f, name) }) {
			node = max(node, n)
		}
		return func() {
			if node == 0 {
				s.fail("ERR The client ID you want redirect to does not exist")
				return
			}
			for i := 3; i+1 < len(args); i++ {
				if fold(args[i], "redirect") {
					args[i+1] = strconv.AppendInt(nil, node, 10)
				}
				if fold(args[i], "redirect") || fold(args[i], "prefix") {
					i++
				}
			}
			s.call.Spec = spec
			s.beginTracking(args, next)
		}
	})
}

// ownID is the number at the node of the own connection of the session that a
// filter picks; 0: it has none.
func (w *worker) ownID(f *clientFilter, backend string) int64 {
	for s := w.sessions; s != nil; s = s.next {
		if f.picks(s) && s.apart != nil && s.apart.own != nil && s.apart.why != 0 && s.ownAt() == backend {
			s.apart.tracked = true
			s.apart.tainted = true // what it is to hear comes for nobody else who has this connection later
			return s.apart.own.ID()
		}
	}
	return 0
}

// caching is CLIENT CACHING YES|NO, which speaks of the next read.
func (s *session) caching(args [][]byte) {
	if s.apart == nil || s.apart.why&whyTracking == 0 {
		s.fail("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled")
		return
	}
	s.alone(turnAlone, args)
}

// trackingInfo is CLIENT TRACKINGINFO.
func (s *session) trackingInfo() {
	flags, redirect, prefixes := []string{"off"}, int64(-1), [][]byte(nil)
	if a := s.apart; a != nil && a.why&whyTracking != 0 {
		flags = append([]string{"on"}, a.track.flags...)
		redirect, prefixes = a.track.redirect, a.track.prefixes
	}
	b := resp.AppendMap(s.w.scratch[:0], s.proto, 3)
	b = resp.AppendSet(resp.AppendBulkString(b, "flags"), s.proto, len(flags))
	for _, f := range flags {
		b = resp.AppendBulkString(b, f)
	}
	b = resp.AppendInt(resp.AppendBulkString(b, "redirect"), redirect)
	b = resp.AppendArray(resp.AppendBulkString(b, "prefixes"), len(prefixes))
	for _, p := range prefixes {
		b = resp.AppendBulk(b, p)
	}
	s.emit(b)
}

// getRedir is CLIENT GETREDIR.
func (s *session) getRedir() {
	to := int64(-1)
	if a := s.apart; a != nil && a.why&whyTracking != 0 {
		to = a.track.redirect
	}
	s.emit(resp.AppendInt(s.w.scratch[:0], to))
}

// unblock is CLIENT UNBLOCK id [TIMEOUT | ERROR] for a session of the caller's
// user, or for anybody's where the policy lets the user see everybody. The node
// is asked to: whether the call had already been answered is for it to know.
func (s *session) unblock(args [][]byte, own bool) {
	switch {
	case len(args) > 4:
		s.fail("ERR unknown subcommand or wrong number of arguments for '" + excerpt(args[1]) + "'. Try CLIENT HELP.")
		return
	case len(args) == 4 && !fold(args[3], "timeout") && !fold(args[3], "error"):
		s.fail("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
		return
	}
	id, ok := integer(args[2])
	if !ok {
		s.fail(errNotInteger)
		return
	}
	f := s.clientFilter(own)
	f.ids = []int64{id}
	srv := s.w.srv
	how := []byte("TIMEOUT")
	if len(args) == 4 && fold(args[3], "error") {
		how = []byte("ERROR")
	}
	s.elsewhere(func() func() {
		done := 0
		for _, n := range ask(srv, func(w *worker) int { return w.unblock(&f, how) }) {
			done = max(done, n)
		}
		return func() { s.emit(resp.AppendInt(s.w.scratch[:0], int64(done))) }
	})
}

// unblock has the node wake the session that a filter picks. It says 1 if that
// session was blocked.
func (w *worker) unblock(f *clientFilter, how []byte) int {
	for s := w.sessions; s != nil; s = s.next {
		if !f.picks(s) || !s.blocked() || s.apart.own == nil || s.apart.own.ID() == 0 {
			continue
		}
		call := [][]byte{[]byte("CLIENT"), []byte("UNBLOCK"), strconv.AppendInt(nil, s.apart.own.ID(), 10), how}
		s.apart.tainted = true // a late waking must not meet the next call
		pipe := w.pipeline(s.ownAt(), backend.Key{DB: 0, Proto: 2, Node: s.apart.own.Key().Node})
		if pipe.Send(unheard{}, 0, w.now().UnixNano(), call) == 0 {
			return 1
		}
	}
	return 0
}

// modesCall answers the calls of CLIENT that set modes.
func (s *session) modesCall(args [][]byte, own bool) {
	switch s.call.Spec.Name {
	case "client|reply":
		s.reply(args[2])
	case "client|tracking":
		s.setTracking(args)
	case "client|no-evict":
		s.setMode(whyNoEvict, args, fold(args[2], "off"))
	case "client|no-touch":
		s.setMode(whyNoTouch, args, fold(args[2], "off"))
	case "client|caching":
		s.caching(args)
	case "client|trackinginfo":
		s.trackingInfo()
	case "client|getredir":
		s.getRedir()
	case "client|unblock":
		s.unblock(args, own)
	default: // capabilities nobody makes use of, and turning off what is off
		s.ok()
	}
}

// markers are the flags of CLIENT LIST.
func (s *session) markers() string {
	var b []byte
	if a := s.apart; a != nil {
		for _, m := range []struct {
			on   bool
			mark byte
		}{
			{a.why&whyMonitor != 0, 'O'}, {a.why&whySubscribed != 0, 'P'}, {a.txn != nil, 'x'}, {s.blocked(), 'b'},
			{a.why&whyTracking != 0, 't'}, {a.why&whyNoEvict != 0, 'e'}, {a.why&whyNoTouch != 0, 'T'},
		} {
			if m.on {
				b = append(b, m.mark)
			}
		}
	}
	if len(b) == 0 {
		return "N"
	}
	return string(b)
}

// speakOwn is HELLO with another protocol version while the session is bound to
// its own connection, which has to follow.
func (s *session) speakOwn(proto int) {
	own := s.apart.own
	sp := &speaker{s: s, own: own, proto: proto}
	s.waiting = true
	if proto == 3 {
		own.Speak(proto) // the answer comes in it already, and nothing else can be under way
	}
	if own.Pipeline().Send(sp, 0, s.at, [][]byte{[]byte("HELLO"), strconv.AppendInt(nil, int64(proto), 10)}) != 0 {
		s.waiting = false
		s.emit(failureText(backend.Unavailable))
	}
}

// speaker waits for the node's word on another protocol version.
type speaker struct {
	s     *session
	own   *backend.Own
	proto int
	begun bool
	good  bool
}

func (sp *speaker) Reply(_ uint64, _ int, p []byte, last bool) {
	if !sp.begun {
		sp.begun, sp.good = true, len(p) > 0 && p[0] != '-'
	}
	if !last {
		return
	}
	s := sp.s
	s.waiting = false
	if s.ended {
		return
	}
	if sp.good {
		if sp.proto == 2 {
			sp.own.Speak(2) // until here there may have been pushes
		}
		s.proto = sp.proto
		sp.own.Subscribed(s.proto == 2 && s.apart.why&whySubscribed != 0)
		s.emit(s.greeting(s.w.scratch[:0]))
	} else {
		sp.own.Speak(s.proto)
		s.fail("NOPROTO unsupported protocol version")
	}
	s.answered()
}

func (sp *speaker) Fail(uint64, backend.Failure) {
	if s := sp.s; !s.ended {
		s.waiting = false
		s.depart(audit.CloseBackendLost, farewell)
	}
}

package proxy

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/metrics"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/loop"
	"github.com/sallyport/sallyport/proxy/resp"
)

// Nothing but subscriptions can be had anew without the client noticing: they say
// what it wants to hear, not what was. So a session whose node is lost while it
// listens, and does nothing else that binds it, subscribes again where its channels
// are now, instead of being closed. What was said meanwhile is lost, as Redis keeps
// nothing for those who aren't there. The client is served nothing until that is
// done, and closed when it takes longer than calls may wait.

// relistening is the attempt to be subscribed again.
type relistening struct {
	until  int64      // Unix ns: then the session is closed
	limit  loop.Timer // at that time
	retry  loop.Timer // the next try
	chorus *chorus    // the try under way, if its connection is there or to come

	by *acl.Policy // that says that the user may have all of it
	of *acl.User
}

// How much one call of a re-subscription names.
const (
	chorusNames = 1000
	chorusBytes = 256 << 10
)

const (
	flapTime  = time.Second            // a connection that lived less did not last
	flapPause = 100 * time.Millisecond // and is waited for a little before the next one
)

// invalidations is the channel on which RESP2 clients hear what others track for them.
const invalidations = "__redis__:invalidate"

// listensAgain begins to subscribe again after the connection was lost. It reports
// false where the session has to end, because more is lost than that.
func (s *session) listensAgain() bool {
	a := s.apart
	if s.routes != nil {
		s.goTo(s.routes.own) // it stays there until it is subscribed again: it isn't fed
	}
	patience := s.w.patience(s.facts.backend)
	if patience <= 0 || a.why != whySubscribed || s.pushing || s.finishing || a.subs.unsure || a.tracked {
		return false
	}
	if _, cached := a.subs.names[bySubscribe][invalidations]; cached {
		return false // what it keeps may be out of date, and nobody would say so
	}
	now := s.w.now()
	a.again = &relistening{until: now.UnixNano() + int64(patience)}
	s.w.arm(&a.again.limit, patience, s.listenedEnough)
	pause := time.Millisecond // nothing is sent while failures are being told
	if now.Sub(a.resumed) < flapTime {
		pause = flapPause
	}
	s.w.arm(&a.again.retry, pause, s.listenAgain)
	return true
}

// relistens reports that the session is not subscribed to what it should be, for now.
func (s *session) relistens() bool { return s.apart != nil && s.apart.again != nil }

// silence ends the attempt, whatever came of it.
func (s *session) silence() {
	if a := s.apart; a.again != nil {
		a.again.limit.Stop()
		a.again.retry.Stop()
		a.again = nil
	}
}

// listenedEnough closes a session whose subscriptions can't be had again.
func (s *session) listenedEnough() {
	if s.ended || !s.relistens() {
		return
	}
	s.w.count.Resubscribed[metrics.ListenersClosed]++
	s.depart(audit.CloseBackendLost, farewell)
}

// listenLater tries once more after a while.
func (s *session) listenLater() {
	s.apart.again.chorus = nil
	s.w.arm(&s.apart.again.retry, waitAgain, s.listenAgain)
}

// listenAgain asks for a connection to where the channels are now, and subscribes
// there, if the user may still have what the session listens to.
func (s *session) listenAgain() {
	s.fulfil() // by whose rights it asks
	if s.ended || s.finishing || !s.relistens() {
		return
	}
	a := s.apart
	if again := a.again; again.by != s.w.policy || again.of != s.user { // there may be many of them, and many tries
		if !s.mayListen() {
			s.expire(audit.ClosePolicyChanged)
			return
		}
		again.by, again.of = s.w.policy, s.user
	}
	if a.subs.none() {
		s.heardAgain() // its node has ended all of them since
		return
	}
	if s.router != nil {
		at, together := s.channelsAt()
		switch {
		case !together:
			s.listenedEnough() // one connection can't have all of them any more
			return
		case at == backend.Endpoint{}:
			s.listenLater()
			return
		}
		a.at = at
	}
	if s.have() != 0 {
		s.listenLater()
		return
	}
	a.own.Until(a.again.until)
	a.own.Subscribed(s.proto == 2)
	a.tainted = true
	c := &chorus{s: s, own: a.own, calls: a.subs.calls()}
	a.again.chorus = c
	s.account()
	c.sing()
}

// channelsAt is the node that has the session's channels, zero where nobody is
// known to have them. together: they don't lie apart.
func (s *session) channelsAt() (node backend.Endpoint, together bool) {
	r := s.router
	var at spot
	for f, names := range s.apart.subs.names {
		if r.Clustered() && f != bySsubscribe {
			continue // any node hears them
		}
		for name := range names {
			_, group := r.Place([]byte(name))
			holder := r.Holder(group)
			switch {
			case !at.set:
				at, node = spot{group, true}, holder
			case holder != node:
				return node, false
			}
		}
	}
	if !at.set {
		node = r.Other(s.apart.at) // the one that was lost may not be known to be away yet
	}
	s.apart.spot = at
	return node, true
}

// calls are what subscribes to everything again, none of them large.
func (u *subscriptions) calls() [][][]byte {
	var calls [][][]byte
	for f, verb := range [...]string{"subscribe", "psubscribe", "ssubscribe"} {
		var call [][]byte
		size := 0
		for name := range u.names[f] {
			if call == nil || len(call) > chorusNames || size+len(name) > chorusBytes {
				if call != nil {
					calls = append(calls, call)
				}
				call, size = [][]byte{[]byte(verb)}, 0
			}
			call = append(call, []byte(name))
			size += len(name)
		}
		if call != nil {
			calls = append(calls, call)
		}
	}
	return calls
}

// chorus subscribes a session again over one connection. It is owed the
// confirmations, which are the proxy's own: each has to be the one that is
// expected next, and none reaches the client.
type chorus struct {
	s       *session
	own     *backend.Own
	calls   [][][]byte // not confirmed yet, the first one under way
	name    int        // of that one, whose confirmation comes next
	want    []byte     // how that begins; empty: it has not begun
	seen    int        // bytes of it
	refusal []byte
}

// sing sends the next call.
func (c *chorus) sing() {
	if !c.heeded() {
		return
	}
	call := c.calls[0]
	c.name = 1
	if c.own.SubscribeFor(c, string(call[0]), 0, len(call)-1, c.s.at, call) != 0 {
		c.fails()
	}
}

// heeded reports whether anybody still waits for this.
func (c *chorus) heeded() bool {
	return !c.s.ended && c.s.relistens() && c.s.apart.again.chorus == c && c.s.apart.own == c.own
}

// fails leaves the connection, and has another one tried.
func (c *chorus) fails() {
	c.s.leaveOwn()
	c.s.listenLater()
}

// Reply implements backend.Waiter.
func (c *chorus) Reply(_ uint64, _ int, p []byte, last bool) {
	if !c.heeded() {
		return
	}
	switch {
	case c.seen == 0 && (p[0] == '-' || len(c.refusal) > 0), len(c.refusal) > 0:
		c.refused(p, last)
	case !c.confirmed(p, last):
		c.own.Close() // its stream is not what was promised
		c.s.apart.own, c.s.pipe = nil, nil
		c.s.listenedEnough()
	case last:
		c.seen, c.want = 0, c.want[:0]
		if c.name++; c.name == len(c.calls[0]) {
			c.next()
		}
	}
}

// confirmed holds a piece of a confirmation against what it has to be.
func (c *chorus) confirmed(p []byte, last bool) bool {
	if c.seen == 0 {
		call := c.calls[0]
		b := resp.AppendBulk(resp.AppendPush(c.want[:0], c.s.proto, 3), call[0])
		c.want = append(resp.AppendBulk(b, call[c.name]), ':')
	}
	n := min(len(p), max(0, len(c.want)-c.seen))
	if !bytes.Equal(p[:n], c.want[min(c.seen, len(c.want)):min(c.seen, len(c.want))+n]) {
		return false
	}
	c.seen += len(p)
	return !last || c.seen > len(c.want)
}

// next goes on after a call that was confirmed wholly.
func (c *chorus) next() {
	if c.calls = c.calls[1:]; len(c.calls) > 0 {
		if !c.s.w.post(c.sing) { // nothing is sent while replies are being handed over
			c.s.listenedEnough()
		}
		return
	}
	c.s.heardAgain()
}

// heardAgain ends the attempt: the session hears what it is to hear.
func (s *session) heardAgain() {
	s.silence()
	s.account()
	s.apart.resumed = s.w.now()
	s.w.count.Resubscribed[metrics.ListenersResumed]++
	s.unlisten() // which may be nothing any more
	s.resume()
}

// refused takes an error: the node does not, or not yet, have the channels, or
// doesn't take the proxy for one that may.
func (c *chorus) refused(p []byte, last bool) {
	if c.refusal = append(c.refusal, p[:min(len(p), longestRedirect-min(len(c.refusal), longestRedirect))]...); !last {
		return
	}
	if c.s.router != nil {
		c.s.router.Redirected(c.refusal, c.own.Key().Node)
	}
	c.fails()
}

// Fail implements backend.Waiter. Its session hears that the connection is lost.
func (c *chorus) Fail(uint64, backend.Failure) {}

// ending follows a push that says that the node has ended a subscription, as it
// does when the slot of its channel moves away. What it named is subscribed to no more.
func (u *subscriptions) ending(p []byte, last bool) {
	if len(u.fewer)+len(p) > longestEnding {
		u.fewer, u.unsure = nil, true
		return
	}
	u.fewer = append(u.fewer, p...)
	if !last {
		return
	}
	name, ok := secondWord(u.fewer)
	if u.fewer = nil; !ok {
		u.unsure = true
		return
	}
	u.drop(bySsubscribe, name)
}

// longestEnding bounds what is kept of such a push. A channel with a longer name is
// ended, too, but the proxy doesn't know which one it was.
const longestEnding = 64 << 10

// secondWord is the second element of an aggregate of bulk strings.
func secondWord(b []byte) ([]byte, bool) {
	for range 3 { // the aggregate's head, and the first one
		_, rest, found := bytes.Cut(b, []byte("\r\n"))
		if !found {
			return nil, false
		}
		b = rest
	}
	head, rest, found := bytes.Cut(b, []byte("\r\n"))
	if !found || len(head) < 2 || head[0] != '$' {
		return nil, false
	}
	n, err := strconv.ParseUint(string(head[1:]), 10, 31)
	if err != nil || uint64(len(rest)) < n {
		return nil, false
	}
	return slices.Clone(rest[:n]), true
}

// unlisten notes that the node has ended the last subscription: nothing binds the
// session to its connection any more, unless something else does.
func (s *session) unlisten() {
	a := s.apart
	if a == nil || a.why&whySubscribed == 0 || !a.subs.none() || a.turn.kind != noTurn || s.slots.n > 0 || s.ended || a.again != nil {
		return
	}
	a.why &^= whySubscribed
	if a.own != nil {
		if a.own.Subscribed(false); a.why == 0 {
			s.part(false)
		}
	}
	s.settled()
}

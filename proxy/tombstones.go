package proxy

import (
	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/backend"
)

// A client that leaves is still owed replies: its calls are on their way, and stay
// in the queue in front of their node as tombstones. They count in the window of
// the user's other clients on the loop until they are answered. Else who leaves and
// comes back at once, again and again, could have any number of calls under way.

// kin is what the sessions of one user on one loop have in common.
type kin struct {
	key     quotaKey
	here    int // sessions
	calls   int // of sessions that have left, not answered yet
	bytes   int // of these
	waiting map[*session]struct{}
	freed   window // answered since somebody waits
}

// window is a number of calls, and of their bytes.
type window struct{ calls, bytes int }

// keyOf tells a principal's user from others.
func (w *worker) keyOf(pr *acl.Principal) quotaKey {
	key := quotaKey{user: pr.User.Name()}
	if w.policy.User(key.user) == nil {
		key.issuer = pr.Issuer
	}
	return key
}

// belong makes the session one of its user's; nobody's before login.
func (s *session) belong(pr *acl.Principal) {
	var key quotaKey
	switch {
	case s.ended:
		return
	case pr.User != nil:
		key = s.w.keyOf(pr)
	}
	if s.kin != nil {
		if s.kin.key == key && pr.User != nil {
			return
		}
		s.estrange()
		s.kin = nil
	}
	if pr.User == nil {
		return
	}
	k := s.w.kin[key]
	if k == nil {
		if s.w.kin == nil {
			s.w.kin = make(map[quotaKey]*kin)
		}
		k = &kin{key: key}
		s.w.kin[key] = k
	}
	k.here++
	s.kin = k
}

// estrange counts a session out of its user's.
func (s *session) estrange() {
	k := s.kin
	k.here--
	delete(k.waiting, s)
	s.w.forget(k)
}

// forget drops what nobody needs any more.
func (w *worker) forget(k *kin) {
	if k.here == 0 && k.calls == 0 && w.kin[k.key] == k {
		delete(w.kin, k.key)
	}
}

// bequeath leaves the calls of a session that ends to its user's window, and drops
// what it had of their replies. What was sent over a connection of its own is no
// more: that has been closed.
func (s *session) bequeath() {
	if s.bequeathed {
		return
	}
	s.bequeathed = true
	k, q := s.kin, &s.slots
	q.held = 0
	for i := range q.n {
		r := q.at(i)
		r.buf = nil
		if n := int(r.n - r.got); k != nil && n > 0 && outlives(r.via) {
			k.calls += n
			k.bytes += r.size
		}
	}
	if k != nil {
		s.estrange()
	}
}

// outlives reports a connection that goes on when the session ends.
func outlives(p *backend.Pipeline) bool { return p != nil && p.Shared() }

// swallow takes the replies to n calls of a client that has left.
func (s *session) swallow(tag uint64, n int) {
	r, head := s.slots.find(tag, n)
	if r == nil {
		return
	}
	r.take(n, true)
	if head {
		s.slots.left(n)
	}
	k := s.kin
	if k == nil || !s.bequeathed || !outlives(r.via) {
		return
	}
	k.calls -= n
	k.freed.calls += n
	if r.got >= r.n {
		k.bytes -= r.size
		k.freed.bytes += r.size
	}
	s.w.forget(k)
	if k.roomy(s.w.limits.InFlight) {
		k.wake()
	}
}

// roomy reports whether it is worth looking at those who wait: half of the window
// is there for them, or, where ever new clients leave calls behind, half of one has
// come to be since they began to wait.
func (k *kin) roomy(inFlight int) bool {
	return k.calls <= inFlight/2 && k.bytes <= maxInFlightBytes/2 ||
		(k.freed.calls >= inFlight/2 || k.freed.bytes >= maxInFlightBytes/2) && k.calls < inFlight && k.bytes < maxInFlightBytes
}

// await has a session looked at again that is held up by its user's tombstones.
func (s *session) await() {
	k := s.kin
	if k == nil || k.calls == 0 || s.inWindow() {
		return
	}
	if k.waiting == nil {
		k.waiting, k.freed = make(map[*session]struct{}), window{}
	}
	k.waiting[s] = struct{}{}
}

// wake has everybody looked at who waits.
func (k *kin) wake() {
	waiting := k.waiting
	k.waiting = nil
	for s := range waiting {
		s.resume()
	}
}

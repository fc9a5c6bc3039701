package proxy

import (
	"sync"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/loop"
)

// What one user's clients may take together, over all loops: connections,
// commands a second, bytes a second. A command too many is refused: it has cost
// nothing yet, and its client learns why. Bytes are not refused: a request that
// is here has used the network already, and a reply can't be unsaid. Who has
// spent them is not read until they are paid for, so that the sender's own TCP
// slows it down.

// quotas are those of all users that have limits and are here. Its lock is for
// logins, ends of sessions and changes of the policy; commands need none.
type quotas struct {
	mu    sync.Mutex
	epoch time.Time // the buckets' beginning
	all   map[quotaKey]*quota
}

// quotaKey tells users apart. Of a name that a token brought and the policy does
// not have, each issuer's is another one.
type quotaKey struct{ user, issuer string }

// quota is one user's.
type quota struct {
	key      quotaKey
	sessions int64 // guarded by quotas.mu
	commands bucket
	bytes    bucket
}

// enter counts a session in. Over the number of connections allowed it does so
// only if forced to. nil: there is no room.
func (q *quotas) enter(key quotaKey, l acl.Limits, now time.Time, forced bool) *quota {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.all == nil {
		q.epoch, q.all = now, make(map[quotaKey]*quota)
	}
	one := q.all[key]
	if one == nil {
		one = &quota{key: key}
		one.commands.fill(now.Sub(q.epoch))
		one.bytes.fill(now.Sub(q.epoch))
	}
	if l.Connections > 0 && one.sessions >= l.Connections && !forced {
		return nil
	}
	one.commands.rate.Store(l.CommandsPerSecond)
	one.bytes.rate.Store(l.BytesPerSecond)
	one.sessions++
	q.all[key] = one
	return one
}

// leave counts a session out. What its user has drawn is remembered until it has
// come in again: who parts and returns must not find the buckets full.
func (q *quotas) leave(one *quota, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	one.sessions--
	q.drop(one, now)
}

// forget drops users who are gone and whose buckets are full again.
func (q *quotas) forget(now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, one := range q.all {
		q.drop(one, now)
	}
}

func (q *quotas) drop(one *quota, now time.Time) {
	if since := now.Sub(q.epoch); one.sessions == 0 && one.commands.full(since) && one.bytes.full(since) {
		delete(q.all, one.key)
	}
}

// share is a loop's part in a quota, for all of the user's sessions on it. It
// belongs to the loop's goroutine.
type share struct {
	quota    *quota
	sessions int
	tokens   int64      // commands drawn from the quota and not used yet
	waiting  []*session // not read until the user's bytes are paid for
	timer    loop.Timer // when that will be
}

// limitsOf is what holds for a user: its own word, else everybody's. 0: no limit.
func (w *worker) limitsOf(u *acl.User) acl.Limits {
	own := u.Limits()
	pick := func(own, all int64) int64 {
		if own != 0 {
			all = own
		}
		return max(0, all)
	}
	return acl.Limits{
		Connections:       pick(own.Connections, int64(w.limits.UserConnections)),
		CommandsPerSecond: pick(own.CommandsPerSecond, int64(w.limits.CommandsPerSecond)),
		BytesPerSecond:    pick(own.BytesPerSecond, w.limits.BytesPerSecond),
	}
}

// enroll has the session count on a principal's limits from now on, and no more
// on another's. It reports false, and changes nothing, if the user has too many
// connections; forced, it never does.
func (s *session) enroll(pr *acl.Principal, forced bool) bool {
	if pr.User == nil {
		s.withdraw()
		return true
	}
	w := s.w
	l := w.limitsOf(pr.User)
	key := w.keyOf(pr)
	if l == (acl.Limits{}) {
		s.withdraw()
		return true
	}
	old := s.pace.share
	one := w.srv.quotas.enter(key, l, w.now(), forced || old != nil && old.quota.key == key)
	if one == nil {
		return false
	}
	next := w.shares[one]
	if next == nil {
		if w.shares == nil {
			w.shares = make(map[*quota]*share)
		}
		next = &share{quota: one}
		w.shares[one] = next
	}
	next.sessions++
	s.withdraw()
	s.pace.share = next
	s.pace.metered = s.bytesIn + s.bytesOut
	return true
}

// withdraw ends the session's part in its user's limits.
func (s *session) withdraw() {
	h := s.pace.share
	if h == nil {
		return
	}
	s.pace.share = nil
	h.quota.bytes.draw(s.w.sinceEpoch(), int64(s.bytesIn+s.bytesOut-s.pace.metered))
	h.dismiss(s)
	if h.sessions--; h.sessions == 0 {
		h.timer.Stop()
		h.quota.commands.give(h.tokens)
		delete(s.w.shares, h.quota)
	}
	s.w.srv.quotas.leave(h.quota, s.w.now())
	if s.pace.broke {
		s.pace.broke = false
		s.resume()
	}
}

// wake has everybody looked at who waited for bytes to be paid for.
func (w *worker) wake(h *share) {
	waiting := h.waiting
	h.waiting = nil
	for _, s := range waiting {
		s.pace.broke, s.pace.queued = false, 0
	}
	for _, s := range waiting {
		s.resume()
	}
}

// await notes that a session waits. It reports whether it is the first one.
func (h *share) await(s *session) bool {
	if s.pace.queued > 0 {
		return false
	}
	h.waiting = append(h.waiting, s)
	s.pace.queued = len(h.waiting)
	return len(h.waiting) == 1
}

// dismiss takes a session out of those who wait.
func (h *share) dismiss(s *session) {
	i, last := s.pace.queued-1, len(h.waiting)-1
	if i < 0 {
		return
	}
	h.waiting[i] = h.waiting[last]
	h.waiting[i].pace.queued = i + 1
	h.waiting[last] = nil
	h.waiting = h.waiting[:last]
	s.pace.queued = 0
}

// sinceEpoch is the turn's time as buckets count it.
func (w *worker) sinceEpoch() time.Duration { return w.now().Sub(w.srv.quotas.epoch) }

// leaseTime is how much of a quota's rate a loop takes at a time.
const leaseTime = 10 * time.Millisecond

// exceeds reports whether the user has made too many calls lately, and counts
// this one if not.
func (s *session) exceeds() bool {
	h := s.pace.share
	if h == nil {
		return false
	}
	if h.tokens == 0 {
		b := &h.quota.commands
		rate := b.rate.Load()
		if rate == 0 {
			return false
		}
		h.tokens = b.take(s.w.sinceEpoch(), max(1, rate/int64(time.Second/leaseTime)))
		if h.tokens == 0 {
			return true
		}
	}
	h.tokens--
	return false
}

// meter charges the user with what the session has moved since it was last
// called, and notes whether earlier bytes have to be paid for first.
func (s *session) meter() {
	h := s.pace.share
	if h == nil || h.quota.bytes.rate.Load() == 0 {
		s.pace.broke = false
		return
	}
	now := s.w.sinceEpoch()
	owed := h.quota.bytes.debt(now)
	moved := s.bytesIn + s.bytesOut
	h.quota.bytes.draw(now, int64(moved-s.pace.metered))
	s.pace.metered = moved
	if s.pace.broke = owed > 0; s.pace.broke && h.await(s) {
		s.w.collect(h, owed)
	}
}

// collect wakes those who wait for a user's bytes once these are paid for.
func (w *worker) collect(h *share, owed time.Duration) {
	w.arm(&h.timer, owed, func() {
		if owed := h.quota.bytes.debt(w.sinceEpoch()); owed > 0 {
			w.collect(h, owed)
			return
		}
		w.wake(h)
	})
}

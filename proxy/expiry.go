package proxy

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/loop"
	"github.com/sallyport/sallyport/tlsutil"
	"go.uber.org/zap"
)

// What a session was let in by can end while it is open: a token, a user's
// until, a certificate, a revocation list. Tokens have a timer each; for all
// else, and for clocks that jump, somebody looks every few seconds.

const (
	// expiryWarning is how long before its end a session is announced to end.
	expiryWarning = 3 * time.Minute
	// expirySpread bounds how far before a token's end its session may end, so
	// that the clients of one issuer do not come back all at once.
	expirySpread = 10 * time.Second
	// sweepEvery is how often it is looked whether anything has ended.
	sweepEvery = 2 * time.Second
)

// lease is how long a session may go on by what it proved.
type lease struct {
	timer loop.Timer
	ends  time.Time // the session's end, before the proof's
	warn  time.Time // when it is announced; zero: it was
}

// until has the session end a little before at; zero: no end.
func (s *session) until(at time.Time) {
	if s.lease != nil {
		s.lease.timer.Stop()
		s.lease = nil
	}
	if at.IsZero() {
		return
	}
	left := at.Sub(s.w.now())
	ends := at.Add(-spread(left))
	s.lease = &lease{ends: ends, warn: ends.Add(-min(expiryWarning, left/2))}
	s.w.look(ends)
	s.watchLease()
}

// spread is a random part of the last tenth of what is left, and never less than
// a timer may be late.
func spread(left time.Duration) time.Duration {
	const late = 50 * time.Millisecond
	return late + rand.N(min(max(left/10, 1), expirySpread))
}

// watchLease announces the end, or ends the session, when it is time.
func (s *session) watchLease() {
	l, now := s.lease, s.w.now()
	if l == nil || s.ended {
		return
	}
	if !now.Before(l.ends) {
		s.expire(audit.CloseTokenExpired)
		return
	}
	if !l.warn.IsZero() && !now.Before(l.warn) {
		l.warn = time.Time{}
		s.w.expiringEvent(s)
	}
	next := l.ends
	if !l.warn.IsZero() {
		next = l.warn
	}
	s.w.arm(&l.timer, next.Sub(now), s.watchLease)
}

// look sees to it that a loop looks at its sessions once a time has come.
func (w *worker) look(at time.Time) {
	if !at.IsZero() && (w.soonest.IsZero() || at.Before(w.soonest)) {
		w.soonest = at
	}
}

// sweep ends the sessions whose token or certificate has ended. Tokens have
// their timers; here they are only met where the clock has jumped.
func (w *worker) sweep() {
	now := w.now()
	if w.soonest.IsZero() || now.Before(w.soonest) {
		return
	}
	w.soonest = time.Time{}
	for s := w.sessions; s != nil; {
		next := s.next
		if ends := s.facts.certEnds; !ends.IsZero() && !s.ended {
			if now.After(ends) {
				s.expire(audit.CloseCertExpired)
			} else {
				w.look(ends)
			}
		}
		if s.lease != nil && !s.ended {
			if s.watchLease(); !s.ended {
				w.look(s.lease.ends)
			}
		}
		s = next
	}
}

// watchTime sees to what ends by the clock, until the server closes.
func (s *Server) watchTime() {
	defer s.proofs.out.Done()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.proofs.ctx.Done():
			return
		}
		now := time.Now()
		s.passTime(now)
		s.unfold(now)
	}
}

// passTime takes entries of the policy out of force whose until has passed, has
// sessions held against changed or stale revocation lists, and has every loop
// look at its sessions.
func (s *Server) passTime(now time.Time) {
	s.proofs.recent.forget(now)
	s.quotas.forget(now)
	if end := s.policy.Load().NextEnd(); !end.IsZero() && now.After(end) {
		err := s.change(func(p *acl.Policy) (*acl.Policy, error) { return p.At(now), nil })
		if err != nil {
			s.log.Error("taking ended entries out of force", zap.Error(err))
		}
	}
	s.mu.Lock()
	listeners := slices.Clone(s.listeners)
	s.mu.Unlock()
	for _, l := range listeners {
		if t := l.tls.Load(); t != nil && !l.judged.Load().holds(t, now) {
			s.recertify(l)
		}
	}
	s.each((*worker).sweep)
}

// certified is by what the certificates of a listener's open sessions were
// judged, and how long that judgement holds.
type certified struct {
	by         *tlsutil.Server
	generation uint64
	until      time.Time // when the first of its revocation lists goes stale; zero: never
}

func (c *certified) holds(t *tlsutil.Server, now time.Time) bool {
	return c != nil && c.by == t && c.generation == t.Generation() && (c.until.IsZero() || now.Before(c.until))
}

// certifiedBy is a judgement made now.
func certifiedBy(t *tlsutil.Server, now time.Time) *certified {
	c := &certified{by: t, generation: t.Generation()}
	for _, list := range t.CRLs() {
		if list.NextUpdate.After(now) && (c.until.IsZero() || list.NextUpdate.Before(c.until)) {
			c.until = list.NextUpdate
		}
	}
	return c
}

// forgetTickets ends the resumption of sessions from before a change of the
// policy. It changes no certificate, so nobody is judged anew for it.
func (s *Server) forgetTickets() {
	s.mu.Lock()
	listeners := slices.Clone(s.listeners)
	s.mu.Unlock()
	for _, l := range listeners {
		t := l.tls.Load()
		if t == nil {
			continue
		}
		was, generation := l.judged.Load(), t.Generation()
		t.ForgetTickets()
		if was.by == t && was.generation == generation && t.Generation() == generation+1 {
			next := *was
			next.generation++
			l.judged.CompareAndSwap(was, &next)
		}
	}
}

// present gives a listener other TLS settings. Nobody is judged anew where they
// take the very clients that the old ones took, and what those were judged by holds.
func (s *Server) present(l *listener, t *tlsutil.Server) {
	was := l.tls.Swap(t)
	if was == t {
		return
	}
	if by := l.judged.Load(); was != nil && by.holds(was, time.Now()) && t.TrustsLike(was) {
		l.judged.Store(&certified{by: t, generation: t.Generation(), until: by.until})
		return
	}
	s.recertify(l)
}

// recertify has all loops hold the sessions of a listener against its TLS settings.
func (s *Server) recertify(l *listener) {
	t := l.tls.Load()
	l.judged.Store(certifiedBy(t, time.Now()))
	s.each(func(w *worker) { w.recertify(l, t) })
}

package proxy

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/token"
	"github.com/sallyport/sallyport/proxy/loop"
	"go.uber.org/zap"
)

// Proving who somebody is must cost a loop nothing it can feel: a signature, a
// key that has to be fetched and a slow hash are checked in goroutines, a bounded
// number at a time. While a trial is out its session is neither read nor fed,
// and of what it sent no more is kept than one read brings.

// trial is one attempt to log in, from its receipt until its answer is given.
type trial struct {
	attempt acl.Attempt
	method  acl.Method
	then    func()             // gives the answer of success
	timer   loop.Timer         // until a failure may be told
	cancel  context.CancelFunc // nil: no goroutine is out
}

// check is a proof that leaves the loop.
type check func(ctx context.Context, p *acl.Policy, a *acl.Attempt) (acl.Principal, acl.Reason)

// proofs is what all loops share about attempts to log in.
type proofs struct {
	ctx        context.Context // ends with the server
	stop       context.CancelFunc
	out        sync.WaitGroup // goroutines that prove something, and the rest of what leaves a loop
	signatures chan struct{}  // a place for each check that may run
	hashes     chan struct{}

	delay    time.Duration // of failures
	recent   recentProofs  // of slow hashes
	measured acl.SlowHash  // by measureHashes
	cost     atomic.Int64  // what a slow hash takes here, in nanoseconds
	mu       sync.Mutex
	throttle *acl.Throttle // nil: off
}

// proofTimeout bounds a proof that is waited for: a place, a key, a hash.
const proofTimeout = 10 * time.Second

func (p *proofs) init(o *Options) {
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.signatures = make(chan struct{}, runtime.GOMAXPROCS(0))
	// A slow hash is made to take a core and much memory: clients must find one left.
	p.hashes = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))
	p.recent.init()
	p.delay = o.Limits.AuthFailureDelay
	if !o.Auth.NoThrottle {
		p.throttle = acl.NewThrottle(o.Auth.Throttle)
	}
}

// allow reports whether an attempt may be judged at all.
func (p *proofs) allow(a *acl.Attempt) bool {
	if p.throttle == nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.throttle.Allow(a.Addr, a.User, a.Now)
}

// judged has an attempt count. Attempts that were not judged do not.
func (p *proofs) judged(a *acl.Attempt, reason acl.Reason) {
	if p.throttle == nil || slices.Contains(notTheirs, reason) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if reason == acl.None {
		p.throttle.Succeeded(a.Addr, a.User, a.Now)
	} else {
		p.throttle.Failed(a.Addr, a.User, a.Now)
	}
}

// notTheirs are failures that say nothing about what the client knows.
var notTheirs = []acl.Reason{acl.AuthThrottled, acl.TokenKeysUnknown, acl.TokenExpired, acl.TokenForOther}

// failureDelay is how long after its receipt a failure is told: twice what a
// slow hash takes, at least, so that nobody can see who has one.
func (p *proofs) failureDelay() time.Duration {
	if p.delay <= 0 {
		return 0
	}
	return max(p.delay, 2*time.Duration(p.cost.Load()))
}

// refuseLogin tells a failure when its time has come. Nothing of the session
// is served before.
func (s *session) refuseLogin(t *trial) {
	left := s.w.srv.proofs.failureDelay() - s.w.now().Sub(t.attempt.Now)
	if left <= 0 {
		s.fail(errWrongPass)
		return
	}
	s.waiting, s.trial = true, t
	s.w.arm(&t.timer, left, func() {
		s.waiting, s.trial = false, nil
		s.fail(errWrongPass)
		s.answered()
	})
}

// proveAside has a trial's proof checked in a goroutine, which comes back by
// posting to the loop.
func (s *session) proveAside(t *trial, check check) {
	w, srv := s.w, s.w.srv
	ctx, cancel := context.WithTimeout(srv.proofs.ctx, proofTimeout)
	t.cancel = cancel
	t.attempt.Password = slices.Clone(t.attempt.Password) // the session's bytes end with this turn
	s.waiting, s.trial = true, t
	policy, a := w.policy, t.attempt
	srv.proofs.out.Add(1)
	go func() {
		defer srv.proofs.out.Done()
		defer cancel()
		pr, reason := srv.prove(ctx, check, policy, &a)
		w.loop.Post(func() { s.proved(t, policy, pr, reason) })
	}()
}

// prove runs a check in a goroutine of its own.
func (s *Server) prove(ctx context.Context, check check, p *acl.Policy, a *acl.Attempt) (pr acl.Principal, reason acl.Reason) {
	defer func() {
		if v := recover(); v != nil {
			// Its value could hold a secret.
			s.log.Error("panic while proving a login", zap.ByteString("stack", debug.Stack()))
			pr, reason = acl.Principal{}, acl.WrongPassword
		}
	}()
	return check(ctx, p, a)
}

// within runs f in one of a bounded number of places. It reports whether there
// was one in time, and the attempt may still be judged: others may have failed
// while this one waited.
func (p *proofs) within(ctx context.Context, gate chan struct{}, a *acl.Attempt, f func()) bool {
	select {
	case gate <- struct{}{}:
		defer func() { <-gate }()
	case <-ctx.Done():
		return false
	}
	if ctx.Err() != nil || !p.allow(a) {
		return false
	}
	f()
	return true
}

// proved goes on with a trial whose proof is back.
func (s *session) proved(t *trial, under *acl.Policy, pr acl.Principal, reason acl.Reason) {
	s.fulfil()
	if s.ended || s.trial != t {
		return
	}
	s.waiting, s.trial = false, nil
	if a := s.attempt(); reason == acl.None {
		switch {
		case !s.w.srv.stillTaken(&pr, &a):
			pr, reason = acl.Principal{TokenID: pr.TokenID}, acl.TokenInvalid
		case under != s.w.policy || a.Token != pr.TokenClaims():
			pr, reason = s.w.policy.Renew(pr, &a)
		}
	}
	s.judged(t, pr, reason)
	if !s.waiting {
		s.answered()
	}
}

// abandon ends a trial whose session ends.
func (s *session) abandon() {
	if t := s.trial; t != nil {
		s.trial = nil
		t.timer.Stop()
		if t.cancel != nil {
			t.cancel()
		}
	}
}

// checkHash proves a password against slow hashes, and notes what that took.
func (p *proofs) checkHash(ctx context.Context, policy *acl.Policy, a *acl.Attempt) (pr acl.Principal, reason acl.Reason) {
	if !p.within(ctx, p.hashes, a, func() {
		began := time.Now()
		pr, reason = policy.Authenticate(a)
		p.noteCost(time.Since(began))
	}) {
		return acl.Principal{}, acl.AuthThrottled
	}
	if reason == acl.None {
		p.recent.keep(a, pr.Argon2id())
	}
	return pr, reason
}

// measureHashes learns what the policy's costliest hash takes before anybody's
// login does. It is called under changes.mu, or before the server starts.
func (s *Server) measureHashes(p *acl.Policy) {
	h := p.SlowHash()
	if h == s.proofs.measured {
		return
	}
	if s.proofs.measured = h; h == (acl.SlowHash{}) {
		s.proofs.cost.Store(0)
		return
	}
	if s.proofs.ctx.Err() != nil {
		return
	}
	s.proofs.out.Add(1)
	go func() {
		defer s.proofs.out.Done()
		select {
		case s.proofs.hashes <- struct{}{}:
			defer func() { <-s.proofs.hashes }()
		case <-s.proofs.ctx.Done():
			return
		}
		began := time.Now()
		h.Spend()
		s.proofs.noteCost(time.Since(began))
	}()
}

// noteCost remembers what a slow hash takes: at once where that is more than
// was known, slowly where it is less.
func (p *proofs) noteCost(d time.Duration) {
	d = min(d, proofTimeout/4) // a machine that stood still is no measure
	for {
		known := p.cost.Load()
		if p.cost.CompareAndSwap(known, max(int64(d), known-known/16)) {
			return
		}
	}
}

// checkToken proves a token, once more with newer keys where those at hand do
// not hold its own. The keys are waited for outside the gate.
func (p *proofs) checkToken(v *token.Verifier) check {
	return func(ctx context.Context, policy *acl.Policy, a *acl.Attempt) (acl.Principal, acl.Reason) {
		var claims *acl.TokenClaims
		var err error
		verify := func() { claims, err = v.Verify(a.Password, a.Now) }
		if !p.within(ctx, p.signatures, a, verify) {
			return acl.Principal{}, acl.AuthThrottled
		}
		var refused *token.Error
		if errors.As(err, &refused) && refused.NeedsKeys() && v.Refresh(ctx, refused.Issuer) == nil {
			if !p.within(ctx, p.signatures, a, verify) {
				return acl.Principal{}, acl.AuthThrottled
			}
		}
		if err != nil {
			var pr acl.Principal
			if errors.As(err, &refused) {
				pr.TokenID = refused.TokenID
			}
			return pr, tokenReason(err)
		}
		a.Token = claims
		return policy.Authenticate(a)
	}
}

// tokenReason maps why a token is refused to the one list of reasons.
func tokenReason(err error) acl.Reason {
	switch {
	case errors.Is(err, token.ErrExpired):
		return acl.TokenExpired
	case errors.Is(err, token.ErrUnknownKey), errors.Is(err, token.ErrKeysUnavailable):
		return acl.TokenKeysUnknown
	case errors.Is(err, token.ErrAudience):
		return acl.TokenForOther
	}
	return acl.TokenInvalid
}
